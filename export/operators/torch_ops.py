"""DPWConv and DPWInvertedResidual in PyTorch: graph nodes for torch.export that run their specification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import FLOAT
from onnxscript.values import Opset
from torch import Tensor

from export.operators.schemas import DOMAIN, VERSION, register_schemas
from training.network import dpwconv as specification


@torch.library.custom_op("hyperseg::dpwconv", mutates_args=())
def dpwconv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    out_channels: int,
    kernel_shape: Sequence[int],
    group: int,
    pad_mode: str,
    activation: str,
    weight_offset: int,
) -> Tensor:
    """Run ``training.network.dpwconv.dpwconv``."""
    return specification.dpwconv(
        x,
        weight,
        bias,
        out_channels=out_channels,
        kernel_shape=(kernel_shape[0], kernel_shape[1]),
        group=group,
        pad_mode=pad_mode,
        activation=activation,
        weight_offset=weight_offset,
    )


@torch.library.custom_op("hyperseg::dpw_inverted_residual", mutates_args=())
def dpw_inverted_residual(
    x: Tensor,
    weight: Tensor,
    bias1: Tensor,
    bias2: Tensor,
    bias3: Tensor,
    hidden_channels: int,
    out_channels: int,
    kernel_shape: Sequence[int],
    pad_mode: str,
    activation: str,
    residual: bool,
    weight_offset: int,
) -> Tensor:
    """Run ``training.network.dpwconv.dpw_inverted_residual``."""
    return specification.dpw_inverted_residual(
        x,
        weight,
        bias1,
        bias2,
        bias3,
        hidden_channels=hidden_channels,
        out_channels=out_channels,
        kernel_shape=(kernel_shape[0], kernel_shape[1]),
        pad_mode=pad_mode,
        activation=activation,
        residual=residual,
        weight_offset=weight_offset,
    )


@dpwconv.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor, out_channels: int, *attributes: Any) -> Tensor:
    return x.new_empty(x.shape[0], out_channels, *x.shape[2:])


@dpw_inverted_residual.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias1: Tensor,
    bias2: Tensor,
    bias3: Tensor,
    hidden_channels: int,
    out_channels: int,
    *attributes: Any,
) -> Tensor:
    return x.new_empty(x.shape[0], out_channels, *x.shape[2:])


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return what ``torch.onnx.export(custom_translation_table=...)`` needs to emit the operators as single nodes."""
    register_schemas()
    opset = Opset(DOMAIN, VERSION)

    # The exporter reads the annotations: FLOAT stands for a tensor, the others for attributes of that type.
    def dpwconv_node(
        x: FLOAT,
        weight: FLOAT,
        bias: FLOAT,
        out_channels: int,
        kernel_shape: Sequence[int],
        group: int,
        pad_mode: str,
        activation: str,
        weight_offset: int,
    ) -> FLOAT:
        y: FLOAT = opset.DPWConv(
            x,
            weight,
            bias,
            out_channels=out_channels,
            kernel_shape=kernel_shape,
            group=group,
            pad_mode=pad_mode,
            activation=activation,
            weight_offset=weight_offset,
        )
        return y

    def dpw_inverted_residual_node(
        x: FLOAT,
        weight: FLOAT,
        bias1: FLOAT,
        bias2: FLOAT,
        bias3: FLOAT,
        hidden_channels: int,
        out_channels: int,
        kernel_shape: Sequence[int],
        pad_mode: str,
        activation: str,
        residual: bool,
        weight_offset: int,
    ) -> FLOAT:
        y: FLOAT = opset.DPWInvertedResidual(
            x,
            weight,
            bias1,
            bias2,
            bias3,
            hidden_channels=hidden_channels,
            out_channels=out_channels,
            kernel_shape=kernel_shape,
            pad_mode=pad_mode,
            activation=activation,
            residual=int(residual),
            weight_offset=weight_offset,
        )
        return y

    return {
        torch.ops.hyperseg.dpwconv.default: dpwconv_node,
        torch.ops.hyperseg.dpw_inverted_residual.default: dpw_inverted_residual_node,
    }
