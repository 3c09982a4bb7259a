"""Distributions as tables with small inline SVG histograms; colours and text sizes come from the page's style."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manifests.gallery_html import Html, element, joined
from manifests.statistics import round_step

WIDTH, HEIGHT, AXIS = 240, 34, 16
"""Pixels of a histogram and of the numbers below it."""
TICKS = 5
MIN_VALUES = 5
"""Fewer values are given in numbers only: their histogram would show nothing but chance."""
_PLACEMENTS = "A clip's two pasted tracks share their place as a rule and then count once."


@dataclass(frozen=True)
class Chart:
    """How one group of `manifests.statistics.statistics` is presented. `percent` shows fractions as per cent."""

    group: str
    title: str
    note: str
    percent: bool = False


CHARTS = (
    Chart("caption_words", "Caption length", "Words per caption of every entity track, for the three kinds."),
    Chart("mask_area", "Mask area", "Mean area of a track, per cent of the frame.", percent=True),
    Chart(
        "variant_area",
        "Mask area by variant",
        "Mean area of the masks that samples use, per cent of the frame; once per track, entity or pasted.",
        percent=True,
    ),
    Chart(
        "motion",
        "Motion",
        "Mean speed of entities in videos (foreground), of the background there, and of one against the other, in "
        "frame diagonals per second.",
    ),
    Chart(
        "stability",
        "Track stability",
        "Entities in videos: tracked there and back, the overlap (IoU) with the first mask.",
    ),
    Chart(
        "paste_scale",
        "Scale of pasted masks",
        f"Deletion: size on the new clip over size on the clip it comes from. {_PLACEMENTS}",
    ),
    Chart(
        "paste_position",
        "Position of pasted masks",
        f"Deletion: the mask's centre on the keyframe, per cent of width (x) and height (y). {_PLACEMENTS}",
        percent=True,
    ),
)


def distributions(numbers: Mapping[str, Any]) -> Html:
    """All charts of a dataset's statistics; those without a single value are left out."""
    shown = [chart for chart in CHARTS if any(of["count"] for of in numbers[chart.group].values())]
    return joined(_chart(chart, numbers) for chart in shown)


def _chart(chart: Chart, numbers: Mapping[str, Any]) -> Html:
    histograms: Mapping[str, Mapping[str, Any]] = numbers[chart.group]
    titles = ("", "", "count", "mean", "median", "5% to 95%")
    enough = {name: histogram for name, histogram in histograms.items() if histogram["count"] >= MIN_VALUES}
    rows = [
        element(
            "tr",
            element("th", name.replace("_", " + "), scope="row"),
            element("td", histogram_svg(histogram, chart.percent) if name in enough else "too few for a histogram"),
            *(element("td", text) for text in _figures(histogram, chart.percent)),
            class_=None if name in enough else "few",
        )
        for name, histogram in histograms.items()
    ]
    more: list[str] = []
    if enough:
        axis = _axis_svg(next(iter(enough.values()))["edges"], chart.percent)
        rows.append(element("tr", element("td"), element("td", axis), class_="axis"))
        more += _overflow(enough.values(), chart.percent)
        if chart.group == "paste_position":
            more.append(position_map(numbers["paste_grid"]))
    head = element("thead", element("tr", *(element("th", title) for title in titles)))
    table = element("table", head, element("tbody", *rows), class_="chart")
    return element("section", element("h3", chart.title), element("p", chart.note), table, *more, class_="card")


def _overflow(histograms: Iterable[Mapping[str, Any]], percent: bool) -> list[str]:
    """A sentence on the last bar where it holds values beyond the scale, too."""
    material = list(histograms)
    largest, end = max(of["max"] for of in material), material[0]["edges"][-1]
    if largest <= end:
        return []
    return [element("p", f"The last bar also holds what lies beyond the scale, up to {_short(largest, percent)}.")]


def _figures(histogram: Mapping[str, Any], percent: bool) -> list[str]:
    """Count, mean, median and the middle 90 per cent as texts."""
    if not histogram["count"]:
        return ["0", "", "", ""]
    factor = 100 if percent else 1
    mean, median, low, high = (_short(factor * histogram[key]) for key in ("mean", "p50", "p05", "p95"))
    return [f"{histogram['count']:,}", mean, median, f"{low} – {high}"]


def _short(value: float, percent: bool = False) -> str:
    """A number in about three digits, without exponents; `percent` shows a fraction as per cent."""
    if percent:
        return f"{_short(100 * value)}%"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def histogram_svg(histogram: Mapping[str, Any], percent: bool) -> Html:
    """Bars of equal width; heights relative to the fullest bin; every bar says its range and count when pointed at."""
    counts, edges = histogram["counts"], histogram["edges"]
    top, step = max(max(counts), 1), WIDTH / len(counts)
    bars = []
    for index, count in enumerate(counts):
        if not count:
            continue
        height = max(1.0, (HEIGHT - 1) * count / top)
        low, high = (_short(edge, percent) for edge in edges[index : index + 2])
        bars.append(
            element(
                "rect",
                element("title", f"{low} to {high}: {count:,}"),
                x=f"{index * step + 0.5:.2f}",
                y=f"{HEIGHT - 1 - height:.2f}",
                width=f"{max(1.0, step - 1):.2f}",
                height=f"{height:.2f}",
            )
        )
    base = element("line", x1=0, x2=WIDTH, y1=HEIGHT - 0.5, y2=HEIGHT - 0.5)
    return _svg(WIDTH, HEIGHT, "bars", *bars, base)


def _axis_svg(edges: Sequence[float], percent: bool) -> Html:
    """Round numbers under the bars."""
    low, high = edges[0], edges[-1]
    step = round_step((high - low) / TICKS)
    ticks = [round(low + i * step, 9) for i in range(int((high - low) / step + 1e-9) + 1)]
    texts = []
    for tick in ticks:
        x = (tick - low) / (high - low) * WIDTH
        anchor = "start" if x < 8 else "end" if x > WIDTH - 8 else "middle"
        texts.append(element("text", _short(tick, percent), x=f"{x:.2f}", y=12, text_anchor=anchor))
    return _svg(WIDTH, AXIS, "ticks", *texts)


def position_map(grid: Mapping[str, Any]) -> Html:
    """The frame as a grid with its legend; the fuller a cell's colour, the more masks have their centre there."""
    side = 20
    top = max(max(row) for row in grid["counts"]) or 1
    cells = [
        element(
            "rect",
            element("title", f"{count:,}"),
            x=column * side + 1,
            y=row * side + 1,
            width=side - 2,
            height=side - 2,
            fill_opacity=f"{0.07 + 0.93 * count / top:.3f}",
        )
        for row, line in enumerate(grid["counts"])
        for column, count in enumerate(line)
    ]
    plan = _svg(grid["columns"] * side, grid["rows"] * side, "map", *cells)
    legend = (
        "Map of the frame, its top edge above. A pale cell holds no mask's centre, a full blue one the most of all "
        f"cells, {top:,}."
    )
    return element("figure", plan, element("figcaption", legend))


def _svg(width: int, height: int, kind: str, *content: Html) -> Html:
    return element("svg", *content, viewBox=f"0 0 {width} {height}", width=width, height=height, class_=kind)
