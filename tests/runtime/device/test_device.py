"""Fake programs and files print what the real ones do (JetPack 6.2 on an Orin Nano, 7.2 on Orin and Thor, an RTX)."""

import dataclasses
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime.device import answers
from runtime.device.description import Device, describe_device
from runtime.device.jetson import Clock, clocks_from_show, describe_clocks
from runtime.device.power import PowerMeter

SMI_HEADER = """
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 580.95.05              Driver Version: 580.95.05      CUDA Version: 13.0     |
+-----------------------------------------+------------------------+----------------------+
"""
SMI_ROW = "NVIDIA GeForce RTX 4090, 580.95.05, 8.9, 210, 3105, 405, 450.00, Disabled, 38"
SHOW = """SOC family:tegra234  Machine:NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super
Online CPUs: 0-1
cpu0:  Online=1 Governor=schedutil MinFreq=729600 MaxFreq=1344000 CurrentFreq=1190400 IdleStates: WFI=1 c7=1
cpu1:  Online=1 Governor=schedutil MinFreq=729600 MaxFreq=1344000 CurrentFreq=1344000 IdleStates: WFI=1 c7=1
cpu2:  Online=0 Governor=schedutil MinFreq=345600 MaxFreq=2035200 CurrentFreq=2035200 IdleStates: WFI=1 c7=1
GPU MinFreq=306000000 MaxFreq=918000000 CurrentFreq=306000000
Active GPU TPCs: 4
EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=665600000 FreqOverride=0
DLA0_CORE:   Online=1 MinFreq=0 MaxFreq=1600000000 CurrentFreq=1600000000
FAN Dynamic Speed Control=nvfancontrol hwmon0_pwm1=58
NV Power Mode: 25W
"""
SHOW_PINNED = """Online CPUs: 0
cpu0:  Online=1 Governor=schedutil MinFreq=1728000 MaxFreq=1728000 CurrentFreq=1728000
GPU MinFreq=1020000000 MaxFreq=1020000000 CurrentFreq=1020000000
EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=3199000000 FreqOverride=1
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Programs that print a text; nothing else is on the PATH but what a shell script needs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia-smi", "nvpmodel", "jetson_clocks", "lscpu"):  # as if missing, whatever this machine has
        (folder / name).write_text("#!/bin/sh\nexit 127\n")
        (folder / name).chmod(0o755)

    def add(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")

    return add


def prints(text: str) -> str:
    return f"cat <<'END'\n{text}\nEND"


def smi(row: str) -> str:
    return f"case $1 in\n--query-gpu=*)\n{prints(row)}\n;;\n*)\n{prints(SMI_HEADER)}\n;;\nesac"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


JETSON_FILES = {
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64, "
    "DATE: Thu Sep 18 22:54:44 UTC 2025\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n",
    "etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\nNAME="Ubuntu"\n',
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0",
    "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 62.50\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n",
    "proc/meminfo": "MemTotal:        7802108 kB\nMemFree: 1 kB\n",
    "usr/local/cuda/version.json": json.dumps({"cuda": {"name": "CUDA SDK", "version": "12.6.11"}}),
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48000\n",
    "sys/class/thermal/thermal_zone8/type": "tj-thermal\n",
    "sys/class/thermal/thermal_zone8/temp": "49406\n",
}


def test_an_orin(programs, tmp_path: Path):
    programs("nvidia-smi", smi("Orin (nvgpu), 540.4.0, [N/A], [N/A], [N/A], [N/A], [N/A], [N/A], [N/A]"))
    programs("nvpmodel", prints("NVPM WARN: fan mode is not set!\nNV Power Mode: 25W\n1"))
    programs("jetson_clocks", prints(SHOW))
    programs("lscpu", prints("Architecture:  aarch64\nModel name:    Cortex-A78AE\n"))
    found = describe_device(write(tmp_path / "root", JETSON_FILES))
    assert found.jetson == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert found.jetpack == "JetPack 6.2.1 (L4T 36.4.7)"
    assert (found.gpu, found.driver, found.compute_capability) == ("Orin (nvgpu)", "540.4.0", "8.7")
    assert found.cuda == "12.6.11"  # the toolkit's, not nvidia-smi's
    assert found.power_mode == "25W (mode 1)"
    assert found.clocks == "not pinned: CPU 1344 MHz (730 to 1344), GPU 306 MHz (306 to 918), EMC 666 MHz (204 to 3199)"
    assert found.temperature == "49.4 °C (tj-thermal)"
    assert found.cpu is not None
    assert found.cpu.startswith("Cortex-A78AE, ")
    assert found.memory == "7.4 GiB"
    assert found.system is not None
    assert found.system.startswith("Ubuntu 22.04.5 LTS, Linux ")
    json.dumps(dataclasses.asdict(found))


def test_without_root_the_clocks_come_from_sysfs(programs, tmp_path: Path):
    programs("jetson_clocks", "echo 'Error: run this script as a root user'; exit 1")
    clocks = {
        "sys/class/devfreq/gpu-gpc-0": ("{}_freq", "1575000000", "1575000000", "1575000000"),
        "sys/class/devfreq/gpu-nvd-0": ("{}_freq", "1", "2", "9999000000"),
        "sys/devices/system/cpu/cpu0/cpufreq": ("scaling_{}_freq", "2601000", "2601000", "2601000"),
    }
    files = {
        f"{folder}/{name.format(which)}": value + "\n"
        for folder, (name, *values) in clocks.items()
        for which, value in zip(("min", "max", "cur"), values, strict=True)
    }
    thor = {"proc/device-tree/compatible": "nvidia,p3834-0008\0nvidia,tegra264\0"}
    release = {"etc/nv_tegra_release": "# R39 (release), REVISION: 9.0, GCID: 1\n"}
    found = describe_device(write(tmp_path / "root", JETSON_FILES | thor | release | files))
    note = "EMC not known, since `jetson_clocks --show` gave no answer: it needs root"
    assert found.clocks == f"pinned: GPU 1575 MHz, CPU 2601 MHz; {note}"
    assert found.jetpack == "L4T 39.9.0"  # newer than this program: what the file says
    assert (found.gpu, found.compute_capability, found.power_mode) == ("Thor", "11.0", None)


def test_a_jetson_that_tells_nothing(programs, tmp_path: Path):
    root = write(tmp_path / "root", {"proc/device-tree/compatible": "nvidia,tegra234\0"})
    found = describe_device(root)
    assert found.jetson == "a Jetson of unknown model"
    assert found.clocks == "not known: `jetson_clocks --show` gave no answer: it needs root"
    assert (found.jetpack, found.power_mode, found.temperature, found.cuda) == (None, None, None, None)


def test_a_desktop(programs, tmp_path: Path):
    programs("nvidia-smi", smi(f"{SMI_ROW}\n{SMI_ROW}"))
    cpuinfo = "processor\t: 0\nmodel name\t: AMD Ryzen 9 7950X 16-Core Processor\n"
    found = describe_device(write(tmp_path / "root", {"proc/cpuinfo": cpuinfo}))
    assert found.gpu == "NVIDIA GeForce RTX 4090 (the first of 2)"
    assert (found.driver, found.cuda, found.compute_capability) == ("580.95.05", "13.0", "8.9")
    assert found.power_mode == "power limit 450.00 W, persistence mode disabled"
    assert found.clocks == "SM 210 MHz (of 3105), memory 405 MHz"
    assert found.temperature == "38 °C (GPU)"
    assert (found.jetson, found.jetpack, found.memory) == (None, None, None)
    assert found.cpu is not None
    assert found.cpu.startswith("AMD Ryzen 9 7950X 16-Core Processor, ")


def test_the_visible_gpu_is_described(programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    programs("nvidia-smi", f'[ "$3" = --id=2 ] || exit 6\n{prints(SMI_ROW)}')
    assert describe_device(tmp_path).gpu == "NVIDIA GeForce RTX 4090"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert describe_device(tmp_path).gpu is None


def test_another_arm_board_is_no_jetson(programs, tmp_path: Path):
    files = {"proc/device-tree/model": "Raspberry Pi 5\0", "proc/device-tree/compatible": "brcm,bcm2712\0"}
    assert describe_device(write(tmp_path / "root", files)).jetson is None


@pytest.mark.parametrize(
    "script",
    [
        "exit 9",
        prints("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."),
        prints("No devices were found"),
        prints(""),
        prints("[N/A], [N/A], [N/A], [N/A], [N/A], [N/A], [N/A], [N/A], [N/A]"),
        prints(SMI_ROW.replace("38", "[GPU requires reset]")),
        "printf '\\377\\376'",
    ],
)
def test_what_nvidia_smi_does_not_know_is_none(programs, tmp_path: Path, script: str):
    programs("nvidia-smi", script)
    found = describe_device(tmp_path)
    assert found.temperature is None
    assert found.cuda is None
    assert isinstance(found, Device)


def test_a_program_that_hangs_is_left(programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a child that keeps the pipe open for longer than pytest's patience."""
    monkeypatch.setattr(answers, "TIMEOUT_S", 0.2)
    programs("nvidia-smi", "sleep 3600")
    programs("lscpu", "sleep 3600 &\nexit 0")
    assert describe_device(tmp_path).gpu is None


