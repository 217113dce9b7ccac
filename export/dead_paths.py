"""Drop what has no effect on the output: signal channels that no level reads, and all that only makes them."""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

from torch import nn

from training import HyperSeg
from training.network.context_head import ContextHead, LegacyContextHead


@dataclass(frozen=True)
class Dropped:
    """What was dropped, in words, and how many parameters it had."""

    what: str
    parameters: int


def drop_dead_paths(folded: HyperSeg) -> tuple[HyperSeg, list[Dropped]]:
    """Return a new model without its dead paths, and what they were; the output stays the same to the bit of a matmul.

    The model must have its BatchNorms folded. With signal offsets "zero" no level reads the context half of the signal,
    so the whole context path goes.
    """
    model = deepcopy(folded)
    if not model.config.dynamic:
        return model, []
    head = cast(ContextHead | LegacyContextHead, model.context_head)
    channels_read = model.decoder.plan.signal_channels_read
    dropped = []
    if isinstance(head, ContextHead) and channels_read <= head.out_channels // 2:
        dropped.append(Dropped("context path of the context head", count_parameters(head.down, head.up)))
        model.context_head = nn.Sequential(OrderedDict(in_conv=head.in_conv))  # the layers keep their names
        last = cast(nn.Conv2d, head.in_conv[0])  # the convolution that makes the signal's last channels
        unread = last.out_channels - channels_read
    else:
        last = cast(nn.Conv2d, cast(nn.Sequential, head.up[-1])[0])
        unread = head.out_channels - channels_read
    if unread:
        before = count_parameters(last)
        keep_rows(last, last.out_channels - unread)
        dropped.append(Dropped(f"{unread} signal channels that no level reads", before - count_parameters(last)))
    return model, dropped


def keep_rows(conv: nn.Conv2d, count: int) -> None:
    """Shrink an ungrouped convolution with bias to its first output channels, in place."""
    assert conv.bias is not None
    conv.weight = nn.Parameter(conv.weight.detach()[:count].clone())
    conv.bias = nn.Parameter(conv.bias.detach()[:count].clone())
    conv.out_channels = count


def count_parameters(*modules: nn.Module) -> int:
    """Count the parameters of the modules."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
