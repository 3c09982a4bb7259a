"""The augment stage: which variants of which tracks are kept, with the parameters that rebuild them."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_work import PIXELS, block, clip_row, context_in, track_of, work_of

from manifests.ids import VARIANT_CODES
from stages.augment import AugmentSettings, apply_variant_track, draw_variants
from stages.variants import Augment
from stages.work import ClipWork, Pasting, Track

SETTINGS = AugmentSettings(max_area_fraction=0.5, min_area_fraction=0.01)


def pasted(number: int, *masks: object) -> Track:
    return track_of(masks, number, "pasted", pasting=Pasting("donor-00", "trajectory", 0, 0, 1))


def augmented(*tracks: Track, seed: int = 5, folder: Path, settings: AugmentSettings = SETTINGS) -> ClipWork:
    record = work_of(clip_row(num_frames=2), tracks=tracks)
    stage = Augment(settings)
    stage.setup(context_in(folder, seed=seed))
    stage.run([record])
    return record


def test_variants_are_those_that_the_track_draws_with_their_true_areas(tmp_path: Path) -> None:
    tracks = [track_of([block(30, 20), block(36, 20, 20, 24)]), pasted(90, block(8, 8, 12, 20), block(12, 8, 12, 20))]
    record = augmented(*tracks, folder=tmp_path)
    assert not record.rejects
    for track, name in zip(tracks, ("0123456789abcdef-00", "0123456789abcdef-90"), strict=True):
        drawn = draw_variants(5, name, SETTINGS)
        assert {variant.name: variant.parameters for variant in track.variants} == drawn
        assert [variant.name for variant in track.variants] == list(VARIANT_CODES)
        for variant in track.variants:
            areas = apply_variant_track(track.masks, drawn[variant.name]).areas()
            assert variant.area_mean == pytest.approx(areas.mean() / PIXELS, abs=1e-6)
    again = track_of([block(30, 20), block(36, 20)])
    augmented(again, seed=6, folder=tmp_path)
    assert again.variants != tracks[0].variants


def test_masks_of_unusable_size_are_rejects_of_samples(tmp_path: Path) -> None:
    # 3000 of 6144 pixels: the box that is half as large again covers too much of the frame, the mask itself does not.
    large = track_of([block(20, 5, 60, 50)] * 2)
    small = track_of([block(50, 50, 7, 7)] * 2, 1)
    settings = SETTINGS.model_copy(update={"box_ratio": (0.5, 0.5), "side_weight": (1.0, 1.0)})
    record = augmented(large, small, folder=tmp_path, settings=settings)
    assert "original" in [variant.name for variant in large.variants]
    assert "box_expand" not in [variant.name for variant in large.variants]
    too_large = {reject.id: reject for reject in record.rejects}["0123456789abcdef-00-be"]
    assert (too_large.level, too_large.stage, too_large.state) == ("sample", "augment", "filtered")
    assert too_large.reason == "mask_too_large"
    # Growth stops halfway to the frame's border: 10 and 8 of the 20 and 16 px left and right, 2 and 4 above and below.
    assert too_large.value == round(78 * 56 / PIXELS, 6)
    assert too_large.threshold == 0.5
    too_small = {reject.id: reject for reject in record.rejects}["0123456789abcdef-01-o"]
    assert (too_small.reason, too_small.value, too_small.threshold) == ("mask_too_small", round(49 / PIXELS, 6), 0.01)
    # Every variant is either kept or has its reject.
    assert len(large.variants) + len(small.variants) + len(record.rejects) == 12


def test_background_regions_make_no_samples(tmp_path: Path) -> None:
    region = track_of([block(0, 0, 96, 30)], 80, "background")
    record = augmented(region, folder=tmp_path)
    assert not region.variants
    assert not record.rejects
