"""The worker: decodes, describes and saves until nothing is left. Video, describers and the database meet here."""
