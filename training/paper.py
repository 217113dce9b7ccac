"""What the paper prints, beside what we count: network sizes table by table, and its points of accuracy against speed.

Source: HyperSeg (Nirkin, Wolf, Hassner, CVPR 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from textwrap import fill

from torch import Tensor, nn

from training.describe import Description, describe_model, meta_model
from training.network.config import HyperSegConfig
from training.network.variants import variant

_TEXT_WIDTH = 120


@dataclass(frozen=True)
class Comparison:
    """One of our variants beside a row of the paper; the paper's figures are None where it has none or we know none."""

    table: str
    variant: str
    input_size: tuple[int, int]  # height, width
    parameters: int
    paper_parameters_m: float | None
    gflops: float  # by the paper's counter, see paper_gflops
    paper_gflops: float | None
    mapper_parameters: int  # of the weight mappers, the paper's theta_w
    paper_mapper_parameters_m: float | None
    gmac: float  # multiply-accumulates of all convolutions
    dynamic_gmac: float  # and of those with dynamic weights alone
    notes: tuple[str, ...]  # why the figures differ, where a reason is known


_TABLE_2 = "Table 2: HyperSeg-L on PASCAL VOC"
_TABLE_3_M = "Table 3: HyperSeg-M on Cityscapes"
_TABLE_3_S = "Table 3: HyperSeg-S on Cityscapes"
_TABLE_4_S = "Table 4: HyperSeg-S on CamVid"
_TABLE_4_L = "Table 4: HyperSeg-L on CamVid"
_TABLE_7 = "Table 7: HyperSeg-M at 768x1536 by the groups of its weight mappers, finest level first"
_ABLATIONS = "Ablations for which we do not have the paper's figures"

_VOC = (
    "39.6 M is ours if the paper cut the figure after its first decimal instead of rounding it. The counter sees the "
    "dynamic convolutions of this generation twice; once would give 8.32 GFLOPs. Neither is the paper's 8.21, and we "
    "know of no other reason."
)
_M_REDUCTION = (
    "The published config keeps the finest skip map whole (r1 = 1). The paper's size is that of r1 = 1/4, the row "
    "below. Its Table 5 names r1 = 1/4 but lists channels that only r1 = 1 gives."
)
_S_UNIFIED = (
    "In the published config the last two levels share one weight mapper. The paper's size is that of separate ones, "
    "the row below."
)
_CAMVID_L = "We know of no config that has the paper's 10.2 M parameters; the published one has 9.97 M."
_CUT = "Equal if the paper cut its figures after the first decimal here instead of rounding them."


@dataclass(frozen=True)
class _PaperRow:
    table: str
    variant: str  # ours that stands beside it
    parameters_m: float | None = None
    gflops: float | None = None
    mapper_parameters_m: float | None = None
    notes: tuple[str, ...] = ()


_PAPER_ROWS = (
    _PaperRow(_TABLE_2, "voc-l", 39.6, 8.21, notes=(_VOC,)),
    _PaperRow(_TABLE_3_M, "cityscapes-m", 10.1, 7.5, notes=(_M_REDUCTION,)),
    _PaperRow(_TABLE_3_M, "cityscapes-m-narrow", 10.1, 7.5),
    _PaperRow(_TABLE_3_S, "cityscapes-s", 10.2, 17.0, notes=(_S_UNIFIED,)),
    _PaperRow(_TABLE_3_S, "cityscapes-s-separate", 10.2, 17.0),
    _PaperRow(_TABLE_4_S, "camvid-s", 9.9),
    _PaperRow(_TABLE_4_L, "camvid-l", 10.2, notes=(_CAMVID_L,)),
    _PaperRow(_TABLE_7, "cityscapes-m-groups-1-2-4-4-8", 11.1, 18.0, 1.2, notes=(_CUT,)),
    _PaperRow(_TABLE_7, "cityscapes-m-groups-2-4-8-8-16", 10.4, 17.3, 0.6),
    _PaperRow(_TABLE_7, "cityscapes-m-groups-4-8-16-16-32", 10.1, 16.9, 0.3),
    _PaperRow(_TABLE_7, "cityscapes-m-groups-8-16-32-32-64", 10.0, 16.7, 0.1, notes=(_CUT,)),
    _PaperRow(_TABLE_7, "cityscapes-m-groups-16-32-64-64-128", 9.9, 16.6, 0.1, notes=(_CUT,)),
    _PaperRow(_ABLATIONS, "cityscapes-m-resnet18"),
    _PaperRow(_ABLATIONS, "cityscapes-m-pspnet18"),
    _PaperRow(_ABLATIONS, "cityscapes-m-pspnet50"),
    _PaperRow(_ABLATIONS, "cityscapes-m-regular"),
    _PaperRow(_ABLATIONS, "cityscapes-m-no-positions"),
    _PaperRow(_ABLATIONS, "voc-l-grid-1"),
    _PaperRow(_ABLATIONS, "voc-l-grid-4"),
    _PaperRow(_ABLATIONS, "voc-l-grid-8"),
    _PaperRow(_ABLATIONS, "voc-l-grid-16"),
)


