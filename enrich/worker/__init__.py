"""The worker: extracts frames, describes them and saves the results until the queue is empty."""
