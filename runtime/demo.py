"""Segment a camera, a video, images or the synthetic street drive, and show or write the result."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

if not __package__:  # run as a script: find our packages, and keep runtime/'s modules from shadowing any library
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import cv2
import numpy as np
from tqdm import tqdm

from runtime.arguments import image_size, positive_int
from runtime.errors import EXIT_INTERRUPTED, run_command
from runtime.metrics import latency_of
from runtime.segmenter import BACKENDS, Segmenter
from runtime.video.frames import Source
from runtime.video.overlay import LEGENDS, Overlay
from runtime.video.pipeline import Summary, run
from runtime.video.sinks import is_web, open_sink
from runtime.video.sources import open_source

_EXAMPLES = """\
sources:
  0                          the first USB camera, as it is set
  v4l2:///dev/video0?format=MJPG&size=720x1280&fps=30
                             a USB camera in a format that v4l2-ctl --list-formats-ext lists
  csi://0?size=720x1280&fps=30&flip=rotate-180
                             the camera on a Jetson's ribbon cable; flip also: horizontal, vertical
  rtsp://USER:PASSWORD@HOST:554/PATH
                             a network camera
  drive.mp4 photo.jpg photos/
                             a video, an image, a folder of images
  synthetic:7                an endless street drive, with a seed
Of a camera the newest frame wins, of a file every frame counts. A camera that goes away is waited
for, and a recording goes on when it is back. Quote an address with ? or &, for the shell's sake.

sinks:
  window                     q or Esc closes it
  http://localhost:8080      a live page, for a device without a screen; http://0.0.0.0:8080 shows it
                             to everyone in the network
  out.mp4 out.avi out.mkv    a video
  out/                       a folder: per frame NAME_overlay.png, and NAME_labels.png with the
                             class indices
  none                       to measure

examples:
  python runtime/demo.py --model BUNDLE --source 0 --sink window
  python runtime/demo.py --model BUNDLE --source drive.mp4 --sink segmented.mp4
  python runtime/demo.py --model BUNDLE --source photos/ --sink segmented/
  python runtime/demo.py --model BUNDLE --source synthetic:7 --frames 300 --sink drive.mp4

on a Jetson, once python -m runtime build BUNDLE has built the engine there:
  python runtime/demo.py --model BUNDLE --backend tensorrt --source csi://0 --sink http://0.0.0.0:8080
  python runtime/demo.py --model BUNDLE/NAME.fp32.engine --source rtsp://HOST/PATH --sink drive.mkv

Ctrl-C, or SIGTERM, ends a run at any time; what was done until then is kept, and a video file is complete.
"""


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        usage="python runtime/demo.py --model MODEL --source SOURCE --sink SINK [options]",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    model = parser.add_argument_group("model")
    model.add_argument("--model", type=Path, required=True, help="a bundle folder, or one .onnx or .engine file of it")
    model.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="what runs the model; auto is tensorrt for an .engine file and onnxruntime otherwise",
    )
    model.add_argument(
        "--precision", default="fp32", help="which of a bundle's files or engines (default: %(default)s)"
    )
    model.add_argument("--threads", type=positive_int, metavar="N", help="CPU threads (default: the backend's choice)")
    model.add_argument(
        "--plugin",
        type=Path,
        metavar="LIB",
        help="TensorRT's library of our operators (default: where scripts/build_plugin.sh leaves it)",
    )
    source = parser.add_argument_group("source")
    source.add_argument("--source", required=True, help="a camera, a video, an image, a folder or synthetic: see below")
    source.add_argument("--frames", type=positive_int, metavar="N", help="stop after this many frames")
    source.add_argument(
        "--size", type=image_size, metavar="HxW", help="size of the synthetic drive (default: 512x1024)"
    )
    sink = parser.add_argument_group("sink")
    sink.add_argument("--sink", required=True, help="window, a web page, a video, a folder or none: see below")
    sink.add_argument(
        "--opacity", type=_opacity, default=0.55, help="of the class colours, 0 to 1 (default: %(default)s)"
    )
    sink.add_argument(
        "--legend",
        choices=LEGENDS,
        default="present",
        help="the classes in the frame, all, or none (default: %(default)s); a web page always has all",
    )
    return parser.parse_args()


def _opacity(text: str) -> float:
    try:
        opacity = float(text)
    except ValueError:
        opacity = -1
    if not 0 <= opacity <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return opacity


def main() -> int:
    """Run the command; returns its exit code."""
    arguments = parse_arguments()
    _silence_opencv()
    with Segmenter(
        arguments.model,
        arguments.backend,
        precision=arguments.precision,
        threads=arguments.threads,
        plugin=arguments.plugin,
    ) as segmenter:
        return _segment(segmenter, arguments)


def _segment(segmenter: Segmenter, arguments: argparse.Namespace) -> int:
    """Carry the source to the sink; returns the exit code."""
    info = segmenter.info
    segmenter(np.zeros((info.height, info.width, 3), np.uint8))  # the first frame is slow
    in_window = arguments.sink == "window"
    source = open_source(
        arguments.source,
        size=arguments.size,
        max_frames=arguments.frames,
        in_real_time=in_window or is_web(arguments.sink),
    )
    overlay = Overlay(info.classes, info.palette, opacity=arguments.opacity, legend=arguments.legend)
    title = f"{info.name} {info.height}x{info.width} on {segmenter.description}"
    with _ctrl_c() as stop, open_sink(arguments.sink, source, overlay, title, stop) as sink:
        print(f"{title}: {source.title} -> {arguments.sink}", file=sys.stderr)
        with tqdm(total=source.length, unit="frame", disable=True if in_window else None) as bar:  # None: if a terminal
            summary = run(source, segmenter, sink, stop=stop, on_result=lambda result: bar.update())
    print(_describe(summary, source))
    if summary.failure is not None:
        raise summary.failure
    # Stopping is the only way to end a camera; of a file, the rest is missing.
    return EXIT_INTERRUPTED if stop.is_set() and source.length is not None else 0


def _silence_opencv() -> None:
    """Keep the libraries' warnings off the screen; what goes wrong is said in our own words."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C or SIGTERM sets, so that the run ends in order; a second ends it at once."""
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)

    def on_interrupt(signal_number: int, frame: FrameType | None) -> None:
        stop.set()
        for each in signals:
            signal.signal(each, signal.default_int_handler)

    previous = [signal.signal(each, on_interrupt) for each in signals]
    try:
        yield stop
    finally:
        for each, handler in zip(signals, previous, strict=True):
            signal.signal(each, handler)


def _describe(summary: Summary, source: Source) -> str:
    """The line at the end of a run."""
    frames = len(summary.latencies_ms)
    if frames == 0:
        return "0 frames"
    latency = latency_of(summary.latencies_ms)
    parts = [
        f"{frames} frames in {summary.elapsed_s:.1f} s",
        f"{frames / summary.elapsed_s:.1f} FPS",
        f"latency p50 {latency.p50_ms:.1f}, p95 {latency.p95_ms:.1f}, p99 {latency.p99_ms:.1f} ms",
    ]
    if source.live:
        parts.append(f"{summary.dropped} dropped")
    return " | ".join(parts)


if __name__ == "__main__":
    sys.exit(run_command(main))
