"""What ptxas says of every kernel: registers, static shared memory, spills; nvcc is enough, no GPU is needed.

    python trt_plugins/kernels/ptxas_table.py [--write]

prints the table, or writes it to ptxas.md beside this file.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

KERNELS = Path(__file__).parent
SOURCES = [KERNELS / f"{operator}/{operator}.cu" for operator in ("dpwconv", "dpw_inverted_residual", "label_head")]
ARCHITECTURES = [72, 75, 80, 86, 87, 89, 90, 100, 110, 120]
FLAGS = ["-std=c++17", "-O3", "-Xptxas", "-v", "-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra"]
FLAGS += ["-c", "-o", "/dev/null"]
HEAD = """# What ptxas says of the kernels

Written by `ptxas_table.py --write` from {version}; per kernel and sm: registers a thread / bytes of
spills. No kernel has static shared memory; its dynamic shared memory depends on the shape (see the operators' READMEs).
Threads a block: dpwconvLanePerPatch 256, dpwconvPixelTile 128, dpwconvDirect 256, dpwInvertedResidualTensorCore 256
(tile 16x16) and 128 (8x8), dpwInvertedResidualPixelTile up to 256, dpwInvertedResidualDirect 128, labelHead... 256. The
last argument of a patch-wise kernel says whether it reads a level's map (true), parts of which are computed where
they are read, or a stored one: in one kernel for both, stored maps would pay with up to twice the registers.
"""


@dataclass(frozen=True)
class Row:
    """One kernel on one architecture."""

    kernel: str
    registers: int
    shared_bytes: int
    spill_bytes: int


def ptxas_rows(nvcc: str, architecture: int, sources: Sequence[Path] = SOURCES) -> list[Row]:
    """Compile kernels for an sm; subprocess.CalledProcessError, with nvcc's output shown, on a warning."""
    rows = []
    for source in sources:
        command = [nvcc, f"-arch=sm_{architecture}", *FLAGS, str(source)]
        compiled = subprocess.run(command, capture_output=True, text=True)
        if compiled.returncode:
            print(compiled.stdout + compiled.stderr)
            compiled.check_returncode()
        text = subprocess.run(["c++filt"], input=compiled.stderr, capture_output=True, text=True, check=True).stdout
        for entry in text.split("Compiling entry function ")[1:]:
            (name,) = re.findall(r"^'(?:void )?(?:\w+::)*(\w+(?:<[^>]*>)?)", entry)
            (registers,) = re.findall(r"Used (\d+) registers", entry)
            shared, spilled = (re.findall(rf"(\d+) bytes {of}", entry) for of in ("smem", "spill"))
            rows.append(Row(name, int(registers), sum(map(int, shared)), sum(map(int, spilled))))
    return sorted(rows, key=lambda row: row.kernel)


def table(nvcc: str) -> str:
    """The Markdown table of all architectures that this nvcc knows."""
    known = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout.split()
    architectures = [a for a in ARCHITECTURES if f"sm_{a}" in known]
    version = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    columns = {a: {row.kernel: row for row in ptxas_rows(nvcc, a)} for a in architectures}
    if any(row.shared_bytes for rows in columns.values() for row in rows.values()):
        raise SystemExit("a kernel has static shared memory: the table's head says that none has")
    lines = ["| kernel | " + " | ".join(f"sm_{a}" for a in architectures) + " |", "|---" * (len(columns) + 1) + "|"]
    for kernel in next(iter(columns.values())):
        cells = [f"{columns[a][kernel].registers} / {columns[a][kernel].spill_bytes}" for a in architectures]
        lines.append(f"| `{kernel}` | " + " | ".join(cells) + " |")
    (release,) = re.findall(r"release [\d.]+", version)
    return "\n".join([HEAD.format(version=f"nvcc, {release}"), *lines]) + "\n"


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write ptxas.md instead of printing")
    write = parser.parse_args().write
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if nvcc is None:
        raise SystemExit("nvcc is neither in PATH nor in /usr/local/cuda/bin; install the CUDA toolkit")
    text = table(nvcc)
    if write:
        (KERNELS / "ptxas.md").write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
