"""The machine in words."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from runtime.device import answers, jetson
from runtime.device.nvidia_smi import nvidia_smi


@dataclass(frozen=True)
class Device:
    """A machine in words; None where it is not known. ``dataclasses.asdict`` makes JSON of it.

    The GPU is the first of CUDA_VISIBLE_DEVICES, else the first that nvidia-smi lists. ``cuda`` is the newest version
    that the driver runs, on a Jetson the installed toolkit's. ``clocks`` are those of the moment.
    """

    cpu: str | None
    memory: str | None
    system: str | None
    gpu: str | None
    driver: str | None
    cuda: str | None
    compute_capability: str | None
    jetson: str | None  # the board
    jetpack: str | None  # with the version of Jetson Linux (L4T)
    power_mode: str | None
    clocks: str | None
    temperature: str | None


def describe_device(root: Path = Path("/")) -> Device:
    """Describe this machine. ``root`` is where its files are looked for; its programs are those on the PATH."""
    smi = nvidia_smi()
    chip = jetson.tegra_chip(root)
    if chip is None:
        board = None
        name, capability = None, None
        power_mode, clocks, temperature = smi.power_mode, smi.clocks, smi.temperature
    else:
        board = answers.read(root / "proc/device-tree/model") or "a Jetson of unknown model"
        name, capability = jetson.TEGRA.get(chip, (chip, None))
        power_mode, clocks, temperature = jetson.nvpmodel(), jetson.jetson_clocks(root), jetson.temperature(root)
    return Device(
        cpu=_cpu(root),
        memory=_memory(root),
        system=_system(root),
        gpu=smi.gpu or name,
        driver=smi.driver,
        cuda=(jetson.cuda_toolkit(root) or smi.cuda) if board else smi.cuda,
        compute_capability=smi.compute_capability or capability,
        jetson=board,
        jetpack=jetson.jetpack(root) if board else None,
        power_mode=power_mode,
        clocks=clocks,
        temperature=temperature,
    )


def _cpu(root: Path) -> str | None:
    # ARM's kernels give numbers in cpuinfo, which lscpu translates.
    match = re.search(r"^model name\s*: *(.+)$", answers.read(root / "proc/cpuinfo") or "", re.MULTILINE)
    match = match or re.search(r"^Model name: *(.+)$", answers.run("lscpu") or "", re.MULTILINE)
    return f"{match[1].strip() if match else platform.machine()}, {os.cpu_count()} cores"


def _memory(root: Path) -> str | None:
    match = re.search(r"^MemTotal: *(\d+) kB", answers.read(root / "proc/meminfo") or "", re.MULTILINE)
    return f"{int(match[1]) / 2**20:.1f} GiB" if match else None


def _system(root: Path) -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)', answers.read(root / "etc/os-release") or "", re.MULTILINE)
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    return f"{match[1]}, {kernel}" if match else kernel
