"""Long runs under real failures: kills, power cuts, full disks, clock jumps, bad servers. See docs/promises.md."""
