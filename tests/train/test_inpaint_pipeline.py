"""Editing through the pipeline: against diffusers' own sampler, and everything a caller can get wrong."""

from __future__ import annotations

import json

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("diffusers")
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler, CogVideoXPipeline
from tiny_models.cogvideox import TEXT_TOKENS, inpaint_pipeline, noise, small_clip, tiny_base

from train.checkpoint import describe, save_checkpoint
from train.conditioning import encode_video, to_model_range
from train.inpaint_pipeline import VividInpaintPipeline
from train.lora import AdaptationSettings, prepare_for_training

SCHEDULERS = [CogVideoXDDIMScheduler, CogVideoXDPMScheduler]
STEPS = 3


def scheduler_of(kind):
    return kind.from_pretrained(tiny_base(), subfolder="scheduler")


def seeded():
    return torch.Generator().manual_seed(4)


def listening_pipeline(**components):
    """A pipeline whose condition has an effect, as after training."""
    pipeline = inpaint_pipeline(**components)
    with torch.no_grad():
        weight = pipeline.transformer.patch_embed.proj.weight
        weight[:, 16:] = 0.3 * noise(*weight[:, 16:].shape, seed=8)
    return pipeline


def draw(pipeline, video, mask, prompt="a red ball", **options):
    return pipeline(
        video, mask, prompt, **{"num_inference_steps": STEPS, "generator": seeded(), "output_type": "latent", **options}
    ).frames


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_untrained_model_draws_what_the_base_draws(kind, guidance):
    base = CogVideoXPipeline.from_pretrained(tiny_base(), scheduler=scheduler_of(kind))
    base.set_progress_bar_config(disable=True)
    text, negative = noise(1, TEXT_TOKENS, 32), noise(1, TEXT_TOKENS, 32, seed=1)
    expected = base(
        prompt_embeds=text,
        negative_prompt_embeds=negative,
        height=64,
        width=96,
        num_frames=9,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        max_sequence_length=TEXT_TOKENS,
        generator=seeded(),
        output_type="latent",
    ).frames
    drawn = draw(
        inpaint_pipeline(scheduler=scheduler_of(kind)),
        *small_clip(),
        prompt=None,
        prompt_embeds=text,
        negative_prompt_embeds=negative,
        guidance_scale=guidance,
    )
    torch.testing.assert_close(drawn, expected, rtol=1e-3, atol=1e-4)
    assert expected.std() > 0.1


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_equal_seeds_give_equal_videos(kind):
    pipeline = listening_pipeline(scheduler=scheduler_of(kind))
    video, mask = small_clip()
    first = draw(pipeline, video, mask)
    assert torch.equal(first, draw(pipeline, video, mask))
    assert (first - draw(pipeline, video, mask, generator=torch.Generator().manual_seed(5))).abs().max() > 0.1


def test_video_mask_and_prompt_all_matter():
    pipeline = listening_pipeline()
    video, mask = small_clip()
    drawn = draw(pipeline, video, mask)
    other_video, _ = small_clip(seed=1)
    assert (draw(pipeline, other_video, mask) - drawn).abs().max() > 0.01
    assert (draw(pipeline, video, np.roll(mask, 16, axis=1)) - drawn).abs().max() > 0.01
    assert (draw(pipeline, video, mask, prompt="a blue dog") - drawn).abs().max() > 1e-4


def test_what_is_under_the_mask_is_not_seen():
    pipeline = listening_pipeline()
    video, mask = small_clip()
    other = video.copy()
    other[mask] = 255 - other[mask]
    assert torch.equal(draw(pipeline, video, mask), draw(pipeline, other, mask))


