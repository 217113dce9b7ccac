from dataclasses import replace

import pytest
import torch
from torch import nn

from runtime.errors import UserError
from training import create_model, speed
from training.network.variants import variant
from training.speed import SPEED_PROTOCOL, describe_device, inference_on, measure_latency

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


class Recorder(nn.Module):
    """Keeps what it is called with, and the mode it is in."""

    def __init__(self, **changes):
        super().__init__()
        self.config = replace(variant("cityscapes-m"), **changes)
        self.parameter = nn.Parameter(torch.zeros(()))
        self.inputs, self.modes = [], []

    def forward(self, x):
        self.inputs.append(x)
        self.modes.append((self.training, torch.is_inference_mode_enabled(), torch.backends.cudnn.allow_tf32))
        return x + self.parameter


class Clock:
    """A clock that shows the given times one after the other, in seconds."""

    def __init__(self, times):
        self.perf_counter = iter(times).__next__


def test_only_the_frames_after_the_warm_up_count(monkeypatch):
    # Two warm-up frames, of which only the start is read, then frames of 10, 30 and 20 ms.
    monkeypatch.setattr(speed, "time", Clock([0.0, 5.0, 10.0, 10.01, 20.0, 20.03, 30.0, 30.02]))
    model = Recorder()
    latency = measure_latency(model, size=(64, 128), warm_up=2, frames=3)
    assert len(model.inputs) == 5
    assert latency.p50_ms == pytest.approx(20)
    assert latency.fps == pytest.approx(50)


def test_each_frame_is_one_normalised_image_of_the_variants_size():
    model = Recorder(input_size=(64, 192))
    measure_latency(model, warm_up=1, frames=2)
    for x in model.inputs:
        assert x.shape == (1, 3, 64, 192)
        assert x.dtype == torch.float32
        # Of bytes from 0 to 255, normalised: (0 - mean) / std to (1 - mean) / std.
        assert -2.2 < x.min() < -1.8
        assert 2.2 < x.max() < 2.7


def test_the_network_runs_in_eval_mode_without_gradients_and_is_left_as_it_was(monkeypatch):
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "allow_tf32", True)
    monkeypatch.setattr(cudnn, "benchmark", False)
    model = Recorder().train()
    measure_latency(model, size=(64, 128), warm_up=0, frames=1)
    assert model.modes == [(False, True, False)]
    assert model.training
    assert not model.parameter.is_inference()
    assert (cudnn.allow_tf32, cudnn.benchmark) == (True, False)


def test_a_model_is_left_as_it_was_after_a_failure_too():
    model = Recorder().train()
    with pytest.raises(KeyboardInterrupt), inference_on("cpu", model):
        raise KeyboardInterrupt
    assert model.training
    assert not torch.is_inference_mode_enabled()


def test_batchnorms_are_kept_and_their_statistics_do_not_move():
    model = create_model("street-tiny").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    calls = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda *_: calls.append(1))
    measure_latency(model, size=(64, 128), warm_up=0, frames=1)
    # A module may be wrapped, but none may be missing: at least one call for each that the network has.
    assert len(calls) == sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_illegal_size_is_refused():
    with pytest.raises(UserError, match="nearest legal sizes"):
        measure_latency(Recorder(), size=(100, 128))


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta"])
def test_a_device_that_cannot_be_used_is_refused(device):
    with pytest.raises(UserError, match=f"cannot use the device '{device}'"):
        measure_latency(Recorder(), size=(64, 128), device=device)
    with pytest.raises(UserError, match=f"cannot use the device '{device}'"):
        describe_device(device)


def test_the_cpu_is_described_with_its_threads():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert describe_device().endswith(", 1 thread")
        torch.set_num_threads(2)
        assert describe_device("cpu").endswith(", 2 threads")
    finally:
        torch.set_num_threads(threads)


def test_the_protocol_says_what_is_inside_the_time():
    for part in ("batch 1", "host memory", "upload", "download", "FP32", "BatchNorms kept", "median"):
        assert part in SPEED_PROTOCOL


@pytest.mark.gpu
@needs_gpu
def test_a_gpu_is_timed_until_its_labels_are_back():
    model = create_model("street-tiny")
    latency = measure_latency(model, device="cuda", warm_up=1, frames=3)
    assert latency.p50_ms > 0
    assert next(model.parameters()).device.type == "cpu"
    assert describe_device("cuda") == torch.cuda.get_device_name()


@pytest.mark.gpu
@needs_gpu
def test_convolutions_on_a_gpu_are_in_full_precision():
    torch.manual_seed(0)
    convolution = nn.Conv2d(256, 256, 3)
    x = torch.randn(1, 256, 32, 32)
    with inference_on("cuda", convolution):
        actual = convolution(x.cuda()).cpu()
    expected = convolution.double()(x.double())
    # Sums of 2304 products of values near 1: FP32 errs by some 1e-6, TF32, with its 10 bits, by some 1e-4.
    assert (actual - expected).abs().max() < 2e-5
