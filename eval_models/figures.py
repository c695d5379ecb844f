"""Figures of the report as SVG and percentages: text stays text, colours are CSS variables, ids are stable.

Hand-made instead of plotted: so they follow the reader's light or dark scheme, scale to a phone, stay below a
few kilobytes each, and are the same bytes for the same numbers. Everything that comes from data is escaped
here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

SERIES_COLOURS = 8  # --series-0 (baseline) .. --series-7 in report.css
_DASHES = ("", "", "7 3", "2 3", "9 3 2 3", "4 2", "1 2", "12 4")


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) that lie in [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.75)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [0.0 if i == 0 else float(f"{i * step:.12g}") for i in range(first, last + 1)]


def tick_text(value: float, signed: bool = False) -> str:
    text = f"{value:+.6f}" if signed and value else f"{value:.6f}"
    return text.rstrip("0").rstrip(".") or "0"


@dataclasses.dataclass(frozen=True)
class Axis:
    """Maps values to per cent of a track's width."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float], always: Sequence[float] = (0.0,), pad: float = 0.06) -> Axis:
        found = [value for value in (*values, *always) if math.isfinite(value)]
        low, high = min(found), max(found)
        room = (high - low) * pad or 1e-3
        return cls(low - room, high + room)

    def at(self, value: float) -> float:
        """Per cent from the left, kept inside the track."""
        return round(min(max((value - self.low) / (self.high - self.low), 0.0), 1.0) * 100, 2)

    def span(self, low: float, high: float) -> tuple[float, float]:
        """Left and width in per cent."""
        left = self.at(low)
        return left, round(self.at(high) - left, 2)

    def ticks(self, about: int = 6) -> list[tuple[float, str]]:
        return [(self.at(value), tick_text(value, signed=True)) for value in nice_ticks(self.low, self.high, about)]


