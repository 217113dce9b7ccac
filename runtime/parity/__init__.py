"""Is the exported network still the network that was trained? ``python -m runtime.parity`` compares and reports."""
