"""What a Jetson tells of itself: board, JetPack, power mode, clocks, temperature. ``root`` is where its files are."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from runtime.device import answers

# The Jetson Linux releases and what NVIDIA calls them; https://developer.nvidia.com/embedded/jetpack-archive
_JETPACK = {
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.2": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "38.2.0": "7.0",
    "38.2.1": "7.0",
    "38.2.2": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
}
# Chip to name and compute capability; nvidia-smi does not tell on every JetPack.
TEGRA = {"tegra194": ("Xavier", "7.2"), "tegra234": ("Orin", "8.7"), "tegra264": ("Thor", "11.0")}


@dataclass(frozen=True)
class Clock:
    """The range a clock may move in and where it is now."""

    min_mhz: float
    max_mhz: float
    now_mhz: float


def nvpmodel() -> str | None:
    """The power mode, by nvpmodel."""
    # Two lines, perhaps after warnings: "NV Power Mode: MAXN" and the mode's number.
    match = re.search(r"NV Power Mode: *(\S.*?) *\n(?: *(\d+))?", (answers.run("nvpmodel", "-q") or "") + "\n")
    if match is None:
        return None
    return f"{match[1]} (mode {match[2]})" if match[2] else match[1]


def jetpack(root: Path) -> str | None:
    """JetPack and Jetson Linux, by the release file."""
    # "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, ..."
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", answers.read(root / "etc/nv_tegra_release") or "")
    if match is None:
        return None
    release = f"{match[1]}.{match[2]}"
    return f"JetPack {_JETPACK[release]} (L4T {release})" if release in _JETPACK else f"L4T {release}"


def tegra_chip(root: Path) -> str | None:
    """The chip's name in the device tree; None: no Jetson."""
    # Strings that end in NUL: "nvidia,p3768-0000+p3767-0005-super", "nvidia,tegra234".
    match = re.search(r"nvidia,(tegra\w+)", answers.read(root / "proc/device-tree/compatible") or "")
    return match[1] if match else None


def temperature(root: Path) -> str | None:
    """The temperature that a Jetson throttles by, the junction's, else the GPU's."""
    zones = {
        answers.read(zone / "type"): answers.read(zone / "temp")
        for zone in (root / "sys/class/thermal").glob("thermal_zone*")
    }
    for kind in ("tj-thermal", "gpu-thermal"):
        millidegrees = zones.get(kind) or ""
        if re.fullmatch(r"-?\d+", millidegrees):
            return f"{int(millidegrees) / 1000:.1f} °C ({kind})"
    return None


def cuda_toolkit(root: Path) -> str | None:
    """The version of the CUDA toolkit that is installed."""
    try:
        return str(json.loads(answers.read(root / "usr/local/cuda/version.json") or "")["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        return None


def jetson_clocks(root: Path) -> str:
    """The clocks of the moment, and whether they are pinned."""
    clocks = clocks_from_show(answers.run("jetson_clocks", "--show") or "")
    if "GPU" in clocks:
        return describe_clocks(clocks)
    note = "`jetson_clocks --show` gave no answer: it needs root"
    if clocks := _clocks_from_sysfs(root):
        return f"{describe_clocks(clocks)}; EMC not known, since {note}"
    return f"not known: {note}"


def _clocks_from_sysfs(root: Path) -> dict[str, Clock]:
    """What everyone may read: the GPU's clock in Hz and the CPUs' in kHz."""
    places = [
        ("GPU", "sys/class/devfreq", "*.gpu", "{}_freq", 1e6),  # Orin
        ("GPU", "sys/class/devfreq", "gpu-gpc-*", "{}_freq", 1e6),  # Thor
        ("CPU", "sys/devices/system/cpu", "cpu[0-9]*/cpufreq", "scaling_{}_freq", 1e3),
    ]
    clocks: dict[str, Clock] = {}
    for name, parent, pattern, file, per_mhz in places:
        for folder in sorted((root / parent).glob(pattern)):
            values = [answers.read(folder / file.format(which)) for which in ("min", "max", "cur")]
            if all(value and value.isdecimal() for value in values):
                low, high, now = (float(value or 0) / per_mhz for value in values)
                if name not in clocks or now > clocks[name].now_mhz:
                    clocks[name] = Clock(low, high, now)
    return clocks


def clocks_from_show(text: str) -> dict[str, Clock]:
    """The clocks of GPU, CPU and EMC (memory) in the output of ``jetson_clocks --show``; of the CPUs the fastest."""
    pattern = r"^(\w+)[^ ]* .*?MinFreq=(\d+) MaxFreq=(\d+) CurrentFreq=(\d+)(?: FreqOverride=(\d))?"
    clocks: dict[str, Clock] = {}
    for match in re.finditer(pattern, text, re.MULTILINE):
        name = match[1].upper()
        if name.startswith("CPU"):
            if "Online=0" in match[0]:
                continue
            name, hertz = "CPU", 1e3  # kHz for CPUs, Hz for all else
        else:
            hertz = 1.0
        if name not in ("GPU", "CPU", "EMC"):
            continue
        low, high, now = (float(value) * hertz / 1e6 for value in match.group(2, 3, 4))
        if match[5] == "1":
            low = now  # EMC is pinned by an override, its minimum stays
        if name not in clocks or now > clocks[name].now_mhz:
            clocks[name] = Clock(low, high, now)
    return clocks


def describe_clocks(clocks: dict[str, Clock]) -> str:
    """E.g. ``pinned: GPU 1020 MHz, CPU 1728 MHz``, or where each of them is in its range."""
    if all(clock.min_mhz == clock.max_mhz for clock in clocks.values()):
        return "pinned: " + ", ".join(f"{name} {clock.now_mhz:.0f} MHz" for name, clock in clocks.items())
    ranges = (
        f"{name} {clock.now_mhz:.0f} MHz ({clock.min_mhz:.0f} to {clock.max_mhz:.0f})" for name, clock in clocks.items()
    )
    return "not pinned: " + ", ".join(ranges)
