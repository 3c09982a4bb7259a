"""The two propagations of a pasted mask (VIVID-10M, deletion): along its own trajectory, or with the background.

Every frame is made straight from an original mask (the donor's of that moment, or the keyframe's), so nothing is
resampled twice. Both work for a still image, which is one frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from manifests.masks import Mask, MaskTrack
from models.protocols import Matrix
from stages.paste import Placement, apply_placement
from stages.resample import warp


def donor_frames(donor_length: int, donor_fps: float, target_fps: float, num_frames: int) -> list[int]:
    """The donor's frame for each of `num_frames` target frames: the nearest in time, the later one on a tie.

    Past its end the donor is played backwards, then forwards again, so that the mask never jumps.
    """
    if donor_length < 1 or num_frames < 1:
        raise ValueError(f"a donor of {donor_length} frames cannot fill {num_frames} frames")
    for name, fps in (("donor", donor_fps), ("target", target_fps)):
        if not (math.isfinite(fps) and fps > 0):
            raise ValueError(f"the {name}'s frame rate must be a positive number, not {fps}")
    last = donor_length - 1
    # A tiny margin so that a tie stays one when the rates are not exact binary fractions.
    played = (math.floor(frame * donor_fps / target_fps + 0.5 + 1e-9) for frame in range(num_frames))
    return [last - abs(last - frame % (2 * last)) if last else 0 for frame in played]


def move_with_donor(
    donor: MaskTrack,
    donor_fps: float,
    placement: Placement,
    target_size: tuple[int, int],
    target_fps: float,
    num_frames: int,
) -> MaskTrack:
    """The donor's own later masks under one placement: its trajectory, on the target frame (height, width).

    Frames are chosen by `donor_frames`; shapes and paths are scaled alike and never distorted, whatever the two
    frames' proportions; what leaves the frame is cut (an object all outside has an empty mask).
    """
    chosen = donor_frames(len(donor), donor_fps, target_fps, num_frames)
    distinct = sorted(set(chosen))
    pasted = MaskTrack.from_masks(apply_placement(donor.mask(frame), placement, target_size) for frame in distinct)
    position = {frame: index for index, frame in enumerate(distinct)}
    return pasted.take(position[frame] for frame in chosen)


def move_with_background(first: Mask, homographies: Sequence[Matrix]) -> MaskTrack:
    """The keyframe's mask (H, W) bool carried along by the background, one frame per homography.

    `homographies` are 3×3 float64 from frame 0 to frame t in pixel coordinates, the first one the identity. What leaves
    the frame is cut and comes back if the camera does. Raises ValueError, naming the frame, for a matrix that is not
    usable.
    """

    def moved(frame: int, homography: Matrix) -> Mask:
        try:
            return warp(first, homography)
        except ValueError as error:
            raise ValueError(f"frame {frame}: {error}") from error

    return MaskTrack.from_masks(moved(frame, homography) for frame, homography in enumerate(homographies))


def visible_fraction(track: MaskTrack) -> npt.NDArray[np.float64]:
    """Area in each frame relative to the first frame's, (frames,); above 1 where the mask has grown.

    Raises ValueError when the first mask is empty.
    """
    areas = track.areas().astype(np.float64)
    if areas[0] == 0:
        raise ValueError("a track whose first mask is empty has no visible fraction")
    fractions: npt.NDArray[np.float64] = areas / areas[0]
    return fractions
