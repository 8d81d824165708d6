"""Benchmarks: `python -m benchmarks.NAME [--quick]` prints one JSON object {"machine", "settings", "figures"}."""