def test_condition_shows_the_keyframe_whole():
    pipeline = listening_pipeline()
    video, mask = small_clip()
    edited = video[0].copy()
    edited[16:40, 20:44] = (250, 10, 10)
    seen = []
    forward = pipeline.transformer.forward

    def watch(*arguments, hidden_states, **options):
        seen.append(hidden_states)
        return forward(*arguments, hidden_states=hidden_states, **options)

    pipeline.transformer.forward = watch
    try:
        with_keyframe = draw(pipeline, video, mask, keyframe=edited, num_inference_steps=1)
        without = draw(pipeline, video, mask, num_inference_steps=1)
    finally:
        del pipeline.transformer.forward
    shown, hidden = seen
    expected = np.where(mask[..., None], 0, to_model_range(video).permute(1, 2, 3, 0).numpy())
    expected[0] = to_model_range(edited[None])[:, 0].permute(1, 2, 0)
    masked_video = torch.from_numpy(expected).permute(3, 0, 1, 2).unsqueeze(0)
    torch.testing.assert_close(shown[:1, :, 16:32], encode_video(pipeline.vae, masked_video), rtol=1e-4, atol=1e-5)
    assert shown[0, 0, 32].sum() == 0
    assert hidden[0, 0, 32].sum() > 0
    assert torch.equal(shown[:, 1:, 32], hidden[:, 1:, 32])
    assert (with_keyframe - without).abs().max() > 1e-3


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (2, 3), (9, 3), (13, 5)])
def test_any_number_of_frames_comes_back(frames, latents):
    pipeline = inpaint_pipeline()
    video, mask = small_clip(frames)
    options = {"num_inference_steps": 1, "guidance_scale": 1.0}
    assert draw(pipeline, video, mask, output_type="np", **options).shape == (1, frames, 64, 96, 3)
    assert draw(pipeline, video, mask, **options).shape == (1, latents, 16, 8, 12)


def test_leading_frames_alone():
    pipeline = listening_pipeline()
    video, mask = small_clip(17)
    assert torch.equal(draw(pipeline, video, mask, num_frames=9), draw(pipeline, video[:9], mask[:9]))


def test_forms_of_input_and_output():
    pipeline = listening_pipeline()
    video, mask = small_clip()
    array = draw(pipeline, video, mask, output_type="np")
    assert array.dtype == np.float32
    assert 0 <= array.min() < array.max() <= 1
    images = [PIL.Image.fromarray(frame) for frame in video]
    masks = [PIL.Image.fromarray(one.astype(np.uint8) * 255).convert("RGB") for one in mask]
    assert torch.equal(draw(pipeline, images, masks), draw(pipeline, list(video), list(mask)))
    (pictures,) = draw(pipeline, images, masks, output_type="pil")
    assert np.abs(np.stack([np.asarray(picture) for picture in pictures]) / 255 - array[0]).max() <= 0.51 / 255
    still = np.broadcast_to(mask[0], mask.shape)
    assert torch.equal(draw(pipeline, video, mask[0]), draw(pipeline, video, still))
    keyframe = PIL.Image.fromarray(video[1])
    assert torch.equal(draw(pipeline, video, mask, keyframe=keyframe), draw(pipeline, video, mask, keyframe=video[1]))
    (latents,) = pipeline(
        video,
        mask,
        "a red ball",
        num_inference_steps=STEPS,
        generator=seeded(),
        output_type="latent",
        return_dict=False,
    )
    assert torch.equal(latents, draw(pipeline, video, mask))


def test_prompt_may_be_encoded_beforehand():
    pipeline = listening_pipeline()
    video, mask = small_clip()
    both = pipeline._text("a red ball", None, None, guided=True)
    bare = VividInpaintPipeline.from_pretrained(
        tiny_base(), transformer=pipeline.transformer, text_encoder=None, tokenizer=None
    )
    bare.set_progress_bar_config(disable=True)
    given = {"prompt": None, "prompt_embeds": both[1], "negative_prompt_embeds": both[0]}
    assert torch.equal(draw(bare, video, mask, **given), draw(pipeline, video, mask))
    with pytest.raises(ValueError, match="no text encoder"):
        draw(bare, video, mask)
    with pytest.raises(ValueError, match="no text encoder"):
        draw(bare, video, mask, prompt=None, prompt_embeds=both[1])
    draw(bare, video, mask, prompt=None, prompt_embeds=both[1], guidance_scale=1.0)


def test_callback_sees_every_step_and_may_replace_latents():
    pipeline = inpaint_pipeline()
    steps = []

    def watch(pipe, step, timestep, tensors):
        assert pipe is pipeline
        steps.append((step, int(timestep)))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == STEPS - 1 else {}

    drawn = draw(pipeline, *small_clip(), callback_on_step_end=watch)
    assert [step for step, _ in steps] == [0, 1, 2]
    assert steps[0][1] == 999
    assert drawn.abs().max() == 0


def test_given_noise_takes_the_place_of_the_draw():
    pipeline = inpaint_pipeline(scheduler=scheduler_of(CogVideoXDDIMScheduler))
    video, mask = small_clip()
    start = noise(1, 3, 16, 8, 12, seed=2)
    first = draw(pipeline, video, mask, latents=start, generator=None)
    assert torch.equal(first, draw(pipeline, video, mask, latents=start, generator=None))
    with pytest.raises(ValueError, match="latents of"):
        draw(pipeline, video, mask, latents=start[:, :1])


