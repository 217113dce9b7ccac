"""TensorRTBackend on doubles of PyCUDA, cuda-python and TensorRT, which keep their order and their rules.

That the real ones work together on a GPU is not shown here.
"""

from __future__ import annotations

import gc
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from runtime import Segmenter, segmenter
from runtime.backends.tensorrt import engine_file
from runtime.backends.tensorrt.backend import TensorRTBackend
from runtime.backends.tensorrt.cuda import open_cuda
from runtime.backends.tensorrt.engine_file import OpenedEngine
from runtime.errors import UserError
from tests.runtime.backends.tensorrt.cuda_doubles import NETWORK_MS, World, make_cuda, make_pycuda
from tests.runtime.backends.tensorrt.engine_double import Plan, open_double
from tests.runtime.tiny_models import COLOUR_INFO, colour_frame

BUFFERS_OF_A_LANE = {"device": 2, "executable": 1, "execution": 1, "page-locked": 2, "stream": 1}


@pytest.fixture(params=[False, True], ids=["desktop", "integrated"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(integrated=request.param)
    install(monkeypatch, make_pycuda(world), make_cuda(world))
    gc.freeze()  # what was there before need not be looked through again and again
    yield world
    gc.collect()
    gc.unfreeze()
    assert world.complaints == []
    open_cuda.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, pycuda: ModuleType | None, cuda: ModuleType | None) -> None:
    """Make ``import pycuda.driver`` and ``import cuda.bindings.driver`` give these; None: not installed."""
    open_cuda.cache_clear()
    packages = {
        "pycuda": ModuleType("pycuda"),
        "cuda": ModuleType("cuda"),
        "cuda.bindings": ModuleType("cuda.bindings"),
    }
    for name, package in packages.items():
        package.__path__ = []
        monkeypatch.setitem(sys.modules, name, package)
    if pycuda is not None:
        packages["pycuda"].driver = pycuda
    if cuda is not None:
        packages["cuda.bindings"].driver = cuda
    monkeypatch.setitem(sys.modules, "pycuda.driver", pycuda)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", cuda)


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, COLOUR_INFO.height, COLOUR_INFO.width, 3), np.uint8)


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "plain"])
@pytest.mark.parametrize("dtype", ["UINT8", "INT8", "INT32", "INT64"])
def test_labels(world: World, dtype: str, graph: bool):
    world.capture_fails = "" if graph else "cuStreamBeginCapture"
    with TensorRTBackend(open_double(Plan(world, labels=dtype))) as backend:
        for seed in range(3):
            labels = backend.labels(images(1, seed))
            assert labels.dtype == np.uint8
            assert np.array_equal(labels, images(1, seed).argmax(-1))
    assert ("launch" in world.done) == graph


@pytest.mark.parametrize(
    ("profiles", "networks"),
    [
        (((1, 1, 1),), ["network 1"] * 6),
        (((1, 1, 1), (4, 4, 4)), ["network 4", "network 1", "network 1"]),
        (((1, 4, 8),), ["network 6"]),
    ],
)
def test_any_batch(world: World, profiles: tuple[tuple[int, int, int], ...], networks: list[str]):
    with TensorRTBackend(open_double(Plan(world, profiles, logits="FLOAT"))) as backend:
        backend.labels(images(6))
        world.done.clear()
        assert np.array_equal(backend.labels(images(6)), images(6).argmax(-1))
        assert [name for name in world.done if name.startswith("network")] == networks
        np.testing.assert_array_equal(backend.logits(images(6)), np.float32(images(6).transpose(0, 3, 1, 2) / 255))


def test_the_batch_may_be_fixed(world: World):
    with TensorRTBackend(open_double(Plan(world, fixed_batch=True))) as backend:
        assert np.array_equal(backend.labels(images(2)), images(2).argmax(-1))


@pytest.mark.parametrize(("dtype", "precision"), [("FLOAT", 0), ("HALF", 2**-11)])
def test_logits_are_float32(world: World, dtype: str, precision: float):
    with TensorRTBackend(open_double(Plan(world, logits=dtype))) as backend:
        assert backend.has_logits
        first = backend.logits(images(1))
        kept = first.copy()
        backend.logits(images(1, seed=1))
        assert first.dtype == np.float32
        assert np.array_equal(first, kept)
        np.testing.assert_allclose(first, images(1).transpose(0, 3, 1, 2) / 255, rtol=max(precision, 1e-7))


