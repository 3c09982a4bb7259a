"""What a measurement says: a value with its target, and rows of plain figures beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Bound = Literal["at least", "at most"]


@dataclass(frozen=True)
class Figure:
    """One measured value and what it has to be."""

    name: str
    value: float
    bound: Bound
    target: float
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the value keeps its target."""
        return self.value >= self.target if self.bound == "at least" else self.value <= self.target

    @property
    def wanted(self) -> str:
        """The target as a person writes it."""
        return f"{'≥' if self.bound == 'at least' else '≤'} {self.target:.3g}"

    def document(self) -> dict[str, Any]:
        """The figure as JSON."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True)
class Table:
    """Figures without a target."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str | float, ...]]


@dataclass
class Report:
    """All that a measurement found."""

    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Take over what another measurement found."""
        self.figures += other.figures
        self.tables += other.tables

    def document(self) -> dict[str, Any]:
        """Everything as JSON."""
        return {
            "figures": [figure.document() for figure in self.figures],
            "tables": [asdict(table) for table in self.tables],
        }

    def markdown(self) -> str:
        """Everything as Markdown tables."""
        rows = [
            (figure.name, figure.value, figure.wanted, "yes" if figure.met else "**no**") for figure in self.figures
        ]
        parts = [_markdown_table(("what", "measured", "target", "met"), rows)] if rows else []
        parts += [f"**{table.title}**\n\n{_markdown_table(table.columns, table.rows)}" for table in self.tables]
        notes = [f"- {figure.name}: {figure.note}" for figure in self.figures if figure.note]
        return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])]) + "\n"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str | float]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def interleaved_least(ours: Callable[[], float], theirs: Callable[[], float], repetitions: int) -> tuple[float, float]:
    """Least costs of two things measured in turn: what is more is the machine's, such as memory it gives anew."""
    pairs = [(ours(), theirs()) for _ in range(repetitions)]
    return min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
