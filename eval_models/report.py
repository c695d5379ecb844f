"""The report of a study or of a curation: one HTML file, the same as Markdown, and as JSON for machines.

All three show the same record (report_data.gather); nothing in them depends on the clock or the host except
the stage times. The HTML is one file without scripts and loads nothing from anywhere.
"""

from __future__ import annotations

import math
import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from eval_models import figures
from eval_models.judgement import (
    BETTER,
    EQUIVALENT,
    FEW_DOCUMENTS,
    INCONCLUSIVE,
    TOO_WEAK,
    WORSE,
    Curve,
    Judgement,
    SliceEffect,
    format_p,
)
from eval_models.plan import StudyPlan
from eval_models.report_data import canonical_json, gather, variant_rows
from eval_models.statistics import Comparison
from eval_models.verdict import judge

_TEMPLATES = Path(__file__).parent / "templates"

WORDS = {
    BETTER: "better",
    WORSE: "worse",
    EQUIVALENT: "equivalent",
    INCONCLUSIVE: "inconclusive",
    TOO_WEAK: "proxy too weak",
}


def write_report(output_dir: str | Path, plan: StudyPlan | None) -> Judgement | None:
    """Writes report.html, report.md and report.json into output_dir and returns the judgement they show.

    With plan None, or before any run was started, the reports tell of the curation alone and None is
    returned.
    """
    root = Path(output_dir)
    judgement = judge(root, plan) if plan is not None and (root / "runs").is_dir() else None
    data = gather(root, judgement)
    _write(root / "report.json", canonical_json(data))
    _write(root / "report.md", render_markdown(data, judgement).encode())
    _write(root / "report.html", render_html(data, judgement).encode())
    return judgement


def _write(path: Path, content: bytes) -> None:
    """All or nothing: a reader never sees half a report."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def render_html(data: Mapping[str, Any], judgement: Judgement | None) -> str:
    """One self-contained page; every string from the data is escaped."""
    environment = _environment(autoescape=True)
    environment.filters["code_spans"] = _code_spans
    template = environment.get_template("report.html.j2")
    return template.render(**_context(data, judgement), css=Markup((_TEMPLATES / "report.css").read_text("utf-8")))


def render_markdown(data: Mapping[str, Any], judgement: Judgement | None) -> str:
    """The same in Markdown; strings from the data cannot start markup or break a table."""
    environment = _environment(autoescape=False)
    environment.filters["cell"] = markdown_text
    environment.filters["code"] = markdown_code
    environment.filters["prose"] = markdown_prose
    text = environment.get_template("report.md.j2").render(**_context(data, judgement))
    text = re.sub(r"[ \t]+\n", "\n", text)
    return re.sub(r"\n{3,}|\n+(?=## )", "\n\n", text).strip() + "\n"


def _environment(autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": lambda value: "n/a" if value is None else figures.format_bytes(value),
        "count": lambda value: "n/a" if value is None else f"{value:,.0f}",
        "delta": format_delta,
        "number": format_number,
        "percent": lambda value: "n/a" if value is None else _percent(value),
        "p": format_p,
        "seconds": lambda value: "n/a" if value is None else figures.format_seconds(value),
        "flops": lambda value: "n/a" if value is None else figures.format_flops(value),
        "verdict": lambda value: WORDS.get(value, value or ""),
    }
    return environment


def format_delta(value: float | None) -> str:
    """Bits per byte with a sign, four decimals."""
    return "n/a" if value is None else f"{value:+.4f}"


def format_number(value: float | None, digits: int = 2) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{share:.1%}"


def markdown_text(value: object) -> str:
    """Text that cannot become markup, HTML or a new table cell."""
    line = " ".join(str(value).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", line)


def markdown_code(value: object) -> str:
    """A code span that the text cannot leave."""
    line = " ".join(str(value).split()).replace("|", "\\|")
    ticks = "`" * (max((len(run) for run in re.findall(r"`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"


def markdown_prose(text: str) -> str:
    """Sentences with names in backticks: escaped as far as needed, so that they also read well as they are."""
    parts = text.split("`")
    for index, part in enumerate(parts):
        if index % 2:
            parts[index] = markdown_code(part)
            continue
        part = " ".join(part.split("\n")).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        parts[index] = re.sub(r"([\\*_|~#!]|\](?=[\[(:]))", r"\\\1", part)
    return "".join(parts)


def _code_spans(text: str) -> Markup:
    """Escapes, then turns `name` into <code>name</code>."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _context(data: Mapping[str, Any], judgement: Judgement | None) -> dict[str, Any]:
    context: dict[str, Any] = {
        "data": data,
        "plan": judgement.plan if judgement else None,
        "facts": _facts(data, judgement),
        "falls": _falls(data["corpora"], data["variants"]),
        "rejections": _rejections(data["stages"]),
        "shaped": _shaped(data["shaped"]),
        "packed": _packed(data["packed"]),
        "few_documents": FEW_DOCUMENTS,
        "has_effects": False,
    }
    if judgement is None:
        return context
    series = series_of(judgement.plan)
    return context | {
        "has_effects": any(arm.pooled.comparison is not None for arm in judgement.arms),
        "series": series,
        "swatches": {name: figures.legend_swatch(number) for name, number in series.items()},
        "forest": _forest(judgement),
        "charts": _charts(judgement, series),
        "frontier": _frontier(data["variants"], judgement.plan, series),
        "heat": _heat(judgement),
        "arms": judgement.arms,
        "agreement": judgement.agreement,
        "health": judgement.health,
    }


