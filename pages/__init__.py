"""The pages of the dashboard: read filters, one call into `db.queries`, draw."""
