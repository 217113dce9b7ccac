import dataclasses
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from runtime.bundle import Bundle
from runtime.metrics import latency_of
from runtime.parity import plots
from runtime.parity.budgets import FAILED
from runtime.parity.compare import Request, compare
from runtime.parity.difference import Difference, DifferenceSum
from runtime.parity.layers import Layer, LayerComparison
from runtime.parity.markdown import as_markdown
from runtime.parity.names import NetworkName
from runtime.parity.page import as_html
from runtime.parity.report import COMPILED_OPERATORS, Comparison, ParityReport, as_json
from runtime.parity.speed import Timing

CHROMIUM = shutil.which("chromium")
VOID = {"meta", "img", "br", "hr", "link"}


@pytest.fixture(scope="module")
def report(street_bundle: Path) -> ParityReport:
    """A run in which a network failed, with words in it that would be markup."""
    from runtime.bundle import open_bundle

    found = compare(open_bundle(street_bundle), Request(precisions=("fp32",), scenes=2, threads=1))
    layers = (
        Layer("conv<1>", "Conv", Difference(1e-6, 1e-7, 1e-7, 1e-14)),
        Layer("conv2", "DPWConv", Difference(float("nan"), float("nan"), float("nan"), float("nan"))),
        Layer("conv3", "Conv", Difference(1.0, 0.1, 0.1, 0.01)),
    )
    failed = dataclasses.replace(found.comparisons[0], status=FAILED, reason="a < b & c")
    return dataclasses.replace(
        found,
        data="<script>alert(1)</script>",
        comparisons=(failed, *found.comparisons[1:]),
        layers=(
            LayerComparison("one against the other", 1e-3, layers),
            LayerComparison("all within", 1e-3, layers[:1] * 50),
            LayerComparison("no such file", 1e-3, not_run="not here"),
        ),
    )


