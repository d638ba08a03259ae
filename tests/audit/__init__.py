"""What checks the library and the sampling."""
