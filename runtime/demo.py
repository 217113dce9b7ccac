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
from runtime.video.frames import Result
from runtime.video.overlay import LEGENDS, Overlay
from runtime.video.pipeline import Summary, run
from runtime.video.sinks import open_sink
from runtime.video.sources import Source, open_source

_EXAMPLES = """\
examples:
  python runtime/demo.py --model BUNDLE --source 0 --sink window
  python runtime/demo.py --model BUNDLE --source drive.mp4 --sink segmented.mp4
  python runtime/demo.py --model BUNDLE --source photos/ --sink segmented/
  python runtime/demo.py --model BUNDLE --source synthetic:7 --frames 300 --sink drive.mp4

Ctrl-C ends a run at any time; what was done until then is kept, and a video file is complete.
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
    model.add_argument("--model", type=Path, required=True, help="a bundle folder, or one .onnx file of it")
    model.add_argument("--backend", choices=BACKENDS, default="auto", help="what runs the model (default: %(default)s)")
    model.add_argument("--precision", default="fp32", help="which of the bundle's ONNX files (default: %(default)s)")
    model.add_argument("--threads", type=positive_int, help="CPU threads (default: the backend's own choice)")
    source = parser.add_argument_group("source")
    source.add_argument(
        "--source",
        required=True,
        help="a camera's number (0), a video, an image, a folder of images, or synthetic[:SEED], an endless street "
        "drive; of a camera, and of the drive in a window, the newest frame wins, of all others every frame counts",
    )
    source.add_argument("--frames", type=positive_int, metavar="N", help="stop after this many frames")
    source.add_argument(
        "--size", type=image_size, metavar="HxW", help="size of the synthetic drive (default: 512x1024)"
    )
    sink = parser.add_argument_group("sink")
    sink.add_argument(
        "--sink",
        required=True,
        help="window (q or Esc closes it), a video (.mp4 .avi .mkv), a folder (per frame NAME_overlay.png, and "
        "NAME_labels.png with the class indices), or none (to measure)",
    )
    sink.add_argument(
        "--opacity", type=_opacity, default=0.55, help="of the class colours, 0 to 1 (default: %(default)s)"
    )
    sink.add_argument(
        "--legend",
        choices=LEGENDS,
        default="present",
        help="the classes in the frame, all, or none (default: %(default)s)",
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
    segmenter = Segmenter(arguments.model, arguments.backend, precision=arguments.precision, threads=arguments.threads)
    segmenter(np.zeros((segmenter.info.height, segmenter.info.width, 3), np.uint8))  # the first frame is slow
    in_window = arguments.sink == "window"
    source = open_source(arguments.source, size=arguments.size, max_frames=arguments.frames, in_real_time=in_window)
    overlay = Overlay(
        segmenter.info.classes, segmenter.info.palette, opacity=arguments.opacity, legend=arguments.legend
    )

    def paint(result: Result) -> np.ndarray:
        caption = "" if source.still else f"{result.fps:.1f} FPS   {result.latency_ms:.1f} ms"
        return overlay.paint(result.frame.rgb, result.labels, caption)

    with _ctrl_c() as stop, open_sink(arguments.sink, source, paint, stop) as sink:
        print(f"{segmenter.info.name} on {segmenter.backend}: {source.title} -> {arguments.sink}", file=sys.stderr)
        with tqdm(total=source.length, unit="frame", disable=True if in_window else None) as bar:  # None: if a terminal
            summary = run(source, segmenter, sink, stop=stop, on_result=lambda result: bar.update())
    print(_describe(summary, source))
    if summary.ended_early is not None:
        raise summary.ended_early
    # Stopping is the only way to end a camera; of a file, the rest is missing.
    return EXIT_INTERRUPTED if stop.is_set() and source.length is not None else 0


def _silence_opencv() -> None:
    """Keep the libraries' warnings off the screen; what goes wrong is said in our own words."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Yield an event that the first Ctrl-C sets, so that the run ends in order; a second one ends it at once."""
    stop = threading.Event()

    def on_interrupt(signal_number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, previous)


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