def series_of(plan: StudyPlan) -> dict[str, int]:
    """Variant -> place in the palette; 0 is the baseline."""
    series = {plan.baseline: 0}
    for index, name in enumerate(plan.arms):
        series[name] = index % (figures.SERIES_COLOURS - 1) + 1
    return series


def _facts(data: Mapping[str, Any], judgement: Judgement | None) -> list[tuple[str, str, str]]:
    """The strip below the headline: label, value, small print."""
    facts = []
    if judgement is not None:
        plan = judgement.plan
        total = len(plan.run_ids())
        facts.append(
            (
                "Runs",
                f"{len(judgement.runs)} of {total}",
                f"{len(plan.variants)} variants, {plan.seeds} seeds",
            )
        )
        facts.append(("Budget", figures.format_bytes(plan.budget_bytes), "seen by every run"))
        families = {health.proxy: health.family for health in judgement.health}
        facts.append(
            (
                "Proxies",
                str(len(plan.proxies)),
                ", ".join(f"{p} ({families.get(p, '?')})" for p in plan.proxies),
            )
        )
        held = judgement.held_out.values()
        facts.append(
            (
                "Held out",
                f"{sum(source['documents'] for source in held):,} documents",
                f"{sum(source['clusters'] for source in held):,} independent clusters, "
                f"{len(judgement.held_out)} sources",
            )
        )
    ingest = next((stage for stage in data["stages"] if stage["stage"] == "ingest"), None)
    if ingest is not None:
        facts.append(("Documents", f"{ingest['kept']:,}", f"of {ingest['read']:,} read"))
    if data["stages"]:
        off = [stage["stage"] for stage in data["stages"] if not stage["balanced"]]
        facts.append(
            (
                "Books",
                "do not balance" if off else "balance",
                ", ".join(off) or f"in all {len(data['stages'])} stages",
            )
        )
    return facts


