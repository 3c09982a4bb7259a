"""Deletion pairs of a real run against the truth: where masks are pasted, how they move, whose shapes they are."""

from __future__ import annotations

from functools import reduce

import cv2
import numpy as np
import numpy.typing as npt
from quality_material import Annotated, Built
from quality_tables import Table, Target

from manifests.masks import Mask, MaskTrack, iou
from manifests.records import TrackRow
from models.local_homography import background_homographies
from models.protocols import Matrix
from pipeline.demo import SceneTruth, background_map
from stages.deletion import DeletionSettings
from stages.measure import gray_frames, union_masks
from stages.move import move_with_donor
from stages.paste import Placement
from stages.resample import warp

SETTLED = 48
"""Frames after which the drift of the background motion is judged."""
MOST_PLANAR, MOST_PARALLAX = 1.0, 3.0
LEAST_INSIDE = 0.95
MOST_ON_THINGS = 0.02


def deletion_tables(built: Built) -> list[Table]:
    """All tables on the pasted tracks of a run."""
    return [
        _inside(built),
        _over_things(built),
        _background_motion(built),
        _trajectories(built),
        _donors(built),
        _placements(built),
    ]


def _pasted(built: Built, *motions: str) -> list[tuple[Annotated, TrackRow]]:
    return [(clip, t) for clip in built.clips for t in clip.of_role("pasted") if not motions or t.motion in motions]


def _inside(built: Built) -> Table:
    table = Table("Pasted keyframe masks inside the true background", ("clip", "motion", "inside"))
    for clip, track in _pasted(built):
        first = built.masks[track.track_id].mask(0)
        table.rows.append((clip.scene.name, track.motion, float(clip.scene.truth.background[first].mean())))
    inside = [float(str(row[2])) for row in table.rows]
    table.targets = [
        Target("mean share inside", float(np.mean(inside)), LEAST_INSIDE),
        Target("smallest share inside", min(inside), LEAST_INSIDE),
    ]
    return table


def _over_things(built: Built) -> Table:
    """A deletion's truth is what the clip shows under the mask in every frame: the share that is no background."""
    columns = ("clip", "motion", "on an entity, mean of frames", "in the worst frame")
    table = Table("Pasted masks on true entities, all frames", columns)
    for clip, track in _pasted(built):
        masks, things = built.masks[track.track_id], [entity.masks for entity in clip.scene.truth.entities]
        if not things:
            continue
        union = reduce(MaskTrack.union, [thing.take(range(len(masks))) for thing in things])
        shares = masks.shared_areas(union) / np.maximum(1, masks.areas())
        table.rows.append((clip.scene.name, track.motion, float(shares.mean()), float(shares.max())))
    if table.rows:
        mean = float(np.mean([float(str(row[2])) for row in table.rows]))
        table.targets.append(Target("mean share on an entity", mean, MOST_ON_THINGS, most=True))
    return table


