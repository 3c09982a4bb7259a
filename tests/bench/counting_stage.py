"""Counts the frames that FFmpeg hands out in a worker, whichever stage asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av

from stages.stage import Context, Stage
from stages.work import ClipWork


class CountingContainer:
    """An open file that counts the frames decoded from it, and is the file itself in everything else."""

    decoded = 0
    """Frames decoded in this process."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __enter__(self) -> CountingContainer:
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def decode(self, *streams: Any, **named: Any) -> Iterator[Any]:
        """Frames of the container, counted as they come."""
        for frame in self._container.decode(*streams, **named):
            CountingContainer.decoded += 1
            yield frame


@dataclass
class CountedClip(ClipWork):
    """A clip with the number of frames that its worker had decoded when it was done with it."""

    frames_decoded: int = 0


class CountDecoded(Stage[CountedClip]):
    """Notes the count on each record. Stands last in its pool."""

    name = "count_decoded"

    def setup(self, context: Context) -> None:
        super().setup(context)
        plain_open: Any = av.open

        def counting_open(*arguments: Any, **options: Any) -> CountingContainer:
            return CountingContainer(plain_open(*arguments, **options))

        setattr(av, "open", counting_open)  # noqa: B010 - the type checker refuses the assignment

    def run(self, records: Sequence[CountedClip]) -> None:
        for record in records:
            record.frames_decoded = CountingContainer.decoded
