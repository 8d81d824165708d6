"""Fault experiments: `scripts/faults NAME` runs one at full count, the test suite each in a short form."""
