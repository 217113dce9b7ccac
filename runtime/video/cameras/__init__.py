"""Cameras: what an address on the command line names, how it is opened, and how it is kept open."""
