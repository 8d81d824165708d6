"""Component recipes and their artifacts, the script that installs them on a device, and packages of models."""
