"""Whole nights, broken for real: kills, power cuts, full disks, odd clocks, bad servers. See docs/promises.md."""
