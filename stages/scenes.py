"""Scene cuts, found frame by frame beside the decoding that already goes on (PySceneDetect's adaptive detector).

A cut is a frame whose colours differ from the frame before far more than the frames around it do, so fast camera motion
is no cut. Fades and dissolves are not found.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, Field
from scenedetect import AdaptiveDetector, FrameTimecode

from models.protocols import Image

_ANY_RATE = 25.0


class SceneSettings(BaseModel, frozen=True, extra="forbid"):
    """When a change of picture is a scene cut."""

    frame_side: int = Field(
        default=256, ge=32, le=2048, description="longer side in pixels of the frames compared; larger only costs time"
    )
    ratio: float = Field(
        default=3.0, gt=1, description="how many times larger than around it a cut must be; lower cuts at fast motion"
    )
    min_change: float = Field(
        default=15.0,
        ge=0,
        le=255,
        description="mean change of hue, saturation and value (0..255) below which nothing is a cut",
    )
    window: int = Field(
        default=2, ge=1, le=30, description="frames looked at before and after; also the delay of the answer in frames"
    )


class SceneCutter:
    """Says of each frame, `delay` frames later, whether it begins a new scene."""

    def __init__(self, settings: SceneSettings) -> None:
        self.delay = settings.window
        self._detector = AdaptiveDetector(
            adaptive_threshold=settings.ratio,
            # Every cut counts: a clip that spans a short shot would be worse than one clip fewer.
            min_scene_len=1,
            window_width=settings.window,
            min_content_val=settings.min_change,
        )
        self._frames = 0
        self._processed = 0
        self._last: Image | None = None

    def push(self, frame_small: Image) -> bool:
        """Take the next frame, RGB of any constant size; True if the frame `delay` pushes before begins a new scene."""
        if self._last is None:
            # The detector is silent on the first frames unless there is something before them.
            for _ in range(self.delay):
                self._process(frame_small)
        self._last = frame_small
        self._frames += 1
        return self._process(frame_small)

    def finish(self) -> list[bool]:
        """The answers still owed, for the last `delay` frames pushed (fewer if fewer were)."""
        if self._last is None:
            return []
        answers = [self._process(self._last) for _ in range(self.delay)]
        return answers[-min(self.delay, self._frames) :]

    def _process(self, frame_small: Image) -> bool:
        timecode = FrameTimecode(self._processed, _ANY_RATE)
        self._processed += 1
        return bool(self._detector.process_frame(timecode, np.ascontiguousarray(frame_small[..., ::-1])))
