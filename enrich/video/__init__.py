"""Reading video: probe, decode, signals, likeness, pictures. Knows no database and no model."""
