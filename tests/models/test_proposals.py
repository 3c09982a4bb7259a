"""Regions of a saliency map."""

from __future__ import annotations

import numpy as np
import pytest

from manifests.masks import iou
from models.proposals import ProposalSettings, box_iou, propose

SETTINGS = ProposalSettings()


def empty_map() -> np.ndarray:
    return np.zeros((240, 427), np.float32)


def test_a_bright_region_is_found_with_its_tight_box() -> None:
    saliency = empty_map()
    saliency[80:160, 150:270] = 0.9
    (proposal,) = propose(saliency, SETTINGS, 5)
    assert iou(proposal.mask, saliency > 0) > 0.9
    rows, columns = np.nonzero(proposal.mask)
    assert proposal.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert 0 < proposal.score <= 1


def test_a_thing_with_a_brighter_part_is_one_thing() -> None:
    saliency = empty_map()
    saliency[60:180, 120:300] = 0.6
    saliency[90:120, 150:190] = 1.0
    (proposal,) = propose(saliency, SETTINGS, 5)
    assert iou(proposal.mask, saliency > 0) > 0.85


def test_two_things_joined_by_a_faint_bridge_are_two() -> None:
    saliency = empty_map()
    saliency[70:170, 100:180] = saliency[70:170, 230:310] = 1.0
    saliency[110:130, 180:230] = 0.27
    proposals = propose(saliency, SETTINGS, 5)
    assert len(proposals) == 2
    assert not (proposals[0].mask & proposals[1].mask).any()
    assert sorted(round(p.box[0], -1) for p in proposals) == [100, 230]


def test_the_larger_the_more_central_and_the_whole_come_first() -> None:
    saliency = empty_map()
    saliency[90:150, 180:240] = 1.0
    saliency[20:50, 330:360] = 1.0
    saliency[100:160, 0:60] = 1.0
    scores = {proposal.box[0]: proposal.score for proposal in propose(saliency, SETTINGS, 5)}
    middle, corner, cut_off = (next(scores[x] for x in scores if abs(x - left) < 8) for left in (180, 330, 0))
    assert middle > cut_off > corner
    assert [p.score for p in propose(saliency, SETTINGS, 5)] == sorted(scores.values(), reverse=True)
    assert len(propose(saliency, SETTINGS, 2)) == 2


def test_faint_tiny_and_scene_filling_regions_are_none() -> None:
    faint, tiny, scene = empty_map(), empty_map(), empty_map()
    faint[80:160, 150:270] = 0.2
    tiny[100:106, 200:206] = 1.0
    scene[10:230, 20:400] = 1.0
    for saliency in (faint, tiny, scene, empty_map()):
        assert propose(saliency, SETTINGS, 5) == []


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [((0, 0, 2, 2), (0, 0, 2, 2), 1.0), ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3), ((0, 0, 1, 1), (1, 1, 2, 2), 0.0)],
)
def test_box_iou(first: tuple[int, int, int, int], second: tuple[int, int, int, int], expected: float) -> None:
    assert box_iou(first, second) == pytest.approx(expected)
