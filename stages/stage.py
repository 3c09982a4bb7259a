"""What a stage is, and the records that flow through stages.

A stage changes the record it is given: it reads some fields and writes others, both declared, so that a chain can be
checked before anything runs. It leaves things out by saying so (`Record.drop`, `Record.reject`), and lets errors rise:
the worker host turns them into a row of `rejects`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel

from manifests.storage import Store
from models.registry import ModelResources


@dataclass(frozen=True)
class Reject:
    """Why something was left out. `state` is filtered (a rule said so) or failed (something went wrong)."""

    id: str
    level: str
    stage: str
    state: str
    reason: str
    message: str
    value: float | None = None
    threshold: float | None = None


@dataclass
class Record:
    """One unit of work of a phase. `transient` fields are dropped when the record leaves its pool."""

    level: ClassVar[str] = "clip"
    transient: ClassVar[tuple[str, ...]] = ()

    id: str
    rejects: list[Reject] = field(default_factory=list, kw_only=True)
    dropped: bool = field(default=False, kw_only=True)

    def drop(
        self, stage: str, reason: str, message: str, *, value: float | None = None, threshold: float | None = None
    ) -> None:
        """Filter the whole record; later stages do not see it."""
        self.reject(self.id, self.level, stage, reason, message, value=value, threshold=threshold)
        self.dropped = True

    def reject(
        self,
        what: str,
        level: str,
        stage: str,
        reason: str,
        message: str,
        *,
        value: float | None = None,
        threshold: float | None = None,
        state: str = "filtered",
    ) -> None:
        """Note that a part of the record (a clip of a source, a track of a clip, …) was left out."""
        self.rejects.append(Reject(what, level, stage, state, reason, message, value, threshold))


@dataclass(frozen=True)
class Context:
    """What a stage may use of its surroundings."""

    store: Store
    scratch: Path
    """A folder for temporary files; removed when the worker ends."""
    seed: int
    roots: dict[str, str]
    """URL of every input root by alias."""
    bank: str | None = None
    """The donor bank's file (COMPOSE only)."""
    models: ModelResources = field(default_factory=ModelResources)
    """Where weights lie, and which device each network uses."""


RecordT = TypeVar("RecordT", bound=Record)


class NoSettings(BaseModel, frozen=True, extra="forbid"):
    """For a stage without a choice."""


class Stage(Generic[RecordT]):
    """One step of a phase.

    `version` is stamped into the run's semantic configuration: raise it whenever the same input gives another result.
    """

    Settings: ClassVar[type[BaseModel]] = NoSettings
    name: ClassVar[str]
    version: ClassVar[int] = 1
    reads: ClassVar[tuple[str, ...]] = ()
    writes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: BaseModel) -> None:
        self.settings = settings

    def setup(self, context: Context) -> None:
        """Called once in each worker before any record: load the model here."""
        self.context = context

    def prepare(self, record: RecordT) -> None:
        """CPU work that may run ahead, while `run` works on the record before: fetching, decoding."""

    def run(self, records: Sequence[RecordT]) -> None:
        """Do the work on a few records (as many as the pool's `batch`)."""
        raise NotImplementedError(f"stage {self.name} does nothing")

    def close(self) -> None:
        """Called once when the worker ends: free the device."""


def groups(records: Sequence[RecordT], model: object) -> Iterator[Sequence[RecordT]]:
    """Records as a model wants them: all together when it says ``batched = True``, else one by one.

    One by one each record is taken out of the sequence just before its turn, which seeds OpenCV's generator for it.
    """
    if getattr(model, "batched", False):
        yield records
        return
    for index in range(len(records)):
        yield records[index : index + 1]


def check_chain(stages: Sequence[type[Stage[RecordT]]], given: Sequence[str]) -> None:
    """Check that every field a stage reads is given or written upstream. Raises ValueError naming the first not."""
    known = set(given)
    for stage in stages:
        for name in stage.reads:
            if name not in known:
                raise ValueError(f"stage '{stage.name}' reads '{name}', which no stage before it writes")
        known.update(stage.writes)
