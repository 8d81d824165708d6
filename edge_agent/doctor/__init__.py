"""What usually breaks on a device, looked at one by one (docs/doctor.md)."""

from __future__ import annotations
