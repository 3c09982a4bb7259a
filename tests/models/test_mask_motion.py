import cv2
import numpy as np

from models.mask_motion import MaskMotion


def _texture(height: int, width: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def _frames(shifts: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Two frames with textured squares moved by `shifts` (x, y), and the masks of the squares before and after."""
    first = _texture(160, 240, 0)
    second = first.copy()
    before, after = [], []
    for number, (x, y) in enumerate(shifts):
        patch = _texture(50, 50, number + 1)
        left, top = 40 + 100 * number, 50
        for frame, (dx, dy), masks in ((first, (0, 0), before), (second, (x, y), after)):
            frame[top + dy : top + dy + 50, left + dx : left + dx + 50] = patch
            mask = np.zeros(first.shape, np.float32)
            mask[top + dy : top + dy + 50, left + dx : left + dx + 50] = 1
            masks.append(mask)
    return first, second, before, after


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a > 0.5, b > 0.5
    return float((a & b).sum() / (a | b).sum())


def test_each_mask_follows_its_own_object() -> None:
    first, second, before, after = _frames([(6, 0), (-4, 5)])
    carried = MaskMotion().carry(before, first, second, first, second)
    for soft, start, end in zip(carried, before, after, strict=True):
        assert _overlap(soft, end) > 0.87
        assert _overlap(soft, end) > _overlap(start, end) + 0.1


def test_flow_may_run_at_another_size() -> None:
    first, second, before, after = _frames([(6, 2)])
    large = [cv2.resize(frame, (480, 320), interpolation=cv2.INTER_CUBIC) for frame in (first, second)]
    (carried,) = MaskMotion().carry(before, first, second, *large)
    assert _overlap(carried, after[0]) > 0.93


def test_flat_frames_leave_masks_where_they_are() -> None:
    flat = np.full((80, 96), 90, np.uint8)
    soft = np.zeros((80, 96), np.float32)
    soft[20:50, 30:60] = 1
    (carried,) = MaskMotion().carry([soft], flat, flat, flat, flat)
    assert np.array_equal(carried > 0.5, soft > 0.5)
