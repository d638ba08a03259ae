"""The dashboard's pages: each reads its query parameters, reads the database and draws."""
