"""The HyperSeg network and how it is trained."""

from training.checkpoint import load_model, save_model
from training.model import HyperSeg, create_model

__all__ = ["HyperSeg", "create_model", "load_model", "save_model"]