def test_pinned_clocks():
    clocks = clocks_from_show(SHOW_PINNED)
    assert clocks == {"CPU": Clock(1728, 1728, 1728), "GPU": Clock(1020, 1020, 1020), "EMC": Clock(3199, 3199, 3199)}
    assert describe_clocks(clocks) == "pinned: CPU 1728 MHz, GPU 1020 MHz, EMC 3199 MHz"
    assert describe_clocks(clocks_from_show(SHOW_PINNED.replace("Override=1", "Override=0"))).startswith("not pinned")


def fake_jtop(monkeypatch: pytest.MonkeyPatch, power: dict, error: Exception | None = None) -> list[str]:
    """A stand-in for jetson-stats that counts up to its readings; what happened to it is in the list."""
    events: list[str] = []

    class FakeJtop:
        def __init__(self, interval: float) -> None:
            self.power = power

        def __enter__(self):
            if error:
                raise error
            events.append("opened")
            return self

        def __exit__(self, *exception: object) -> None:
            events.append("closed")

        def ok(self) -> bool:
            time.sleep(0.01)
            return True

    monkeypatch.setitem(sys.modules, "jtop", SimpleNamespace(jtop=FakeJtop))
    return events


def wait_for_a_sample(meter: PowerMeter) -> None:
    while not meter._watts and meter._thread.is_alive():
        time.sleep(0.001)


