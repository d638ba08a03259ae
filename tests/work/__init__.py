"""The worker, held to its promises: real clips, a real database, and a real HTTP server in Ollama's place."""
