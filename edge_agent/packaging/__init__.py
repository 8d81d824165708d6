"""Component recipes and their artifacts: checking, building, and the script that installs them on a device."""
