"""Deployments: from one small file to what runs on a device or a group of them (docs/deploy.md)."""

from __future__ import annotations
