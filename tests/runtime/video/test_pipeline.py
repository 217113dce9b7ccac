from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.video.frames import EndedEarly, Frame, Result, Source
from runtime.video.pipeline import Channel, Closed, Summary, run


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


class FakeSegmenter:
    """Computes where it is waited for, like a CPU, and holds its callers to the contract."""

    def __init__(self, compute: Callable[[np.ndarray], np.ndarray] = first_channel, *, in_flight: int = 1) -> None:
        self.in_flight = in_flight
        self.compute = compute
        self.under_way: list[int] = []  # the frames' numbers, in the order of starting
        self.lock = threading.Lock()

    def start(self, frame_rgb: np.ndarray) -> FakePending:
        number = int(frame_rgb[0, 0, 0])
        with self.lock:
            assert len(self.under_way) < self.in_flight
            self.under_way.append(number)
        return FakePending(self, number, frame_rgb)


class FakePending:
    def __init__(self, segmenter: FakeSegmenter, number: int, frame_rgb: np.ndarray) -> None:
        self.segmenter, self.number, self.frame_rgb = segmenter, number, frame_rgb

    def labels(self) -> np.ndarray:
        labels = self.segmenter.compute(self.frame_rgb)
        with self.segmenter.lock:
            assert self.segmenter.under_way.pop(0) == self.number
        return labels


