"""What was checked, on what, and with which figures: one JSON file and a summary to read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Status = Literal["passed", "failed", "not run"]

_TABLES = ("levels", "decoders", "steps", "parts", "networks", "aims")  # lists of rows in a check's figures


class NotRun(Exception):
    """Why a check cannot run on this machine."""


class Failed(Exception):
    """Why a check failed, and what it had measured by then."""

    def __init__(self, reason: str, figures: dict[str, Any]) -> None:
        super().__init__(reason)
        self.figures = figures


@dataclass(frozen=True)
class Check:
    """One check; ``reason`` says why it did not pass, ``figures`` what it measured."""

    name: str
    status: Status
    reason: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """All checks of one run; ``machine`` names device, driver, CUDA, torch and commit."""

    date: str  # YYYY-MM-DD
    machine: dict[str, Any]
    checks: tuple[Check, ...]

    @property
    def failed(self) -> bool:
        """Whether any check failed; one that did not run has not."""
        return any(check.status == "failed" for check in self.checks)


def attempt(name: str, check: Callable[[], dict[str, Any]]) -> Check:
    """Run a check that returns its figures; NotRun, Failed and any other exception become its status."""
    try:
        return Check(name, "passed", figures=check())
    except NotRun as reason:
        return Check(name, "not run", str(reason))
    except Failed as failure:
        return Check(name, "failed", str(failure), failure.figures)
    except Exception as error:  # whatever a driver, compiler or library says belongs in the report
        return Check(name, "failed", f"{type(error).__name__}: {error}")


def report_path(folder: Path, report: Report) -> Path:
    """Name the report by its day and device: ``2026-01-31-nvidia-h200.json``."""
    device = re.sub(r"[^a-z0-9]+", "-", str(report.machine["device"]).lower()).strip("-")
    return folder / f"{report.date}-{device}.json"


def write(report: Report, path: Path) -> None:
    """Write the report to ``path``, completely or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".new")
    aside.write_text(json.dumps(asdict(report), indent=1) + "\n")
    aside.replace(path)


def read(path: Path) -> Report:
    """Read what ``write`` wrote."""
    content = json.loads(path.read_text())
    return Report(content["date"], content["machine"], tuple(Check(**check) for check in content["checks"]))


def summary(report: Report) -> str:
    """Return one line a check, and a table of what was timed where there is any."""
    lines = [f"{key}: {value}" for key, value in report.machine.items()]
    for check in report.checks:
        largest = check.figures.get("largest_error")
        worst = "" if largest is None else f" (largest error {largest:.1e})"
        lines.append(f"{check.status:>8}  {check.name}{worst}{': ' + check.reason if check.reason else ''}")
        if rows := [row for key in _TABLES for row in check.figures.get(key, ())]:
            lines += ["", *table(rows), ""]
    return "\n".join(lines)


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a table of rows that all have a "name" and the same columns of numbers or None."""
    columns = [column for column in rows[0] if column != "name"]
    widths = [max(8, len(column)) for column in columns]
    header = " ".join(column.rjust(width) for column, width in zip(columns, widths, strict=True))
    name_width = max(24, *(len(row["name"]) for row in rows))
    lines = [f"{'':{name_width}} {header}"]
    for row in rows:
        cells = ("not run" if row[column] is None else f"{row[column]:.2f}" for column in columns)
        values = " ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        lines.append(f"{row['name']:{name_width}} {values}")
    return lines