def compare_with_paper() -> list[Comparison]:
    """Count the variants of the paper's size tables and of its ablations, in the tables' order."""
    return [_compare(row) for row in _PAPER_ROWS]


def _compare(row: _PaperRow) -> Comparison:
    config = variant(row.variant)
    ours, modules = _count(config)
    return Comparison(
        table=row.table,
        variant=config.name,
        input_size=config.input_size,
        parameters=ours.parameters,
        paper_parameters_m=row.parameters_m,
        gflops=_paper_count(config, ours, modules) / 1e9,
        paper_gflops=row.gflops,
        mapper_parameters=ours.mapper_parameters,
        paper_mapper_parameters_m=row.mapper_parameters_m,
        gmac=ours.multiply_accumulates / 1e9,
        dynamic_gmac=(ours.multiply_accumulates - modules.convolved) / 1e9,
        notes=row.notes,
    )


def paper_gflops(config: HyperSegConfig) -> float:
    """Count as the paper does, in units of 1e9, for one image of the config's input size.

    Multiply-accumulates (not doubled) and bias additions of the convolution modules, 2 for each element that leaves a
    BatchNorm and 5 for each that leaves a swish (SiLU); nothing else. Dynamic convolutions are functions, not modules:
    the counter misses those of v1, and sees those of v0_1 twice.
    """
    return _paper_count(config, *_count(config)) / 1e9


