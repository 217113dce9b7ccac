"""Fake quantisation: training meets the rounding of INT8 where the exported INT8 file has it, and learns to bear it."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from runtime.errors import UserError
from training.int8_recipe import Int8Recipe
from training.network.model import HyperSeg

MOMENTUM = 0.01  # a step's share in the moving average of the thresholds, as in torch's own quantisation

# Of each residual block: its last convolution, and the module whose output the shortcut is added to.
LAST_IN_BLOCK = {
    DepthwiseSeparableConv: ("conv_pw", "drop_path"),
    InvertedResidual: ("conv_pwl", "drop_path"),
    BasicBlock: ("conv2", "bn2"),
    Bottleneck: ("conv3", "bn3"),
}


class FakeQuantisation(Callback):
    """Makes ``model`` compute as if the recipe's layers ran in INT8; its parameters and their names stay as they are.

    Rounded are, as in the exported file, each named convolution's input (one threshold for the tensor) and weight (one
    for each output channel), and the shortcut of a residual block whose last convolution is named. The gradient passes
    straight through within the threshold and is 0 beyond it (Jacob et al., CVPR 2018, section 3).

    The weights are rounded before their BatchNorm is folded into them. Folding scales output channel c, or row c of a
    weight mapper, by some g_c, and so its threshold too: round(g w / (g s)) = round(w / s), the integers are the same.
    (Only channels that come out below 0.0078 in all weights get coarser steps in the file, for its FP16 scales' sake.)

    The threshold of a weight is its largest magnitude; that of an activation is a moving average, over training steps,
    of the largest magnitude in the batch. It is part of the callback's state, not of the model's: the export calibrates
    anew. Raises UserError for a recipe of another variant, and for a layer that is no static convolution of the model.
    """

    def __init__(self, model: HyperSeg, recipe: Int8Recipe) -> None:
        self.layers = recipe.layers
        self.places: list[str] = []
        for name, conv in _named_convolutions(model, recipe).items():
            self._quantise_convolution(name, conv)
        for name, block in model.named_modules():
            if type(block) in LAST_IN_BLOCK and getattr(block, "has_skip", True):
                self._quantise_sum(name, block, recipe.layers)
        self.thresholds = torch.zeros(len(self.places))  # 0: no step was taken yet
        self.largest = torch.zeros(len(self.places))  # magnitude in this step's batch

    def _quantise_convolution(self, name: str, conv: nn.Conv2d) -> None:
        place = self._new_place(name)

        def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            weight = fake_quantise(weight, weight.detach().abs().amax((1, 2, 3)))
            return nn.Conv2d._conv_forward(conv, self._quantise(x, place, conv.training), weight, bias)

        # Where torch's own quantisation-aware convolution comes in too. A parametrization would rename the weight.
        conv._conv_forward = convolve  # type: ignore[method-assign, assignment]

    def _quantise_sum(self, name: str, block: nn.Module, layers: Collection[str]) -> None:
        """Round what INT8 convolutions of the block read when they take in the addition at its end."""
        last, summand = LAST_IN_BLOCK[type(block)]
        downsampled = getattr(block, "downsample", None) is not None
        if f"{name}.{last}" in layers:
            if downsampled:
                self._quantise_output(f"{name}.downsample", block.get_submodule("downsample"))
            else:
                self._quantise_shortcut(name, block, block.get_submodule(summand))
        elif downsampled and f"{name}.downsample.0" in layers:
            self._quantise_output(f"{name}.{summand}", block.get_submodule(summand))

    def _quantise_output(self, name: str, module: nn.Module) -> None:
        place = self._new_place(f"{name} (output)")
        module.register_forward_hook(lambda module, _, y: self._quantise(y, place, module.training))

    def _quantise_shortcut(self, name: str, block: nn.Module, summand: nn.Module) -> None:
        place = self._new_place(f"{name} (shortcut)")
        kept: list[Tensor] = []

        def keep_shortcut(_: nn.Module, inputs: tuple[Tensor]) -> None:
            kept[:] = inputs

        def add_rounding(_: nn.Module, __: tuple[Tensor], y: Tensor) -> Tensor:
            # The block's first convolution reads the same tensor and need not be named: round it for the sum alone, by
            # y + (Q(shortcut) - shortcut), to which the block adds the shortcut.
            shortcut = kept.pop()
            return y + (self._quantise(shortcut, place, block.training) - shortcut).to(y.dtype)

        block.register_forward_pre_hook(keep_shortcut)
        summand.register_forward_hook(add_rounding)

    def _new_place(self, name: str) -> int:
        self.places.append(name)
        return len(self.places) - 1

    def _quantise(self, x: Tensor, place: int, training: bool) -> Tensor:
        largest = x.detach().abs().amax().float()
        if training:
            self.largest[place] = largest
        threshold = self.thresholds[place]
        return fake_quantise(x, torch.where(threshold > 0, threshold, largest))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move to the model's device."""
        self.thresholds, self.largest = self.thresholds.to(pl_module.device), self.largest.to(pl_module.device)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Average the thresholds, over all GPUs; not earlier, so that a step that is computed again has the same."""
        largest = trainer.strategy.reduce(self.largest, reduce_op="max")
        self.thresholds.copy_(torch.where(self.thresholds > 0, self.thresholds.lerp(largest, MOMENTUM), largest))

    def state_dict(self) -> dict[str, Any]:
        """Return the layers' names, and the threshold of each activation by name."""
        return {
            "layers": self.layers,
            "thresholds": dict(zip(self.places, self.thresholds.tolist(), strict=True)),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the thresholds of ``state_dict``, which is one of the same layers."""
        self.thresholds = torch.tensor([state_dict["thresholds"][place] for place in self.places])

    @classmethod
    def layers_of(cls, checkpoint: dict[str, Any]) -> set[str]:
        """Return the names of the layers that a checkpoint of `fit` was trained to run in INT8."""
        return set(checkpoint["callbacks"].get(cls.__qualname__, {"layers": ()})["layers"])


def fake_quantise(x: Tensor, threshold: Tensor) -> Tensor:
    """Round x to multiples of threshold / 127 between -128 and 127 of them, in float32.

    ``threshold`` is one number for the whole of x, or [C] for its first axis.
    """
    scale = (threshold.float() / 127).clamp_min(torch.finfo(torch.float32).tiny)  # for channels that are 0 throughout
    zero_point = torch.zeros_like(scale, dtype=torch.int32)
    if threshold.ndim == 0:
        return torch.fake_quantize_per_tensor_affine(x.float(), scale, zero_point, -128, 127)
    return torch.fake_quantize_per_channel_affine(x.float(), scale, zero_point, 0, -128, 127)


def _named_convolutions(model: HyperSeg, recipe: Int8Recipe) -> dict[str, nn.Conv2d]:
    if recipe.model != model.config.name:
        raise UserError(
            f"the int8 recipe is one of {recipe.model}, the network is {model.config.name}. Take the recipe of its own "
            "export, or make one: python -m calibration search"
        )
    if not recipe.layers:
        raise UserError("the int8 recipe names no layer, so there is no rounding to train for.")
    modules = dict(model.named_modules())
    known = {name: module for name, module in modules.items() if isinstance(module, nn.Conv2d)}
    for layer in recipe.layers:
        if layer in known:
            continue
        if layer in modules:
            raise UserError(f"the layer {layer} in the int8 recipe is no static convolution, so it cannot run in INT8.")
        close = get_close_matches(layer, known, n=3)
        hint = f" Did you mean {' or '.join(close)}?" if close else ""
        raise UserError(f"the int8 recipe names a layer {layer!r}, which {model.config.name} does not have.{hint}")
    return {layer: known[layer] for layer in recipe.layers}
