"""What a variant costs: parameters, multiply-accumulates, and how its signal turns into weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.network.config import HyperSegConfig, legal_sizes
from training.network.model import HyperSeg


@dataclass(frozen=True)
class Description:
    """One variant's figures at its published size."""

    name: str
    backbone: str
    classes: int
    input_size: tuple[int, int]  # height, width
    parameters: int
    mapper_parameters: int  # of them in the weight mappers, which turn the signal into theta
    multiply_accumulates: int  # of all convolutions, the dynamic ones included
    theta_sizes: list[int]  # dynamic weights per patch, level by level, coarse to fine
    signal_split: list[int]  # signal channels each weight mapper reads
    signal_offsets: list[int]  # and from where on, under the policy `signal_offset_policy`
    signal_offset_policy: str
    legal_sizes: str


def describe(config: HyperSegConfig) -> Description:
    """Count a variant without allocating it: the model and its input live on the meta device."""
    return describe_model(meta_model(config))


def meta_model(config: HyperSegConfig) -> HyperSeg:
    """Build a variant on the meta device, where tensors have shapes but no values."""
    with torch.device("meta"):
        return HyperSeg(config).eval()


def describe_model(model: HyperSeg) -> Description:
    """Count a model on the meta device by one forward pass."""
    config = model.config
    image = torch.empty(1, 3, *config.input_size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(image)
    plan = model.decoder.plan
    return Description(
        name=config.name,
        backbone=config.backbone,
        classes=config.num_classes,
        input_size=config.input_size,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        mapper_parameters=sum(mapper.out_channels * mapper.signal_channels // mapper.groups for mapper in plan.mappers),
        multiply_accumulates=counter.get_total_flops() // 2,
        theta_sizes=[level.theta_size for level in plan.levels],
        signal_split=[mapper.signal_channels for mapper in plan.mappers],
        signal_offsets=[mapper.signal_offset for mapper in plan.mappers],
        signal_offset_policy=config.signal_offsets,
        legal_sizes=legal_sizes(config),
    )


def format_description(description: Description) -> str:
    """Lay a description out for a terminal."""
    height, width = description.input_size
    rows = {
        "input (height x width)": f"{height} x {width}, {description.classes} classes",
        "legal sizes": description.legal_sizes,
        "backbone": description.backbone,
        "parameters": f"{description.parameters:,}, of them {description.mapper_parameters:,} in the weight mappers",
        "multiply-accumulates": f"{description.multiply_accumulates / 1e9:.3f} G, dynamic convolutions included",
        "theta per patch": " ".join(f"{size:,}" for size in description.theta_sizes),
        "signal channels": " ".join(map(str, description.signal_split)),
        "signal offsets": f"{' '.join(map(str, description.signal_offsets))} ({description.signal_offset_policy})",
    }
    return "\n".join([description.name, *(f"  {name:<24}{value}" for name, value in rows.items())])
