"""Propagate: first-frame masks through the clip, and the measured stability of each track.

A track is followed to the last frame and back; the IoU of the mask that returns with the first one (the cycle IoU) is
its stability. It costs a second pass, which may run on a strided subset of the frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, Field

from manifests.masks import Mask, MaskTrack, iou
from models.protocols import Image, Tracker
from models.registry import ModelChoice, make_model
from stages.stage import Context, Stage
from stages.work import ClipWork, Track


class PropagateSettings(BaseModel, frozen=True, extra="forbid"):
    """Which tracker, and how the way back is walked."""

    tracker: ModelChoice = Field(default=ModelChoice(name="colour_tracker"), description="the tracker")
    cycle_stride: int = Field(
        default=1, ge=1, description="the way back looks at every n-th frame; larger is cheaper and judges more harshly"
    )


class Propagate(Stage[ClipWork]):
    """Tracks all entities of a clip in one pass there and one pass back."""

    name = "propagate"
    reads = ("frames", "tracks")
    writes = ("tracks",)
    Settings = PropagateSettings
    settings: PropagateSettings

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.tracker: Tracker = make_model(self.settings.tracker, context.models)

    def run(self, records: Sequence[ClipWork]) -> None:
        for record in records:
            entities = record.of_role("entity")
            if record.clip.kind == "video" and entities:
                self._track(record.decoded(), entities)

    def _track(self, frames: Sequence[Image], tracks: Sequence[Track]) -> None:
        first = [track.masks.mask(0) for track in tracks]
        there = _transpose(self.tracker.track(frames, first), len(tracks))
        if len(there[0]) != len(frames):
            raise ValueError(
                f"the tracker {self.tracker.info.name} gave masks for {len(there[0])} of {len(frames)} frames"
            )
        last = [masks.mask(len(masks) - 1) for masks in there]
        back = self.tracker.track(_way_back(frames, self.settings.cycle_stride), last)
        returned: list[Mask] = last
        for returned in back:  # noqa: B007 - only the masks of the last step count
            pass
        for index, track in enumerate(tracks):
            track.masks = there[index]
            track.stability = round(iou(first[index], returned[index]), 4) if last[index].any() else 0.0
            track.stamp("tracker", self.tracker.info)


def _transpose(steps: Iterator[list[Mask]], count: int) -> list[MaskTrack]:
    """Masks per frame → one track per object, coding each frame as it comes."""
    tracks: list[list[str]] = [[] for _ in range(count)]
    size = (0, 0)
    for masks in steps:
        for counts, mask in zip(tracks, masks, strict=True):
            coded = MaskTrack.from_masks([mask])
            counts += coded.counts
            size = coded.size
    return [MaskTrack(size, tuple(counts)) for counts in tracks]


def _way_back(frames: Sequence[Image], stride: int) -> list[Image]:
    """From the last frame to the first, every `stride`-th; always ends at the first."""
    indices = list(range(len(frames) - 1, 0, -stride))
    return [frames[index] for index in [*indices, 0]]
