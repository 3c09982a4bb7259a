"""The set of a scene without its entities: the painted backdrop and the props, as the camera sees them in every frame.

The stage also knows its own truth: which layer and which named region each pixel of frame 0 belongs to, and how each
layer moves.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.demo.camera import Camera, CameraSpec, Matrix, apply, shift
from pipeline.demo.canvas import Canvas
from pipeline.demo.compose import Corner, Frame, Patch, cast_shadow, darken, lying, overlap, to_patch
from pipeline.demo.places import place_of
from pipeline.demo.props import paint_prop
from pipeline.demo.shapes import Light
from pipeline.demo.specs import RenderSettings, SceneSpec

Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prop:
    """A prop on stage: its picture, the map from its pixels to the plane, and the plane row of its foot."""

    name: str
    picture: Patch
    to_plane: Matrix
    row: float


def _warped(picture: npt.NDArray[np.uint8], matrix: Matrix, size: tuple[int, int], *, labels: bool = False) -> Labels:
    """`picture` seen through `matrix` in a frame of `size` (height, width); `labels` takes nearest values."""
    flags = cv2.INTER_NEAREST if labels else cv2.INTER_LINEAR
    shape = (size[1], size[0])
    if np.allclose(matrix[2], (0.0, 0.0, 1.0)):
        warped = cv2.warpAffine(picture, matrix[:2], shape, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    else:
        warped = cv2.warpPerspective(picture, matrix, shape, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, np.uint8)


class Stage:
    """The set of `spec` for frames of `size` (height, width)."""

    def __init__(self, spec: SceneSpec, size: tuple[int, int], num_frames: int, settings: RenderSettings) -> None:
        """Paint everything once. ValueError on unknown names in `spec`."""
        self.spec, self.size, self.num_frames = spec, size, num_frames
        place = place_of(spec.backdrop)
        self.camera = Camera(spec.camera, size, place.horizon)
        self._canvas = Canvas(size, self.camera.reach(num_frames, spec.seconds))
        self._backdrop = place.paint(self._canvas, np.random.default_rng([spec.seed, 1]), place.horizon)
        self._picture = np.clip(self._backdrop.picture * np.asarray(spec.tint, np.float32), 0, 255).astype(np.uint8)
        self._still: Frame | None = None
        self.props = [self._stood(index) for index in range(len(spec.props))]
        if place.shadow == "ground":
            for index in range(len(self.props)):
                self._shade_ground(index, settings.shadow)

    @property
    def light(self) -> Light:
        """What lights everything on this stage."""
        return self._backdrop.light

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the parts of the background that move differently."""
        if not self.spec.camera.parallax:
            return ("background",)
        return ("distance", "ground", *(prop.name for prop in self.props))

    def illumination(self, foot: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Gain of red, green and blue for what stands at view fraction `foot` (2,)."""
        rows, columns = self._canvas.shape
        row = int(np.clip(self._canvas.y(float(foot[1])), 0, rows - 1))
        column = int(np.clip(self._canvas.x(float(foot[0])), 0, columns - 1))
        gain = np.asarray(self.spec.tint, np.float32) * self._backdrop.brightness[row, column]
        return np.asarray(gain, np.float32)

    def time(self, frame: int) -> tuple[float, float]:
        """Progress 0..1 and seconds of a frame."""
        progress = frame / max(self.num_frames - 1, 1)
        return progress, progress * self.spec.seconds

    def backdrop(self, frame: int) -> Frame:
        """The backdrop in a frame, without props; yours to draw on."""
        if self.spec.camera != CameraSpec():
            return self._seen(self._picture, frame)
        if self._still is None:
            self._still = self._seen(self._picture, frame)
        return self._still.copy()

    def prop_patch(self, prop: Prop, frame: int) -> tuple[Patch, Corner]:
        """A prop in a frame and where it goes."""
        matrix = self.camera.standing(*self.time(frame), prop.row) @ prop.to_plane
        height, width = prop.picture.shape[:2]
        corners = apply(matrix, np.asarray([(0, 0), (width, 0), (0, height), (width, height)], np.float64))
        low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2, self.size[::-1])
        shape = (max(1, int(high[0] - low[0])), max(1, int(high[1] - low[1])))
        onto = shift(-float(low[0]), -float(low[1])) @ matrix
        patch = cv2.warpPerspective(prop.picture, onto, shape, flags=cv2.INTER_LINEAR)
        return np.asarray(patch, np.uint8), (int(low[0]), int(low[1]))

    def motions(self) -> npt.NDArray[np.float64]:
        """(layers, frames, 3, 3): frame-0 pixels of each layer to every frame."""
        matrices = [self._layer_matrices(frame) for frame in range(self.num_frames)]
        chained = np.asarray(
            [[now @ np.linalg.inv(first) for now, first in zip(row, matrices[0], strict=True)] for row in matrices]
        )
        chained /= chained[:, :, 2:, 2:]
        return np.asarray(chained.transpose(1, 0, 2, 3), np.float64)

    def layer_map(self) -> Labels:
        """(H, W) index into `layer_names` of every pixel of frame 0."""
        layers = np.zeros(self.size, np.uint8)
        if self.spec.camera.parallax:
            layers[np.arange(self.size[0])[:, None] > self._horizon_line(0)[None, :]] = 1
            self._stamp_props(layers, first_label=2)
        return layers

    def region_map(self) -> tuple[Labels, tuple[str, ...]]:
        """(H, W) index of every pixel of frame 0 into the names that come with it; props are regions too."""
        regions = self._seen(self._backdrop.regions, 0, labels=True)
        names = self._backdrop.region_names
        self._stamp_props(regions, first_label=len(names))
        return regions, (*names, *(prop.name for prop in self.props))

    def _stood(self, index: int) -> Prop:
        spec = self.spec.props[index]
        height, width = self.size
        tall = spec.height * height
        scale = tall * max(1.0, self.spec.camera.zoom)
        sprite = paint_prop(spec.kind, scale, self.light, np.random.default_rng([self.spec.seed, 2, index]))
        picture = to_patch(sprite.rgba, self.illumination(np.asarray(spec.foot)))
        to_units = shift(*sprite.origin) @ np.diag([1 / sprite.scale, 1 / sprite.scale, 1.0])
        to_plane = shift(spec.foot[0] * width, spec.foot[1] * height) @ np.diag([tall, tall, 1.0]) @ to_units
        return Prop(f"{spec.kind}-{index}", picture, to_plane, spec.foot[1] * height)

    def _shade_ground(self, index: int, strength: float) -> None:
        """Paint a prop's shadow on the ground of the canvas: it moves with the ground, as the prop's foot does."""
        prop, spec = self.props[index], self.spec.props[index]
        left, top = self._canvas.reach[:2]
        tall = spec.height * self.size[0]
        at_foot = shift(self._canvas.x(spec.foot[0]), self._canvas.y(spec.foot[1])) @ np.diag([tall, tall, 1.0])
        to_canvas = shift(left, top) @ prop.to_plane
        mapping = at_foot @ lying(self.light.away) @ np.linalg.inv(at_foot) @ to_canvas
        shadow, corner = cast_shadow(prop.picture, (0, 0), mapping, 0.012 * tall, strength)
        above = max(0, round(self.camera.horizon_row) + top - corner[1])
        shadow[:above] = 0.0
        darken(self._picture, shadow, corner)

    def _layer_matrices(self, frame: int) -> list[Matrix]:
        time = self.time(frame)
        if not self.spec.camera.parallax:
            return [self.camera.view(*time)]
        standing = (self.camera.standing(*time, prop.row) for prop in self.props)
        return [self.camera.distant(*time), self.camera.ground(*time), *standing]

    def _stamp_props(self, labels: Labels, first_label: int) -> None:
        for index in sorted(range(len(self.props)), key=lambda i: (self.props[i].row, i)):
            patch, corner = self.prop_patch(self.props[index], 0)
            windows = overlap(self.size, (patch.shape[0], patch.shape[1]), corner)
            if windows is not None:
                labels[windows[0]][patch[windows[1]][..., 3] >= 128] = first_label + index

    def _horizon_line(self, frame: int) -> npt.NDArray[np.float64]:
        """The row of the horizon at every column of a frame, (width,)."""
        row, width = self.camera.horizon_row, self.size[1]
        start, end = apply(self.camera.ground(*self.time(frame)), np.asarray([(0.0, row), (float(width), row)]))
        slope = (end[1] - start[1]) / (end[0] - start[0])
        return np.asarray(start[1] + slope * (np.arange(width) - start[0]), np.float64)

    def _seen(self, picture: npt.NDArray[np.uint8], frame: int, *, labels: bool = False) -> npt.NDArray[np.uint8]:
        """A canvas-sized picture in a frame: with parallax the part above the horizon moves on its own."""
        left, top = self._canvas.reach[:2]
        offset = shift(-left, -top)
        ground = self.camera.ground(*self.time(frame)) @ offset
        if not self.spec.camera.parallax:
            return _warped(picture, ground, self.size, labels=labels)
        height, width = self.size
        line = self._horizon_line(frame)
        first = int(np.clip(np.floor(line.min()), 0, height))
        last = int(np.clip(np.ceil(line.max()) + 1, 0, height))
        seen = np.empty((height, width, *picture.shape[2:]), np.uint8)
        if last > 0:
            distant = self.camera.distant(*self.time(frame)) @ offset
            seen[:last] = _warped(picture, distant, (last, width), labels=labels)
        if first < height:
            near = _warped(picture, shift(0.0, -first) @ ground, (height - first, width), labels=labels)
            seen[last:] = near[last - first :]
            below = np.arange(first, last)[:, None] > line[None, :]
            seen[first:last][below] = near[: last - first][below]
        return seen
