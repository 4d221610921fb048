"""The command `python -m ray_ssl.sweep`: what lies in a storage folder, and what of it can be deleted."""
