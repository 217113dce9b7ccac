"""The published HyperSeg networks written a second time, plainly and in float64, on published state dicts.

It stands for the published code in the tests of the import and shares nothing with `training`: no module, no table. One
patch is computed after another, group by group, straight from the description. `Rules` holds what is easily got wrong;
with another value in one field the network makes that mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

TRUNK_REPEATS = {"b1": (2, 3, 3, 4, 4, 5, 2), "b3": (2, 3, 3, 5, 5, 6, 2)}
TRUNK_CHANNELS = {"b1": (16, 24, 40, 80, 112, 192, 320), "b3": (24, 32, 48, 96, 136, 232, 384)}
TRUNK_KERNELS = (3, 3, 5, 3, 5, 5, 3)
TRUNK_STRIDES = (1, 2, 2, 2, 1, 2, 1)
TRUNK_STEM = {"b1": 32, "b3": 40}
TRUNK_HEAD = {"b1": 1280, "b3": 1536}
TRUNK_NOMINAL = {"b1": 240, "b3": 300}  # the ImageNet training size, for which the paddings were computed once
TAPPED_STAGES = (0, 1, 2, 4, 6)


@dataclass(frozen=True)
class Network:
    """One published network. Levels run from coarse to fine, `skip_scales` from stride 2 to stride 32."""

    generation: str  # "v0_1", "v1_0" or "unify"
    trunk: str
    skip_scales: tuple[float, ...]
    kernels: tuple[int, ...]
    out_channels: tuple[int, ...]  # of all levels but the last, whose output are the logits
    classes: int
    groups: tuple[int, ...]
    coordinate_sizes: tuple[tuple[int, int], ...] = ()

    @property
    def skip_channels(self) -> tuple[int, ...]:
        taps = [TRUNK_CHANNELS[self.trunk][stage] for stage in TAPPED_STAGES]
        return tuple(round(channels * scale) for channels, scale in zip(taps, self.skip_scales, strict=True))

    @property
    def levels(self) -> tuple[tuple[int, int | None, int], ...]:
        """Inputs with coordinates, hidden channels (None for point-wise levels) and outputs of every level."""
        skips = (*reversed(self.skip_channels), 3)
        outputs = (*self.out_channels, self.classes)
        inputs = [2 + skip + before for skip, before in zip(skips, (0, *outputs), strict=False)]
        hidden = [2 * cin if kernel == 3 else None for cin, kernel in zip(inputs, self.kernels, strict=False)]
        return tuple(zip(inputs, hidden, outputs, strict=False))

    @property
    def theta_sizes(self) -> tuple[int, ...]:
        return tuple(
            cin * cout if hidden is None else cin * hidden + 9 * hidden + hidden * cout
            for cin, hidden, cout in self.levels
        )

    @property
    def convolutions(self) -> tuple[tuple[int, int, int], ...]:
        """Of every signal-to-theta convolution: theta entries wanted, signal channels read, groups."""
        wanted, groups = list(self.theta_sizes), list(self.groups)
        unit = max(groups)
        if self.generation == "unify":  # the two finest levels share one convolution
            wanted, groups = [*wanted[:3], wanted[3] + wanted[4]], groups[:4]
        shared = [-(-size // 16) * 16 for size in wanted] if self.generation == "v0_1" else wanted
        channels = {"b1": 1280, "b3": 1536}[self.trunk]
        parts = split(shared, channels // unit, legacy=self.generation == "v0_1")
        return tuple(zip(wanted, [part * unit for part in parts], groups, strict=True))


def split(sizes: list[int], units: int, legacy: bool) -> list[int]:
    """Units of the signal for every level, as the published code divides them: equal sizes are one lot."""
    lots = sorted({size: sizes.count(size) for size in sorted(sizes)}.items(), key=lambda lot: -lot[0] * lot[1])
    share = units / sum(sizes)
    given: dict[int, int] = {}
    if legacy:
        left = units
        for value, members in lots[:-1]:
            given[value] = int(max(value * members * share, 1) // members) * members
            left -= given[value]
        given[lots[-1][0]] = left
    else:
        given = dict(lots)
        left = units - len(sizes)
        for value, members in lots[:-1]:
            more = int(max(value * members * share, members) // members) * members - members
            more = min(more, left)
            given[value] += more
            left -= more
            if left == 0:
                break
        given[lots[-1][0]] += left
    return [given[size] // sizes.count(size) for size in sizes]


NETWORKS = {
    "voc-l": Network("v0_1", "b3", (0.25,) * 5, (1, 1, 3, 3, 3, 3), (96, 34, 12, 8, 6), 21, (16,) * 6),
    "cityscapes-m": Network(
        *("v1_0", "b1", (1.0, 0.25, 0.25, 0.25, 0.25), (1, 1, 1, 3, 3), (64, 32, 16, 16), 19),
        groups=(32, 16, 8, 16, 4),
        coordinate_sizes=((512, 512), (512, 1024)),
    ),
    "cityscapes-s": Network(
        *("unify", "b1", (1.0, 0.166, 0.2, 0.25, 0.4), (1, 1, 1, 3, 3), (32, 16, 8, 8), 19),
        groups=(32, 16, 8, 16, 4),
        coordinate_sizes=((768, 768), (768, 1536)),
    ),
    "camvid-s": Network(
        *("v1_0", "b1", (0.25,) * 5, (1, 1, 1, 3, 3), (64, 32, 16, 16), 12),
        groups=(64, 32, 32, 16, 8),
        coordinate_sizes=((576, 576), (576, 768)),
    ),
    "camvid-l": Network(
        *("v1_0", "b1", (0.25,) * 5, (1, 1, 1, 3, 3, 3), (64, 32, 16, 16, 16), 12),
        groups=(64, 32, 32, 16, 8, 8),
        coordinate_sizes=((768, 768), (768, 1024)),
    ),
}


class Block(NamedTuple):
    kernel: int
    stride: int
    inputs: int
    expanded: int
    outputs: int
    nominal: int  # size of the input map, had the image the nominal size
    is_first: bool  # of its stage
    is_tap: bool  # its output is a skip map


def trunk_blocks(trunk: str) -> Iterator[Block]:
    nominal, inputs = TRUNK_NOMINAL[trunk] // 2, TRUNK_STEM[trunk]
    for stage, repeats in enumerate(TRUNK_REPEATS[trunk]):
        for i in range(repeats):
            stride = TRUNK_STRIDES[stage] if i == 0 else 1
            outputs = TRUNK_CHANNELS[trunk][stage]
            is_tap = stage in TAPPED_STAGES and i == repeats - 1
            expanded = inputs if stage == 0 else 6 * inputs
            yield Block(TRUNK_KERNELS[stage], stride, inputs, expanded, outputs, nominal, i == 0, is_tap)
            inputs, nominal = outputs, -(-nominal // stride)


@dataclass(frozen=True)
class Rules:
    """What the published networks do. None: what the generation at hand does."""

    trunk_eps: float = 1e-3
    context_eps: float = 1e-5
    decoder_eps: float = 1e-5
    padding: str = "frozen"  # or "same" for the true size, or "symmetric"
    coordinates: str = "xy"
    align_corners: bool = False
    border: str = "reflect"
    ceiling: float = 6.0
    offsets: str | None = None  # "zero" or "cumulative"
    halo: str | None = None  # of the depthwise step: "owner" or "neighbours" weights before it


def published_logits(state: Mapping[str, Tensor], network: Network, image: Tensor, rules: Rules = Rules()) -> Tensor:
    """Logits (N, classes, H, W) in float64 of a normalised image (N, 3, H, W)."""
    run = _Run({key: value.double() for key, value in state.items()}, network, rules)
    return run.logits(image.double())


class _Run:
    def __init__(self, weights: dict[str, Tensor], network: Network, rules: Rules) -> None:
        self.weights, self.network, self.rules = weights, network, rules

    def logits(self, image: Tensor) -> Tensor:
        skips, head = self.trunk(image)
        signal = self.signal_v0(head) if self.network.generation == "v0_1" else self.signal_v1(head)
        output = None
        for level, (skip, theta) in enumerate(zip((*reversed(skips), image), self.thetas(signal), strict=False)):
            output = self.level(level, self.level_input(skip, output), theta)
        assert output is not None
        return self.resize(output, image.shape[2:])

    def norm(self, x: Tensor, key: str, eps: float) -> Tensor:
        scale = self.weights[f"{key}.weight"] / (self.weights[f"{key}.running_var"] + eps).sqrt()
        shift = self.weights[f"{key}.bias"] - self.weights[f"{key}.running_mean"] * scale
        return x * scale[:, None, None] + shift[:, None, None]

    # Backbone

    def trunk(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        norm = lambda x, key: self.norm(x, f"backbone.{key}", self.rules.trunk_eps)  # noqa: E731
        swish = lambda x: x * torch.sigmoid(x)  # noqa: E731
        weight = lambda key: self.weights[f"backbone.{key}"]  # noqa: E731

        taps = []
        nominal = TRUNK_NOMINAL[self.network.trunk]
        x = F.conv2d(self.pad(image, 3, 2, nominal), weight("_conv_stem.weight"), stride=2)
        x = swish(norm(x, "_bn0"))
        for number, block in enumerate(trunk_blocks(self.network.trunk)):
            at = f"_blocks.{number}"
            before = x
            if block.expanded != block.inputs:
                x = swish(norm(F.conv2d(x, weight(f"{at}._expand_conv.weight")), f"{at}._bn0"))
            x = self.pad(x, block.kernel, block.stride, block.nominal)
            x = F.conv2d(x, weight(f"{at}._depthwise_conv.weight"), stride=block.stride, groups=block.expanded)
            x = swish(norm(x, f"{at}._bn1"))
            gate = x.mean(dim=(2, 3), keepdim=True)
            gate = swish(F.conv2d(gate, weight(f"{at}._se_reduce.weight"), weight(f"{at}._se_reduce.bias")))
            gate = F.conv2d(gate, weight(f"{at}._se_expand.weight"), weight(f"{at}._se_expand.bias"))
            x = torch.sigmoid(gate) * x
            x = norm(F.conv2d(x, weight(f"{at}._project_conv.weight")), f"{at}._bn2")
            if not block.is_first:
                x = x + before
            if block.is_tap:
                taps.append(x)
        head = swish(norm(F.conv2d(x, weight("_conv_head.weight")), "_bn1"))

        skips = []
        for i, (tap, scale) in enumerate(zip(taps, self.network.skip_scales, strict=True)):
            reduced = norm(F.conv2d(tap, weight(f"_feat_fc_{i}.0.weight")), f"_feat_fc_{i}.1") if scale != 1 else tap
            skips.append(reduced)
        return skips, head

    def pad(self, x: Tensor, kernel: int, stride: int, nominal: int) -> Tensor:
        if stride == 1 or self.rules.padding == "symmetric":
            return F.pad(x, (kernel // 2,) * 4)
        height, width = x.shape[2:] if self.rules.padding == "same" else (nominal, nominal)
        down, right = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in (height, width))
        return F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))

    # Context head

    def context_layer(self, x: Tensor, key: str, stride: int = 1, activate: bool = True) -> Tensor:
        x = F.conv2d(x, self.weights[f"weight_mapper.{key}.0.weight"], stride=stride)
        x = self.norm(x, f"weight_mapper.{key}.1", self.rules.context_eps)
        return x.clamp(min=0) if activate else x

    def signal_v1(self, head: Tensor) -> Tensor:
        local = self.context_layer(head, "in_conv")
        bottom = self.context_layer(local, "down_blocks.0", stride=2)
        average = bottom.mean(dim=(2, 3), keepdim=True).expand_as(bottom)
        context = self.context_layer(torch.cat([bottom, average], dim=1), "up_blocks.0")
        return torch.cat([local, twice(context)], dim=1)

    def signal_v0(self, head: Tensor) -> Tensor:
        first = self.context_layer(head, "down_0", stride=2)
        second = self.context_layer(first, "down_1", stride=2)
        second = second.mean(dim=(2, 3), keepdim=True).expand_as(second)
        up = self.context_layer(torch.cat([first, twice(second)], dim=1), "flat_1")
        return self.context_layer(torch.cat([head, twice(up)], dim=1), "flat_0", activate=False)

    def thetas(self, signal: Tensor) -> list[Tensor]:
        """Theta (N, entries, grid height, grid width) of every level."""
        offsets = self.rules.offsets or ("zero" if self.network.generation == "v1_0" else "cumulative")
        thetas, start = [], 0
        for k, (wanted, channels, groups) in enumerate(self.network.convolutions):
            if self.network.generation == "v0_1":
                key = f"weight_mapper.out_conv.conv_{k}"
            elif self.network.generation == "unify":
                key = f"decoder.weight_blocks.{k}.signal2weights"
            else:
                key = f"decoder.level_{k}.0{'' if self.network.kernels[k] == 3 else '.0'}.signal2weights"
            weight = self.weights[f"{key}.weight"][:, :, 0, 0].unflatten(0, (groups, -1))
            part = signal[:, start : start + channels].unflatten(1, (groups, -1))
            thetas.append(torch.einsum("goc,ngchw->ngohw", weight, part).flatten(1, 2)[:, :wanted])
            start += 0 if offsets == "zero" else channels
        if self.network.generation == "unify":
            finer = self.network.theta_sizes[3]
            thetas[3:] = [thetas[3][:, :finer], thetas[3][:, finer:]]
        return thetas

    # Decoder

    def resize(self, x: Tensor, size: tuple[int, ...]) -> Tensor:
        if x.shape[2:] == size:
            return x
        return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=self.rules.align_corners)

    def level_input(self, skip: Tensor, before: Tensor | None) -> Tensor:
        n, _, height, width = skip.shape
        x = torch.linspace(-1, 1, width, dtype=torch.float64).expand(n, 1, height, width)
        y = torch.linspace(-1, 1, height, dtype=torch.float64)[:, None].expand(n, 1, height, width)
        maps = [x, y, skip] if self.rules.coordinates == "xy" else [y, x, skip]
        if before is not None:
            maps.append(self.resize(before, skip.shape[2:]))
        return torch.cat(maps, dim=1)

    def level_norm(self, x: Tensor, level: int, place: int) -> Tensor:
        """BatchNorm 1, 2 or 3 of an inverted level, or 0: the only one of a point-wise level."""
        if self.network.generation == "v0_1":
            key = f"decoder.level_{level}.0" + (f".conv.{place - 1}.1" if place else ".1")
        else:
            name = "level_blocks." if self.network.generation == "unify" else "level_"
            key = f"decoder.{name}{level}.0" + (f".bn{place}" if place else ".1")
        return self.norm(x, key, self.rules.decoder_eps)

    def level(self, level: int, x: Tensor, theta: Tensor) -> Tensor:
        cin, hidden, cout = self.network.levels[level]
        if hidden is None:
            out = patchwise(x, theta.unflatten(1, (cout, cin)), pointwise)
            return self.level_norm(out, level, 0).clamp(min=0)
        pw1, dw, pw2 = theta.split([hidden * cin, hidden * 9, cout * hidden], dim=1)
        pw1, dw, pw2 = (
            pw1.unflatten(1, (hidden, cin)),
            dw.unflatten(1, (hidden, 3, 3)),
            pw2.unflatten(1, (cout, hidden)),
        )

        first = lambda x: self.level_norm(x, level, 1).clamp(0, self.rules.ceiling)  # noqa: E731
        mode = {"reflect": "reflect", "replicate": "replicate", "zero": "constant"}[self.rules.border]
        halo = self.rules.halo or ("neighbours" if self.network.generation == "v0_1" else "owner")
        if halo == "owner":
            # The window, its halo included, goes through the owner's own weights.
            windows = F.pad(x, (1, 1, 1, 1), mode=mode)
            both = torch.cat([pw1.flatten(1, 2), dw.flatten(1, 3)], dim=1)

            def expand_then_depthwise(window: Tensor, weights: Tensor) -> Tensor:
                own1, own2 = weights.split([hidden * cin, hidden * 9])
                expanded = first(pointwise(window, own1.view(hidden, cin))[None])[0]
                return depthwise(expanded, own2.view(hidden, 3, 3))

            out = patchwise(windows, both, expand_then_depthwise, margin=1)
        else:
            expanded = F.pad(first(patchwise(x, pw1, pointwise)), (1, 1, 1, 1), mode=mode)
            out = patchwise(expanded, dw, depthwise, margin=1)
        out = self.level_norm(out, level, 2).clamp(0, self.rules.ceiling)
        return self.level_norm(patchwise(out, pw2, pointwise), level, 3)


def twice(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def pointwise(patch: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("oi,ihw->ohw", weight, patch)


def depthwise(patch: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(patch[None], weight[:, None], groups=len(weight))[0]


def patchwise(x: Tensor, weights: Tensor, operation, margin: int = 0) -> Tensor:
    """`operation` on every patch of x (N, C, H, W), with the weights (N, ..., grid height, grid width) of its place."""
    rows, columns = weights.shape[-2:]
    height, width = (x.shape[2] - 2 * margin) // rows, (x.shape[3] - 2 * margin) // columns
    samples = []
    for sample, own in zip(x, weights, strict=True):
        bands = []
        for a in range(rows):
            window = sample[:, a * height : (a + 1) * height + 2 * margin]
            patches = [
                operation(window[:, :, b * width : (b + 1) * width + 2 * margin], own[..., a, b])
                for b in range(columns)
            ]
            bands.append(torch.cat(patches, dim=2))
        samples.append(torch.cat(bands, dim=1))
    return torch.stack(samples)