class Outline(HTMLParser):
    """Checks that tags close in the order in which they open, and gathers what the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(report: ParityReport):
    page = as_html(report)
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.loads
    assert all(address.startswith("data:image/jpeg;base64,") for address in outline.loads)
    assert not re.search(r"https?://|url\(|@import", page)
    assert "script" not in outline.tags
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(svg)
    # The reference and ONNX Runtime: a latency histogram each. The bars are classes and layers.
    assert page.count('<svg class="plot"') == 2
    assert page.count('<svg class="bars"') == 19 + 1 + 3 + 50


def test_words_are_no_markup(report: ParityReport):
    page = as_html(report)
    assert "a &lt; b &amp; c" in page
    assert "conv&lt;1&gt;" in page


def test_the_first_departed_layer_stands_out(report: ParityReport):
    page = as_html(report)
    assert re.findall(r'<tr class="([a-z ]+)"><th>([^<]+)', page) == [
        ("departed first", "conv2"),
        ("departed", "conv3"),
    ]
    assert "<b>conv2</b> is the first of 3" in page
    assert "<summary>all 50 tensors</summary>" in page
    assert page.count("not finite") == 4


def test_markdown_tells_the_same(report: ParityReport):
    text = as_markdown(report)
    assert "**conv2** is the first of 3 beyond 0.001." in text
    assert "nan <- first" in text
    assert "- ONNX Runtime fp32 failed: a < b & c" in text
    assert "not run: not here" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") > 2 for line in rows)
    assert "NaN" not in as_json(report)


def test_layers_without_the_compiled_operators_say_so(report: ParityReport):
    """The functions in the files are compared, though with a library it is the library that was judged."""
    suspect = "The figures above are with compiled operators in ONNX Runtime fp32: where labels differ"
    assert not any(suspect in text for text in (as_markdown(report), as_html(report)))
    versions = report.environment.versions | {COMPILED_OPERATORS: "in ONNX Runtime fp32"}
    compiled = dataclasses.replace(report, environment=dataclasses.replace(report.environment, versions=versions))
    assert all(suspect in text for text in (as_markdown(compiled), as_html(compiled)))
    not_asked = dataclasses.replace(compiled, layers=None)
    assert not any(suspect in text for text in (as_markdown(not_asked), as_html(not_asked)))


def test_a_report_without_anything_to_compare(own_bundle: Bundle):
    report = compare(own_bundle, Request(backends=("torch", "tensorrt"), scenes=1, threads=1))
    page = as_html(dataclasses.replace(report, no_truth="none", pictures=()))
    assert "none of the files has a logits output" in page
    assert isinstance(report.comparisons[0], Comparison)


def timing(*latencies_ms: float) -> Timing:
    return Timing(latencies_ms, latency_of(latencies_ms), 0.0)


def bar_heights(svg: str) -> dict[float, float]:
    """Height in pixels of each bar by where it begins, in percent of the width."""
    rects = re.findall(r'<rect x="([\d.]+)%" y="[\d.]+" width="[\d.]+%" height="([\d.]+)"', svg)
    return {float(x): float(height) for x, height in rects}


def test_a_latency_histogram_counts_all_frames_and_marks_the_percentiles():
    # 300 frames of 10 ms, 75 of 15, and one of 999: p50 is 10, p95 and p99 are 15, so the axis is 9.5 to 15.75 ms.
    svg = plots.latency_histogram(timing(*[10] * 300, *[15] * 75, 999), "red")
    heights = bar_heights(svg)
    # 60 bins: 10 ms is in bin 4, 15 ms in bin 52; what is beyond the axis is in the last.
    assert list(heights) == [pytest.approx(100 * index / 60, abs=0.01) for index in (4, 52, 59)]
    ten, fifteen, beyond = heights.values()
    assert ten == pytest.approx(2 * fifteen, abs=0.1)  # heights go by the square root: of 300 and 75
    assert beyond > 0
    place = 100 * (10 - 9.5) / (15.75 - 9.5)
    assert f'<line class="mark p50" x1="{place:.2f}%"' in svg
    assert '<line class="mark p99" x1="88.00%"' in svg
    assert ">10 ms<" in svg


def test_a_difference_histogram_lies_on_powers_of_ten():
    total = DifferenceSum()
    total.add(np.array([1e-3] * 9 + [1e-6] * 1 + [0.0]), np.zeros(11))
    exponents = tuple(total.exponents.tolist())
    low, high = plots.decades_of([exponents])
    # 1e-6 lies in [2^-20, 2^-19), which begins below it, at 9.5e-7; 1e-3 in [2^-10, 2^-9), which ends at 1.95e-3.
    assert (low, high) == (-7, -2)
    svg = plots.difference_histogram(exponents, "red", 1e-3, 1e-3, (low, high))
    places = list(bar_heights(svg))
    assert len(places) == 3
    zero, small, large = places
    assert zero == 0
    assert small == pytest.approx(100 * 1 / 5, abs=100 / 16)
    assert large == pytest.approx(100 * 4 / 5, abs=100 / 16)
    assert ">≤ 1e-7<" in svg


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0, 33, [0, 10, 20, 30]), (0, 0.7, [0, 0.2, 0.4, 0.6]), (3, 7, [3, 4, 5, 6, 7])],
)
def test_ticks_are_round_numbers(low: float, high: float, ticks: list[float]):
    assert plots.nice_ticks(low, high) == ticks


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_makes_the_reader_scroll_sideways(report: ParityReport, tmp_path: Path, width: int):
    (tmp_path / "parity.html").write_text(as_html(report))
    # A window cannot be as narrow as a phone, a frame can.
    page = "frame.contentDocument.documentElement"
    measure = f"document.title = {page}.scrollWidth - {page}.clientWidth"
    (tmp_path / "frame.html").write_text(
        f'<title>not loaded</title><iframe id="frame" src="parity.html" width="{width}" height="900" '
        f'style="border:0" onload="{measure}"></iframe>'
    )
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "frame.html").as_uri(),
        ],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert "<title>0</title>" in done.stdout


def test_networks_have_colours():
    from runtime.parity.names import BACKENDS, PRECISIONS
    from runtime.parity.page_style import CSS, NETWORK_COLOURS

    names = {NetworkName(backend, precision) for backend in BACKENDS for precision in PRECISIONS}
    assert {name for name in names if name not in NETWORK_COLOURS} == {("torch", "fp16"), ("torch", "int8")}
    for colour in NETWORK_COLOURS.values():
        assert CSS.count(f"{colour[4:-1]}:") == 2, "light and dark"
