"""What a phase is to the runners: how a part's records are loaded, and how the finished part is committed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from manifests.commits import Commit
from manifests.records import RejectRow
from manifests.storage import Store
from models.registry import ModelResources
from pipeline.config import Pool
from stages.stage import Record, Reject


@dataclass(frozen=True)
class PhaseSpec:
    """All a worker must know of a phase; travels to the workers."""

    phase: str
    url: str
    epoch: int
    seed: int
    roots: dict[str, str]
    pools: tuple[Pool, ...]
    settings: dict[str, dict[str, object]]
    """Settings of each stage by name."""
    bank: str | None = None
    models: ModelResources = field(default_factory=ModelResources)


@dataclass(frozen=True)
class PartItem:
    """One part on its way through the pools.

    `records` are what the driver knows of them, then what the pools have made of them; `retried` are ids that failed
    in an earlier part; `bank` is the number of the donor bank; `seconds` adds up the time of each stage.
    """

    part: int
    records: tuple[Record, ...]
    retried: frozenset[str] = frozenset()
    bank: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)


class Phase(Protocol):
    """Loads and commits the parts of one phase."""

    def load(self, store: Store, item: PartItem, /) -> Sequence[Record]:
        """The part's records, ready for the first stage."""
        ...

    def finish(self, store: Store, epoch: int, item: PartItem) -> Commit:
        """Write the part's files and commit them."""
        ...


def reject_rows(phase: str, part: int, rejects: Iterable[Reject], hide: Sequence[str] = ()) -> list[RejectRow]:
    """Rows of `rejects`; texts in `hide` (absolute folders) do not reach the manifest."""
    rows = []
    for reject in rejects:
        message = reject.message
        for secret in hide:
            message = message.replace(secret, "…")
        rows.append(
            RejectRow(
                id=reject.id,
                level=reject.level,
                phase=phase,
                part=part,
                stage=reject.stage,
                state=reject.state,
                reason=reject.reason,
                value=reject.value,
                threshold=reject.threshold,
                message=message,
            )
        )
    return rows


def retried_row(record: Record, phase: str, part: int) -> RejectRow:
    """The row that says an earlier failure of this record has been made good."""
    return RejectRow(record.id, record.level, phase, part, phase, "kept", "retried", None, None, "kept on retry")


def state_counts(records: Iterable[Record]) -> dict[str, int]:
    """How many records are kept, filtered and failed."""
    counts = {"kept": 0, "filtered": 0, "failed": 0}
    for record in records:
        counts[state_of(record)] += 1
    return counts


def state_of(record: Record) -> str:
    """kept, filtered or failed."""
    own = [reject for reject in record.rejects if reject.id == record.id]
    if not record.dropped:
        return "kept"
    return "failed" if any(reject.state == "failed" for reject in own) else "filtered"
