"""An inspection as plain text of at most 120 columns: the table by layer, totals, and findings last."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from calibration.inspection.findings import Finding, Kind
from calibration.inspection.inspection import Inspection, LayerPrecision

_WIDTH = 120
_NAME_WIDTH = 49


def as_text(inspection: Inspection) -> str:
    """Lay an inspection out for a terminal."""
    return "\n".join(
        [
            _title(inspection),
            "",
            *_table(inspection),
            "",
            *_totals(inspection),
            "",
            f"Q/DQ   {inspection.quantised_tensors} activations, {inspection.quantised_weights} weights",
            f"casts  {inspection.casts}, of them stray {inspection.stray_casts}",
            "",
            *_findings("fault", inspection.faults),
            *_findings("note", inspection.notes),
        ]
    ).rstrip()


def _title(inspection: Inspection) -> str:
    info = inspection.info
    network = f"{info.name} at {info.height} x {info.width}" if info else "not a network of HyperSeg"
    form = "for ONNX Runtime" if inspection.has_bodies else "without function bodies, the form for TensorRT"
    return f"{inspection.path}\n{network}, opset {inspection.opset}, {form if info else 'any runtime'}"


def _table(inspection: Inspection) -> list[str]:
    total = sum(inspection.macs.values()) or 1
    rows = [_row("layer", "operator", "output", "runs in", "MACs (M)", "share")]
    for layer in inspection.layers:
        rows.append(
            _row(
                layer.name,
                layer.operator,
                _size(layer),
                layer.precision,
                f"{layer.macs / 1e6:,.3f}",
                f"{layer.macs / total:.1%}",
            )
        )
    return rows


def _row(name: str, operator: str, output: str, precision: str, macs: str, share: str) -> str:
    if len(name) > _NAME_WIDTH:
        name = f"...{name[3 - _NAME_WIDTH :]}"
    return f"{name:<{_NAME_WIDTH}}{operator:<30}{output:>15}{precision:>9}{macs:>10}{share:>7}"


def _size(layer: LayerPrecision) -> str:
    return " x ".join("?" if size is None else str(size) for size in layer.output)


def _totals(inspection: Inspection) -> list[str]:
    macs = inspection.macs
    total = sum(macs.values()) or 1
    counts = {precision: sum(layer.precision == precision for layer in inspection.layers) for precision in macs}
    rows = [(precision, counts[precision], macs[precision]) for precision in sorted(macs)]
    rows.append(("all", len(inspection.layers), sum(macs.values())))
    symbolic = any(size is None for layer in inspection.layers for size in layer.output)
    remark = [
        "Sizes shown as ? are symbolic and count as 1: multiply-accumulates and shares are not those of a real image."
    ]
    return (remark if symbolic else []) + [
        f"{name:<7}{count:>4} layers {work / 1e6:>12,.3f} M multiply-accumulates {work / total:>7.1%}"
        for name, count, work in rows
    ]


def _findings(word: str, findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return [f"no {word}s", ""]
    lines = [f"{len(findings)} {word}{'s' if len(findings) > 1 else ''}", ""]
    by_kind: dict[Kind, list[Finding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    for kind, same in by_kind.items():
        lines += [f"{word.upper()}  {kind.title} ({len(same)})"]
        places = [f"{finding.where} ({finding.detail})" if finding.detail else finding.where for finding in same]
        lines += [line for place in places for line in _wrapped(place, 9)]
        lines += [*_wrapped(f"Why: {kind.why}", 7), *_wrapped(f"Do:  {kind.remedy}", 7), ""]
    return lines


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 5 if text.startswith(("Why", "Do")) else indent),
        break_on_hyphens=False,
        break_long_words=False,
    )