def test_an_engine_without_logits(world: World):
    with TensorRTBackend(open_double(Plan(world))) as backend:
        assert not backend.has_logits
        with pytest.raises(UserError, match="Export the checkpoint with --logits"):
            backend.logits(images(1))


def test_slots_are_under_way_at_once(world: World):
    with TensorRTBackend(open_double(Plan(world))) as backend:
        assert len(backend.slots) == 2
        world.done.clear()
        for round_ in range(3):
            for number, slot in enumerate(backend.slots):
                np.copyto(slot.image_nhwc, images(1, seed=10 * round_ + number))
                slot.start()
            assert "network 1" not in world.done  # nobody has waited yet
            for number, slot in reversed(list(enumerate(backend.slots))):
                assert np.array_equal(slot.finish(), images(1, seed=10 * round_ + number).argmax(-1))
            world.done.clear()


def test_labels_of_a_slot_stay_until_its_next_start(world: World):
    with TensorRTBackend(open_double(Plan(world, labels="UINT8"))) as backend:
        first, second = backend.slots
        np.copyto(first.image_nhwc, images(1))
        first.start()
        labels = first.finish()
        np.copyto(first.image_nhwc, images(1, seed=1))  # the next frame is being filled while these are drawn
        second.start()
        second.finish()
        assert np.array_equal(labels, images(1).argmax(-1))


def test_one_thread_starts_and_another_finishes(world: World, monkeypatch: pytest.MonkeyPatch):
    backend = TensorRTBackend(open_double(Plan(world)))
    monkeypatch.setattr(segmenter, "open_backend", lambda *args, **kwargs: backend)
    frames = [np.roll(colour_frame(), shift, axis=1) for shift in range(0, 60, 3)]
    with Segmenter("unused") as two:
        expected = [two(frame_rgb) for frame_rgb in frames]
        room, queue, arrived = threading.Semaphore(two.in_flight), [], threading.Semaphore(0)
        contexts_left: list[int] = []

        def start_all() -> None:
            for frame_rgb in frames:
                room.acquire()
                queue.append(two.start(frame_rgb))
                arrived.release()
            contexts_left.append(sys.modules["pycuda.driver"]._contexts_of_this_thread())

        thread = threading.Thread(target=start_all)
        thread.start()
        for number in range(len(frames)):
            assert arrived.acquire(timeout=10)
            assert np.array_equal(queue[number].labels(), expected[number])
            room.release()
        thread.join()
    # A thread that ends with a context on PyCUDA's stack ends the process.
    assert contexts_left == [0]
    assert sys.modules["pycuda.driver"]._contexts_of_this_thread() == 0


