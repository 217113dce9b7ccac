"""What the figures were measured on: processor, GPU, board, power mode and clocks; and the watts it drew meanwhile.

Nothing here raises or hangs: a tool that is missing, refuses or does not answer leaves a None.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

_TIMEOUT_S = 5.0
_UNKNOWN = re.compile(r"\[?(N/A|Not Supported|Unknown Error|GPU requires reset)\]?|\[.*\]", re.IGNORECASE)

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
_TEGRA = {"tegra194": ("Xavier", "7.2"), "tegra234": ("Orin", "8.7"), "tegra264": ("Thor", "11.0")}


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


@dataclass(frozen=True)
class Clock:
    """The range a clock may move in and where it is now."""

    min_mhz: float
    max_mhz: float
    now_mhz: float


@dataclass(frozen=True)
class _Smi:
    """The answers of nvidia-smi."""

    gpu: str | None = None
    driver: str | None = None
    cuda: str | None = None
    compute_capability: str | None = None
    power_mode: str | None = None
    clocks: str | None = None
    temperature: str | None = None


def describe_device(root: Path = Path("/")) -> Device:
    """Describe this machine. ``root`` is where its files are looked for; its programs are those on the PATH."""
    smi = _nvidia_smi()
    chip = _tegra_chip(root)
    if chip is None:
        jetson = None
        name, capability = None, None
        power_mode, clocks, temperature = smi.power_mode, smi.clocks, smi.temperature
    else:
        jetson = _read(root / "proc/device-tree/model") or "a Jetson of unknown model"
        name, capability = _TEGRA.get(chip, (chip, None))
        power_mode, clocks, temperature = _nvpmodel(), _jetson_clocks(root), _thermal_zone(root)
    return Device(
        cpu=_cpu(root),
        memory=_memory(root),
        system=_system(root),
        gpu=smi.gpu or name,
        driver=smi.driver,
        cuda=(_cuda_toolkit(root) or smi.cuda) if jetson else smi.cuda,
        compute_capability=smi.compute_capability or capability,
        jetson=jetson,
        jetpack=_jetpack(root) if jetson else None,
        power_mode=power_mode,
        clocks=clocks,
        temperature=temperature,
    )


class PowerMeter:
    """Samples the power drawn while a ``with`` block runs: of a Jetson's whole board, or of the GPU elsewhere.

    Afterwards ``mean_watts`` is the mean of ``samples`` readings, or None; ``source`` says what was measured and by
    which tool, or why there is nothing. The readings themselves are means over about a second, so that a block should
    take some seconds.

    >>> with PowerMeter() as meter:
    ...     benchmark()
    >>> meter.mean_watts, meter.source  # 14.2, "the board's VDD_IN, by jetson-stats"
    """

    def __init__(self, interval_s: float = 0.5) -> None:
        self.mean_watts: float | None = None
        self.samples = 0
        self.source = "not measured"
        self._interval_s = interval_s
        self._watts: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="power meter", daemon=True)

    def __enter__(self) -> PowerMeter:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        # A tool that hangs does not hold up the caller; a daemon thread does not hold up the interpreter's end.
        self._thread.join(2 * _TIMEOUT_S)
        watts = list(self._watts)
        self.samples = len(watts)
        if watts:
            self.mean_watts = fmean(watts)

    def _measure(self) -> None:
        reasons = []
        for readings in (_jtop_watts, _nvidia_smi_watts):
            try:
                for watts, source in readings(self._stop, self._interval_s):
                    self._watts.append(watts)
                    self.source = source
            except Exception as error:  # jetson-stats raises much, and its service may vanish: no reason to fail
                reasons.append(" ".join(str(error).split()) or type(error).__name__)
            if self._watts or self._stop.is_set():
                break
        if not self._watts:
            self.source = f"not measured: {'; '.join(reasons) or 'the time was too short'}"


def _jtop_watts(stop: threading.Event, interval_s: float) -> Iterator[tuple[float, str]]:
    """Readings of jetson-stats, as long as its service gives any."""
    try:
        from jtop import jtop  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise RuntimeError("jetson-stats is not installed") from None
    with jtop(interval=interval_s) as jetson:
        while jetson.ok():  # blocks until there is a new reading
            total = jetson.power.get("tot")
            if total is None:
                raise RuntimeError("jetson-stats finds no power sensors")
            # In milliwatts; without a name it is the sum of all rails.
            yield total["power"] / 1000, f"the board's {total.get('name') or 'rails'}, by jetson-stats"
            if stop.is_set():
                break


def _nvidia_smi_watts(stop: threading.Event, interval_s: float) -> Iterator[tuple[float, str]]:
    """Readings of nvidia-smi, the last one when the block has ended: it is a mean over the second before."""
    while True:
        stopped = stop.wait(interval_s)
        rows = _smi_rows("power.draw")
        if rows is None:
            raise RuntimeError("nvidia-smi does not answer")
        if rows[0][0] is None:
            raise RuntimeError("nvidia-smi knows no power for this GPU")
        yield float(rows[0][0]), "the GPU, by nvidia-smi"
        if stopped:
            break


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


def _jetson_clocks(root: Path) -> str:
    clocks = clocks_from_show(_run("jetson_clocks", "--show") or "")
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
            values = [_read(folder / file.format(which)) for which in ("min", "max", "cur")]
            if all(value and value.isdecimal() for value in values):
                low, high, now = (float(value or 0) / per_mhz for value in values)
                if name not in clocks or now > clocks[name].now_mhz:
                    clocks[name] = Clock(low, high, now)
    return clocks


def _nvpmodel() -> str | None:
    # Two lines, perhaps after warnings: "NV Power Mode: MAXN" and the mode's number.
    match = re.search(r"NV Power Mode: *(\S.*?) *\n(?: *(\d+))?", (_run("nvpmodel", "-q") or "") + "\n")
    if match is None:
        return None
    return f"{match[1]} (mode {match[2]})" if match[2] else match[1]


def _jetpack(root: Path) -> str | None:
    # "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, ..."
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", _read(root / "etc/nv_tegra_release") or "")
    if match is None:
        return None
    release = f"{match[1]}.{match[2]}"
    return f"JetPack {_JETPACK[release]} (L4T {release})" if release in _JETPACK else f"L4T {release}"


def _tegra_chip(root: Path) -> str | None:
    # Strings that end in NUL: "nvidia,p3768-0000+p3767-0005-super", "nvidia,tegra234".
    match = re.search(r"nvidia,(tegra\w+)", _read(root / "proc/device-tree/compatible") or "")
    return match[1] if match else None


def _thermal_zone(root: Path) -> str | None:
    """The temperature that a Jetson throttles by, the junction's, else the GPU's."""
    zones = {_read(zone / "type"): _read(zone / "temp") for zone in (root / "sys/class/thermal").glob("thermal_zone*")}
    for kind in ("tj-thermal", "gpu-thermal"):
        millidegrees = zones.get(kind) or ""
        if re.fullmatch(r"-?\d+", millidegrees):
            return f"{int(millidegrees) / 1000:.1f} °C ({kind})"
    return None


def _nvidia_smi() -> _Smi:
    query = "name,driver_version,compute_cap,clocks.sm,clocks.max.sm,clocks.mem,power.limit,persistence_mode"
    rows = _smi_rows(f"{query},temperature.gpu")
    if rows is None or len(rows[0]) != 9:
        return _Smi()
    gpu, driver, capability, sm_mhz, max_sm_mhz, memory_mhz, limit_watts, persistence, degrees = rows[0]
    cuda = re.search(r"CUDA (?:\w+ )?Version *: *([\d.]+)", _run("nvidia-smi") or "")
    return _Smi(
        gpu=f"{gpu} (the first of {len(rows)})" if gpu and len(rows) > 1 else gpu,
        driver=driver,
        cuda=cuda[1] if cuda else None,
        compute_capability=capability,
        power_mode=_joined(
            limit_watts and f"power limit {limit_watts} W",
            persistence and f"persistence mode {persistence.lower()}",
        ),
        clocks=_joined(
            sm_mhz and f"SM {sm_mhz} MHz" + (f" (of {max_sm_mhz})" if max_sm_mhz else ""),
            memory_mhz and f"memory {memory_mhz} MHz",
        ),
        temperature=degrees and f"{degrees} °C (GPU)",
    )


def _smi_rows(query: str) -> list[list[str | None]] | None:
    """A row for each GPU, None for what it does not know; None where nvidia-smi does not answer."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]  # nvidia-smi itself does not look at it
    chosen = [f"--id={visible}"] if visible else []
    text = _run("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits", *chosen)
    rows = [[cell.strip() for cell in line.split(",")] for line in (text or "").splitlines() if line.strip()]
    return [[None if _UNKNOWN.fullmatch(cell) else cell for cell in row] for row in rows] or None


