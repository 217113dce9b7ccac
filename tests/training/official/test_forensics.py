"""Networks initialised and trained by PyTorch itself, with and without a gradient in the context path."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from training.official.forensics import examine

CHANNELS = [416, 224, 128, 192, 320]  # that the weight mappers of cityscapes-m read
TOTAL = sum(CHANNELS)


class Context(nn.Module):
    """The published context head of two levels, by the names it has in the published files."""

    def __init__(self):
        super().__init__()
        self.in_conv = nn.Sequential(nn.Conv2d(1280, 640, 1, bias=False), nn.BatchNorm2d(640))
        self.down_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(640, 640, 2, 2, bias=False), nn.BatchNorm2d(640))])
        self.up_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(1280, 640, 1, bias=False), nn.BatchNorm2d(640))])

    def forward(self, head):
        local = self.in_conv(head).relu()
        bottom = self.down_blocks[0](local).relu()
        average = bottom.mean((2, 3), keepdim=True).expand_as(bottom)
        up = self.up_blocks[0](torch.cat([bottom, average], 1)).relu()
        return torch.cat([local, F.interpolate(up, scale_factor=2.0)], 1)

    def state(self):
        return {f"weight_mapper.{key}": value for key, value in self.state_dict().items()}


def context(seed=0, xavier=False):
    torch.manual_seed(seed)
    module = Context()
    for conv in module.modules():
        if xavier and isinstance(conv, nn.Conv2d):
            nn.init.xavier_normal_(conv.weight)
    return module


def train(module, offset, steps=3, rate=1e-3):
    """Adam as in the published recipe, on the channels that a decoder with these offsets reads."""
    optimizer = torch.optim.Adam(module.parameters(), lr=rate, betas=(0.5, 0.999))
    for _ in range(steps):
        signal = module(torch.randn(2, 1280, 2, 4))
        starts = [sum(CHANNELS[:k]) if offset == "cumulative" else 0 for k in range(len(CHANNELS))]
        parts = [signal[:, start : start + count] for start, count in zip(starts, CHANNELS, strict=True)]
        optimizer.zero_grad()
        sum((part * torch.randn_like(part)).mean() for part in parts).backward()
        optimizer.step()
    return module


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("xavier", [False, True], ids=["uniform", "xavier"])
def test_fresh_weights_are_untrained(seed, xavier):
    forensics = examine(context(seed, xavier).state(), "v1_0", CHANNELS)
    assert [part.name for part in forensics.parts] == ["down_blocks.0", "up_blocks.0", "in_conv rows 416 to 639"]
    assert {part.drawn_as for part in forensics.parts} == {"normal" if xavier else "uniform"}
    assert (forensics.verdict, forensics.signal_offsets) == ("untrained", "zero")


def test_the_figures():
    # 1/sqrt(640 * 4), 1/sqrt(1280), 1/sqrt(1280)
    parts = examine(context().state(), "v1_0", CHANNELS).parts
    assert [part.bound for part in parts] == pytest.approx([0.019764, 0.027951, 0.027951], abs=1e-6)
    assert [part.count for part in parts] == [640 * 640 * 4, 640 * 1280, (640 - 416) * 1280]
    for part in parts:
        assert part.bound * 0.999 < part.largest <= part.bound * (1 + 1e-6)
        assert part.deviation == pytest.approx(part.bound / 3**0.5, rel=6e-3)  # 6 standard errors: 2.7 / sqrt(286720)


@pytest.mark.parametrize("xavier", [False, True], ids=["uniform", "xavier"])
def test_training_as_the_published_code_does_leaves_the_context_path_untrained(xavier):
    module = train(context(xavier=xavier), "zero")
    assert not torch.equal(module.in_conv[0].weight, context(xavier=xavier).in_conv[0].weight)  # it did train
    assert module.down_blocks[0][1].running_mean.abs().max() > 0
    forensics = examine(module.state(), "v1_0", CHANNELS)
    assert (forensics.verdict, forensics.signal_offsets) == ("untrained", "zero")
    # The rows that are read did change: all rows together do not look untrained.
    assert examine(module.state(), "v1_0", [0]).parts[-1].verdict != "untrained"


@pytest.mark.parametrize("steps", [1, 3])
def test_a_few_steps_with_consecutive_parts_are_seen(steps):
    forensics = examine(train(context(), "cumulative", steps).state(), "v1_0", CHANNELS)
    assert {part.verdict for part in forensics.parts} == {"trained"}
    assert (forensics.verdict, forensics.signal_offsets) == ("trained", "cumulative")
    assert forensics.conclusion.startswith("WARNING")


def only_norm(module):
    with torch.no_grad():
        module.down_blocks[0][1].bias[3] = 1e-4


def only_one_block(module):
    with torch.no_grad():
        module.up_blocks[0][0].weight.mul_(1.5)
        module.up_blocks[0][1].weight.mul_(1.5)


def shrunken(module):  # weight decay without a gradient: still uniform, within other bounds
    with torch.no_grad():
        for conv in module.modules():
            if isinstance(conv, nn.Conv2d):
                conv.weight.mul_(0.99)


@pytest.mark.parametrize("change", [only_norm, only_one_block, shrunken])
def test_contradicting_evidence_is_unclear_and_taken_for_the_code_as_known(change):
    module = context()
    change(module)
    forensics = examine(module.state(), "v1_0", CHANNELS)
    assert (forensics.verdict, forensics.signal_offsets) == ("unclear", "zero")
    assert "unclear" in forensics.conclusion


@pytest.mark.parametrize("trained", [False, True])
def test_unified_networks_read_consecutive_parts_whatever_the_weights_look_like(trained):
    module = train(context(), "cumulative") if trained else context()
    forensics = examine(module.state(), "v1_0_unify", [576, 128, 64, 512])
    assert forensics.signal_offsets == "cumulative"
    assert ("odd" in forensics.conclusion) == (not trained)