def test_a_segmenter_opens_an_engine(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, colour_bundle: Path
):
    opened: list[tuple[Path, Path | None]] = []

    def open_engine(path: Path, plugin: Path | None = None) -> OpenedEngine:
        opened.append((path, plugin))
        return open_double(Plan(world))

    monkeypatch.setattr(engine_file, "open_engine", open_engine)
    bundle = shutil.copytree(colour_bundle, tmp_path / "bundle")
    for engine in (bundle / "colours.fp16.engine", tmp_path / "toy.engine"):
        engine.touch()
    with Segmenter(bundle, "tensorrt", precision="fp16", plugin=tmp_path / "operators.so") as two:
        assert (two.backend, two.precision, two.in_flight) == ("tensorrt", "fp16", 2)
        labels = two(colour_frame())
    assert [labels[24, 64 * (2 * band + 1) // 6] for band in range(3)] == [0, 1, 2]
    with Segmenter(tmp_path / "toy.engine") as two:
        assert np.array_equal(two(colour_frame()), labels)
    assert opened == [
        (bundle / "colours.fp16.engine", tmp_path / "operators.so"),
        (tmp_path / "toy.engine", None),
    ]


def test_a_slot_under_way_is_not_touched(world: World):
    with TensorRTBackend(open_double(Plan(world))) as backend:
        slot = backend.slots[0]
        with pytest.raises(RuntimeError, match="start"):
            slot.finish()
        slot.start()
        with pytest.raises(RuntimeError, match="under way"):
            slot.start()
        with pytest.raises(RuntimeError, match="still being read"):
            backend.labels(images(1))
        with pytest.raises(RuntimeError, match="still being read"):
            backend.network_ms(images(1))
        slot.finish()
        assert np.array_equal(backend.labels(images(1)), images(1).argmax(-1))


def test_a_frame_is_one_launch(world: World):
    with TensorRTBackend(open_double(Plan(world))) as backend:
        world.done.clear()
        backend.labels(images(1))
    # An integrated GPU works in the host's memory: nothing is copied.
    work = ["network 1"] if world.integrated else ["upload", "network 1", "download"]
    assert world.done[:4] == ["launch", *work]


def test_network_ms_leaves_the_copies_out(world: World):
    with TensorRTBackend(open_double(Plan(world, ((1, 1, 1), (4, 4, 4))))) as backend:
        assert backend.network_ms(images(1)) == NETWORK_MS
        assert backend.network_ms(images(1)) == NETWORK_MS
        assert backend.network_ms(images(5)) == 2 * NETWORK_MS  # a batch of 4 and one of 1
        assert np.array_equal(backend.labels(images(1)), images(1).argmax(-1))


@pytest.mark.parametrize(
    "call", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "TensorRT", "not installed"]
)
def test_without_a_graph_frames_run_plainly(
    world: World, call: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    world.capture_fails = call
    if call == "not installed":
        monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
        del sys.modules["cuda.bindings"].driver
    with TensorRTBackend(open_double(Plan(world, fails_in_capture=call == "TensorRT"))) as backend:
        for seed in range(3):
            assert np.array_equal(backend.labels(images(1, seed)), images(1, seed).argmax(-1))
        assert backend.network_ms(images(1)) == NETWORK_MS
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 1
    assert notes[0].startswith("note: frames run without a CUDA graph")
    reason = {"TensorRT": "operation not permitted", "not installed": "cuda-python is not installed"}.get(call, call)
    assert reason in notes[0]
    assert not +world.alive


@pytest.mark.parametrize("call", ["cuStreamBeginCapture", "cuGraphInstantiate"])
@pytest.mark.parametrize("error", [RuntimeError, TypeError])  # not in this driver; other parameters
def test_what_cuda_python_raises_leads_to_plain_frames(
    world: World, call: str, error: type[Exception], capsys: pytest.CaptureFixture[str]
):
    world.capture_fails, world.capture_raises = call, error
    with TensorRTBackend(open_double(Plan(world))) as backend:
        assert np.array_equal(backend.labels(images(1)), images(1).argmax(-1))
    assert "launch" not in world.done
    assert capsys.readouterr().err.endswith(f"slower: no such {call}\n")
    assert not +world.alive


def test_what_a_refused_capture_leaves_behind_shows_at_once(world: World):
    world.refusal_stays = True
    with pytest.raises(UserError, match=r"while making room for a frame: .*left over from the capture"):
        TensorRTBackend(open_double(Plan(world, fails_in_capture=True)))
    gc.collect()
    assert not +world.alive


def test_the_old_place_of_cuda_python(world: World, monkeypatch: pytest.MonkeyPatch):
    driver = sys.modules["cuda.bindings.driver"]
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    del sys.modules["cuda.bindings"].driver
    sys.modules["cuda"].cuda = driver
    with TensorRTBackend(open_double(Plan(world))) as backend:
        assert np.array_equal(backend.labels(images(1)), images(1).argmax(-1))
    assert "launch" in world.done


def test_tensorrt_8_may_want_a_profile_for_every_context(world: World, capsys: pytest.CaptureFixture[str]):
    two = Plan(world, ((1, 1, 1), (1, 1, 1)), major=8)
    with TensorRTBackend(open_double(two)) as backend:
        assert len(backend.slots) == 2
    assert capsys.readouterr().err == ""
    one = Plan(world, ((1, 1, 1), (4, 4, 4)), major=8)
    with TensorRTBackend(open_double(one)) as backend:
        assert len(backend.slots) == 1
        assert np.array_equal(backend.labels(images(5)), images(5).argmax(-1))
    assert "note: one frame in flight instead of 2: TensorRT does not give" in capsys.readouterr().err
    assert not +world.alive


def test_a_desktop_lane_holds_what_it_must(world: World):
    backend = TensorRTBackend(open_double(Plan(world)))
    a_lane = {**BUFFERS_OF_A_LANE, "device": 0} if world.integrated else BUFFERS_OF_A_LANE
    expected = {kind: 2 * count for kind, count in a_lane.items() if count}
    assert +world.alive == {**expected, "engine": 1}
    backend.close()


def test_close_frees_all_in_order_and_may_be_repeated(world: World):
    backend = TensorRTBackend(open_double(Plan(world, ((1, 1, 1), (4, 4, 4)), logits="FLOAT")))
    backend.labels(images(5))
    backend.network_ms(images(5))
    slot = backend.slots[0]
    slot.start()
    world.done.clear()
    backend.close()
    backend.close()
    assert "network 1" in world.done  # close() waited for what was under way
    assert not +world.alive
    assert world.memory == {}
    for use in (lambda: backend.labels(images(1)), lambda: backend.labels(images(4)), lambda: slot.image_nhwc):
        with pytest.raises(RuntimeError, match="closed"):
            use()


def test_many_frames_take_no_memory(world: World):
    with TensorRTBackend(open_double(Plan(world, ((1, 1, 1), (4, 4, 4)), logits="FLOAT"))) as backend:
        work: list[Callable[[], object]] = [
            lambda: backend.labels(images(6)),
            lambda: backend.logits(images(6)),
            lambda: backend.network_ms(images(6)),
        ]
        for call in work:
            call()
        alive = world.alive.copy()
        for _ in range(30):
            for call in work:
                call()
        assert world.alive == alive


def test_out_of_memory_at_every_step(world: World, capsys: pytest.CaptureFixture[str]):
    slots = []
    for allocations in range(12):  # a lane needs three or five
        world.allocations_left = allocations
        try:
            backend = TensorRTBackend(open_double(Plan(world)))
        except UserError as error:
            assert "memory" in str(error)  # noqa: PT017
        else:
            slots.append(len(backend.slots))
            assert np.array_equal(backend.labels(images(1)), images(1).argmax(-1))
            backend.close()
        gc.collect()
        assert not +world.alive
    a_lane = 3 if world.integrated else 5
    assert slots == [1] * a_lane + [2] * (12 - 2 * a_lane)
    assert capsys.readouterr().err.count("one frame in flight instead of 2") == a_lane


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("create_execution_context", r"cannot make room for an execution context\. .*out of memory.*too little free"),
        ("set_optimization_profile_async", "does not give optimisation profile 0"),
        ("set_input_shape", r"does not take image of shape \[1, 32, 48, 3\]"),
        ("set_tensor_address", "does not take the memory of image"),
        ("execute_async_v3", r"cannot run the network\. TensorRT says: .*operation not permitted"),
    ],
)
def test_what_tensorrt_refuses_reaches_the_user(world: World, call: str, message: str):
    with pytest.raises(UserError, match=message):
        TensorRTBackend(open_double(Plan(world, refuses={call})))
    gc.collect()
    assert not +world.alive


