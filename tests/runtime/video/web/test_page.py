"""The page in a real browser."""

import io
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.video.web import page_server
from runtime.video.web.broadcast import Broadcast
from runtime.video.web.server import WebSink
from tests.runtime.tiny_models import COLOUR_INFO
from tests.runtime.video.web.browser import Browser, open_browser
from tests.runtime.video.web.viewer import JPEG_TOLERANCE, ROUNDING, expected_rgb, result, serving

CHROMEDRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    CHROMEDRIVER is None or not (shutil.which("chromium") or shutil.which("google-chrome")),
    reason="needs a browser: apt install chromium chromium-driver",
)

STATUS = "document.getElementById('status').dataset.state"
NOTICE = "document.getElementById('notice').textContent"
FACTS = "document.getElementById('facts').textContent"
LINE = "document.querySelector('#latency .line').getAttribute('d')"
# The RGB of two pixels of the shown picture, one in each half.
PIXELS = """(() => {
  const picture = document.getElementById("picture");
  if (!picture.naturalWidth) return null;
  const canvas = new OffscreenCanvas(picture.naturalWidth, picture.naturalHeight);
  const drawing = canvas.getContext("2d", { willReadFrequently: true });
  drawing.drawImage(picture, 0, 0);
  return [0.25, 0.75].map((x) => [...drawing.getImageData(picture.naturalWidth * x, 10, 1, 1).data].slice(0, 3));
})()"""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with open_browser(CHROMEDRIVER, tmp_path) as browser:
        browser.show_as(1280, 860)
        yield browser


@pytest.fixture
def sink() -> Iterator[WebSink]:
    with serving(title="street 128x256 on onnxruntime") as sink:
        yield sink


def shows(index: int, opacity: float = 0.5):
    """Whether pixels are those of a painted result."""
    frame = expected_rgb(result(index), opacity)
    expected = frame[10, [32, 96]]

    def accept(pixels: list[list[int]] | None) -> bool:
        return pixels is not None and bool(np.abs(np.array(pixels) - expected).max() <= JPEG_TOLERANCE)

    return accept


def settle(browser: Browser) -> None:
    """Wait until the page knows the size of the frames, from which it takes its shape: now a click meets its target."""
    browser.wait_for(FACTS, lambda text: " px" in text)


def test_the_page_shows_stream_and_model(browser: Browser, sink: WebSink, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(page_server, "_RESEND_AFTER_S", 600)  # so that no picture is pushed out by the next
    browser.open(f"http://127.0.0.1:{sink.port}")
    for index in (0, 5, 10):
        sink.write(result(index))
        browser.wait_for(PIXELS, shows(index))
    assert browser.wait_for("document.getElementById('picture').naturalWidth") == 128
    assert browser.run("return document.getElementById('title').textContent") == "street 128x256 on onnxruntime"
    facts = "128 × 96 px · 1 watching"
    browser.wait_for(FACTS, lambda text: text == facts)
    assert browser.run(f"return {STATUS}") in ("live", "silent")  # silent where this test was slow
    rows = browser.run("return [...document.querySelectorAll('#legend li')].map((row) => row.innerText.split('\\n'))")
    assert rows == [["red", "50.0 %"], ["green", "–"], ["blue", "50.0 %"]]
    colours = browser.run(
        "return [...document.querySelectorAll('.swatch')].map((swatch) => getComputedStyle(swatch).backgroundColor)"
    )
    assert colours == [f"rgb({red}, {green}, {blue})" for red, green, blue in COLOUR_INFO.palette]
    assert browser.errors() == []


def test_the_graphs_move(browser: Browser, sink: WebSink):
    browser.open(f"http://127.0.0.1:{sink.port}")
    sink.write(result(0))
    before = browser.wait_for(LINE)
    assert browser.run("return document.querySelector('#latency .now').textContent") == "20.0 ms"
    assert browser.run("return document.querySelector('#fps .now').textContent") == "30.0"
    browser.wait_for(LINE, lambda line: line != before)  # it wanders off to the left
    sink.write(result(10))
    browser.wait_for("document.querySelector('#latency .now').textContent", lambda text: text == "30.0 ms")
    browser.wait_for(STATUS, lambda state: state == "silent")


def test_curves_have_gaps_and_round_scales(browser: Browser, sink: WebSink):
    browser.open(f"http://127.0.0.1:{sink.port}")
    assert browser.run("return path([1, null, 2, 3], 4)") == "M0 75.0h0L2 50.0h0L3 25.0h0"
    assert browser.run("return path([1, null, null, null, null, 2], 4)") == "M0 75.0h0M5 50.0h0"
    assert browser.run("return [1, 1.1, 3, 4.2, 7, 9, 10, 41].map(roundUp)") == [1, 2, 4, 5, 8, 10, 10, 50]


def test_the_slider_repaints_even_while_paused(browser: Browser, sink: WebSink):
    browser.open(f"http://127.0.0.1:{sink.port}")
    sink.write(result(5))
    browser.wait_for(PIXELS, shows(5))
    settle(browser)
    browser.click("#pause")
    browser.wait_for(STATUS, lambda state: state == "paused")
    assert "Segmentation goes on" in browser.run(f"return {NOTICE}")
    sink.write(result(20))
    for percent in (100, 0, 20):
        browser.run(
            "const slider = document.getElementById('opacity'); slider.value = arguments[0];"
            "slider.dispatchEvent(new Event('input'));",
            percent,
        )
        browser.wait_for(PIXELS, shows(5, percent / 100))
    browser.click("#pause")
    browser.wait_for(PIXELS, shows(20, 0.2))
    assert browser.run("return document.getElementById('opacity-value').value") == "20 %"
    assert browser.errors() == []


def test_the_snapshot_is_saved(browser: Browser, sink: WebSink, tmp_path: Path):
    browser.open(f"http://127.0.0.1:{sink.port}")
    sink.write(result(7))
    browser.wait_for(PIXELS, shows(7))
    settle(browser)
    browser.click("#snapshot")
    end_s = time.monotonic() + 20
    while not (saved := tmp_path / "frame 7.png").exists():
        assert time.monotonic() < end_s
        time.sleep(0.05)
    assert np.abs(np.asarray(Image.open(saved)) - expected_rgb(result(7))).max() <= ROUNDING


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(browser: Browser, sink: WebSink, scheme: str):
    browser.show_as(375, 812, scheme=scheme, phone=True)
    browser.open(f"http://127.0.0.1:{sink.port}")
    sink.write(result(5, size=(720, 1280)))
    browser.wait_for("document.getElementById('picture').naturalWidth")
    settle(browser)
    assert browser.run("return [innerWidth, document.documentElement.scrollWidth]") == [375, 375]
    browser.click("#pause")
    browser.wait_for(STATUS, lambda state: state == "paused")
    corner = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("L"))[-3:, :3]
    assert (corner.mean() > 128) == (scheme == "light")


