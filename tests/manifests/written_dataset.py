"""A small true dataset, written as the pipeline writes one: commits, Parquet tables, a shard with clips and masks."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field

import av
import cv2
import numpy as np
import numpy.typing as npt

from manifests.commits import RUN_FILE, PartWriter
from manifests.ids import VARIANT_CODES, clip_id, sample_id, source_id, track_id
from manifests.masks import Mask, MaskTrack
from manifests.records import ClipRow, RejectRow, SampleRow, SourceRow, TrackRow
from manifests.storage import Store
from manifests.tars import TarWriter
from stages.media import REPEATABLE_X264

Image = npt.NDArray[np.uint8]
FPS = 8.0


@dataclass
class Thing:
    """A track to write. `missing` are variants that were dropped."""

    number: int
    role: str
    tag: str
    masks: MaskTrack
    captions: tuple[str, str, str] | None = None
    caption_score: float | None = None
    donor: str | None = None
    motion: str | None = None
    placement: tuple[float, float, float] | None = None
    missing: tuple[str, ...] = ()


@dataclass
class Scene:
    """A clip to write; one frame makes it an image, of a source of `source_kind` (the clip's own kind by default)."""

    path: str
    frames: list[Image]
    split: str = "train"
    fps: float = FPS
    things: list[Thing] = field(default_factory=list)
    source_kind: str | None = None

    @property
    def kind(self) -> str:
        return "image" if len(self.frames) == 1 else "video"

    @property
    def clip_id(self) -> str:
        end = round(len(self.frames) / self.fps * 1e6) if self.kind == "video" else 0
        return clip_id("small", self.path, 0, end, self.kind, "source")

    def track_id(self, number: int) -> str:
        return track_id(self.clip_id, number)


def encode(scene: Scene) -> bytes:
    """MP4 or JPEG bytes of a scene's frames."""
    if scene.kind == "image":
        done, data = cv2.imencode(".jpg", cv2.cvtColor(scene.frames[0], cv2.COLOR_RGB2BGR))
        assert done
        return data.tobytes()
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        options = {"crf": "10", "threads": "1", **REPEATABLE_X264}
        stream = container.add_stream("libx264", rate=round(scene.fps), options=options)
        stream.height, stream.width = scene.frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in scene.frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return sink.getvalue()


def decode(data: bytes, indices: list[int]) -> list[Image]:
    """Frames of `encode` by number."""
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [frames[index] for index in indices]


def write_dataset(store: Store, scenes: list[Scene], rejects: list[RejectRow], *, failed: tuple[str, ...] = ()) -> None:
    """Write the scenes as one part; `failed` are paths of sources that could not be read."""
    store.replace(RUN_FILE, json.dumps({"epoch": 1}).encode())
    by_phase: dict[str, list[RejectRow]] = {}
    for reject in rejects:
        by_phase.setdefault(reject.phase, []).append(reject)
    sources = PartWriter(store, "ingest", 0, 1)
    rows = [_source(scene.path, scene.source_kind or scene.kind) for scene in scenes] + [
        _source(path, None) for path in failed
    ]
    sources.add_table("sources", SourceRow, rows)
    sources.add_table("rejects", RejectRow, by_phase.get("ingest", []))
    sources.commit({})
    layout = PartWriter(store, "layout", 0, 1)
    layout.add_table("clips", ClipRow, [_clip(scene, position) for position, scene in enumerate(scenes)])
    layout.commit({})
    annotate = PartWriter(store, "annotate", 0, 1)
    annotate.add_table("tracks", TrackRow, _tracks(scenes, ("entity", "background")))
    annotate.add_table("rejects", RejectRow, by_phase.get("annotate", []))
    annotate.commit({})
    _compose(store, scenes, by_phase.get("compose", []))


def _compose(store: Store, scenes: list[Scene], rejects: list[RejectRow]) -> None:
    compose = PartWriter(store, "compose", 0, 1)
    scratch = store.scratch()
    with TarWriter(scratch) as tar:
        for scene in scenes:
            members = {f"{scene.clip_id}.json": b"{}", _clip_member(scene): encode(scene)}
            members |= {_mask_member(scene, thing): thing.masks.to_bytes() for thing in scene.things}
            for name, data in sorted(members.items()):
                tar.add(name, data)
    shard = compose.add_file(scratch, "shard", "shards", "part", ".tar")
    compose.add_table("tracks", TrackRow, _tracks(scenes, ("pasted",)))
    compose.add_table("samples", SampleRow, [s for scene in scenes for s in _samples(scene, shard, tar)])
    compose.add_table("rejects", RejectRow, rejects)
    compose.commit({})


def _clip_member(scene: Scene) -> str:
    return f"{scene.clip_id}.{'jpg' if scene.kind == 'image' else 'mp4'}"


def _mask_member(scene: Scene, thing: Thing) -> str:
    return f"{scene.clip_id}.track-{thing.number:02d}.json.gz"


def _source(path: str, kind: str | None) -> SourceRow:
    name = source_id("small", path)
    state = "kept" if kind else "failed"
    return SourceRow(name, 0, "small", path, 1, kind, None, None, None, None, None, int(bool(kind)), state, None, name)


def _clip(scene: Scene, position: int) -> ClipRow:
    height, width = scene.frames[0].shape[:2]
    source = source_id("small", scene.path)
    return ClipRow(
        clip_id=scene.clip_id,
        part=0,
        position=position,
        source_id=source,
        group=source,
        start_us=0,
        end_us=0,
        kind=scene.kind,
        origin="source",
        width=width,
        height=height,
        fps=scene.fps if scene.kind == "video" else None,
        num_frames=len(scene.frames),
        caption=None,
        licence="CC-BY-4.0",
        keyframe_hash="0" * 16,
        mean_luma=100.0,
        frame_difference=1.0,
        split=scene.split,
        ingest_part=0,
    )


def _tracks(scenes: list[Scene], roles: tuple[str, ...]) -> list[TrackRow]:
    return [_track(scene, thing) for scene in scenes for thing in scene.things if thing.role in roles]


def _track(scene: Scene, thing: Thing) -> TrackRow:
    shares = thing.masks.areas() / (thing.masks.size[0] * thing.masks.size[1])
    short, medium, long = thing.captions or (None, None, None)
    dx, dy, scale = thing.placement or (None, None, None)
    moves = thing.role == "entity" and scene.kind == "video"
    return TrackRow(
        track_id=scene.track_id(thing.number),
        clip_id=scene.clip_id,
        part=0,
        role=thing.role,
        tag=thing.tag,
        box=[float(value) for value in thing.masks.boxes()[0]],
        score=0.9,
        num_frames=len(thing.masks),
        member=_mask_member(scene, thing),
        area_min=float(shares.min()),
        area_mean=round(float(shares.mean()), 6),
        area_max=float(shares.max()),
        visible_fraction=float((shares > 0).mean()),
        stability=0.85 if moves else None,
        foreground_motion=0.2 if moves else None,
        background_motion=0.05 if moves else None,
        relative_motion=0.15 if moves else None,
        caption_short=short,
        caption_medium=medium,
        caption_long=long,
        caption_score=thing.caption_score,
        models="{}",
        donor_track_id=thing.donor,
        motion=thing.motion,
        dx=dx,
        dy=dy,
        scale=scale,
    )


def _samples(scene: Scene, shard: str, tar: TarWriter) -> list[SampleRow]:
    rows = []
    for thing in scene.things:
        if thing.role == "background":
            continue
        captions = dict(zip(("short", "medium", "long"), thing.captions, strict=True)) if thing.captions else {}
        for variant in VARIANT_CODES:
            if variant not in thing.missing:
                for kind, text in (captions or {"fixed": "Remove objects."}).items():
                    rows.append(_sample(scene, thing, variant, kind, text, shard, tar))
    return rows


def _sample(
    scene: Scene, thing: Thing, variant: str, caption_kind: str, caption: str, shard: str, tar: TarWriter
) -> SampleRow:
    clip, masks = tar.members[_clip_member(scene)], tar.members[_mask_member(scene, thing)]
    height, width = scene.frames[0].shape[:2]
    track = scene.track_id(thing.number)
    return SampleRow(
        sample_id=sample_id(track, variant, caption_kind),
        clip_id=scene.clip_id,
        target_clip_id=None,
        pair_id=None,
        track_id=track,
        part=0,
        task="delete" if thing.role == "pasted" else "add_modify",
        kind=scene.kind,
        split=scene.split,
        width=width,
        height=height,
        fps=scene.fps if scene.kind == "video" else None,
        num_frames=len(scene.frames),
        mask_variant=variant,
        variant_parameters=json.dumps({"op": variant, "version": 1, "track": track}),
        operator_version=1,
        area_mean=0.1,
        caption_kind=caption_kind,
        caption=caption,
        shard=shard,
        clip_member=clip.name,
        clip_offset=clip.offset,
        clip_size=clip.size,
        mask_member=masks.name,
        mask_offset=masks.offset,
        mask_size=masks.size,
    )


def block(height: int, width: int, x: int, y: int, side: int) -> Mask:
    """A square mask with its corner at (x, y)."""
    mask = np.zeros((height, width), dtype=np.bool_)
    mask[max(y, 0) : y + side, max(x, 0) : x + side] = True
    return mask


def small_scenes(num_frames: int = 12) -> tuple[list[Scene], list[RejectRow]]:
    """Two videos of 64 × 96 (train, eval) and an image, with deletion tracks between the videos, and their rejects."""
    height, width = 64, 96
    moving = MaskTrack.from_masks(block(height, width, 8 + 3 * t, 20, 20) for t in range(num_frames))
    still = MaskTrack.from_masks([block(height, width, 60, 4, 12)] * num_frames)
    ground = MaskTrack.from_masks([~block(height, width, 4, 16, 28)])

    def video(shade: int) -> list[Image]:
        return [np.full((height, width, 3), (shade, 120, 200 - shade), np.uint8) for _ in range(num_frames)]

    first = Scene("a <b>&.mp4", video(60), "train")
    second = Scene("b.mp4", video(140), "eval")
    image = Scene("c.jpg", [np.full((height, width, 3), 90, np.uint8)])
    words = ("a <script>alert(1)</script> box", "a grey & white box", "A box. It moves to the right. It is grey.")
    first.things = [
        Thing(0, "entity", "box", moving, words, 27.36, missing=("box_expand",)),
        Thing(80, "background", "wall", ground),
        Thing(90, "pasted", "ball", still, donor=second.track_id(0), motion="trajectory", placement=(4.0, -2.0, 1.0)),
        Thing(91, "pasted", "ball", still, donor=second.track_id(0), motion="background", placement=(4.0, -2.0, 1.0)),
    ]
    second.things = [
        Thing(0, "entity", "ball", still, ("a ball", "a small round ball", "A ball lies there.")),
        Thing(80, "background", "grass", ground),
    ]
    image.things = [
        Thing(0, "entity", "cup", still.take([0]), ("a cup", "a red cup", "A red cup stands there.")),
        Thing(
            90,
            "pasted",
            "box",
            MaskTrack.from_masks([block(height, width, 20, 30, 10)]),
            donor="f" * 16 + "-00",
            motion="still",
            placement=(12.0, 10.0, 0.5),
        ),
    ]
    a, c = first.clip_id, image.clip_id
    rejects = [
        RejectRow(
            source_id("small", "bad.mp4"), "source", "ingest", 0, "ingest", "failed", "unreadable", None, None, "torn <"
        ),
        RejectRow(f"{a}-01", "track", "annotate", 0, "screen", "filtered", "min_area", 0.001, 0.002, "covers 0.10%"),
        RejectRow(f"{c} pasted", "track", "compose", 0, "paste", "filtered", "no_donor", None, None, "no donor"),
        RejectRow(
            f"{a}-00-be", "sample", "compose", 0, "augment", "filtered", "mask_too_large", 0.7, 0.6, "covers 70.00%"
        ),
    ]
    return [first, second, image], rejects
