"""Greengrass: the inspector's IPC client, component recipes, and a local stand-in for the nucleus."""