def test_watts_of_the_board(programs, monkeypatch: pytest.MonkeyPatch):
    power = {"tot": {"power": 14250, "avg": 9000, "name": "VDD_IN"}, "rail": {}}  # milliwatts
    events = fake_jtop(monkeypatch, power)
    with PowerMeter() as meter:
        wait_for_a_sample(meter)
        assert meter.mean_watts is None
    assert (meter.mean_watts, meter.source) == (14.25, "the board's VDD_IN, by jetson-stats")
    assert meter.samples >= 1
    assert events == ["opened", "closed"]
    assert not meter._thread.is_alive()


def test_watts_of_the_gpu_are_averaged(programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "jtop", None)
    counter = tmp_path / "count"
    programs("nvidia-smi", f"echo x >>{counter}; n=$(wc -l <{counter}); echo $((100 * n)).50")
    with PowerMeter(interval_s=0.001) as meter:
        wait_for_a_sample(meter)
    count = len(counter.read_text().splitlines())
    assert meter.samples == count >= 2  # the last one is taken when the block has ended
    assert meter.mean_watts == pytest.approx(100 * (count + 1) / 2 + 0.5)
    assert meter.source == "the GPU, by nvidia-smi"


def test_a_sum_of_rails_says_so(programs, monkeypatch: pytest.MonkeyPatch):
    fake_jtop(monkeypatch, {"tot": {"power": 1000, "avg": 1000}})
    with PowerMeter() as meter:
        wait_for_a_sample(meter)
    assert (meter.mean_watts, meter.source) == (1.0, "the board's rails, by jetson-stats")


@pytest.mark.parametrize(
    ("error", "power", "script", "source"),
    [
        (None, {}, "echo '[N/A]'", "jetson-stats finds no power sensors; nvidia-smi knows no power for this GPU"),
        (
            RuntimeError("The jtop.service is not active. Please run:\nsudo jtop --install-service"),
            {},
            "exit 9",
            "The jtop.service is not active. Please run: sudo jtop --install-service; nvidia-smi does not answer",
        ),
        (EOFError(), {}, "echo soon", "EOFError; could not convert string to float: 'soon'"),
    ],
)
def test_no_watts_have_a_reason(programs, monkeypatch: pytest.MonkeyPatch, error, power, script, source):
    fake_jtop(monkeypatch, power, error)
    programs("nvidia-smi", script)
    with PowerMeter(interval_s=0.001) as meter:
        meter._thread.join()  # ends by itself
    assert (meter.mean_watts, meter.samples, meter.source) == (None, 0, f"not measured: {source}")


def test_an_error_in_the_block_ends_the_thread_and_comes_through(programs, monkeypatch: pytest.MonkeyPatch):
    fake_jtop(monkeypatch, {"tot": {"power": 1000}})
    meter = PowerMeter()
    with pytest.raises(ZeroDivisionError), meter:
        raise ZeroDivisionError
    assert not meter._thread.is_alive()
