"""Trained networks: quantisation of random ones is chaotic and can be judged by nothing."""

from dataclasses import replace

import pytest
from timm.models import register_model
from timm.models.resnet import BasicBlock, ResNet

from calibration.bundle import Request, export_precisions
from runtime.bundle import open_bundle
from training.fit import fit
from training.network.variants import ABLATIONS, VARIANTS
from training.recipe import Recipe

SIZE = (64, 128)
# A trunk with residual additions, with and without a convolution beside them, which street-tiny's has not.
RESNET = replace(VARIANTS["street-tiny"], name="street-resnet", backbone="small_resnet", head_channels=256)


@register_model
def small_resnet(drop_path_rate=0.0, **_):
    """A ResNet of five blocks, the second without a convolution beside it, by timm's own class."""
    return ResNet(BasicBlock, (2, 1, 1, 1), channels=(24, 32, 48, 64), drop_path_rate=drop_path_rate)


def train(variant, folder):
    """Train on small street scenes for less than a minute; returns the checkpoint."""
    recipe = Recipe(
        variant=variant,
        data="street",
        train_scenes=256,
        val_scenes=20,
        scene_size=SIZE,
        train_split="train",
        val_split="val",
        augmentation=({"crop": SIZE}, {"flip": 0.5}),
        batch_size=8,
        images_per_epoch=720,
        epochs=2,
        learning_rate=1e-2,
        power=0.9,
        loss="cross_entropy",
    )
    return fit(recipe, folder)


@pytest.fixture(scope="session")
def street_checkpoint(made_once):
    """Of a trained street-tiny."""
    return made_once("trained-street-tiny", lambda folder: train("street-tiny", folder)) / "best.ckpt"


@pytest.fixture(scope="session")
def resnet_checkpoint(made_once):
    """Of a trained network with residual additions."""
    ABLATIONS[RESNET.name] = RESNET
    try:
        return made_once("trained-street-resnet", lambda folder: train(RESNET.name, folder)) / "best.ckpt"
    finally:
        del ABLATIONS[RESNET.name]


@pytest.fixture(scope="session")
def street_bundle(street_checkpoint, made_once):
    """A bundle of a trained street-tiny in all precisions. All tests read the same files: copy it to change it."""
    return open_bundle(made_once("bundle-street-tiny", lambda folder: export(street_checkpoint, folder)))


@pytest.fixture(scope="session")
def resnet_bundle(resnet_checkpoint, made_once):
    """The same of a trained network with residual additions."""
    return open_bundle(made_once("bundle-street-resnet", lambda folder: export(resnet_checkpoint, folder)))


def export(checkpoint, out):
    """Export in all precisions, calibrated on 64 street scenes."""
    export_precisions(checkpoint, out, Request(("fp16", "int8"), data="street", count=64), size=SIZE, logits=True)
