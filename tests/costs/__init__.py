"""What the passes cost, in words and sums."""