def test_an_end_is_told_and_a_new_start_noticed(browser: Browser):
    with serving() as first:
        browser.open(f"http://127.0.0.1:{first.port}")
        first.write(result(0))
        browser.wait_for(PIXELS, shows(0))
    browser.wait_for(STATUS, lambda state: state == "ended")
    browser.wait_for(PIXELS, shows(0))  # the last picture stays
    with serving(f"http://127.0.0.1:{first.port}") as second:
        browser.wait_for(STATUS, lambda state: state in ("live", "silent"))
        second.write(result(10))
        browser.wait_for(PIXELS, shows(10))


def test_a_lost_connection_is_told(browser: Browser, sink: WebSink):
    browser.open(f"http://127.0.0.1:{sink.port}")
    sink.write(result(0))
    browser.wait_for(PIXELS, shows(0))
    browser.run("events.close(); watchdog = setTimeout(lost, 0);")  # as if nothing had come for five seconds
    browser.wait_for(STATUS, lambda state: state == "lost")
    browser.wait_for(STATUS, lambda state: state in ("live", "silent"))
    sink.write(result(10))
    browser.wait_for(PIXELS, shows(10))


def test_a_broken_stream_is_opened_again(browser: Browser, sink: WebSink, monkeypatch: pytest.MonkeyPatch):
    browser.open(f"http://127.0.0.1:{sink.port}")
    sink.write(result(0))
    browser.wait_for(PIXELS, shows(0))
    with monkeypatch.context() as broken:
        broken.setattr(Broadcast, "next_picture", lambda *_: 1 / 0)
        broken.setattr(page_server.PageServer, "handle_error", lambda *_: None)
        sink.write(result(5))
        browser.wait_for("document.getElementById('status').textContent", lambda text: text == "No picture")
    sink.write(result(10))
    browser.wait_for(PIXELS, shows(10))
    browser.wait_for("document.getElementById('status').textContent", lambda text: text != "No picture")


def test_a_hidden_page_lets_the_device_rest(browser: Browser, sink: WebSink):
    browser.open(f"http://127.0.0.1:{sink.port}")
    sink.write(result(0))
    browser.wait_for(PIXELS, shows(0))
    window = browser.devtools("Browser.getWindowForTarget")["windowId"]
    browser.devtools("Browser.setWindowBounds", windowId=window, bounds={"windowState": "minimized"})
    browser.wait_for("document.hidden")
    end_s = time.monotonic() + 20
    while any("process_request" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < end_s  # pictures that stay are sent again, which shows that nobody takes them
        time.sleep(0.05)
    browser.devtools("Browser.setWindowBounds", windowId=window, bounds={"windowState": "normal"})
    browser.wait_for("!document.hidden")
    sink.write(result(10))
    browser.wait_for(PIXELS, shows(10))
