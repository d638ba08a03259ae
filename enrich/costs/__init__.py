"""What the passes cost: the month's budget, and what the same work would have cost elsewhere."""
