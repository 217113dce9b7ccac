"""What nvidia-smi answers of the GPU."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from runtime.device import answers

_UNKNOWN = re.compile(r"\[?(N/A|Not Supported|Unknown Error|GPU requires reset)\]?|\[.*\]", re.IGNORECASE)


@dataclass(frozen=True)
class Smi:
    """The answers of nvidia-smi."""

    gpu: str | None = None
    driver: str | None = None
    cuda: str | None = None
    compute_capability: str | None = None
    power_mode: str | None = None
    clocks: str | None = None
    temperature: str | None = None


def nvidia_smi() -> Smi:
    """Describe the first GPU of CUDA_VISIBLE_DEVICES, else the first there is."""
    query = "name,driver_version,compute_cap,clocks.sm,clocks.max.sm,clocks.mem,power.limit,persistence_mode"
    rows = smi_rows(f"{query},temperature.gpu")
    if rows is None or len(rows[0]) != 9:
        return Smi()
    gpu, driver, capability, sm_mhz, max_sm_mhz, memory_mhz, limit_watts, persistence, degrees = rows[0]
    cuda = re.search(r"CUDA (?:\w+ )?Version *: *([\d.]+)", answers.run("nvidia-smi") or "")
    return Smi(
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


def smi_rows(query: str) -> list[list[str | None]] | None:
    """A row for each GPU, None for what it does not know; None where nvidia-smi does not answer."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]  # nvidia-smi itself does not look at it
    chosen = [f"--id={visible}"] if visible else []
    text = answers.run("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits", *chosen)
    rows = [[cell.strip() for cell in line.split(",")] for line in (text or "").splitlines() if line.strip()]
    return [[None if _UNKNOWN.fullmatch(cell) else cell for cell in row] for row in rows] or None


def _joined(*parts: str | None) -> str | None:
    return ", ".join(part for part in parts if part) or None
