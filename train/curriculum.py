"""The examples of every forward pass of a training: its courses, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import DataLoader

from train.data import DataError, EditSamples, Example, LatentStore, SampleReader
from train.mixing import Mixing, RankBatches, Slot, Stratum
from train.sample_table import SampleTable
from train.settings import TrainSettings


class Curriculum:
    """What a training sees, as a function of the global step: a course goes on where the one before it has stopped.

    Args:
        url: folder or URL of the dataset.
        table: its samples.
        settings: courses, sizes and the seed.
        latents: precomputed latents, if there are.

    Raises ValueError when a course finds nothing to train on.
    """

    def __init__(
        self, url: str, table: SampleTable, settings: TrainSettings, latents: LatentStore | None = None
    ) -> None:
        self.url, self.table, self.settings, self.latents = url, table, settings, latents
        counts, first = table.counts(), 0
        before: dict[Stratum, int] = {}
        self._mixings = list[Mixing]()
        for course in settings.courses:
            # Each goes on with the samples behind those that the courses before it have shown.
            mixing = Mixing(course.mixing, counts, settings.batch_size, settings.seed, first, before)
            self._mixings.append(mixing)
            first += course.steps * settings.accumulation
            before = mixing.turns_until(first)

    def missing(self) -> list[str]:
        """What courses ask for and the dataset does not have, a sentence each."""
        missing = [mixing.missing() for mixing in self._mixings]
        return [
            f"course {number}: the dataset has no {', no '.join(names)}; the rest is trained on"
            for number, names in enumerate(missing)
            if names
        ]

    def examples(self, start: int, end: int, rank: int = 0, ranks: int = 1) -> Iterator[list[Example]]:
        """One process's examples of each forward pass, from step `start` up to step `end`. Raises DataError."""
        while start < end:
            number, first = self.settings.course_at(start)
            stop = min(end, first + self.settings.courses[number].steps)
            for batch in self._loader(number, start, stop, rank, ranks):
                yield [_whole(example) for example in batch]
            start = stop

    def _loader(self, course: int, start: int, end: int, rank: int, ranks: int) -> DataLoader[Example | DataError]:
        settings, mixing = self.settings, self._mixings[course]
        reader = SampleReader(self.url, settings.courses[course].windows, settings.seed, self.latents)
        passes = settings.accumulation
        return DataLoader(
            _Told(EditSamples(reader, mixing, self.table)),  # type: ignore[arg-type]
            # Numbered over all courses: one that counted anew would draw the same windows and noise again.
            batch_sampler=RankBatches(mixing, start * passes, end * passes, rank, ranks),
            num_workers=settings.workers,
            collate_fn=list,
            multiprocessing_context="forkserver" if settings.workers else None,
        )


class _Told:
    """Hands an error over as a value: raised in a loader's process it would arrive as the text of a traceback."""

    def __init__(self, samples: EditSamples) -> None:
        self.samples = samples

    def __getitem__(self, slot: Slot) -> Example | DataError:
        try:
            return self.samples[slot]
        except DataError as error:
            return error


def _whole(example: Example | DataError) -> Example:
    if isinstance(example, DataError):
        raise example
    return example
