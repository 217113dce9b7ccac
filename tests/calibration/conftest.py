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
        images_per_epoch=1000,
        epochs=2,
        learning_rate=1e-2,
        power=0.9,
        loss="cross_entropy",
    )
    return fit(recipe, folder)


@pytest.fixture(scope="session")
def street_checkpoint(tmp_path_factory):
    """Of a trained street-tiny."""
    return train("street-tiny", tmp_path_factory.mktemp("street-tiny"))


@pytest.fixture(scope="session")
def resnet_checkpoint(tmp_path_factory):
    """Of a trained network with residual additions."""
    ABLATIONS[RESNET.name] = RESNET
    try:
        return train(RESNET.name, tmp_path_factory.mktemp("street-resnet"))
    finally:
        del ABLATIONS[RESNET.name]


@pytest.fixture(scope="session")
def street_bundle(street_checkpoint, tmp_path_factory):
    """A bundle of a trained street-tiny in all precisions. All tests read the same files: copy it to change it."""
    return export(street_checkpoint, tmp_path_factory.mktemp("bundles") / "street-tiny")


@pytest.fixture(scope="session")
def resnet_bundle(resnet_checkpoint, tmp_path_factory):
    """The same of a trained network with residual additions."""
    return export(resnet_checkpoint, tmp_path_factory.mktemp("bundles") / "street-resnet")


def export(checkpoint, out):
    """Export in all precisions, calibrated on 64 street scenes."""
    request = Request(("fp16", "int8"), data="street", count=64)
    export_precisions(checkpoint, out, request, size=SIZE, logits=True)
    return open_bundle(out)
