import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.video.frames import EndedEarly, Frame, Result
from runtime.video.pipeline import Channel, Closed, Summary, run
from runtime.video.sources import Source


class ListSink:
    """Keeps what it gets, after a pause, and closes after some."""

    def __init__(self, *, pause_s: float = 0.0, limit: int | None = None, error: Exception | None = None) -> None:
        self.results: list[Result] = []
        self.pause_s, self.limit, self.error = pause_s, limit, error

    def wants_more(self) -> bool:
        return self.limit is None or len(self.results) < self.limit

    def write(self, result: Result) -> None:
        time.sleep(self.pause_s)
        if self.error is not None:
            raise self.error
        self.results.append(result)

    @property
    def numbers(self) -> list[int]:
        return [int(result.labels[0, 0]) for result in self.results]


def frames(count: int | None, *, pause_s: float = 0.0, error: Exception | None = None) -> Iterator[Frame]:
    index = 0
    while count is None or index < count:
        time.sleep(pause_s)
        yield Frame(str(index), np.full((2, 2, 3), index % 256, np.uint8), index / 25)
        index += 1
    if error is not None:
        raise error


def first_channel(frame_rgb: np.ndarray) -> np.ndarray:
    return frame_rgb[..., 0]


def pump(
    generator: Iterator[Frame],
    sink: ListSink,
    *,
    live: bool = False,
    segment: Callable[[np.ndarray], np.ndarray] = first_channel,
    stop: threading.Event | None = None,
    on_result: Callable[[Result], object] = lambda result: None,
) -> Summary:
    try:
        source = Source("test", generator, 25, None, live)
        return run(source, segment, sink, stop=stop or threading.Event(), on_result=on_result)
    finally:
        assert not {"capture", "inference"} & {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(("source_s", "segment_s", "sink_s"), [(0, 0, 0), (0, 0, 0.003), (0, 0.003, 0), (0.003, 0, 0)])
def test_a_file_loses_no_frame_and_keeps_its_order(source_s: float, segment_s: float, sink_s: float):
    def segment(frame_rgb: np.ndarray) -> np.ndarray:
        time.sleep(segment_s)
        return first_channel(frame_rgb)

    sink = ListSink(pause_s=sink_s)
    summary = pump(frames(60, pause_s=source_s), sink, segment=segment)
    assert sink.numbers == list(range(60))
    assert len(summary.latencies_ms) == 60
    assert summary.dropped == 0
    assert all(result.latency_ms >= segment_s * 1000 for result in sink.results)


def test_a_slow_sink_holds_a_file_back():
    produced = 0

    def counted() -> Iterator[Frame]:
        nonlocal produced
        for frame in frames(100):
            produced += 1
            yield frame

    ahead = []
    sink = ListSink(pause_s=0.005)
    pump(counted(), sink, on_result=lambda result: ahead.append(produced - len(sink.results)))
    assert max(ahead) <= 4 + 4 + 3  # two queues, and one frame in each thread's hands


@pytest.mark.parametrize(("segment_s", "sink_s"), [(0.02, 0), (0, 0.02)])
def test_of_a_live_source_the_newest_frame_wins(segment_s: float, sink_s: float):
    def segment(frame_rgb: np.ndarray) -> np.ndarray:
        time.sleep(segment_s)
        return first_channel(frame_rgb)

    sink = ListSink(pause_s=sink_s)
    summary = pump(frames(100, pause_s=0.002), sink, live=True, segment=segment)
    assert sink.numbers == sorted(set(sink.numbers))
    assert sink.numbers[-1] == 99
    assert summary.dropped > 0
    assert len(sink.numbers) + summary.dropped == 100


def test_fps_is_the_rate_of_results():
    sink = ListSink()
    pump(frames(20, pause_s=0.01), sink)
    # A frame every 10 ms makes 100; a busy machine bends it, but without the pause it would be 10,000.
    assert 10 < sink.results[-1].fps < 1000


def test_stop_ends_an_endless_source_and_keeps_order():
    stop = threading.Event()
    sink = ListSink()
    summary = pump(
        frames(None), sink, stop=stop, on_result=lambda result: stop.set() if len(sink.results) == 10 else None
    )
    assert sink.numbers == list(range(10))
    assert len(summary.latencies_ms) == 10


@pytest.mark.parametrize("live", [False, True])
def test_a_closed_sink_ends_the_run(live: bool):
    sink = ListSink(limit=5)
    pump(frames(None, pause_s=0.001), sink, live=live)
    assert len(sink.results) == 5


def test_stop_while_nothing_arrives():
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    start_s = time.monotonic()
    summary = pump(frames(1, pause_s=0.5), ListSink(), stop=stop)
    assert summary.latencies_ms == []
    assert time.monotonic() - start_s < 2


def test_the_source_is_closed_in_the_end():
    closed = threading.Event()

    def watched() -> Iterator[Frame]:
        try:
            yield from frames(None)
        finally:
            closed.set()

    pump(watched(), ListSink(limit=3))
    assert closed.is_set()


def test_a_stream_that_ends_early_keeps_its_frames():
    sink = ListSink(pause_s=0.005)
    summary = pump(frames(10, error=EndedEarly("broke off")), sink)
    assert sink.numbers == list(range(10))
    assert str(summary.ended_early) == "broke off"


def test_a_stream_that_ends_before_its_first_frame_is_an_error():
    with pytest.raises(EndedEarly, match="broke off"):
        pump(frames(0, error=EndedEarly("broke off")), ListSink())


@pytest.mark.parametrize("error", [RuntimeError("in the source"), UserError("a mistake")])
def test_an_error_in_the_source_reaches_the_caller(error: Exception):
    with pytest.raises(type(error), match=str(error)):
        pump(frames(3, error=error), ListSink())


def test_an_error_in_the_network_reaches_the_caller():
    def segment(frame_rgb: np.ndarray) -> np.ndarray:
        raise RuntimeError("in the network")

    with pytest.raises(RuntimeError, match="in the network"):
        pump(frames(None), ListSink(), segment=segment)


def test_an_error_in_the_sink_reaches_the_caller():
    with pytest.raises(UserError, match="full"):
        pump(frames(None), ListSink(error=UserError("full")))


def test_channel_delivers_what_was_sent_before_its_end():
    channel: Channel[int] = Channel(newest_wins=False)
    assert [channel.send(number) for number in range(3)] == [True] * 3
    channel.close(ValueError("last"))
    assert [channel.receive() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="last"):
        channel.receive()


def test_channel_that_holds_the_newest_counts_the_rest():
    channel: Channel[int] = Channel(newest_wins=True)
    for number in range(5):
        channel.send(number)
    assert channel.receive() == 4
    assert channel.dropped == 4
    assert channel.receive(timeout_s=0.01) is None


def test_cancelling_frees_a_waiting_sender():
    channel: Channel[int] = Channel(newest_wins=False)
    outcome: list[bool] = []

    def send_until_refused() -> None:
        while channel.send(0):
            pass
        outcome.append(True)

    sender = threading.Thread(target=send_until_refused)
    sender.start()
    time.sleep(0.05)
    channel.cancel()
    sender.join(2)
    assert outcome == [True]
    with pytest.raises(Closed):
        channel.receive()
