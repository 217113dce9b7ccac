"""Frames from a source, through the network, into a sink; the parts of ``runtime/demo.py``."""
