"""The dashboard, launched whole."""
