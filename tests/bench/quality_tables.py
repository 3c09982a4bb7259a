"""Tables of measured figures and the targets they are held against, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Cell = str | int | float | None


@dataclass(frozen=True)
class Target:
    """A figure that must reach a bound: `value` at least (or, with `most`, at most) `bound`."""

    text: str
    value: float
    bound: float
    most: bool = False

    @property
    def reached(self) -> bool:
        """Whether it does; a figure that could not be measured does not."""
        return self.value <= self.bound if self.most else self.value >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.most else "≥"
        return f"{'ok' if self.reached else 'MISSED'}: {self.text} {_shown(self.value)} ({sign} {_shown(self.bound)})"


@dataclass
class Table:
    """One table with what it must show."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """A heading, the table, its targets and its notes."""
        lines = [
            f"### {self.title}",
            "",
            _line(self.columns),
            _line(["---" if index == 0 else "---:" for index in range(len(self.columns))]),
            *(_line([_shown(cell) for cell in row]) for row in self.rows),
            "",
        ]
        return "\n".join([*lines, *(f"- {item}" for item in [*self.targets, *self.notes]), ""])

    def document(self) -> dict[str, object]:
        """The same for a JSON file, with unrounded figures."""
        return {
            "title": self.title,
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
            "targets": [
                {"text": t.text, "value": t.value, "bound": t.bound, "most": t.most, "reached": t.reached}
                for t in self.targets
            ],
            "notes": self.notes,
        }


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(cell: Cell) -> str:
    if cell is None:
        return "–"
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)