def _background_motion(built: Built) -> Table:
    """Error of the measured homographies at the mask's pixels; the stored masks must be what they make."""
    columns = ("clip", "scene", "frames", "error px", "worst frame px", "overlap with truth", "no motion px", "stored")
    table = Table(f"Background motion against the camera, from frame {SETTLED} on, at 720p", columns)
    errors: dict[str, list[float]] = {"planar": [], "parallax": []}
    for clip, track in _pasted(built, "background"):
        truth, masks = clip.scene.truth, built.masks[track.track_id]
        matrices = _homographies(built, clip, masks.mask(0))
        frames = range(SETTLED, len(masks))
        to_720 = 720 / min(truth.size)
        drift = [to_720 * _error(truth, masks.mask(0), matrices[t], t) for t in frames]
        still = [to_720 * _error(truth, masks.mask(0), np.eye(3), t) for t in frames]
        overlap = [iou(masks.mask(t), true_mask(truth, masks.mask(0), t)) for t in frames[:: max(1, len(frames) // 8)]]
        equal = all(np.array_equal(masks.mask(t), warp(masks.mask(0), matrices[t])) for t in frames[::8])
        kind = "parallax" if truth.parallax else "planar"
        errors[kind].append(float(np.mean(drift)))
        row = (clip.scene.name, kind, len(masks), errors[kind][-1], max(drift), float(np.mean(overlap)))
        table.rows.append((*row, float(np.mean(still)), "equal" if equal else "DIFFERS"))
    for kind, most in (("planar", MOST_PLANAR), ("parallax", MOST_PARALLAX)):
        if errors[kind]:
            name = f"{kind}: largest mean error of {len(errors[kind])} tracks"
            table.targets.append(Target(name, max(errors[kind]), most, most=True))
            table.notes.append(f"{kind}: mean {np.mean(errors[kind]):.2f} px, median {np.median(errors[kind]):.2f} px")
    stored = float(np.mean([row[-1] == "equal" for row in table.rows])) if table.rows else 0.0
    table.targets.append(Target("share of tracks whose stored masks are those of the measured motion", stored, 1.0))
    return table


def _homographies(built: Built, clip: Annotated, region: Mask) -> list[Matrix]:
    """The motion as the deletion stage measures it."""
    entities = [built.masks[track.track_id] for track in clip.of_role("entity")]
    exclude = union_masks(entities) if entities else None
    return background_homographies(gray_frames(built.frames(clip.clip)), region, exclude, DeletionSettings().homography)


def _error(truth: SceneTruth, first: Mask, matrix: Matrix, frame: int) -> float:
    """Mean distance of where the mask's pixels go and where the background there goes, pixels."""
    rows, columns = np.nonzero(first)
    points = np.stack([columns, rows], axis=1).astype(np.float64)[:: max(1, len(rows) // 2000)]
    moved = cv2.perspectiveTransform(points[None], matrix)[0]
    return float(np.linalg.norm(moved - background_map(truth, points, frame), axis=1).mean())


def true_mask(truth: SceneTruth, first: Mask, frame: int) -> Mask:
    """A mask of frame 0 as the background of the scene carries it to `frame`, by its outline."""
    outlines, _ = cv2.findContours(first.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    moved = [np.rint(background_map(truth, outline[:, 0].astype(np.float64), frame)) for outline in outlines]
    picture = np.zeros(first.shape, np.uint8)
    cv2.fillPoly(picture, [outline.astype(np.int32) for outline in moved], (1,))
    return picture.astype(np.bool_)


def _trajectories(built: Built) -> Table:
    """Copies against the donor's masks under the stored placement, by the stage's resampling and by nearest pixels."""
    columns = ("clip", "donor", "exact copies", "least overlap with nearest pixels")
    table = Table("Trajectory copies against the donor's masks under the stored placement", columns)
    clips = {clip.clip.clip_id: clip.clip for clip in built.clips}
    for clip, track in _pasted(built, "trajectory", "still"):
        masks, donor = built.masks[track.track_id], built.masks[str(track.donor_track_id)]
        lender = clips[str(track.donor_track_id).rpartition("-")[0]]
        fps = clip.clip.fps or 1.0
        copy = move_with_donor(donor, lender.fps or fps, _placement(track), masks.size, fps, len(masks))
        equal = np.mean([a == b for a, b in zip(copy.counts, masks.counts, strict=True)])
        overlaps = _nearest_overlaps(masks, donor, track, (lender.fps or fps) / fps)
        table.rows.append((clip.scene.name, str(track.donor_track_id), float(equal), min(overlaps, default=None)))
    table.targets = [
        Target("share of exact copies", float(np.mean([float(str(row[2])) for row in table.rows])), 1.0),
        Target("least overlap", min(float(str(row[3])) for row in table.rows if row[3] is not None), 0.9),
    ]
    return table


def _placement(track: TrackRow) -> Placement:
    assert track.dx is not None
    assert track.dy is not None
    assert track.scale is not None
    return Placement(track.dx, track.dy, track.scale, 1.0)


def _nearest_overlaps(masks: MaskTrack, donor: MaskTrack, track: TrackRow, rate: float) -> list[float]:
    """IoU with the nearest donor pixels at a few frames before the donor turns back; specks do not count."""
    place = _placement(track)
    height, width = masks.size
    x = np.rint((np.arange(width) - place.dx) / place.scale).astype(np.int64)
    y = np.rint((np.arange(height) - place.dy) / place.scale).astype(np.int64)
    usable = np.ix_((y >= 0) & (y < donor.size[0]), (x >= 0) & (x < donor.size[1]))
    rows, columns = y[(y >= 0) & (y < donor.size[0])], x[(x >= 0) & (x < donor.size[1])]
    overlaps = []
    for frame in range(0, len(masks), 8):
        source = int(np.floor(frame * rate + 0.5 + 1e-9))
        if source >= len(donor):
            break
        expected = np.zeros(masks.size, np.bool_)
        expected[usable] = donor.mask(source)[np.ix_(rows, columns)]
        if np.count_nonzero(expected) >= 500:
            overlaps.append(iou(masks.mask(frame), expected))
    return overlaps


def _donors(built: Built) -> Table:
    table = Table("Donors", ("of the pasted tracks", "count"))
    clips = {clip.clip.clip_id: clip.clip for clip in built.clips}
    pairs = [(clip.clip, clips[str(track.donor_track_id).rpartition("-")[0]], track) for clip, track in _pasted(built)]
    same_source = sum(clip.source_id == lender.source_id or clip.group == lender.group for clip, lender, _ in pairs)
    other_split = sum(clip.split != lender.split for clip, lender, _ in pairs)
    table.rows = [
        ("tracks", len(pairs)),
        ("different donors", len({track.donor_track_id for _, _, track in pairs})),
        ("donor of the same source or group", same_source),
        ("donor of the other split", other_split),
    ]
    table.targets = [Target("donors that may not lend", same_source + other_split, 0, most=True)]
    return table


def _placements(built: Built) -> Table:
    """Spread of the stored placements, one per clip and donor."""
    columns = ("of the pasted keyframe mask", "placements", "min", "10 %", "median", "90 %", "max", "deviation")
    table = Table("Placements", columns)
    seen: dict[tuple[str, str | None], tuple[float, ...]] = {}
    for clip, track in _pasted(built):
        masks, donor = built.masks[track.track_id], built.masks[str(track.donor_track_id)]
        height, width = masks.size
        rows, columns_ = np.nonzero(masks.mask(0))
        relative_scale = float(track.scale or 0) * min(donor.size) / min(masks.size)
        seen[clip.clip.clip_id, track.donor_track_id] = (
            float(columns_.mean() / width),
            float(rows.mean() / height),
            relative_scale,
            len(rows) / (height * width),
        )
    values: npt.NDArray[np.float64] = np.array(list(seen.values()))
    names = ("centre x (share of width)", "centre y (share of height)", "scale at equal short sides", "area share")
    for name, column in zip(names, values.T, strict=True):
        spread = [float(v) for v in np.percentile(column, [0, 10, 50, 90, 100])]
        table.rows.append((name, len(column), *spread, float(column.std())))
    table.targets = [
        Target("deviation of centre x", float(values[:, 0].std()), 0.1),
        Target("deviation of centre y", float(values[:, 1].std()), 0.05),
        Target("deviation of log scale", float(np.log(values[:, 2]).std()), 0.15),
    ]
    return table
