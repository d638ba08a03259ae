"""Video files: probe, decode, seek, measure signals, choose frames, encode JPEGs. No database, no models."""
