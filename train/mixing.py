"""Which samples a training step sees: a pure function of the seed and the batch's number (VIVID-10M, joint training).

A batch is all images or all videos, image batches : video batches = 10 : 1; add & modify : delete = 3 : 1 within each
kind; every sample of a kind and task comes once per pass over them. Ratios are kept exactly in every block of batches,
in a random order within it. As nothing is remembered from batch to batch, a run resumes to the sample at any step, and
all ranks agree without talking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel, Field

from manifests.ids import draw_fraction, draw_order
from train.permutation import permuted

KINDS = ("image", "video")
TASKS = ("add_modify", "delete")
Stratum = tuple[str, str]
"""Kind and task."""


class MixingSettings(BaseModel, frozen=True, extra="forbid"):
    """Shares of the batches and of the samples in them. A share of 0 leaves that kind or task out."""

    images: int = Field(default=10, ge=0, description="batches of images per block (VIVID-10M: 10)")
    videos: int = Field(default=1, ge=0, description="batches of videos per block (VIVID-10M: 1)")
    add_modify: int = Field(default=3, ge=0, description="add & modify samples per block of samples (VIVID-10M: 3)")
    delete: int = Field(default=1, ge=0, description="deletion samples per block of samples (VIVID-10M: 1)")
    kive: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="probability that a video sample is given its first frame unmasked (keyframe-guided editing)",
    )


@dataclass(frozen=True)
class Slot:
    """One place in a batch: the `turn`-th sample of its kind and task, counted over the whole training.

    `key` names the slot for every draw that belongs to it (window, noise, timestep, dropped caption).
    """

    key: str
    kind: str
    task: str
    turn: int
    kive: bool


class Mixing:
    """Slots of every batch from the `first` on.

    Args:
        settings: shares.
        counts: number of samples per kind and task; empty ones are left out.
        batch_size: samples in a batch, over all ranks.
        seed: of every draw.
        first: number of the batch from which on batches are mixed so.
        before: turns that each kind and task has had until then: this mixture goes on with the samples that follow.

    Raises ValueError when nothing is left to train on.
    """

    def __init__(
        self,
        settings: MixingSettings,
        counts: Mapping[Stratum, int],
        batch_size: int,
        seed: int,
        first: int = 0,
        before: Mapping[Stratum, int] | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"a batch holds at least one sample, not {batch_size}")
        self.settings, self.counts, self.batch_size, self.seed = settings, dict(counts), batch_size, seed
        shares = {"image": settings.images, "video": settings.videos}
        task_shares = {"add_modify": settings.add_modify, "delete": settings.delete}
        self._tasks = {
            kind: {task: share for task, share in task_shares.items() if share and counts.get((kind, task))}
            for kind in KINDS
        }
        self._kinds = {kind: share for kind, share in shares.items() if share and self._tasks[kind]}
        if not self._kinds:
            asked = ", ".join(name for name, share in {**shares, **task_shares}.items() if share)
            raise ValueError(f"the dataset has no sample of what is asked for ({asked or 'nothing'})")
        self._before = dict(before or {})
        # Against the turns that this mixture would have given, had it held from the beginning.
        self._ahead = {stratum: self._before.get(stratum, 0) - turns for stratum, turns in self._turns(first).items()}

    def missing(self) -> list[str]:
        """What the shares ask for and the dataset does not have, in words."""
        wanted_kinds = {"image": self.settings.images, "video": self.settings.videos}
        wanted_tasks = {"add_modify": self.settings.add_modify, "delete": self.settings.delete}
        return [
            f"{task} samples of {kind}s"
            for kind, kind_share in wanted_kinds.items()
            for task, task_share in wanted_tasks.items()
            if kind_share and task_share and not self.counts.get((kind, task))
        ]

    def batch(self, number: int) -> list[Slot]:
        """All slots of the `number`-th batch (over all ranks), in order."""
        kind, place = self._spread(self._kinds, "kind", number)
        first = place * self.batch_size
        return [self._slot(kind, number, first + offset, offset) for offset in range(self.batch_size)]

    def _slot(self, kind: str, number: int, place: int, offset: int) -> Slot:
        task, turn = self._spread(self._tasks[kind], f"task of {kind}", place)
        turn += self._ahead[kind, task]
        key = f"batch {number} slot {offset}"
        kive = kind == "video" and draw_fraction(self.seed, key, "kive") < self.settings.kive
        return Slot(key, kind, task, turn, kive)

    def turns_until(self, end: int) -> dict[Stratum, int]:
        """Turns that each kind and task has had when batch `end` begins, those before this mixture counted in."""
        return {
            **self._before,
            **{stratum: turns + self._ahead[stratum] for stratum, turns in self._turns(end).items()},
        }

    def _turns(self, end: int) -> dict[Stratum, int]:
        """Turns of each kind and task in batches 0 to `end` (exclusive) of this mixture."""
        batches = self._had(self._kinds, "kind", end)
        return {
            (kind, task): turns
            for kind, count in batches.items()
            for task, turns in self._had(self._tasks[kind], f"task of {kind}", count * self.batch_size).items()
        }

    def _spread(self, shares: Mapping[str, int], name: str, number: int) -> tuple[str, int]:
        """Which of the shares has the `number`-th turn, and how many turns it has had before."""
        block, order, position = self._block(shares, name, number)
        choice = order[position]
        return choice, block * shares[choice] + order[:position].count(choice)

    def _had(self, shares: Mapping[str, int], name: str, number: int) -> dict[str, int]:
        """How many turns each share has had before the `number`-th turn."""
        block, order, position = self._block(shares, name, number)
        return {choice: block * share + order[:position].count(choice) for choice, share in shares.items()}

    def _block(self, shares: Mapping[str, int], name: str, number: int) -> tuple[int, list[str], int]:
        """The block that holds the `number`-th turn, its turns in their random order, and the turn's place there."""
        block, position = divmod(number, sum(shares.values()))
        # Distinct keys for the turns.
        turns = [f"{choice} {turn}" for choice, share in shares.items() for turn in range(share)]
        order = [turn.split(" ")[0] for turn in draw_order(self.seed, f"{name} block {block}", turns)]
        return block, order, position

    def row(self, slot: Slot, attempt: int = 0) -> int:
        """Number of the sample within its stratum. `attempt` > 0: another one, for a slot whose sample is broken."""
        count = self.counts[slot.kind, slot.task]
        passes, place = divmod(slot.turn, count)
        first = permuted(place, count, self.seed, f"{slot.kind} {slot.task} pass {passes}")
        return first if attempt == 0 else permuted(first, count, self.seed, f"instead {slot.key} {attempt}")


class RankBatches:
    """Batch sampler of one rank for a torch DataLoader: lists of slots, from batch `start` up to `end`.

    Every rank takes its own equal piece of every batch, so none can run out before the others.
    """

    def __init__(self, mixing: Mixing, start: int, end: int, rank: int = 0, ranks: int = 1) -> None:
        if mixing.batch_size % ranks or not 0 <= rank < ranks:
            raise ValueError(f"a batch of {mixing.batch_size} cannot be shared by {ranks} ranks (this one is {rank})")
        self.mixing, self.start, self.end, self.rank, self.ranks = mixing, start, end, rank, ranks

    def __len__(self) -> int:
        return max(0, self.end - self.start)

    def __iter__(self) -> Iterator[list[Slot]]:
        share = self.mixing.batch_size // self.ranks
        for number in range(self.start, self.end):
            yield self.mixing.batch(number)[self.rank * share : (self.rank + 1) * share]
