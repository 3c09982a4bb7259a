"""Distributions of a dataset as plain numbers (VIVID-10M's tables), and query results as aligned text."""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from manifests.dataset import Dataset
from manifests.ids import VARIANT_CODES

Values = npt.NDArray[np.float64]

QUANTILES = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}

_WORDS = r"SELECT len(regexp_extract_all(caption_{0}, '\S+')) FROM tracks WHERE caption_{0} IS NOT NULL"
_AREA = "SELECT area_mean FROM tracks WHERE role = '{0}'"
_VARIANT_AREA = "SELECT any_value(area_mean) FROM samples WHERE mask_variant = '{0}' GROUP BY track_id"
_MOTION = "SELECT {0}_motion FROM tracks WHERE role = 'entity' AND {0}_motion IS NOT NULL"
_STABILITY = "SELECT stability FROM tracks WHERE role = '{0}' AND stability IS NOT NULL"
_PLACEMENTS = (
    "(SELECT t.*, c.width, c.height FROM tracks t JOIN clips c ON t.clip_id = c.clip_id WHERE t.role = 'pasted' "
    "QUALIFY row_number() OVER (PARTITION BY t.clip_id, donor_track_id, dx, dy, scale ORDER BY track_id) = 1)"
)
"""A clip's two pasted tracks share donor and place as a rule: that is one placement."""
_SCALE = f"SELECT scale FROM {_PLACEMENTS} WHERE scale IS NOT NULL"
_CENTRE = f"SELECT (box[{{0}}] + box[{{1}}]) / 2 / {{2}} FROM {_PLACEMENTS} ORDER BY track_id"


class StatisticsSettings(BaseModel, frozen=True, extra="forbid"):
    """How finely distributions are cut."""

    bins: int = Field(default=24, ge=2, description="bins of a histogram, about: edges are round numbers")
    top_quantile: float = Field(
        default=0.99,
        gt=0.5,
        le=1,
        description="open scales end at this quantile, and what lies above counts in the last bin; at 1 a single "
        "outlier squeezes everything else into the first bin",
    )
    grid: tuple[int, int] = Field(default=(12, 8), description="columns and rows of the map of pasted positions")


def statistics(dataset: Dataset, settings: StatisticsSettings | None = None) -> dict[str, Any]:
    """Distributions of captions, mask areas, motion, stability and pasting; JSON-able, independent of file order.

    Every group maps names to histograms that share their edges (see `histogram`): ``caption_words`` (short, medium,
    long; per entity track), ``mask_area`` (entity, pasted; mean fraction of the frame per track), ``variant_area`` (the
    six mask variants), ``motion`` (foreground, background, relative; frame diagonals per second), ``stability`` (cycle
    IoU), ``paste_scale`` (donor pixels to target pixels) and ``paste_position`` (centre, fractions of width and
    height). ``paste_grid`` counts positions on a grid: rows from the top, columns from the left.
    """
    settings = settings or StatisticsSettings()
    with dataset.connect() as db:

        def group(sql: str, names: Iterable[str]) -> dict[str, Values]:
            return {name: _values(db, sql.format(name)) for name in names}

        words = group(_WORDS, ("short", "medium", "long"))
        areas = group(_AREA, ("entity", "pasted"))
        variants = group(_VARIANT_AREA, VARIANT_CODES)
        motion = group(_MOTION, ("foreground", "background", "relative"))
        stability = group(_STABILITY, ("entity",))
        scale = {"scale": _values(db, _SCALE)}
        x, y = _values(db, _CENTRE.format(1, 3, "width")), _values(db, _CENTRE.format(2, 4, "height"))
    unit_edges = [round(i / 20, 2) for i in range(21)]
    return {
        "caption_words": _histograms(words, _open_edges(words, settings, whole=True)),
        "mask_area": _histograms(areas, _open_edges(areas, settings)),
        "variant_area": _histograms(variants, _open_edges(variants, settings)),
        "motion": _histograms(motion, _open_edges(motion, settings)),
        "stability": _histograms(stability, unit_edges),
        "paste_scale": _histograms(scale, _open_edges(scale, settings)),
        "paste_position": _histograms({"x": x, "y": y}, unit_edges),
        "paste_grid": _grid(x, y, *settings.grid),
    }