def heat(delta: float, scale: float) -> tuple[str, int]:
    """Direction and strength (0 to 100) of a heat map cell: which colour variable, and how much of it."""
    if scale <= 0 or delta == 0:
        return "none", 0
    return ("better" if delta < 0 else "worse"), round(min(abs(delta) / scale, 1.0) * 50 + 4)


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve of a chart: its name, its place in the palette, its points and, optionally, its band."""

    name: str
    series: int
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def line_chart(
    lines: Sequence[Line],
    *,
    ident: str,
    title: str,
    description: str,
    y_label: str,
    signed: bool = False,
    band: float | None = None,
) -> Markup:
    """Curves over bytes seen. `band` shades +- that much around zero (the equivalence margin)."""
    width, height, left, right, top, bottom = 420.0, 262.0, 52.0, 12.0, 26.0, 40.0
    xs = [x for line in lines for x in line.x]
    if not xs:
        return Markup("")
    ys = [y for line in lines for y in (*line.y, *line.low, *line.high)]
    axis = Axis.around(ys, always=(0.0, *((band, -band) if band else ())) if signed else (), pad=0.05)
    x_high = max(xs)

    def x_at(value: float) -> str:
        return f"{left + (width - left - right) * value / x_high:.1f}"

    def y_at(value: float) -> str:
        part = (value - axis.low) / (axis.high - axis.low)
        return f"{height - bottom - (height - top - bottom) * min(max(part, 0.0), 1.0):.1f}"

    parts = [
        f'<svg class="chart" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-labelledby="{escape(ident)}-t {escape(ident)}-d">',
        f'<title id="{escape(ident)}-t">{escape(title)}</title>',
        f'<desc id="{escape(ident)}-d">{escape(description)}</desc>',
        f'<text class="chart-label" x="0" y="12">{escape(y_label)}</text>',
    ]
    if band and signed:
        parts.append(
            f'<rect class="chart-margin" x="{left}" y="{y_at(band)}" width="{width - left - right}" '
            f'height="{float(y_at(-band)) - float(y_at(band)):.1f}"/>'
        )
    for tick in nice_ticks(axis.low, axis.high, 5):
        zero = " chart-zero" if signed and tick == 0 else ""
        parts.append(
            f'<line class="chart-grid{zero}" x1="{left}" x2="{width - right}" '
            f'y1="{y_at(tick)}" y2="{y_at(tick)}"/>'
            f'<text class="chart-tick" x="{left - 6}" y="{float(y_at(tick)) + 4:.1f}" text-anchor="end">'
            f"{tick_text(tick, signed)}</text>"
        )
    for tick in nice_ticks(0, x_high, 4):
        parts.append(
            f'<text class="chart-tick" x="{x_at(tick)}" y="{height - bottom + 16}" text-anchor="middle">'
            f"{escape(format_bytes(tick))}</text>"
        )
    middle = left + (width - left - right) / 2
    parts.append(f'<text class="chart-label" x="{middle:.1f}" y="{height - 6}" text-anchor="middle">bytes seen</text>')
    for line in lines:
        if line.low and line.high:
            there = [f"{x_at(x)},{y_at(y)}" for x, y in zip(line.x, line.high, strict=True)]
            back = [f"{x_at(x)},{y_at(y)}" for x, y in zip(line.x, line.low, strict=True)]
            parts.append(f'<polygon class="band s{line.series}" points="{" ".join(there + back[::-1])}"/>')
    for line in lines:
        points = " ".join(f"{x_at(x)},{y_at(y)}" for x, y in zip(line.x, line.y, strict=True))
        dash = f' stroke-dasharray="{_DASHES[line.series % SERIES_COLOURS]}"' if line.series else ""
        parts.append(
            f'<polyline class="curve s{line.series}" points="{points}"{dash}>'
            f"<title>{escape(line.name)}</title></polyline>"
        )
    parts.append("</svg>")
    return Markup("".join(parts))


def legend_swatch(series: int) -> Markup:
    dash = f' stroke-dasharray="{_DASHES[series % SERIES_COLOURS]}"' if series else ""
    return Markup(
        f'<svg class="swatch" viewBox="0 0 28 8" aria-hidden="true">'
        f'<line class="curve s{series}" x1="0" x2="28" y1="4" '
        f'y2="4"{dash}/></svg>'
    )


def frontier_chart(
    points: Sequence[Mapping[str, float | str | int]], *, ident: str, baseline: str, margin: float
) -> Markup:
    """Share of the text kept against the effect: `points` have name, series, kept (0 to 1), delta, low, high.

    A filter is worth its loss only where it lies below the random one of the same keep rate.
    """
    if not points:
        return Markup("")
    width, height, left, right, top, bottom = 460.0, 260.0, 52.0, 16.0, 26.0, 42.0
    axis = Axis.around(
        [float(point[key]) for point in points for key in ("low", "high", "delta")],
        always=(0.0, margin, -margin),
    )

    def x_at(value: float) -> float:
        return round(left + (width - left - right) * value, 1)

    def y_at(value: float) -> float:
        part = (value - axis.low) / (axis.high - axis.low)
        return round(height - bottom - (height - top - bottom) * part, 1)

    title = f"Text kept against the effect on bits per byte, relative to {baseline}"
    parts = [
        f'<svg class="chart wide" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-labelledby="{ident}-t">',
        f'<title id="{ident}-t">{escape(title)}</title>',
        '<text class="chart-label" x="0" y="12">bits per byte against the baseline (lower is better)</text>',
        f'<rect class="chart-margin" x="{left}" y="{y_at(margin)}" width="{width - left - right}" '
        f'height="{round(y_at(-margin) - y_at(margin), 1)}"/>',
    ]
    for tick in nice_ticks(axis.low, axis.high, 5):
        zero = " chart-zero" if tick == 0 else ""
        parts.append(
            f'<line class="chart-grid{zero}" x1="{left}" x2="{width - right}" '
            f'y1="{y_at(tick)}" y2="{y_at(tick)}"/>'
            f'<text class="chart-tick" x="{left - 6}" y="{y_at(tick) + 4}" text-anchor="end">'
            f"{tick_text(tick, True)}</text>"
        )
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(
            f'<text class="chart-tick" x="{x_at(share)}" y="{height - bottom + 16}" text-anchor="middle">'
            f"{share:.0%}</text>"
        )
    parts.append(
        f'<text class="chart-label" x="{(left + width - right) / 2}" y="{height - 6}" text-anchor="middle">'
        "text kept, share of the bytes</text>"
    )
    taken: list[tuple[float, float]] = []
    for point in points:
        x, y = x_at(float(point["kept"])), y_at(float(point["delta"]))
        series = int(point["series"])
        parts.append(
            f'<line class="curve s{series}" x1="{x}" x2="{x}" y1="{y_at(float(point["low"]))}" '
            f'y2="{y_at(float(point["high"]))}"/><circle class="dot s{series}" cx="{x}" cy="{y}" r="5"/>'
        )
        at_end = x > width * 0.72
        label_y = y + 4
        while any(abs(label_y - other_y) < 14 and abs(x - other_x) < 150 for other_x, other_y in taken):
            label_y += 14
        taken.append((x, label_y))
        parts.append(
            f'<text class="chart-name" x="{x - 10 if at_end else x + 10}" y="{label_y}" '
            f'text-anchor="{"end" if at_end else "start"}">{escape(point["name"])}</text>'
        )
    parts.append("</svg>")
    return Markup("".join(parts))


def format_bytes(count: float) -> str:
    """Decimal units: 1.2 MB."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(count) >= size:
            value = count / size
            return f"{value:.0f} {unit}" if value >= 100 or value == int(value) else f"{value:.1f} {unit}"
    return f"{count:.0f} B"


def format_seconds(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 90:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def format_flops(flops: float) -> str:
    return f"{flops:.1e} FLOP".replace("e+", "e") if flops else "n/a"