@dataclass
class _ModuleCounts:
    """What hooks on a network's modules have seen."""

    convolved: int = 0  # multiply-accumulates of the convolutions that are modules
    biased: int = 0  # elements to which these add a bias
    normalised: int = 0  # elements that leave a BatchNorm
    swished: int = 0  # elements that leave a SiLU

    def see(self, module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        """Count one module's run."""
        if isinstance(module, nn.Conv2d):
            self.convolved += output.numel() * module.weight[0].numel()
            self.biased += output.numel() if module.bias is not None else 0
        elif isinstance(module, nn.BatchNorm2d):
            self.normalised += output.numel()
        elif isinstance(module, nn.SiLU):
            self.swished += output.numel()


def _count(config: HyperSegConfig) -> tuple[Description, _ModuleCounts]:
    model = meta_model(config)
    modules = _ModuleCounts()
    for module in model.modules():
        module.register_forward_hook(modules.see)
    return describe_model(model), modules


def _paper_count(config: HyperSegConfig, ours: Description, modules: _ModuleCounts) -> int:
    dynamic = ours.multiply_accumulates - modules.convolved
    times_seen = 2 if config.generation == "v0_1" else 0
    return modules.convolved + modules.biased + 2 * modules.normalised + 5 * modules.swished + times_seen * dynamic


_LEGEND = (
    "GFLOPs as the paper counts them: multiply-accumulates (not doubled) and biases of the convolutions that are "
    "modules, 2 for each element that leaves a BatchNorm and 5 for each that leaves a swish (SiLU). Dynamic "
    "convolutions are no modules: the count leaves out those of v1, the Cityscapes and CamVid networks, and has "
    "those of v0_1, the VOC networks, twice. The true GMAC are what all convolutions and the dynamic ones cost."
)


def format_comparison(comparisons: list[Comparison]) -> str:
    """Lay the comparison out for a terminal of 140 columns: a block for each table, the notes as footnotes."""
    width = max(len(comparison.variant) for comparison in comparisons)
    footnotes = list(dict.fromkeys(note for comparison in comparisons for note in comparison.notes))
    lines = [
        f"{'':{width + 13}}{'parameters, M':^20}   {'GFLOPs (see below)':^20}   {'mappers, M':^12}   {'true GMAC':^15}",
        f"{'':{width + 2}}{'input':>9}{'ours':>8}{'paper':>7}{'diff.':>7}{'ours':>9}{'paper':>7}{'diff.':>7}"
        f"{'ours':>8}{'paper':>7}{'all':>9}{'dynamic':>9}   notes",
    ]
    for table, rows in groupby(comparisons, key=lambda comparison: comparison.table):
        lines += ["", table]
        for row in rows:
            numbers = ", ".join(str(footnotes.index(note) + 1) for note in row.notes)
            lines.append(
                f"  {row.variant:{width}}{f'{row.input_size[0]}x{row.input_size[1]}':>9}"
                f"{row.parameters / 1e6:8.2f}{_or_dash(row.paper_parameters_m):>7}"
                f"{_difference(row.parameters / 1e6, row.paper_parameters_m):>7}"
                f"{row.gflops:9.2f}{_or_dash(row.paper_gflops):>7}{_difference(row.gflops, row.paper_gflops):>7}"
                f"{row.mapper_parameters / 1e6:8.2f}{_or_dash(row.paper_mapper_parameters_m):>7}"
                f"{row.gmac:9.2f}{row.dynamic_gmac:9.2f}   {numbers}".rstrip()
            )
    lines += ["", fill(_LEGEND, _TEXT_WIDTH)]
    for number, note in enumerate(footnotes, start=1):
        lines.append(fill(note, _TEXT_WIDTH, initial_indent=f"{number:>2}  ", subsequent_indent="    "))
    return "\n".join(lines)


def _or_dash(value: float | None) -> str:
    return "-" if value is None else str(value)


def _difference(ours: float, paper: float | None) -> str:
    if paper is None:
        return ""
    return f"{round(ours - paper, 2) + 0.0:+.2f}"  # + 0.0 turns -0.00 into +0.00


@dataclass(frozen=True)
class PublishedPoint:
    """A network's published accuracy and speed."""

    network: str
    data: str  # data set and split, as in "Cityscapes val"
    miou: float  # percent
    fps: float
    source: str
    tensorrt: bool = False  # whether the speed is a TensorRT engine's


PUBLISHED_HARDWARE = "GTX 1080 Ti"
_TABLE_3, _TABLE_4 = "HyperSeg (CVPR 2021), Table 3, batch 1", "HyperSeg (CVPR 2021), Table 4, batch 1"
_FC_HARDNET = "README of the FC-HarDNet project, https://github.com/PingoLH/FCHarDNet"
_SWIFTNET = "Orsic et al. (CVPR 2019), abstract, arXiv:1903.08469"
_BISENET_V2 = (
    "Yu et al. (IJCV 2021), abstract, arXiv:2004.02147; with TensorRT according to PP-LiteSeg's benchmark page"
)

# HyperSeg's own, and other real-time networks whose figures were checked at the given source. All are speeds on
# PUBLISHED_HARDWARE, each network at its own input size.
PUBLISHED_POINTS = (
    PublishedPoint("HyperSeg-M", "Cityscapes val", 76.2, 36.9, _TABLE_3),
    PublishedPoint("HyperSeg-M", "Cityscapes test", 75.8, 36.9, _TABLE_3),
    PublishedPoint("HyperSeg-S", "Cityscapes val", 78.2, 16.1, _TABLE_3),
    PublishedPoint("HyperSeg-S", "Cityscapes test", 78.1, 16.1, _TABLE_3),
    PublishedPoint("ICNet", "Cityscapes test", 69.5, 48, _FC_HARDNET),
    PublishedPoint("BiSeNet", "Cityscapes test", 74.7, 54, _FC_HARDNET),
    PublishedPoint("SwiftNetRN-18", "Cityscapes test", 75.5, 39.9, _SWIFTNET),
    PublishedPoint("FC-HarDNet-70", "Cityscapes test", 76.0, 53, _FC_HARDNET),
    PublishedPoint("BiSeNet V2", "Cityscapes test", 72.6, 156, _BISENET_V2, tensorrt=True),
    PublishedPoint("HyperSeg-S", "CamVid test", 78.4, 38.0, _TABLE_4),
    PublishedPoint("HyperSeg-L", "CamVid test", 79.1, 16.6, _TABLE_4),
)
