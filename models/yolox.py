"""YOLOX (ONNX Runtime): the 80 things of COCO by name, tagger and detector in one, without a GPU.

The network sees single frames; what it finds is named by several of them, a rider and a mount are made one, and motion
saliency decides what comes first and seeds the masks. COCO has no names for backgrounds, and for most things neither:
the free background, and the entities of a clip in which nothing has a name, come from `MotionDiscovery`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors
from pydantic import BaseModel, Field, field_validator

from models.boxes import extent
from models.coco import COCO_NAMES
from models.discovery import BACKGROUND_TAG, ENTITY_TAG, DiscoverySettings, MotionDiscovery
from models.motion_ranking import RankedThing, RankingSettings, rank_by_motion
from models.named_things import FollowingSettings, NamedThing, RidingSettings, named_over_frames, with_riders
from models.placement import Placement
from models.protocols import Box, Detection, Image, ModelInfo, Tag, Tags
from models.saliency import find_saliency, work_copy
from models.weights import Weights, WeightsError
from models.yolox_decoding import NUMBERS, DecodingSettings, cell_count, decode, letterbox, things_in

_UNREADABLE = (
    onnx_errors.Fail,
    onnx_errors.InvalidArgument,
    onnx_errors.InvalidGraph,
    onnx_errors.InvalidProtobuf,
    onnx_errors.NoSuchFile,
    onnx_errors.NotImplemented,
    onnx_errors.RuntimeException,
)
_ERRORS_ONLY = 3


class YoloxSettings(BaseModel, frozen=True, extra="forbid"):
    """Which network, and how its boxes become entities."""

    weights: str = Field(default="yolox-nano", description="entry in the list of weights")
    max_entities: int = Field(default=3, ge=1, le=80, description="entities handed on; each costs a propagation")
    ignored: tuple[str, ...] = Field(
        default=("bed", "dining table"),
        description="COCO names passed over: their boxes hold what lies or stands on them, and no box masks them well",
    )
    fallback: bool = Field(
        default=True,
        description='where nothing has a COCO name, what stands out by motion or colour is an "object"; without it '
        "such clips give no samples",
    )
    background_gap: int = Field(
        default=12, ge=0, description="distance the background keeps from named boxes, px of the discovery's work copy"
    )
    decoding: DecodingSettings = Field(default=DecodingSettings(), description="which cells are things")
    following: FollowingSettings = Field(default=FollowingSettings(), description="frames that have a say in names")
    riding: RidingSettings = Field(default=RidingSettings(), description="who rides what")
    ranking: RankingSettings = Field(default=RankingSettings(), description="what movement is worth")
    discovery: DiscoverySettings = Field(
        default=DiscoverySettings(), description="motion cues, free background, and the things without a name"
    )

    @field_validator("ignored")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in COCO_NAMES:
                raise ValueError(f"COCO has no name '{name}'")
        return names


@dataclass(frozen=True)
class _Scene:
    """Entities, best first, and the free background (none or one)."""

    entities: list[Detection]
    background: list[Detection]


class Yolox:
    """Tagger and detector of COCO's things. `lookahead` is how many first frames it can use."""

    Settings = YoloxSettings
    working_bytes = 30 * 2**20
    """Resident memory a session of YOLOX-nano adds on a CPU beyond its parameters, as measured."""
    _latest: tuple[bytes, _Scene] | None = None

    def __init__(self, settings: YoloxSettings, weights: Weights, placement: Placement) -> None:
        """Raises WeightsError when the file is damaged or of another network."""
        self._settings = settings
        self.info = ModelInfo(weights.name, weights.revision)
        self.discovery = MotionDiscovery(settings.discovery)
        self.lookahead = max(self.discovery.lookahead, 1 + max(settings.following.frames, default=0))
        self._session = _open(weights.file(".onnx"), placement)
        self._input = self._session.get_inputs()[0].name
        _, _, self._height, self._width = self._session.get_inputs()[0].shape

    def tag(self, clips: Sequence[Sequence[Image]]) -> list[Tags]:
        """The COCO names of each clip's entities (or "object") with their best scores, and "background".

        Raises ValueError when a clip has no frame or frames of different sizes.
        """
        return [self._tags(frames) for frames in clips]

    def detect(self, clips: Sequence[Sequence[Image]], tags: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """For each clip the entities with these names, the sure and moving ones first, then its "background".

        An entity that moves has a seed to be refined, a still one only its box; the background is a finished mask
        whose score is its share of the frame. Raises as `tag` does.
        """
        return [self._detections(frames, names) for frames, names in zip(clips, tags, strict=True)]

    def _tags(self, frames: Sequence[Image]) -> Tags:
        scene = self._scene(frames)
        best: dict[str, float] = {}
        for entity in scene.entities:
            best[entity.tag] = max(entity.score, best.get(entity.tag, 0.0))
        return Tags([Tag(name, score) for name, score in best.items()], [Tag(d.tag, d.score) for d in scene.background])

    def _detections(self, frames: Sequence[Image], tags: Sequence[str]) -> list[Detection]:
        scene = self._scene(frames)
        return [detection for detection in (*scene.entities, *scene.background) if detection.tag in tags]

    def _scene(self, frames: Sequence[Image]) -> _Scene:
        """The scene of these frames. The latest is kept, for a clip is tagged and detected in one go."""
        digest = hashlib.sha256(f"{self.info} {self._settings.model_dump_json()}".encode())
        seen = frames[: self.lookahead]
        for frame in seen:
            digest.update(repr(frame.shape).encode() + np.ascontiguousarray(frame).data)
        key = digest.digest()
        latest = Yolox._latest
        if latest is None or latest[0] != key:
            latest = (key, self._look(seen))
            Yolox._latest = latest
        return latest[1]

    def _look(self, frames: Sequence[Image]) -> _Scene:
        nameless = self.discovery.detect([frames], [[ENTITY_TAG, BACKGROUND_TAG]])[0]
        shown = [0, *(index for index in self._settings.following.frames if index < len(frames))]
        looks = [self.find(frames[index]) for index in shown]
        named = named_over_frames(looks, self._settings.following)
        wanted = [thing for thing in named if thing.name not in self._settings.ignored]
        things = with_riders(wanted, self._settings.riding)
        saliency = self._settings.discovery.saliency
        small = [work_copy(frame, saliency.long_side) for frame in frames[: self.discovery.lookahead]]
        size = frames[0].shape[:2]
        ranked = rank_by_motion(things, find_saliency(small, saliency).motion, size, self._settings.ranking)
        entities = [_detection(entry, size) for entry in ranked[: self._settings.max_entities]]
        regions = [detection for detection in nameless if detection.tag == BACKGROUND_TAG]
        background = self._apart(regions, [entry.thing.box for entry in ranked], small[0].shape[1] / size[1])
        if not entities and self._settings.fallback:
            entities = [detection for detection in nameless if detection.tag == ENTITY_TAG]
        return _Scene(entities, background)

    def find(self, image: Image) -> list[NamedThing]:
        """All things of one image, surest first, before motion and riders are looked at."""
        picture, scale = letterbox(image, self._height, self._width)
        (output,) = self._session.run(None, {self._input: picture})
        boxes, scores = decode(np.asarray(output, np.float32)[0], self._height, self._width)
        return things_in(boxes, scores, scale, (image.shape[0], image.shape[1]), self._settings.decoding)

    def _apart(self, regions: Sequence[Detection], boxes: Sequence[Box], scale: float) -> list[Detection]:
        """The background without the named boxes, which may stand still and so be free to the eye of discovery."""
        gap = self._settings.background_gap / scale
        found = []
        for region in regions:
            assert region.seed is not None, "the background is a finished mask"
            free = region.seed.copy()
            for x0, y0, x1, y1 in boxes:
                free[max(0, int(y0 - gap)) : round(y1 + gap), max(0, int(x0 - gap)) : round(x1 + gap)] = False
            if free.mean() >= self._settings.discovery.background.min_area:
                found.append(Detection(extent(free), region.tag, float(free.mean()), free, region.refine))
        return found


def _detection(ranked: RankedThing, size: tuple[int, ...]) -> Detection:
    thing, seed = ranked.thing, None
    if ranked.seed is not None:
        soft = cv2.resize(ranked.seed.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        seed = np.asarray(soft) > 0.5
    return Detection(thing.box, thing.name, thing.score, seed)


def _open(path: Path, placement: Placement) -> onnxruntime.InferenceSession:
    """A session on one thread. Raises WeightsError where the file is no YOLOX of COCO's names."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=_providers(placement))
    except _UNREADABLE as error:
        # The reason stands last, after a code and the path.
        reason = str(error).rpartition(":")[2].strip().rstrip(".")
        raise WeightsError(f"{path} cannot be read as an ONNX network: {reason}") from error
    takes, makes = session.get_inputs()[0].shape, session.get_outputs()[0].shape
    # A size that is left open stands there as a name.
    fixed = len(takes) == 4 and all(isinstance(length, int) for length in takes)
    if not fixed or takes[:2] != [1, 3] or makes != [1, cell_count(*takes[2:]), NUMBERS]:
        raise WeightsError(f"{path} is no YOLOX of COCO's names and of fixed size: it makes {makes} of {takes}")
    return session


def _providers(placement: Placement) -> list[str | tuple[str, dict[str, int]]]:
    """CUDA where the placement says so and this ONNX Runtime has it; the CPU takes milliseconds otherwise."""
    kind, _, number = placement.device.partition(":")
    if kind == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return [("CUDAExecutionProvider", {"device_id": int(number or 0)}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