def test_a_kernel_that_fails(world: World):
    backend = TensorRTBackend(open_double(Plan(world)))
    world.broken = True
    with pytest.raises(UserError, match=r"CUDA failed on Toy GPU while running the network: .*launch failure"):
        backend.labels(images(1))
    backend.close()  # says nothing more, and frees what can be freed
    gc.collect()
    assert not +world.alive


def test_a_graph_that_can_no_longer_be_launched(world: World):
    with TensorRTBackend(open_double(Plan(world))) as backend:
        world.capture_fails = "cuGraphLaunch"
        with pytest.raises(UserError, match="cuGraphLaunch failed: CUDA_ERROR_INVALID_VALUE"):
            backend.labels(images(1))


def test_an_engine_without_batch_1(world: World):
    with pytest.raises(UserError, match=r"runs batches of 4, not 1\. .*--batch 1,4$"):
        TensorRTBackend(open_double(Plan(world, ((4, 4, 4),))))


def test_an_engine_of_something_else(world: World):
    with pytest.raises(UserError, match="labels is an output of type BF16"):
        TensorRTBackend(open_double(Plan(world, labels="BF16")))


def test_without_pycuda(monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, None, None)
    monkeypatch.delitem(sys.modules, "pycuda.driver")
    with pytest.raises(UserError, match="PyCUDA, which is not installed: pip install pycuda"):
        open_cuda()


def test_without_a_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    install(monkeypatch, None, None)
    monkeypatch.delitem(sys.modules, "pycuda.driver")
    sys.modules["pycuda"].__path__ = [str(tmp_path)]
    (tmp_path / "driver.py").write_text("raise ImportError('libcuda.so.1: cannot open shared object file')")
    with pytest.raises(UserError, match=r"PyCUDA does not load: libcuda\.so\.1.*The NVIDIA driver is missing"):
        open_cuda()


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch):
    driver = make_pycuda(World())
    install(monkeypatch, driver, None)

    def init(flags: int = 0) -> None:
        raise driver.RuntimeError("cuInit failed: no CUDA-capable device is detected")

    driver.init = init
    with pytest.raises(UserError, match=r"no GPU it can use: cuInit failed: no CUDA-capable .*nvidia-smi"):
        open_cuda()