def test_checkpoint_draws_what_the_trained_model_draws(tmp_path):
    pipeline = inpaint_pipeline()
    settings = AdaptationSettings(rank=4, alpha=12)
    config = describe(pipeline.transformer, settings, base=str(tiny_base()), height=64, width=96, num_frames=9)
    with torch.no_grad():
        for number, parameter in enumerate(prepare_for_training(pipeline.transformer, settings)):
            parameter.add_(0.1 * noise(*parameter.shape, seed=number))
    save_checkpoint(tmp_path / "result", pipeline.transformer, config)
    video, mask = small_clip()
    expected = draw(pipeline, video, mask)
    loaded = inpaint_pipeline(tmp_path / "result")
    assert (draw(loaded, video, mask) - expected).abs().max() == 0.0
    with pytest.raises(ValueError, match="fuse_lora"):
        loaded.save_pretrained(tmp_path / "whole")

    loaded.fuse_lora()
    loaded.unload_lora_weights()
    loaded.save_pretrained(tmp_path / "whole")
    whole = inpaint_pipeline(tmp_path / "whole")
    torch.testing.assert_close(draw(whole, video, mask), expected, rtol=1e-3, atol=1e-3)

    index = tmp_path / "whole" / "model_index.json"
    said = json.loads(index.read_text())
    assert said["_class_name"] == "VividInpaintPipeline"
    index.write_text(json.dumps({**said, "channel_order": "noise,mask,masked_video"}))
    with pytest.raises(ValueError, match="in the order noise, mask, masked_video"):
        inpaint_pipeline(tmp_path / "whole")


def test_half_precision_base_with_float32_update():
    pipeline = inpaint_pipeline(dtype=torch.bfloat16)
    prepare_for_training(pipeline.transformer, AdaptationSettings(rank=4))
    video, mask = small_clip()
    rounded = draw(pipeline, video, mask, guidance_scale=1.0, num_inference_steps=1)
    exact = draw(inpaint_pipeline(), video, mask, guidance_scale=1.0, num_inference_steps=1)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_learned_positions_fix_the_size():
    pipeline = inpaint_pipeline(tiny_base(positions="learned", in_channels=32))
    options = {"num_inference_steps": 1, "guidance_scale": 1.0}
    draw(pipeline, *small_clip(1), **options)
    draw(pipeline, *small_clip(9), **options)
    with pytest.raises(ValueError, match="64×96 only, not for 96×96"):
        draw(pipeline, *small_clip(9, 96, 96))
    with pytest.raises(ValueError, match="9 frames, not for 17"):
        draw(pipeline, *small_clip(17))


def test_rotary_bases_take_any_size():
    drawn = draw(inpaint_pipeline(), *small_clip(9, 80, 64), num_inference_steps=1, guidance_scale=1.0)
    assert drawn.shape == (1, 3, 16, 10, 8)


def wrong_inputs():
    video, mask = small_clip()
    yield "another length", (video, mask[:8]), {}, "8 masks for 9 frames"
    yield "another size", (video, mask[:, :32]), {}, "masks are 32×96, and the video is 64×96"
    yield "empty mask", (video, np.zeros_like(mask)), {}, "the mask is empty"
    yield "odd size", (video[:, :60], mask[:, :60]), {}, "60×96"
    yield "too many frames", (video, mask), {"num_frames": 10}, "10 frames were asked for"
    yield "no frames", (video, mask), {"num_frames": 0}, "0 frames were asked for"
    yield "floats", (video.astype(np.float32), mask), {}, "uint8"
    yield "grey", (video[..., 0], mask), {}, "height, width, 3"
    yield "keyframe size", (video, mask), {"keyframe": video[0, :32]}, "keyframe is 32×96, the video 64×96"
    yield "long prompt", (video, mask), {"prompt": "a red ball " * 10}, "31 tokens, and the model reads at most 16"
    yield "no prompt", (video, mask), {"prompt": None}, "either a prompt or prompt_embeds"
    yield "two prompts", (video, mask), {"prompt_embeds": noise(1, 16, 32)}, "either a prompt or prompt_embeds"


@pytest.mark.parametrize(
    ("name", "positional", "options", "said"), list(wrong_inputs()), ids=lambda value: str(value)[:15]
)
def test_bad_input_gives_one_sentence(name, positional, options, said):
    with pytest.raises(ValueError, match=said) as refusal:
        draw(inpaint_pipeline(), *positional, **options)
    assert "\n" not in str(refusal.value)
