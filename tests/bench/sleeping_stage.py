"""Stages that take a known time and next to no processor, to measure what the machinery around stages costs."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, Field

from manifests.masks import MaskTrack
from stages.stage import Stage
from stages.work import ClipWork, Track


class SleepSettings(BaseModel, frozen=True, extra="forbid"):
    """How long a record takes."""

    seconds: float = Field(default=0.02, ge=0, description="time each record takes")


class Sleep(Stage[ClipWork]):
    """Sleeps, and finds one thing in every clip, so that a part has files to commit."""

    name = "sleep"
    reads = ("clip",)
    writes = ("tracks",)
    Settings = SleepSettings
    settings: SleepSettings

    def run(self, records: Sequence[ClipWork]) -> None:
        for record in records:
            time.sleep(self.settings.seconds)
            record.tracks = [found_thing(record)]


class SleepLonger(Sleep):
    """The same under another name: a pool of its own with its own settings."""

    name = "sleep_longer"


def found_thing(record: ClipWork) -> Track:
    """A track whose masks are a square that moves by one pixel per frame."""
    height, width = record.clip.height, record.clip.width
    side = height // 4
    masks = np.zeros((record.clip.num_frames, height, width), dtype=np.bool_)
    for number, mask in enumerate(masks):
        mask[side : 2 * side, number : number + side] = True
    return Track(0, "entity", "square", (0, side, side, 2 * side), 1.0, MaskTrack.from_masks(masks))