def _falls(corpora: Mapping[str, Any], variants: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Per variant: what came in, what each rule took in turn, what is left; widths in per cent of what came
    in.
    """
    order = [row["variant"] for row in variants] or sorted(corpora)
    falls = []
    for name in [*order, *sorted(set(corpora) - set(order))]:
        summary = corpora.get(name)
        if not summary:
            continue
        train = summary.get("train", {"documents": 0, "text_bytes": 0})
        steps = summary.get("waterfall", [])
        came_in = {
            key: train[key] + sum(step[own] for step in steps)
            for key, own in (("documents", "dropped"), ("text_bytes", "text_bytes"))
        }
        whole = came_in["documents"] or 1
        left = came_in["documents"]
        rows = []
        for step in steps:
            left -= step["dropped"]
            rows.append(
                {
                    "rule": step["rule"],
                    "documents": step["dropped"],
                    "text_bytes": step["text_bytes"],
                    "share": step["dropped"] / whole,
                    "left": round(100 * left / whole, 2),
                    "width": round(100 * step["dropped"] / whole, 2),
                }
            )
        falls.append(
            {
                "variant": name,
                "in": came_in,
                "steps": rows,
                "kept": train,
                "share": train["documents"] / whole,
                "width": round(100 * train["documents"] / whole, 2),
                "by_source": summary.get("by_source", {}),
            }
        )
    return falls


def _rejections(stages: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, int]]:
    """The ten largest reasons of loss before the variants: stage, dropped or rejected, reason, documents."""
    rows = [
        (stage["stage"], kind, reason, count)
        for stage in stages
        if not stage["stage"].startswith(("curate/", "shape/", "pack/"))
        for kind in ("rejected", "dropped")
        for reason, count in stage[kind].items()
        if count
    ]
    return sorted(rows, key=lambda row: (-row[3], row))[:10]


def _shaped(shaped: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a variant and shape: documents read, made, merged into those, and reasons of those in none."""
    rows = []
    for variant, summary in shaped.items():
        for shape, counts in summary.get("by_shape", {}).items():
            fates = {fate: count for fate, count in counts.items() if fate != "documents"}
            made, merged = fates.pop("kept", 0), fates.pop("merged_into", 0)
            none = ", ".join(f"{count:,} {fate}" for fate, count in sorted(fates.items()))
            row = {"variant": variant, "shape": shape or "as they were", "read": counts["documents"]}
            rows.append({**row, "made": made, "merged": merged, "none": none or "none"})
    return rows


def _packed(packed: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A variant's samples, and a row a source of it."""
    rows = []
    for variant, summary in packed.items():
        total = summary["tokens"] or 1
        sources = [
            {"source": source, "share": counts["tokens"] / total, **counts}
            for source, counts in summary["by_source"].items()
        ]
        told = {name: summary[name] for name in ("samples", "tokens", "padding", "length")}
        rows.append({"variant": variant, "by_source": sources, **told})
    return rows


def _forest(judgement: Judgement) -> dict[str, Any]:
    """Groups of rows with their places on a common axis."""
    groups: list[dict[str, Any]] = []
    drawn: list[float] = []
    spread: list[float] = []
    for arm in judgement.arms:
        rows: list[dict[str, Any]] = []
        entries: list[tuple[str, str, Comparison | None, str, SliceEffect | None]] = [
            ("all proxies, all sources", "primary", arm.pooled.comparison, arm.pooled.verdict, None)
        ]
        entries += [
            (verdict.proxy, "proxy", verdict.comparison, verdict.verdict, None)
            for verdict in (arm.by_proxy if len(arm.by_proxy) > 1 else ())
        ]
        entries += [
            (effect.name.removeprefix("source/"), "source", effect.comparison, "", effect)
            for effect in arm.slices
            if effect.name.startswith("source/")
        ]
        for label, kind, comparison, verdict, effect in entries:
            if comparison is None:
                continue
            low, high = comparison.interval or (comparison.delta, comparison.delta)
            rows.append(
                {
                    "label": label,
                    "kind": kind,
                    "delta": comparison.delta,
                    "low": low,
                    "high": high,
                    "known": comparison.interval is not None,
                    "verdict": verdict,
                    "documents": effect.documents if effect else None,
                    "small": effect is not None and effect.documents < FEW_DOCUMENTS,
                }
            )
            (spread if kind == "source" else drawn).extend([comparison.delta, low, high])
        if rows:
            groups.append({"variant": arm.variant, "random_like": arm.random_like, "arm": arm, "rows": rows})
    if not groups:
        return {"groups": [], "ticks": [], "zero": 0, "margin": (0, 0)}
    margin = judgement.plan.margin_bits_per_byte
    # One wild source must not squeeze the numbers that decide: its interval is cut, with an arrow.
    limit = 2 * max(margin, *map(abs, drawn))
    drawn += [min(max(value, -limit), limit) for value in spread]
    axis = figures.Axis.around(drawn, always=(0.0, -margin, margin))
    for group in groups:
        for row in group["rows"]:
            row["at"] = axis.at(row["delta"])
            row["left"], row["width"] = axis.span(row["low"], row["high"])
            row["cut_left"], row["cut_right"] = row["low"] < axis.low, row["high"] > axis.high
    return {
        "groups": groups,
        "ticks": axis.ticks(),
        "zero": axis.at(0.0),
        "margin": axis.span(-margin, margin),
    }


def _charts(judgement: Judgement, series: Mapping[str, int]) -> list[dict[str, Any]]:
    """For each proxy the curves themselves and their paired gap to the baseline."""
    charts = []
    for index, proxy in enumerate(judgement.plan.proxies):
        curves = [curve for curve in judgement.curves if curve.proxy == proxy and len(curve.bytes_seen) > 1]
        if not curves:
            continue
        level = [_after_start(curve, series) for curve in curves]
        gaps = [
            figures.Line(
                curve.variant,
                series[curve.variant],
                curve.gap_bytes,
                curve.gap_mean,
                curve.gap_low,
                curve.gap_high,
            )
            for curve in curves
            if len(curve.gap_bytes) > 1
        ]
        charts.append(
            {
                "proxy": proxy,
                "level": figures.line_chart(
                    level,
                    ident=f"curve-{index}",
                    title=f"Learning curves of {proxy}",
                    description=_describe(curves),
                    y_label="held-out bits per byte",
                ),
                "gap": figures.line_chart(
                    gaps,
                    ident=f"gap-{index}",
                    title=f"Learning curves of {proxy} relative to {judgement.plan.baseline}",
                    description="Below zero the variant is ahead of the baseline.",
                    y_label=f"against {judgement.plan.baseline} (below zero is better)",
                    signed=True,
                    band=judgement.plan.margin_bits_per_byte,
                ),
            }
        )
    return charts


def _after_start(curve: Curve, series: Mapping[str, int]) -> figures.Line:
    """Leaves out the steep start, above 1.3 times the end, which would flatten all the rest."""
    last = len(curve.mean) - 1
    keep = [i for i, score in enumerate(curve.mean) if score <= 1.3 * curve.mean[-1] or i >= last - 2]
    return figures.Line(
        curve.variant,
        series[curve.variant],
        *([values[i] for i in keep] for values in (curve.bytes_seen, curve.mean, curve.low, curve.high)),
    )


def _describe(curves: Sequence[Curve]) -> str:
    return "; ".join(f"{curve.variant} ends at {curve.mean[-1]:.4f}" for curve in curves) + " bits per byte."


def _frontier(variants: Sequence[Mapping[str, Any]], plan: StudyPlan, series: Mapping[str, int]) -> Markup:
    points = [
        {
            "name": row["variant"],
            "series": series[row["variant"]],
            "kept": row["text_bytes_share"],
            "delta": row["delta"],
            "low": row["low"],
            "high": row["high"],
        }
        for row in variants
        if row["verdict"] and row["text_bytes_share"] is not None and row["low"] is not None
    ]
    return figures.frontier_chart(points, ident="frontier", baseline=plan.baseline, margin=plan.margin_bits_per_byte)


def _heat(judgement: Judgement) -> dict[str, Any]:
    """Slices down, variants across; the colour scale is the 90th percentile of the differences."""
    arms = [arm for arm in judgement.arms if arm.slices]
    effects = {(arm.variant, effect.name): effect for arm in arms for effect in arm.slices}
    kinds = ("source", "language", "code")
    names = sorted({name for _, name in effects}, key=lambda name: (kinds.index(name.split("/", 1)[0]), name))
    sizes = sorted(abs(effect.comparison.delta) for effect in effects.values())
    scale = sizes[math.ceil(0.9 * len(sizes)) - 1] if sizes else 0.0
    rows = []
    for name in names:
        cells: list[dict[str, Any] | None] = []
        for arm in arms:
            effect = effects.get((arm.variant, name))
            if effect is None:
                cells.append(None)
                continue
            direction, strength = figures.heat(effect.comparison.delta, scale)
            cells.append(
                {
                    "delta": effect.comparison.delta,
                    "direction": direction,
                    "strength": strength,
                    "p_adjusted": effect.p_adjusted,
                    "found": effect.p_adjusted is not None and effect.p_adjusted < judgement.plan.alpha,
                }
            )
        documents = next(effect.documents for (_, other), effect in effects.items() if other == name)
        kind, label = name.split("/", 1)
        rows.append(
            {
                "kind": kind,
                "label": label,
                "documents": documents,
                "small": documents < FEW_DOCUMENTS,
                "cells": cells,
            }
        )
    return {"variants": [arm.variant for arm in arms], "rows": rows}


def verdict_table_text(judgement: Judgement, width: int = 100) -> str:
    """The headline and the verdict table for a terminal, at most `width` columns wide where names allow."""
    plan = judgement.plan
    level = f"{1 - plan.alpha:.0%} interval"
    head = ("variant", "verdict", "bits/byte", level, "p", "would see", "worth")
    rows = []
    for row in variant_rows(judgement, {}):
        if row["verdict"] is None:
            score = "n/a" if row["bits_per_byte"] is None else f"{row['bits_per_byte']:.4f}"
            rows.append((row["variant"], "baseline", score, "", "", "", ""))
            continue
        name = f"  {row['variant']}" if row["role"] == "null" else row["variant"]
        interval = "" if row["low"] is None else f"{row['low']:+.4f} {row['high']:+.4f}"
        worth = "" if row["multiplier"] is None else f"{row['multiplier_bound']}{row['multiplier']:.2f}x"
        rows.append(
            (
                name,
                WORDS.get(row["verdict"], row["verdict"]),
                format_delta(row["delta"]),
                interval,
                "" if row["p_corrected"] is None else format_p(row["p_corrected"]),
                format_number(row["minimum_detectable_effect"], 4) if row["low"] is not None else "",
                worth,
            )
        )
    others = sum(max(len(row[i]) for row in [head, *rows]) + 2 for i in range(1, len(head)))
    longest = max(width - others, 12)
    rows = [(_shortened(row[0], longest), *row[1:]) for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = textwrap.wrap(judgement.headline.replace("`", ""), width) + [""]
    for line in [head, tuple("-" * size for size in widths), *rows]:
        cells = [
            cell.ljust(size) if i < 2 else cell.rjust(size)
            for i, (cell, size) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    notes = [caveat.text for caveat in judgement.caveats]
    if notes:
        lines.append("")
        for note in notes:
            lines += textwrap.wrap(f"! {note}", width, subsequent_indent="  ")
    return "\n".join(_printable(line) for line in lines)


def _printable(line: str) -> str:
    """Without control characters, which could steer a terminal."""
    return "".join(char if char.isprintable() else "?" for char in line)


def _shortened(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


__all__ = ["render_html", "render_markdown", "verdict_table_text", "write_report"]