def _joined(*parts: str | None) -> str | None:
    return ", ".join(part for part in parts if part) or None


def _cuda_toolkit(root: Path) -> str | None:
    try:
        return str(json.loads(_read(root / "usr/local/cuda/version.json") or "")["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        return None


def _cpu(root: Path) -> str | None:
    # ARM's kernels give numbers in cpuinfo, which lscpu translates.
    match = re.search(r"^model name\s*: *(.+)$", _read(root / "proc/cpuinfo") or "", re.MULTILINE)
    match = match or re.search(r"^Model name: *(.+)$", _run("lscpu") or "", re.MULTILINE)
    return f"{match[1].strip() if match else platform.machine()}, {os.cpu_count()} cores"


def _memory(root: Path) -> str | None:
    match = re.search(r"^MemTotal: *(\d+) kB", _read(root / "proc/meminfo") or "", re.MULTILINE)
    return f"{int(match[1]) / 2**20:.1f} GiB" if match else None


def _system(root: Path) -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]+)', _read(root / "etc/os-release") or "", re.MULTILINE)
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    return f"{match[1]}, {kernel}" if match else kernel


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip().rstrip("\0")
    except OSError:
        return None


def _run(*command: str) -> str | None:
    """The output of a program, or None if it is missing, fails or takes too long."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"LC_ALL": "C"},
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError:
        return None
    try:
        output, _ = process.communicate(timeout=_TIMEOUT_S)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the whole group: a script's children hold its pipe open
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            return None
        raise
    return output if process.returncode == 0 else None
