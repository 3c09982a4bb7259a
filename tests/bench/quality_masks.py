"""Masks against the truth: first masks found, first masks carried on, and what the cycle check says of them.

J is the mean intersection over union with the true masks, first and last frame left out as in the DAVIS benchmark;
cycle is the overlap of the first mask with what comes back when the last one is carried backwards; ms/frame is the time
of the forward pass on one core, learning the first frame included.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from quality_material import DavisSequence, Scene
from quality_tables import Table, Target

from manifests.masks import Mask, iou
from models.colour_tracker import ColourTracker
from models.discovery import ENTITY_TAG, DiscoverySettings, MotionDiscovery
from models.grabcut import GrabCutSegmenter, GrabCutSettings
from models.protocols import Image

FOUND = 0.5
"""IoU with the truth from which a thing counts as found."""
TOP = 3
LEAST_J, MOST_MS = 0.72, 60.0


@dataclass(frozen=True)
class Carried:
    """Figures of one thing carried from its true first mask."""

    name: str
    frames: int
    mean_j: float
    late_j: float
    cycle: float
    ms_per_frame: float


def carry(name: str, frames: Sequence[Image], truth: Sequence[Sequence[Mask]]) -> list[Carried]:
    """Carry the true first masks of all things through a clip and back; `truth` holds one mask per thing and frame."""
    tracker = ColourTracker()
    start = time.process_time()
    found = list(tracker.track(frames, [masks[0] for masks in truth]))
    milliseconds = 1000 * (time.process_time() - start) / (len(frames) - 1) / len(truth)
    *_, returned = tracker.track(frames[::-1], found[-1])
    figures = []
    for index, masks in enumerate(truth):
        overlaps = [iou(step[index], true) for step, true in zip(found, masks, strict=True)][1:-1]
        late = overlaps[-len(overlaps) // 4 :]
        # An entity that is gone at the end has nothing to come back from.
        cycle = iou(masks[0], returned[index]) if found[-1][index].any() else 0.0
        label = name if len(truth) == 1 else f"{name} #{index}"
        figures.append(
            Carried(
                label, len(frames), float(np.mean(overlaps)), float(np.mean(late)), cycle, milliseconds / len(truth)
            )
        )
    return figures


def carry_scene(scene: Scene) -> list[Carried]:
    """`carry` for the entities that can be seen in a scene's first frame."""
    seen = [scene.truth.entities[index] for index in scene.visible()]
    if scene.truth.num_frames < 3 or not seen:
        return []
    return carry(scene.name, scene.frames(), [list(entity.masks.masks()) for entity in seen])


def propagation_table(title: str, figures: Sequence[Carried], *, judged: bool) -> Table:
    """One row per thing and the mean; `judged` holds the mean against the targets."""
    table = Table(title, ("thing", "frames", "mean J", "J of last quarter", "cycle", "ms/frame"))
    table.rows = [(f.name, f.frames, f.mean_j, f.late_j, f.cycle, f.ms_per_frame) for f in figures]
    means = np.mean([[f.mean_j, f.late_j, f.cycle, f.ms_per_frame] for f in figures], axis=0).tolist()
    table.rows.append(("mean", sum(f.frames for f in figures), *means))
    if judged:
        table.targets = [Target("mean J", means[0], LEAST_J), Target("ms per frame", means[3], MOST_MS, most=True)]
    return table


def cycle_table(groups: dict[str, Sequence[Carried]], min_stability: float) -> Table:
    """Mean J of what the cycle check keeps and of what it drops."""
    table = Table(
        f"Cycle check at min_stability {min_stability}", ("material", "kept", "J of kept", "dropped", "J of dropped")
    )
    everything = [figure for figures in groups.values() for figure in figures]
    for name, figures in [*groups.items(), ("all", everything)]:
        kept = [f.mean_j for f in figures if f.cycle >= min_stability]
        dropped = [f.mean_j for f in figures if f.cycle < min_stability]
        table.rows.append((name, len(kept), _mean(kept), len(dropped), _mean(dropped)))
    _, _, kept_j, _, dropped_j = table.rows[-1]
    if isinstance(kept_j, float) and isinstance(dropped_j, float):
        table.targets = [Target("J of kept less J of dropped", kept_j - dropped_j, 0.1)]
    return table


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def first_masks(frames: Sequence[Image]) -> list[Mask]:
    """The masks of the best detections of the default models."""
    found = MotionDiscovery(DiscoverySettings(max_entities=TOP)).detect([frames], [[ENTITY_TAG]])[0]
    return GrabCutSegmenter(GrabCutSettings()).segment(frames[0], found)


def lookahead() -> int:
    """Frames the discovery looks at."""
    return MotionDiscovery(DiscoverySettings()).lookahead


def discovery_table(davis: Sequence[DavisSequence], scenes: Sequence[Scene]) -> Table:
    """Best IoU of the top three masks with each true thing, and the share of things found."""
    table = Table(f"Discovery: best IoU of the top {TOP} masks", ("clip", "things", "found", "best IoU", "IoU of each"))
    shares: dict[str, list[tuple[int, int, float]]] = {}
    material = [("davis", s.name, s.frames[: lookahead()], [s.truth[0]]) for s in davis]
    for scene in scenes:
        truth = [scene.truth.entities[index].masks.mask(0) for index in scene.visible()]
        if truth:
            material.append((scene.group, scene.name, scene.frames(lookahead()), truth))
    for group, name, frames, truth in material:
        masks = first_masks(frames)
        best = [max((iou(mask, true) for mask in masks), default=0.0) for true in truth]
        found = sum(value >= FOUND for value in best)
        table.rows.append((name, len(truth), found, max(best), " ".join(f"{value:.2f}" for value in best)))
        shares.setdefault(group, []).append((len(truth), found, max(best)))
    for group, figures in shares.items():
        clips = float(np.mean([best >= FOUND for _, _, best in figures]))
        table.targets.append(Target(f"{group}: share of {len(figures)} clips with a thing found", clips, 5 / 6))
        things, found = sum(f[0] for f in figures), sum(f[1] for f in figures)
        table.notes.append(f"{group}: {found} of {things} things found")
    return table
