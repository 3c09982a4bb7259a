"""Measure: how each entity moves, against the frame and against the background (VIVID-10M's motion statistics)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from manifests.masks import Mask, MaskTrack
from models.local_homography import HomographySettings, global_homographies
from models.point_flow import LucasKanade
from models.protocols import Flow, Image, Matrix
from models.registry import ModelChoice, make_model
from stages.stage import Context, Stage
from stages.work import ClipWork, Track

Points = npt.NDArray[np.float64]
"""(frames, 2) pixel positions, NaN where there is none."""


class MeasureSettings(BaseModel, frozen=True, extra="forbid"):
    """How motion is measured."""

    flow: ModelChoice = Field(
        default=ModelChoice(name="lucas_kanade"), description="what follows points of the background"
    )
    camera: HomographySettings = Field(default=HomographySettings(), description="how the camera's motion is found")
    span_s: float = Field(
        default=0.25, gt=0, description="speeds are taken over this time; shorter measures the masks' jitter, seconds"
    )


class Measure(Stage[ClipWork]):
    """Sets `path` and the three speeds of every entity track of a video."""

    name = "measure"
    reads = ("frames", "tracks")
    writes = ("tracks",)
    Settings = MeasureSettings
    settings: MeasureSettings

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.flow: Flow = make_model(self.settings.flow, context.models)

    def run(self, records: Sequence[ClipWork]) -> None:
        for record in records:
            entities = record.of_role("entity")
            if record.clip.kind == "video" and entities:
                self._measure(record, entities)

    def _measure(self, record: ClipWork, entities: Sequence[Track]) -> None:
        frames, fps = record.decoded(), record.clip.fps or 1.0
        foreground = union_masks([track.masks for track in entities])
        camera = global_homographies(frames_for(self.flow, frames), foreground, self.settings.camera, self.flow)
        size = np.asarray([record.clip.width, record.clip.height], np.float64)
        step = max(1, round(self.settings.span_s * fps))
        for track in entities:
            centres = centres_of(track.masks)
            unmoved = _map_each(centres, [np.asarray(np.linalg.inv(matrix), np.float64) for matrix in camera])
            track.path = (unmoved / size).astype(np.float32)
            per_second = fps / step / float(np.hypot(*size))
            track.foreground_motion = _mean_step(centres, centres, step, per_second)
            # Where the background that was under the track goes: its first-frame place carried on by the camera.
            carried = _map_each(_shifted(unmoved, -step), camera)
            track.background_motion = _mean_distance(_shifted(centres, -step), carried, per_second)
            track.relative_motion = _mean_step(unmoved, unmoved, step, per_second)
            stamp_flow(track, self.flow)


def stamp_flow(track: Track, flow: Flow) -> None:
    """Name the flow that a track's motion was found with, unless it is the weight-free one.

    Lucas–Kanade is a part of the stages, their versions stand for it.
    """
    if flow.info != LucasKanade.info:
        track.stamp("flow", flow.info)


def frames_for(flow: Flow, frames: Sequence[Image]) -> Sequence[npt.NDArray[np.uint8]]:
    """RGB frames as a flow wants them: in colour or in grey."""
    return frames if flow.colour else gray_frames(frames)


def gray_frames(frames: Sequence[Image]) -> list[npt.NDArray[np.uint8]]:
    """The frames in grey."""
    return [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames]


def union_masks(tracks: Sequence[MaskTrack]) -> list[Mask]:
    """Pixels that any of the tracks covers, frame by frame."""
    unions: list[Mask] = []
    for index in range(len(tracks[0])):
        union = tracks[0].mask(index)
        for track in tracks[1:]:
            union |= track.mask(index)
        unions.append(union)
    return unions


def centres_of(track: MaskTrack) -> Points:
    """Centre of each mask's box in pixels, NaN where it is empty. The box is enough: speeds are differences."""
    boxes = track.boxes().astype(np.float64)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    centres[track.areas() == 0] = np.nan
    return centres


def _map_each(points: Points, matrices: Sequence[Matrix]) -> Points:
    """The i-th point through the i-th homography."""
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    mapped = np.einsum("nij,nj->ni", np.stack(matrices), homogeneous)
    return np.asarray(mapped[:, :2] / mapped[:, 2:], np.float64)


def _shifted(points: Points, step: int) -> Points:
    """Row i holds the point of frame i + step; NaN beyond the ends."""
    result = np.full_like(points, np.nan)
    if abs(step) < len(points):
        if step < 0:
            result[-step:] = points[:step]
        else:
            result[: len(points) - step] = points[step:]
    return result


def _mean_distance(a: Points, b: Points, factor: float) -> float | None:
    distances = np.linalg.norm(a - b, axis=1)
    distances = distances[np.isfinite(distances)]
    return round(float(distances.mean()) * factor, 6) if len(distances) else None


def _mean_step(a: Points, b: Points, step: int, factor: float) -> float | None:
    return _mean_distance(a, _shifted(b, -step), factor)
