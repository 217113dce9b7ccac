"""The networks there are, as frozen configs: the published ones, a small one for the built-in data, and the ablations.

Decoder tuples run from the coarsest level (stride 32) to the finest; ``reduction`` runs from stride 2 to stride 32.
"""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches

from runtime.data.label_sets import CAMVID, CITYSCAPES, VOC
from runtime.errors import UserError
from training.network.config import HyperSegConfig, SignalOffsets

VARIANTS: dict[str, HyperSegConfig] = {
    config.name: config
    for config in (
        HyperSegConfig(
            name="voc-l",
            generation="v0_1",
            backbone="tf_efficientnet_b3.aa_in1k",
            labels=VOC,
            input_size=(512, 512),
            reduction=(0.25, 0.25, 0.25, 0.25, 0.25),
            kernel_sizes=(1, 1, 3, 3, 3, 3),
            level_channels=(96, 34, 12, 8, 6),
            weight_groups=(16, 16, 16, 16, 16, 16),
            context_levels=3,
            padding_size=300,
            head_dropout=0.3,
        ),
        HyperSegConfig(
            name="cityscapes-m",
            generation="v1",
            backbone="tf_efficientnet_b1.aa_in1k",
            labels=CITYSCAPES,
            input_size=(512, 1024),
            reduction=(1, 0.25, 0.25, 0.25, 0.25),
            kernel_sizes=(1, 1, 1, 3, 3),
            level_channels=(64, 32, 16, 16),
            weight_groups=(32, 16, 8, 16, 4),
            context_levels=2,
            padding_size=240,
        ),
        HyperSegConfig(
            name="cityscapes-s",
            generation="v1",
            backbone="tf_efficientnet_b1.aa_in1k",
            labels=CITYSCAPES,
            input_size=(768, 1536),
            reduction=(1, 0.166, 0.2, 0.25, 0.4),
            kernel_sizes=(1, 1, 1, 3, 3),
            level_channels=(32, 16, 8, 8),
            weight_groups=(32, 16, 8, 16, 4),
            context_levels=2,
            unify_level=4,
            padding_size=240,
        ),
        HyperSegConfig(
            name="camvid-s",
            generation="v1",
            backbone="tf_efficientnet_b1.aa_in1k",
            labels=CAMVID,
            input_size=(576, 768),
            reduction=(0.25, 0.25, 0.25, 0.25, 0.25),
            kernel_sizes=(1, 1, 1, 3, 3),
            level_channels=(64, 32, 16, 16),
            weight_groups=(64, 32, 32, 16, 8),
            context_levels=2,
            padding_size=240,
        ),
        HyperSegConfig(
            name="camvid-l",
            generation="v1",
            backbone="tf_efficientnet_b1.aa_in1k",
            labels=CAMVID,
            input_size=(768, 1024),
            reduction=(0.25, 0.25, 0.25, 0.25, 0.25),
            kernel_sizes=(1, 1, 1, 3, 3, 3),
            level_channels=(64, 32, 16, 16, 16),
            weight_groups=(64, 32, 32, 16, 8, 8),
            context_levels=2,
            padding_size=240,
        ),
        HyperSegConfig(
            name="street-tiny",
            generation="v1",
            backbone="test_efficientnet",
            labels=CITYSCAPES,
            input_size=(128, 256),
            reduction=(1, 0.5, 0.5, 0.5, 0.5),
            kernel_sizes=(1, 1, 1, 3, 3),
            level_channels=(32, 24, 16, 16),
            weight_groups=(8, 8, 4, 8, 4),
            context_levels=2,
            backbone_bn_eps=1e-5,
            backbone_bn_momentum=0.1,
            head_dropout=0.0,
            drop_path=0.0,
        ),
    )
}


_NARROW = (0.25, 0.25, 0.25, 0.25, 0.25)
_M, _S, _L = VARIANTS["cityscapes-m"], VARIANTS["cityscapes-s"], VARIANTS["voc-l"]
_RESNET = replace(
    _M,
    reduction=_NARROW,
    padding_size=None,
    backbone_bn_eps=1e-5,
    backbone_bn_momentum=0.1,
    head_dropout=0.0,
    drop_path=0.0,
)

ABLATIONS: dict[str, HyperSegConfig] = {
    config.name: config
    for config in (
        # The networks whose sizes Table 3 prints; the published configs differ from them.
        replace(_M, name="cityscapes-m-narrow", reduction=_NARROW),
        replace(_S, name="cityscapes-s-separate", unify_level=None),
        # Other encoders, with the channels of the paper's fully connected layer.
        replace(_RESNET, name="cityscapes-m-resnet18", backbone="resnet18.tv_in1k", head_channels=1280),
        replace(
            _RESNET, name="cityscapes-m-pspnet18", backbone="resnet18.tv_in1k", pyramid_pooling=True, head_channels=1280
        ),
        replace(
            _RESNET, name="cityscapes-m-pspnet50", backbone="resnet50.tv_in1k", pyramid_pooling=True, head_channels=2048
        ),
        # Without what is HyperSeg's own. The 16x16 grid is the one VOC-L has at its published size.
        replace(_M, name="cityscapes-m-regular", dynamic=False),
        replace(_M, name="cityscapes-m-no-positions", positions=False),
        *(replace(_L, name=f"voc-l-grid-{grid}", grid=grid) for grid in (1, 4, 8, 16)),
        # Table 7: groups of the weight mappers w1 to w5, the finest level first.
        *(
            replace(
                _M,
                name="cityscapes-m-groups-" + "-".join(map(str, groups)),
                input_size=(768, 1536),
                reduction=_NARROW,
                weight_groups=groups[::-1],
            )
            for groups in (
                (1, 2, 4, 4, 8),
                (2, 4, 8, 8, 16),
                (4, 8, 16, 16, 32),
                (8, 16, 32, 32, 64),
                (16, 32, 64, 64, 128),
            )
        ),
    )
}


def variant(name: str, signal_offsets: SignalOffsets = "cumulative") -> HyperSegConfig:
    """Return the named config, published or ablation, with the given offset policy; UserError for an unknown name."""
    known = VARIANTS | ABLATIONS
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise UserError(
            f"there is no variant {name!r}.{hint} The variants are {', '.join(VARIANTS)}; "
            f"the ablations {', '.join(ABLATIONS)}."
        )
    return replace(known[name], signal_offsets=signal_offsets)