def pump(
    generator: Iterator[Frame],
    sink: ListSink,
    *,
    live: bool = False,
    segment: Callable[[np.ndarray], np.ndarray] | FakeSegmenter = first_channel,
    stop: threading.Event | None = None,
    on_result: Callable[[Result], object] = lambda result: None,
) -> Summary:
    try:
        source = Source("test", generator, 25, None, live)
        segmenter = segment if isinstance(segment, FakeSegmenter) else FakeSegmenter(segment)
        return run(source, segmenter, sink, stop=stop or threading.Event(), on_result=on_result)
    finally:
        assert not {"capture", "start", "finish"} & {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("in_flight", [1, 2])
@pytest.mark.parametrize(("source_s", "segment_s", "sink_s"), [(0, 0, 0), (0, 0, 0.003), (0, 0.003, 0), (0.003, 0, 0)])
def test_a_file_loses_no_frame_and_keeps_its_order(source_s: float, segment_s: float, sink_s: float, in_flight: int):
    def segment(frame_rgb: np.ndarray) -> np.ndarray:
        time.sleep(segment_s)
        return first_channel(frame_rgb)

    sink = ListSink(pause_s=sink_s)
    summary = pump(frames(60, pause_s=source_s), sink, segment=FakeSegmenter(segment, in_flight=in_flight))
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
    assert max(ahead) <= 4 + 4 + 4  # two queues, one frame under way, and one in the hands of each thread but "start"


def test_frames_are_let_go_of():
    alive, most = 0, 0

    def gone() -> None:
        nonlocal alive
        alive -= 1

    def watched() -> Iterator[Frame]:
        nonlocal alive, most
        for frame in frames(500):
            weakref.finalize(frame, gone)
            alive += 1
            most = max(most, alive)
            yield frame

    class ForgetfulSink(ListSink):
        def write(self, result: Result) -> None:
            pass

    pump(watched(), ForgetfulSink(), segment=FakeSegmenter(in_flight=2))
    assert most <= 4 + 4 + 7  # two queues, two under way, and what the four threads and this generator hold


def test_two_frames_are_under_way_at_once():
    """Each frame but the last is done only once the next one has begun: one after the other would wait for ever."""
    begun = [threading.Event() for _ in range(20)]

    class Overlapping(FakeSegmenter):
        def start(self, frame_rgb: np.ndarray) -> FakePending:
            begun[int(frame_rgb[0, 0, 0])].set()
            return super().start(frame_rgb)

    def after_the_next(frame_rgb: np.ndarray) -> np.ndarray:
        number = int(frame_rgb[0, 0, 0])
        assert number == 19 or begun[number + 1].wait(5)
        return first_channel(frame_rgb)

    sink = ListSink()
    pump(frames(20), sink, segment=Overlapping(after_the_next, in_flight=2))
    assert sink.numbers == list(range(20))


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("in_flight", [1, 2])
def test_a_frame_is_handed_on_when_it_is_done_and_not_when_the_next_one_comes(live: bool, in_flight: int):
    shown = threading.Semaphore(1)

    def one_at_a_time() -> Iterator[Frame]:
        for frame in frames(10):
            assert shown.acquire(timeout=5)
            yield frame

    sink = ListSink()
    segmenter = FakeSegmenter(in_flight=in_flight)
    pump(one_at_a_time(), sink, live=live, segment=segmenter, on_result=lambda result: shown.release())
    assert sink.numbers == list(range(10))


def test_the_frame_that_begins_is_the_newest():
    """While the network is busy with frame 0, the others come and only the last of them is worth anything."""
    busy, all_sent = threading.Event(), threading.Event()
    computed: list[int] = []

    def burst() -> Iterator[Frame]:
        for frame in frames(10):
            yield frame
            assert busy.wait(5)
            time.sleep(0.01)  # for whoever would like to take it
        all_sent.set()

    def slow(frame_rgb: np.ndarray) -> np.ndarray:
        computed.append(int(frame_rgb[0, 0, 0]))
        busy.set()
        assert all_sent.wait(5)
        return first_channel(frame_rgb)

    pump(burst(), ListSink(), live=True, segment=slow)
    assert computed == [0, 9]


@pytest.mark.parametrize("ending", ["stop", "sink closes", "sink fails"])
def test_nothing_is_under_way_after_the_end(ending: str):
    stop = threading.Event()
    segmenter = FakeSegmenter(in_flight=2)

    def slow(frame_rgb: np.ndarray) -> np.ndarray:
        time.sleep(0.01)
        return first_channel(frame_rgb)

    segmenter.compute = slow
    error = UserError("full") if ending == "sink fails" else None
    sink = ListSink(limit=3 if ending == "sink closes" else None, error=error)
    with pytest.raises(UserError, match="full") if error else contextlib.nullcontext():
        pump(frames(None), sink, segment=segmenter, stop=stop, on_result=lambda _: ending != "stop" or stop.set())
    assert segmenter.under_way == []


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
    assert len(summary.latencies_ms) == 0
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
    assert str(summary.failure) == "broke off"


def test_a_stream_that_ends_before_its_first_frame_is_an_error():
    with pytest.raises(EndedEarly, match="broke off"):
        pump(frames(0, error=EndedEarly("broke off")), ListSink())


@pytest.mark.parametrize("error", [RuntimeError("in the source"), UserError("a mistake")])
def test_an_error_in_the_source_reaches_the_caller_after_the_frames_before_it(error: Exception):
    sink = ListSink(pause_s=0.005)
    assert pump(frames(3, error=error), sink).failure is error
    assert sink.numbers == [0, 1, 2]
    with pytest.raises(type(error), match=str(error)):
        pump(frames(0, error=error), ListSink())


@pytest.mark.parametrize("in_flight", [1, 2])
@pytest.mark.parametrize("where", ["start", "labels"])
def test_an_error_in_the_network_reaches_the_caller_after_the_frames_before_it(where: str, in_flight: int):
    class Failing(FakeSegmenter):
        def start(self, frame_rgb: np.ndarray) -> FakePending:
            if where == "start" and frame_rgb[0, 0, 0] == 5:
                raise RuntimeError("out of memory")
            return super().start(frame_rgb)

    def fail(frame_rgb: np.ndarray) -> np.ndarray:
        if where == "labels" and frame_rgb[0, 0, 0] == 5:
            raise RuntimeError("out of memory")
        return first_channel(frame_rgb)

    sink = ListSink()
    summary = pump(frames(None), sink, segment=Failing(fail, in_flight=in_flight))
    assert str(summary.failure) == "out of memory"
    assert sink.numbers == list(range(5))


def test_the_end_of_a_run_ends_a_sources_wait():
    stop = threading.Event()

    def waits_for_its_camera() -> Iterator[Frame]:
        yield from frames(1)
        assert source.stop.wait(5)

    source = Source("test", waits_for_its_camera(), 25, None, live=True)
    run(source, FakeSegmenter(), ListSink(), stop=stop, on_result=lambda result: stop.set())
    assert "capture" not in {thread.name for thread in threading.enumerate()}


def test_an_error_in_the_sink_reaches_the_caller():
    with pytest.raises(UserError, match="full"):
        pump(frames(None), ListSink(error=UserError("full")))


def test_a_sink_that_can_take_no_more_keeps_what_it_has():
    class Filling(ListSink):
        def write(self, result: Result) -> None:
            if len(self.results) == 3:
                raise EndedEarly("the disk is full")
            super().write(result)

    sink = Filling()
    assert str(pump(frames(None), sink).failure) == "the disk is full"
    assert sink.numbers == [0, 1, 2]


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
