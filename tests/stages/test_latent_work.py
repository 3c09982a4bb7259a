from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from sample_rows import sample_row

from stages.latent_work import Masking, by_track, clip_shape, distinct_windows, touches, window_id
from stages.windows import ClipShape, WindowSettings, choose_window, fixed_windows

WIDE = ClipShape("a" * 16, "video", 320, 180, 24.0, 60)
SETTINGS = WindowSettings(height=64, width=64, frames=9, fixed=6)


def test_windows_are_named_by_what_they_show() -> None:
    windows = fixed_windows(WIDE, SETTINGS, 0)
    names = [window_id(window) for window in windows]
    assert len(set(names)) == 6
    assert all(len(name) == 16 for name in names)
    assert [window_id(window) for window in pickle.loads(pickle.dumps(windows))] == names
    first = windows[0]
    assert window_id(replace(first, indices=tuple(np.asarray(first.indices)))) == names[0], "numpy numbers are numbers"
    assert window_id(replace(first, x0=first.x0 + 1e-9)) != names[0]
    assert window_id(replace(first, indices=first.indices[::-1])) != names[0]


def test_a_clip_with_room_for_one_window_has_one() -> None:
    image = clip_shape(sample_row(kind="image", fps=None, num_frames=1))
    still = distinct_windows(image, WindowSettings(height=64, width=96, frames=9, fixed=4), 0)
    assert [number for number, _ in still] == [0]
    roomy = distinct_windows(WIDE, SETTINGS, 0)
    assert [number for number, _ in roomy] == list(range(6))
    assert [window for _, window in roomy] == fixed_windows(WIDE, SETTINGS, 0)


def test_every_window_that_training_takes_is_touched() -> None:
    """Masks that move, vanish and grow: a fixed window that is chosen for one always counts as touched."""
    rng, chosen, passed_over = np.random.default_rng(0), 0, 0
    windows = fixed_windows(WIDE, SETTINGS, 0)
    for number in range(200):
        start, speed, size = rng.uniform(0, (300, 160)), rng.uniform(-6, 6, 2), rng.integers(4, 60, 2)
        low = np.clip(start + np.arange(60)[:, None] * speed, 0, (319, 179)).astype(np.int64)
        boxes = np.concatenate([low, np.minimum(low + size, (320, 180))], axis=1)
        boxes[rng.random(60) < 0.3] = 0
        touched = {window_id(window) for window in windows if touches(window, boxes, SETTINGS.min_seen)}
        window = choose_window(WIDE, boxes, SETTINGS, 0, str(number))
        if window in windows:
            chosen += 1
            assert window_id(window) in touched
        passed_over += len(windows) - len(touched)
    assert chosen > 50
    assert passed_over > 200, "windows beside the mask are not touched"


@pytest.mark.parametrize(
    ("box", "seen"),
    [((0, 0, 10, 10), True), ((70, 0, 80, 10), False), ((60, 0, 80, 10), True), ((0, 0, 0, 0), False)],
)
def test_touching_is_overlap(box: tuple[int, int, int, int], seen: bool) -> None:
    window = replace(fixed_windows(WIDE, SETTINGS, 0)[0], x0=0.0, y0=0.0, scale=1.0)
    boxes = np.tile(np.asarray(box, np.int64), (60, 1))
    assert touches(window, boxes, 0.5) == seen


def test_masks_are_counted_once_for_all_captions() -> None:
    samples = [
        sample_row(track=track, mask_variant=variant, caption_kind=kind)
        for kind in ("short", "long", "medium")
        for variant in ("hull", "original")
        for track in (1, 0)
    ]
    found = by_track(samples)
    assert sorted(found) == ["a" * 16 + "-00", "a" * 16 + "-01"]
    assert all(sorted(row.mask_variant for row in rows) == ["hull", "original"] for rows in found.values())
    assert by_track(samples[::-1]) == found


def test_labels_tell_masks_apart() -> None:
    maskings = [Masking(f"{'a' * 16}-{n:02d}", v, k) for n in (0, 90) for v in ("box", "hull") for k in (True, False)]
    assert len({masking.label for masking in maskings}) == 8
    assert maskings[0].label == "track-00.box.kive"
