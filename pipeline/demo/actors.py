"""An entity on stage: where it stands in every frame, how it looks there and what shadow it casts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.demo import compose
from pipeline.demo.camera import Matrix, apply, shift
from pipeline.demo.compose import Corner, Frame, Patch
from pipeline.demo.entities import build
from pipeline.demo.rigs import Figure, assembled
from pipeline.demo.specs import EntitySpec, RenderSettings, evaluate
from pipeline.demo.stage import Stage

_MIDDLE = np.asarray([(0.0, -0.5)])


def _rotation(degrees: float) -> Matrix:
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.asarray([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _affine_at(matrix: Matrix, x: float, y: float) -> Matrix:
    """The affine map closest to a homography around the point (x, y)."""
    origin, right, down = apply(matrix, np.asarray([(x, y), (x + 1.0, y), (x, y + 1.0)]))
    affine = np.eye(3)
    affine[:2, :2] = np.column_stack([right - origin, down - origin])
    affine[:2, 2] = origin - affine[:2, :2] @ (x, y)
    return affine


class Actor:
    """One entity of a scene, painted for the light of its stage."""

    def __init__(self, spec: EntitySpec, stage: Stage, index: int, settings: RenderSettings) -> None:
        """`index` is its number in the scene, so that equals differ in texture. ValueError on unknown names."""
        height, width = stage.size
        self.spec = spec
        self._stage = stage
        self._settings = settings
        self._track = evaluate(spec.path, stage.num_frames, stage.spec.seconds, width / height)
        tallest = float(self._track.height.max()) * height * max(1.0, stage.spec.camera.zoom)
        rng = np.random.default_rng([stage.spec.seed, 3, index])
        rig = build(spec.kind, spec.colour)
        self._figure = Figure(rig, max(tallest, 4.0), stage.light, rng, mirror=self._track.faces_left)

    def row(self, frame: int) -> float:
        """The plane row in pixels that decides what hides it, and its parallax."""
        depth = float(self._track.foot[frame, 1]) if self.spec.depth is None else self.spec.depth
        return depth * self._stage.size[0]

    def middle(self, frame: int) -> npt.NDArray[np.float64]:
        """(2,) x, y in pixels of the middle of its body in a frame."""
        return np.asarray(apply(self._body_to_view(frame), _MIDDLE)[0], np.float64)

    def patch(self, frame: int) -> tuple[Patch, Corner]:
        """The entity in a frame, lit and motion-blurred, and where it goes."""
        seconds, travelled = self._stage.time(frame)[1], float(self._track.travelled[frame])
        rgba, corner = assembled(self._figure, seconds, travelled, self._body_to_view(frame))
        velocity = self._velocity(frame)
        reach = int(np.ceil(np.hypot(*velocity) * self._settings.shutter / 2)) + 1
        rgba, corner = compose.padded(rgba, corner, reach)
        rgba = compose.smeared(rgba, velocity, self._settings.shutter)
        return compose.to_patch(rgba, self._stage.illumination(self._track.foot[frame])), corner

    def draw_shadow(self, picture: Frame, frame: int, patch: Patch, corner: Corner) -> None:
        """Shadow or mirror image of the entity's `patch`, drawn in place below it."""
        at_foot = self._foot_to_view(frame)
        back = np.linalg.inv(at_foot)
        unit = float(np.hypot(at_foot[0, 0], at_foot[1, 0]))
        lift = float(max(self._track.lift[frame], 0.0))
        strength = self._settings.shadow / (1.0 + 0.8 * lift)
        away = self._stage.light.away
        if self.spec.shadow == "water":
            flipped = at_foot @ np.diag([1.0, -0.75, 1.0]) @ back
            seconds, opacity = self._stage.time(frame)[1], self._settings.reflection
            compose.lay(picture, *compose.mirror_image(patch, corner, flipped, 0.028 * unit, seconds, opacity))
        elif self.spec.shadow == "wall":
            beside = at_foot @ shift(0.09 * away, 0.05) @ back
            compose.darken(picture, *compose.cast_shadow(patch, corner, beside, 0.035 * unit, strength))
        elif self.spec.shadow == "ground":
            softness = (0.025 + 0.05 * lift) * unit
            compose.darken(
                picture, *compose.cast_shadow(patch, corner, at_foot @ compose.lying(away) @ back, softness, strength)
            )
            # Where it touches the ground hardly any light gets under.
            touching = at_foot @ np.diag([0.8, 0.06, 1.0]) @ back
            compose.darken(
                picture, *compose.cast_shadow(patch, corner, touching, softness, 0.9 * strength / (1.0 + 2.0 * lift))
            )

    def _foot_to_view(self, frame: int) -> Matrix:
        """Affine map to the view from units that lie at the foot, unrocked."""
        height, width = self._stage.size
        x, y = float(self._track.foot[frame, 0] * width), float(self._track.foot[frame, 1] * height)
        standing = self._stage.camera.standing(*self._stage.time(frame), self.row(frame))
        tall = float(self._track.height[frame]) * height
        return _affine_at(standing, x, y) @ shift(x, y) @ np.diag([tall, tall, 1.0])

    def _body_to_view(self, frame: int) -> Matrix:
        """Affine map to the view from the units the rig is drawn in."""
        spun = shift(0.0, -0.5) @ _rotation(float(self._track.spin[frame])) @ shift(0.0, 0.5)
        rocked = _rotation(float(self._track.turn[frame])) @ spun
        return self._foot_to_view(frame) @ shift(0.0, -float(self._track.lift[frame])) @ rocked

    def _velocity(self, frame: int) -> tuple[float, float]:
        """Pixels per frame of its middle."""
        before, after = max(frame - 1, 0), min(frame + 1, self._stage.num_frames - 1)
        dx, dy = (self.middle(after) - self.middle(before)) / max(after - before, 1)
        return float(dx), float(dy)
