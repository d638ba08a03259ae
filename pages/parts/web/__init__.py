"""What the dashboard's server does beside pages: who may ask, pictures, films, uploads."""
