"""What the model sees: masked video, keyframe, and the mask at latent size."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("diffusers")
import torch
from tiny_models.cogvideox import inpaint_pipeline, latent_batch, noise, small_clip

from train.conditioning import (
    CHANNEL_ORDER,
    MASKED_FILL,
    LatentBatch,
    check_window,
    decode_latents,
    encode_batch,
    encode_masked_video,
    encode_video,
    join_channels,
    mask_to_latent_size,
    mask_video,
    padded_frames,
    set_keyframe,
    to_mask,
    to_model_range,
    to_pixels,
)


@pytest.fixture(scope="module")
def vae():
    return inpaint_pipeline().vae


def pixels(seed=0, frames=9):
    frames_, masks = small_clip(frames, seed=seed)
    return to_model_range(frames_).unsqueeze(0), to_mask(masks).unsqueeze(0)


def pooled_by_hand(mask):
    """(F, H, W) bool → (F', H/8, W/8): loops over latents, their frames and their pixels."""
    frames, height, width = mask.shape
    groups = [[0]] + [list(range(start, start + 4)) for start in range(1, frames, 4)]
    small = np.zeros((len(groups), height // 8, width // 8))
    for latent, members in enumerate(groups):
        for frame, row, column in zip(*np.nonzero(mask), strict=True):
            if frame in members:
                small[latent, row // 8, column // 8] = 1
    return small


def test_pixels_survive_the_model_range():
    frames, _ = small_clip()
    video = to_model_range(frames)
    assert video.shape == (3, 9, 64, 96)
    assert video.min() == -1
    assert video.max() <= 1
    assert np.array_equal(to_pixels(video), frames)


def test_masked_pixels_take_the_fill_and_others_stay():
    video, mask = pixels()
    masked = mask_video(video, mask)
    inside = mask.expand_as(video) > 0
    assert (masked[inside] == MASKED_FILL).all()
    assert torch.equal(masked[~inside], video[~inside])
    assert torch.equal(masked, video * (1 - mask))


@pytest.mark.parametrize("frames", [1, 9, 17])
def test_mask_is_pooled_as_a_loop_would(frames):
    random = np.random.default_rng(frames)
    mask = random.random((frames, 32, 48)) < 0.004
    small = mask_to_latent_size(to_mask(mask).unsqueeze(0))
    assert small.shape == (1, (frames - 1) // 4 + 1, 1, 4, 6)
    assert np.array_equal(small[0, :, 0].numpy(), pooled_by_hand(mask))
    assert 0 < small.mean() < 1


def test_single_pixel_marks_its_cell_and_its_group_of_frames():
    mask = torch.zeros(1, 1, 9, 32, 32)
    mask[0, 0, 5, 8, 31] = 1  # frame 5 is the first of the second group of four: latent 2
    small = mask_to_latent_size(mask)
    assert small.nonzero().tolist() == [[0, 2, 0, 1, 3]]


def test_first_frame_has_a_latent_of_its_own():
    mask = torch.zeros(1, 1, 9, 16, 16)
    mask[:, :, 0] = 1
    assert mask_to_latent_size(mask)[0, :, 0, 0, 0].tolist() == [1, 0, 0]


def test_masks_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="do not divide"):
        mask_to_latent_size(torch.zeros(1, 1, 8, 16, 16))


def test_keyframe_is_shown_whole_and_its_mask_is_empty():
    video, mask = pixels()
    masked = mask_video(video, mask)
    shown, shown_mask = set_keyframe(masked, mask, video[:, :, 0])
    assert torch.equal(shown[:, :, 0], video[:, :, 0])
    assert torch.equal(shown[:, :, 1:], masked[:, :, 1:])
    assert shown_mask[:, :, 0].sum() == 0
    assert torch.equal(shown_mask[:, :, 1:], mask[:, :, 1:])
    assert mask[:, :, 0].sum() > 0, "the caller's mask is not touched"
    assert mask_to_latent_size(shown_mask)[0, 0].sum() == 0


def test_keyframe_goes_to_the_chosen_samples_only():
    video, mask = pixels()
    video, mask = video.repeat(2, 1, 1, 1, 1), mask.repeat(2, 1, 1, 1, 1)
    masked = mask_video(video, mask)
    shown, shown_mask = set_keyframe(masked, mask, video[:, :, 0], [False, True])
    assert torch.equal(shown[0], masked[0])
    assert torch.equal(shown_mask[0], mask[0])
    assert shown_mask[1, :, 0].sum() == 0


def test_channels_lie_in_the_stated_order():
    batch = latent_batch()
    joined = join_channels(batch.latents, batch.masked_latents, batch.mask)
    assert CHANNEL_ORDER == ("noise", "masked_video", "mask")
    assert joined.shape == (2, 3, 33, 8, 12)
    assert torch.equal(joined[:, :, :16], batch.latents)
    assert torch.equal(joined[:, :, 16:32], batch.masked_latents)
    assert torch.equal(joined[:, :, 32:], batch.mask)


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (9, 3), (17, 5)])
def test_latents_have_the_vae_size_and_come_back(vae, frames, latents):
    video, _ = pixels(frames=frames)
    encoded = encode_video(vae, video)
    assert encoded.shape == (1, latents, 16, 8, 12)
    assert torch.equal(encoded, encode_video(vae, video)), "no draw from the posterior"
    assert decode_latents(vae, encoded).shape == video.shape


def test_latents_are_those_diffusers_scales(vae):
    video, _ = pixels()
    with torch.no_grad():
        mean = vae.encode(video).latent_dist.mean
    torch.testing.assert_close(encode_video(vae, video), (mean * vae.config.scaling_factor).transpose(1, 2))


def test_condition_follows_the_base_that_inverts_its_scale(vae):
    video, _ = pixels()
    plain = encode_masked_video(vae, video)
    vae.register_to_config(invert_scale_latents=True)
    try:
        inverted = encode_masked_video(vae, video)
    finally:
        vae.register_to_config(invert_scale_latents=False)
    torch.testing.assert_close(plain, encode_video(vae, video))
    torch.testing.assert_close(inverted, plain / vae.config.scaling_factor**2)


def test_batch_is_encoded_as_its_samples_are(vae):
    (first, first_mask), (second, second_mask) = pixels(seed=0), pixels(seed=1)
    video, mask = torch.cat([first, second]), torch.cat([first_mask, second_mask])
    batch = encode_batch(vae, ["a", "b"], video, mask, noise(2, 16, 32), kive=[False, True])
    assert torch.equal(batch.latents[1:], encode_video(vae, second))
    assert torch.equal(batch.masked_latents[:1], encode_masked_video(vae, mask_video(first, first_mask)))
    assert batch.mask[0, 0].sum() > 0
    assert batch.mask[1, 0].sum() == 0
    assert batch.mask[1, 1:].sum() > 0
    with_keyframe = mask_video(second, second_mask)
    with_keyframe[:, :, 0] = second[:, :, 0]
    assert torch.equal(batch.masked_latents[1:], encode_masked_video(vae, with_keyframe))


def test_stored_latents_are_taken_as_they_are(vae):
    video, mask = pixels()
    live = encode_batch(vae, ["a"], video, mask, noise(1, 16, 32))
    stored = encode_batch(
        vae, ["a"], video, mask, noise(1, 16, 32), latents=live.latents, masked_latents=live.masked_latents
    )
    assert stored.latents is live.latents
    assert stored.masked_latents is live.masked_latents
    assert torch.equal(stored.mask, live.mask)


def test_parts_that_do_not_belong_together_are_refused():
    batch = latent_batch()
    parts = {
        "sample_ids": batch.sample_ids,
        "latents": batch.latents,
        "masked_latents": batch.masked_latents,
        "mask": batch.mask,
        "text": batch.text,
    }
    for name, wrong in (
        ("masked_latents", batch.masked_latents[:, :1]),
        ("mask", batch.mask[:, :, :, :4]),
        ("text", batch.text[:1]),
        ("sample_ids", ("one",)),
    ):
        with pytest.raises(ValueError, match=r"fit|latents|texts"):
            LatentBatch(**{**parts, name: wrong})


def test_mask_or_keyframe_of_another_size_is_refused():
    video, mask = pixels()
    with pytest.raises(ValueError, match="mask of 1×1×8×64×96 does not fit a video of 1×3×9×64×96"):
        mask_video(video, mask[:, :, :8])
    with pytest.raises(ValueError, match="keyframe of 1×3×32×96 does not fit"):
        set_keyframe(video, mask, video[:, :, 0, :32])


@pytest.mark.parametrize(("frames", "padded"), [(1, 1), (2, 9), (9, 9), (10, 17), (13, 17), (49, 49)])
def test_windows_are_padded_to_what_the_vae_returns(frames, padded):
    assert padded_frames(frames) == padded
    check_window(padded, 64, 96)


@pytest.mark.parametrize(
    ("frames", "height", "width", "said"),
    [(8, 64, 96, "8 frames"), (13, 64, 96, "8k"), (0, 64, 96, "0 frames"), (9, 72, 96, "72×96"), (9, 64, 104, "16")],
)
def test_sizes_the_model_would_quietly_change_are_refused(vae, frames, height, width, said):
    with pytest.raises(ValueError, match=said):
        check_window(frames, height, width)
