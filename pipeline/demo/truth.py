"""The exact answers that belong to a rendered scene, and how they are stored beside it.

`<name>.json` holds the numbers, `<name>.npz` the masks and maps. Nothing was measured: it is how the scene was drawn.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from manifests.masks import Mask, MaskTrack
from pipeline.demo.camera import Matrix, apply
from pipeline.demo.specs import SceneSpec

TRUTH_VERSION = 1
"""Raised when the stored form changes."""


@dataclass(frozen=True)
class EntityTruth:
    """One entity: its visible masks (after occlusion, without shadow) and the middle of its whole body.

    `path` is (T, 2) pixels (x, y) in the frame, also where the entity is hidden or outside.
    """

    kind: str
    colour: str
    masks: MaskTrack
    path: npt.NDArray[np.float64]


@dataclass(frozen=True)
class SceneTruth:
    """Everything known about one rendered scene of T frames of `size` (height, width).

    `motions` (L, T, 3, 3) holds one homography per layer and frame, mapping frame-0 pixels of that layer to frame t;
    `layers` (H, W) says which layer each pixel of frame 0 belongs to, entities taken away; a planar scene has one.
    `regions` labels the same pixels with indices into `region_names`; `background` is where no entity is in frame 0.
    """

    spec: SceneSpec
    size: tuple[int, int]
    motions: npt.NDArray[np.float64]
    layer_names: tuple[str, ...]
    layers: npt.NDArray[np.uint8]
    regions: npt.NDArray[np.uint8]
    region_names: tuple[str, ...]
    background: Mask
    entities: tuple[EntityTruth, ...]

    @property
    def num_frames(self) -> int:
        """Frames rendered."""
        return int(self.motions.shape[1])

    @property
    def parallax(self) -> bool:
        """Whether the layers move differently, so that no single homography explains the background."""
        return len(self.layer_names) > 1

    @property
    def camera(self) -> npt.NDArray[np.float64]:
        """(T, 3, 3): frame-0 pixels of the main layer (the ground, where there is parallax) to frame t."""
        main = self.layer_names.index("ground") if "ground" in self.layer_names else 0
        return np.asarray(self.motions[main], np.float64)

    def region(self, name: str) -> Mask:
        """(H, W) bool of a named background region in frame 0, without the entities. KeyError when there is none."""
        if name not in self.region_names:
            raise KeyError(name)
        return np.asarray((self.regions == self.region_names.index(name)) & self.background, np.bool_)


def background_map(truth: SceneTruth, points: npt.NDArray[np.float64], frame: int) -> npt.NDArray[np.float64]:
    """Where background points of frame 0, (N, 2) as x, y pixels, lie in `frame`: exact, parallax included.

    Points outside the frame belong to the layer of the nearest border pixel.
    """
    height, width = truth.size
    columns = np.clip(np.rint(points[:, 0]), 0, width - 1).astype(np.int64)
    rows = np.clip(np.rint(points[:, 1]), 0, height - 1).astype(np.int64)
    owner = truth.layers[rows, columns]
    moved = np.empty((len(points), 2), np.float64)
    for layer in np.unique(owner):
        chosen = owner == layer
        moved[chosen] = apply(_motion(truth, int(layer), frame), np.asarray(points, np.float64)[chosen])
    return moved


def _motion(truth: SceneTruth, layer: int, frame: int) -> Matrix:
    return np.asarray(truth.motions[layer, frame], np.float64)


def save_truth(truth: SceneTruth, folder: Path) -> None:
    """Write `<name>.npz` and then `<name>.json` into `folder`; equal truths give equal bytes."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "layers": truth.layers,
        "regions": truth.regions,
        "background": np.packbits(truth.background),
    }
    for index, entity in enumerate(truth.entities):
        arrays[f"entity_{index}"] = np.frombuffer(entity.masks.to_bytes(), np.uint8)
    document = {
        "version": TRUTH_VERSION,
        "spec": truth.spec.model_dump(mode="json"),
        "size": list(truth.size),
        "num_frames": truth.num_frames,
        "parallax": truth.parallax,
        "camera": truth.camera.tolist(),
        "layer_names": list(truth.layer_names),
        "motions": truth.motions.tolist(),
        "region_names": list(truth.region_names),
        "entities": [{"kind": e.kind, "colour": e.colour, "path": e.path.tolist()} for e in truth.entities],
    }
    name = truth.spec.name
    partial = folder / f"{name}.npz.partial"
    with partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    partial.replace(folder / f"{name}.npz")
    partial = folder / f"{name}.json.partial"
    partial.write_text(json.dumps(document) + "\n", encoding="utf-8")
    partial.replace(folder / f"{name}.json")


def load_truth(path: Path) -> SceneTruth:
    """Read what `save_truth` wrote, from the path of the .json. ValueError on another version."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if document.get("version") != TRUTH_VERSION:
        raise ValueError(f"{path.name} holds truth of version {document.get('version')}, not {TRUTH_VERSION}")
    height, width = document["size"]
    with np.load(path.with_suffix(".npz")) as arrays:
        entities = tuple(
            EntityTruth(
                entity["kind"],
                entity["colour"],
                MaskTrack.from_bytes(arrays[f"entity_{index}"].tobytes()),
                np.asarray(entity["path"], np.float64),
            )
            for index, entity in enumerate(document["entities"])
        )
        background = np.unpackbits(arrays["background"], count=height * width).reshape(height, width).astype(np.bool_)
        return SceneTruth(
            spec=SceneSpec.model_validate(document["spec"]),
            size=(height, width),
            motions=np.asarray(document["motions"], np.float64),
            layer_names=tuple(document["layer_names"]),
            layers=arrays["layers"],
            regions=arrays["regions"],
            region_names=tuple(document["region_names"]),
            background=background,
            entities=entities,
        )
