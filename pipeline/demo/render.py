"""Draws a scene frame by frame and keeps the truth about every pixel it draws."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from manifests.masks import Mask, MaskTrack
from pipeline.demo import compose
from pipeline.demo.actors import Actor
from pipeline.demo.compose import Corner, Frame, Patch
from pipeline.demo.specs import RenderSettings, SceneSpec
from pipeline.demo.stage import Stage
from pipeline.demo.truth import EntityTruth, SceneTruth

SMALLEST_SIDE = 32
"""Below this many pixels nothing of an entity is left to see."""


class Rendering:
    """One scene at one size: iterate `frames` to the end, then ask for `truth`."""

    def __init__(
        self, spec: SceneSpec, size: tuple[int, int], num_frames: int, settings: RenderSettings | None = None
    ) -> None:
        """`size` is (height, width). ValueError on unknown names in `spec`, a side below 32 pixels or no frames."""
        if min(size) < SMALLEST_SIDE or num_frames < 1:
            raise ValueError(f"cannot render {num_frames} frames of {size[1]}×{size[0]} pixels")
        self.spec, self.size, self.num_frames = spec, size, num_frames
        self._settings = settings or RenderSettings()
        self._stage = Stage(spec, size, num_frames, self._settings)
        self._actors = [Actor(entity, self._stage, index, self._settings) for index, entity in enumerate(spec.entities)]
        self._masks: list[list[Mask]] = []

    def frames(self) -> Iterator[Frame]:
        """The frames in order, uint8 RGB (height, width, 3)."""
        self._masks = []
        grain = compose.Grain(self.size, self._settings.grain, np.random.default_rng([self.spec.seed, 4]))
        for frame in range(self.num_frames):
            picture, masks = self._draw(frame)
            self._masks.append(masks)
            yield grain.on(picture)

    def truth(self) -> SceneTruth:
        """What is exactly known about the frames. ValueError before `frames` ran to its end."""
        if len(self._masks) != self.num_frames:
            raise ValueError(f"only {len(self._masks)} of {self.num_frames} frames of {self.spec.name!r} are drawn")
        regions, region_names = self._stage.region_map()
        hidden = np.zeros(self.size, np.bool_)
        for mask in self._masks[0]:
            hidden |= mask
        return SceneTruth(
            spec=self.spec,
            size=self.size,
            motions=self._stage.motions(),
            layer_names=self._stage.layer_names,
            layers=self._stage.layer_map(),
            regions=regions,
            region_names=region_names,
            background=~hidden,
            entities=tuple(self._entity_truth(index) for index in range(len(self._actors))),
        )

    def _entity_truth(self, index: int) -> EntityTruth:
        actor = self._actors[index]
        return EntityTruth(
            kind=actor.spec.kind,
            colour=actor.spec.colour,
            masks=MaskTrack.from_masks(masks[index] for masks in self._masks),
            path=np.stack([actor.middle(frame) for frame in range(self.num_frames)]),
        )

    def _draw(self, frame: int) -> tuple[Frame, list[Mask]]:
        """One frame without grain, back to front, and the visible mask of every entity in it."""
        picture = self._stage.backdrop(frame)
        order = [(actor.row(frame), 0, index) for index, actor in enumerate(self._actors)]
        order += [(prop.row, 1, index) for index, prop in enumerate(self._stage.props)]
        drawn: dict[int, tuple[Patch, Corner]] = {}
        for _, is_prop, index in sorted(order):
            if is_prop:
                patch, corner = self._stage.prop_patch(self._stage.props[index], frame)
            else:
                patch, corner = self._actors[index].patch(frame)
                self._actors[index].draw_shadow(picture, frame, patch, corner)
            compose.lay(picture, patch, corner)
            for earlier, place in drawn.values():
                compose.hide(earlier, place, patch, corner)
            if not is_prop:
                drawn[index] = (patch, corner)
        return picture, [compose.visible(*drawn[index], self.size) for index in range(len(self._actors))]


def render_scene(
    spec: SceneSpec, size: tuple[int, int], frames: int, settings: RenderSettings | None = None
) -> tuple[npt.NDArray[np.uint8], SceneTruth]:
    """`frames` frames of a scene at `size` (height, width), evenly spaced: (T, H, W, 3) uint8 RGB, and the truth.

    Small sizes are cheap (64×96: milliseconds a frame); for long clips at 720p iterate `Rendering.frames` instead.
    """
    rendering = Rendering(spec, size, frames, settings)
    clip = np.stack(list(rendering.frames()))
    return clip, rendering.truth()
