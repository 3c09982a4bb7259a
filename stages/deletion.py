"""Deletion tracks: another clip's entity pasted into the background and moved in both ways (VIVID-10M, deletion).

The ground truth of a deletion sample is the untouched clip; all that is made is a mask of something that could have
been there. Both motions share donor and place unless only one of them stays in view: (a) trajectory, the donor's own
later masks; (b) background, the first mask carried by the camera, where the background's motion is beyond doubt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache, reduce
from itertools import islice

import numpy as np
from pydantic import BaseModel, Field

from manifests.ids import PASTED_TRACK
from manifests.masks import Mask, MaskTrack
from manifests.records import ClipRow, DonorRow
from manifests.schema import from_parquet
from models.local_homography import HomographySettings
from models.motion_check import MotionCheckSettings
from models.protocols import Flow
from models.registry import ModelChoice, make_model
from stages.background_motion import BackgroundMotion
from stages.donors import donors_for, lendable
from stages.measure import frames_for, stamp_flow, union_masks
from stages.move import move_with_background, move_with_donor, visible_fraction
from stages.paste import PasteSettings, Placement, apply_placement, place
from stages.stage import Context, Stage
from stages.work import ClipWork, Pasting, Track

FAULTS = {
    "covers_entity": "with {motion} motion every pasted mask comes to lie on an entity",
    "leaves_frame": "with {motion} motion every pasted mask leaves the frame",
    "motion_in_doubt": "nothing confirmed the background's motion at any place",
}
"""Why donors with a place were not used, in the words of the manifest."""
Attempt = tuple[DonorRow, MaskTrack, Placement, Mask]
"""A donor, its masks, where it goes, and its first mask in place."""


class DeletionSettings(BaseModel, frozen=True, extra="forbid"):
    """How many donors are tried, and what a moved mask must keep."""

    paste: PasteSettings = Field(default=PasteSettings(), description="search over place and scale")
    flow: ModelChoice = Field(
        default=ModelChoice(name="lucas_kanade"), description="what follows points of the background"
    )
    homography: HomographySettings = Field(default=HomographySettings(), description="motion of the background there")
    check: MotionCheckSettings = Field(default=MotionCheckSettings(), description="doubts about that motion")
    max_attempts: int = Field(default=10, ge=1, description="donors tried per clip before a motion is given up")
    max_covered: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="largest share of the pasted mask that may lie on an entity in any frame: what is seen there is "
        "the truth of a deletion, and it must be background",
    )
    min_visible: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="mean share of the first mask's area still in view; else it has left the frame",
    )


class Deletion(Stage[ClipWork]):
    """Adds the pasted tracks: 90 (trajectory) and 91 (background) for a video, 90 (still) for an image."""

    name = "paste"
    version = 4
    reads = ("frames", "tracks")
    writes = ("tracks",)
    Settings = DeletionSettings
    settings: DeletionSettings

    def setup(self, context: Context) -> None:
        super().setup(context)
        self.flow: Flow = make_model(self.settings.flow, context.models)
        self.bank = from_parquet(DonorRow, context.store.read(context.bank)) if context.bank else []

    def run(self, records: Sequence[ClipWork]) -> None:
        for record in records:
            self._paste(record)

    def _paste(self, record: ClipWork) -> None:
        regions = record.of_role("background")
        if not regions:
            record.reject(
                f"{record.id} pasted", "track", self.name, "no_background", "no background region to paste into"
            )
            return
        background = reduce(np.logical_or, (track.masks.mask(0) for track in regions))
        motions = ("trajectory", "background") if record.clip.kind == "video" else ("still",)
        entities = [track.masks for track in record.of_role("entity")]
        things = reduce(MaskTrack.union, entities) if entities else None
        # Measured on first use: an image has no motion.
        behind = cache(lambda: self._motion_of(record))
        found: dict[str, Track] = {}
        faults: dict[str, Counter[str]] = {motion: Counter() for motion in motions}
        for attempt in self._attempts(record, background):
            for number, motion in enumerate(motions, PASTED_TRACK):
                if motion in found:
                    continue
                moved = self._move(record.clip, motion, attempt, behind)
                fault = "motion_in_doubt" if moved is None else self._fault(moved, things)
                if moved is None or fault:
                    faults[motion][fault] += 1
                    continue
                donor, _, placement, _ = attempt
                found[motion] = _track(number, motion, donor, moved, placement)
                if motion == "background":
                    stamp_flow(found[motion], self.flow)
            if len(found) == len(motions):
                break
        record.tracks += [found[motion] for motion in motions if motion in found]
        for motion in motions:
            if motion not in found:
                self._explain(record, motion, faults[motion])

    def _fault(self, moved: MaskTrack, things: MaskTrack | None) -> str:
        """Why a pasted track cannot be used; empty when it can."""
        if float(np.mean(visible_fraction(moved))) < self.settings.min_visible:
            return "leaves_frame"
        if things is not None:
            areas, shared = moved.areas(), moved.shared_areas(things)
            if np.any(shared > self.settings.max_covered * areas):
                return "covers_entity"
        return ""

    def _attempts(self, record: ClipWork, background: Mask) -> Iterator[Attempt]:
        seed = self.context.seed
        for donor in islice(donors_for(self.bank, record.clip, seed), self.settings.max_attempts):
            masks = MaskTrack.from_bytes(donor.masks)
            key = f"{record.id} {donor.track_id}"
            placement = place(masks.mask(0), background, seed, key, self.settings.paste)
            if placement is not None:
                yield donor, masks, placement, apply_placement(masks.mask(0), placement, background.shape)

    def _move(
        self, clip: ClipRow, motion: str, attempt: Attempt, behind: Callable[[], BackgroundMotion]
    ) -> MaskTrack | None:
        """The pasted masks of all frames, None where the background's motion is in doubt."""
        donor, masks, placement, first = attempt
        if motion == "still":
            return MaskTrack.from_masks([first])
        if motion == "trajectory":
            size = (clip.height, clip.width)
            fps = clip.fps or 1.0
            return move_with_donor(masks, donor.fps or fps, placement, size, fps, clip.num_frames)
        motion_there = behind().at(first)
        if motion_there is None:
            return None
        try:
            return move_with_background(first, motion_there)
        except ValueError:
            # A homography that sends a part of the mask to infinity is no motion of a background.
            return None

    def _motion_of(self, record: ClipWork) -> BackgroundMotion:
        entities = [track.masks for track in record.of_role("entity")]
        exclude = union_masks(entities) if entities else None
        frames, settings = frames_for(self.flow, record.decoded()), self.settings
        return BackgroundMotion(frames, exclude, self.flow, settings.homography, settings.check)

    def _explain(self, record: ClipWork, motion: str, faults: Counter[str]) -> None:
        if not lendable(self.bank, record.clip):
            reason, sentence = "no_donor", "no entity of another source in the same split could lend its shape"
        elif not faults:
            reason, sentence = "no_place", "no donor fits into the background region"
        else:
            # The most frequent fault; of equally frequent ones the first in this order.
            reason = max(FAULTS, key=lambda fault: faults[fault])
            sentence = FAULTS[reason].format(motion=motion)
        record.reject(f"{record.id} {motion}", "track", self.name, reason, sentence)


def _track(number: int, motion: str, donor: DonorRow, masks: MaskTrack, placement: Placement) -> Track:
    x0, y0, x1, y1 = (float(value) for value in masks.boxes()[0])
    pasting = Pasting(donor.track_id, motion, placement.dx, placement.dy, placement.scale)
    return Track(number, "pasted", donor.tag, (x0, y0, x1, y1), placement.inside, masks, pasting=pasting)
