"""Labelled images: the data sets HyperSeg was published on, and the built-in street scenes."""
