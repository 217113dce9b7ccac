"""State dicts and files with the keys and shapes of the published ones, and random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.training.official.published import (
    TAPPED_STAGES,
    TRUNK_CHANNELS,
    TRUNK_HEAD,
    TRUNK_STEM,
    Network,
    trunk_blocks,
)

Shape = tuple[int, ...]


def published_shapes(network: Network) -> dict[str, Shape]:
    """Every key of the published state dict and its shape."""
    shapes: dict[str, Shape] = {}

    def norm(key: str, channels: int) -> None:
        shapes.update({f"{key}.{name}": (channels,) for name in ("weight", "bias", "running_mean", "running_var")})
        shapes[f"{key}.num_batches_tracked"] = ()

    def layer(key: str, shape: Shape) -> None:
        shapes[f"{key}.0.weight"] = shape
        norm(f"{key}.1", shape[0])

    stem, head = TRUNK_STEM[network.trunk], TRUNK_HEAD[network.trunk]
    shapes["backbone._conv_stem.weight"] = (stem, 3, 3, 3)
    norm("backbone._bn0", stem)
    for number, block in enumerate(trunk_blocks(network.trunk)):
        at, wide, squeezed = f"backbone._blocks.{number}", block.expanded, block.inputs // 4
        if wide != block.inputs:
            shapes[f"{at}._expand_conv.weight"] = (wide, block.inputs, 1, 1)
            norm(f"{at}._bn0", wide)
        shapes[f"{at}._depthwise_conv.weight"] = (wide, 1, block.kernel, block.kernel)
        norm(f"{at}._bn1", wide)
        shapes |= {f"{at}._se_reduce.weight": (squeezed, wide, 1, 1), f"{at}._se_reduce.bias": (squeezed,)}
        shapes |= {f"{at}._se_expand.weight": (wide, squeezed, 1, 1), f"{at}._se_expand.bias": (wide,)}
        shapes[f"{at}._project_conv.weight"] = (block.outputs, wide, 1, 1)
        norm(f"{at}._bn2", block.outputs)
    shapes["backbone._conv_head.weight"] = (head, TRUNK_CHANNELS[network.trunk][-1], 1, 1)
    norm("backbone._bn1", head)
    for i, (stage, reduced) in enumerate(zip(TAPPED_STAGES, network.skip_channels, strict=True)):
        if network.skip_scales[i] != 1:
            layer(f"backbone._feat_fc_{i}", (reduced, TRUNK_CHANNELS[network.trunk][stage], 1, 1))

    convolutions = [(-(-wanted // g) * g, channels // g, 1, 1) for wanted, channels, g in network.convolutions]
    if network.generation == "v0_1":
        for i in (0, 1):
            layer(f"weight_mapper.down_{i}", (head, head, 2, 2))
            layer(f"weight_mapper.flat_{i}", (head, 2 * head, 1, 1))
        shapes |= {f"weight_mapper.out_conv.conv_{k}.weight": shape for k, shape in enumerate(convolutions)}
    else:
        layer("weight_mapper.in_conv", (head // 2, head, 1, 1))
        layer("weight_mapper.down_blocks.0", (head // 2, head // 2, 2, 2))
        layer("weight_mapper.up_blocks.0", (head // 2, head, 1, 1))

    for number, (_, hidden, out) in enumerate(network.levels):
        at = f"decoder.level_blocks.{number}.0" if network.generation == "unify" else f"decoder.level_{number}.0"
        if network.generation == "v1_0":
            shapes[f"{at}{'.0' if hidden is None else ''}.signal2weights.weight"] = convolutions[number]
        if hidden is None:
            norm(f"{at}.1", out)
        else:
            for place, channels in enumerate((hidden, hidden, out)):
                norm(f"{at}.conv.{place}.1" if network.generation == "v0_1" else f"{at}.bn{place + 1}", channels)
    if network.generation == "unify":
        shapes |= {f"decoder.weight_blocks.{k}.signal2weights.weight": shape for k, shape in enumerate(convolutions)}
    for height, width in network.coordinate_sizes:
        for i in range(len(network.kernels)):
            size = height >> i, width >> i
            shapes[f"decoder.coord{size[0]}_{size[1]}"] = (1, 2, *size)
    return shapes


def random_state(network: Network, seed: int = 0) -> dict[str, Tensor]:
    """Random float32 weights with which the maps keep a standard deviation of about 1.

    Those that the published v1_0 training never changes are as PyTorch draws them.
    """
    rng = torch.Generator().manual_seed(seed)
    normal = lambda shape: torch.randn(shape, generator=rng)  # noqa: E731
    uniform = lambda shape, low, high: low + (high - low) * torch.rand(shape, generator=rng)  # noqa: E731
    rows = theta_scales(network)
    gain = 1.4 if network.generation == "v0_1" else 3  # against the signal's size, which ReLU halves in v1_0

    state = {}
    for key, shape in published_shapes(network).items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(1234)
        elif key.startswith("decoder.coord"):
            y, x = (torch.linspace(-1, 1, n) for n in shape[2:])
            state[key] = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))])[None]
        elif "signal2weights" in key or "out_conv" in key:
            fan_in = shape[1]
            scale = next(scale for padded, scale in rows if (padded, fan_in) == shape[:2])
            state[key] = normal(shape) * gain / fan_in**0.5 * scale[:, None, None, None]
        elif len(shape) == 4:
            state[key] = normal(shape) * (1.7 if "_depthwise" in key else 1.4) / (shape[1] * shape[2] * shape[3]) ** 0.5
        elif key.endswith("running_var"):
            state[key] = uniform(shape, 0.5, 1.5)
        elif key.endswith("weight"):
            state[key] = uniform(shape, 0.5, 1.2)
        else:
            state[key] = 0.2 * normal(shape)
    if network.generation == "v1_0":
        unread = max(channels for _, channels, _ in network.convolutions)
        for key, first_row in (("down_blocks.0", 0), ("up_blocks.0", 0), ("in_conv", unread)):
            weight = state[f"weight_mapper.{key}.0.weight"]
            bound = weight[0].numel() ** -0.5
            weight[first_row:] = uniform(weight[first_row:].shape, -bound, bound)
            state[f"weight_mapper.{key}.1.weight"][first_row:] = 1
            state[f"weight_mapper.{key}.1.bias"][first_row:] = 0
    return state


def theta_scales(network: Network) -> list[tuple[int, Tensor]]:
    """For every signal-to-theta convolution: its rows, and one over the root of the sum each row's weight stands in."""
    of_level = []
    for cin, hidden, cout in network.levels:
        if hidden is None:
            of_level.append(torch.full((cin * cout,), cin**-0.5))
        else:
            fans = torch.tensor([cin, 9, hidden]).repeat_interleave(
                torch.tensor([cin * hidden, 9 * hidden, hidden * cout])
            )
            of_level.append(fans**-0.5)
    if network.generation == "unify":
        of_level[3:] = [torch.cat(of_level[3:])]
    padded = []
    for (wanted, _, groups), scale in zip(network.convolutions, of_level, strict=True):
        assert len(scale) == wanted
        size = -(-wanted // groups) * groups
        padded.append((size, torch.cat([scale, torch.ones(size - wanted)])))
    return padded


def arch_text(network: Network) -> str:
    """The constructor call as the published training writes it down, without blanks."""
    module = {"v0_1": "hyperseg_v0_1", "v1_0": "hyperseg_v1_0", "unify": "hyperseg_v1_0_unify"}[network.generation]
    legacy = network.generation == "v0_1"
    arguments = {
        "pretrained": True,
        "levels": 3 if legacy else 2,
        "kernel_sizes": list(network.kernels),
        "expand_ratio": 2,
        "weight_groups": network.groups[0] if legacy else list(network.groups),
        "with_out_fc": False,
        "decoder_dropout": None,
        "inference_hflip": True,
        "num_classes": network.classes,
    }
    if not legacy:  # elsewhere the defaults
        arguments["level_channels"] = [*network.out_channels, network.out_channels[-1]]
        arguments["out_feat_scale"] = network.skip_scales
        arguments["coords_res"] = list(network.coordinate_sizes)
    if network.generation == "unify":
        arguments["unify_level"] = 4
    call = ",".join(f"{name}={value!r}" for name, value in arguments.items()).replace(" ", "")
    return f"hyperseg.models.{module}.hyperseg_efficientnet('efficientnet-{network.trunk}',{call})"


def write_published(path: Path, state: dict[str, Tensor], **entries: object) -> Path:
    """A file as the published training writes it; `entries` replace entries of it, None leaves one out."""
    content = {
        "epoch": 357,
        "state_dict": state,
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3, "betas": (0.5, 0.999), "params": [0, 1]}]},
        "scheduler": {"last_epoch": 90000, "_last_lr": [1e-6]},
        "best_iou": np.float64(0.7625),
        "arch": "unknown.module.network('efficientnet-b1',pretrained=True)",
        **entries,
    }
    torch.save({key: value for key, value in content.items() if value is not None}, path)
    return path
