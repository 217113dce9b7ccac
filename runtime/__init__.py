"""Runs an exported HyperSeg: on a desktop, a Jetson or a plain CPU, without torch."""

from runtime.segmenter import Segmenter

__all__ = ["Segmenter"]