def _values(db: duckdb.DuckDBPyConnection, sql: str) -> Values:
    column = next(iter(db.execute(sql).fetchnumpy().values()))
    return np.asarray(column, dtype=np.float64)


def _histograms(values: Mapping[str, Values], edges: Sequence[float]) -> dict[str, Any]:
    return {name: histogram(of, edges) for name, of in values.items()}


def histogram(values: Values, edges: Sequence[float]) -> dict[str, Any]:
    """A distribution as JSON-able numbers.

    ``edges`` (n + 1) and ``counts`` (n): bin i holds edges[i] ≤ value < edges[i + 1]; what lies outside counts in the
    first or last bin. ``count``, ``mean``, ``min``, ``max`` and the quantiles are of the values themselves, None when
    there are none.
    """
    ordered = np.sort(values)
    inner = np.asarray(edges[1:-1], dtype=np.float64)
    counts = np.bincount(np.searchsorted(inner, ordered, side="right"), minlength=len(edges) - 1)
    measures: dict[str, float | None] = dict.fromkeys(("mean", "min", *QUANTILES, "max"))
    if len(ordered):
        measures |= {"mean": ordered.mean(), "min": ordered[0], "max": ordered[-1]}
        measures |= {name: float(np.quantile(ordered, share)) for name, share in QUANTILES.items()}
    return {
        "count": len(ordered),
        **{name: None if value is None else round(float(value), 6) for name, value in measures.items()},
        "edges": [float(edge) for edge in edges],
        "counts": [int(count) for count in counts],
    }


def _open_edges(values: Mapping[str, Values], settings: StatisticsSettings, *, whole: bool = False) -> list[float]:
    """Common round edges from 0 for values with no natural upper end; `whole` for counts of things."""
    pooled = np.concatenate(list(values.values()))
    top = float(np.quantile(pooled, settings.top_quantile)) if len(pooled) else 1.0
    step = round_step(max(top, 1e-6) / settings.bins)
    if whole:
        step = max(1.0, math.ceil(step))
    # One more bin where the top lies on an edge: a bin excludes its upper end.
    return [round(i * step, 9) for i in range(math.floor(top / step + 1e-9) + 2)]


def round_step(least: float) -> float:
    """The smallest of …, 0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5, 10, … that is at least `least` > 0."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(round(factor * power, 12) for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))


def _grid(x: Values, y: Values, columns: int, rows: int) -> dict[str, Any]:
    counts = np.zeros((rows, columns), dtype=np.int64)
    column = np.clip((x * columns).astype(np.int64), 0, columns - 1)
    row = np.clip((y * rows).astype(np.int64), 0, rows - 1)
    np.add.at(counts, (row, column), 1)
    return {"columns": columns, "rows": rows, "counts": counts.tolist()}


MAX_CELL = 80
"""Widest cell of `format_table`, characters; a terminal shows no more in one line."""


def format_table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under their column names as aligned plain text, numbers to the right, with the number of rows below.

    Long texts are cut with an ellipsis, and characters that would move a terminal's cursor are replaced.
    """
    material = [list(row) for row in rows]
    cells = [list(names), *([_cell(value) for value in row] for row in material)]
    widths = [max(_width(line[column]) for line in cells) for column in range(len(names))]
    right = [all(_is_number(row[column]) for row in material) and bool(material) for column in range(len(names))]
    lines = ["  ".join(map(_padded, line, widths, right)).rstrip() for line in cells]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join([*lines, f"({len(material)} {'row' if len(material) == 1 else 'rows'})"])


def format_csv(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under their column names as CSV, whole and unrounded, for files and other programs; null is an empty field.

    Lines end in a line feed, also the last.
    """
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return sink.getvalue()


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = "".join(c if c.isprintable() else " " if c.isspace() else "�" for c in text)
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"


def _width(text: str) -> int:
    """Columns a terminal uses: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in ("W", "F") else 1 for c in text
    )


def _padded(text: str, width: int, right: bool) -> str:
    blank = " " * (width - _width(text))
    return blank + text if right else text + blank
