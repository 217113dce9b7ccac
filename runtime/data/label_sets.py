"""The classes of the data sets: names and colours, by class index."""

from __future__ import annotations

from runtime import street
from runtime.data.data_set import LabelSet

CITYSCAPES = LabelSet("cityscapes", street.CLASSES, street.PALETTE)

# The published code trains and scores Void as a class of its own.
CAMVID = LabelSet(
    "camvid",
    ("sky", "building", "column-pole", "road", "sidewalk", "tree", "sign-symbol", "fence", "car", "pedestrian",
     "bicyclist", "void"),
    ((128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (0, 0, 192), (128, 128, 0), (192, 128, 128),
     (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192), (0, 0, 0)),
)  # fmt: skip

# SegNet's protocol, which most papers follow: the 32 classes merged into these, Void not counted.
CAMVID_11 = LabelSet("camvid-11", CAMVID.classes[:11], CAMVID.palette[:11])

VOC = LabelSet(
    "voc",
    ("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
     "dining table", "dog", "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "tv/monitor"),
    ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128), (128, 128, 128),
     (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128), (64, 128, 128),
     (192, 128, 128), (0, 64, 0), (128, 64, 0), (0, 192, 0), (128, 192, 0), (0, 64, 128)),
)  # fmt: skip
