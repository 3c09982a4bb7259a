"""One LoRA step of CogVideoX-5B's size (random weights) at 480×720×49 on a GPU: ``python tests/bench/large_step.py``.

Seconds, model FLOPs utilisation and peak memory, with latents and text stored beforehand and without, at batch 1 and at
the largest batch that fits. Prints Markdown. Nothing is downloaded; weights are random, the sizes are the released
ones. ``--tiny --device cpu`` shows that it runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
# The checkout first: the tests have folders of the packages' names.
sys.path[:0] = [str(TESTS.parent), str(TESTS)]

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from torch import Tensor
from transformers import T5Config, T5EncoderModel

from bench.figures import Report, Table
from train.conditioning import LatentBatch, encode_batch
from train.lora import AdaptationSettings, prepare_for_training
from train.loss import VelocityObjective, draw_noise
from train.patch_embedding import expand_patch_embedding
from train.telemetry import model_flops, peak_flops
from train.tiny_base import noise_schedule

WARM_UP, MEASURED = 1, 3


@dataclass(frozen=True)
class Sizes:
    """Of a base and of its window. The defaults are CogVideoX-5b's."""

    heads: int = 48
    layers: int = 42
    time_features: int = 512
    text_tokens: int = 226
    text_features: int = 4096
    text_layers: int = 24
    text_heads: int = 64
    vae_channels: tuple[int, ...] = (128, 256, 256, 512)
    vae_layers: int = 3
    frames: int = 49
    height: int = 480
    width: int = 720


TINY = Sizes(
    heads=2,
    layers=2,
    time_features=32,
    text_tokens=8,
    text_features=32,
    text_layers=1,
    text_heads=2,
    vae_channels=(32,) * 4,
    vae_layers=1,
    frames=9,
    height=64,
    width=96,
)


@contextmanager
def made_on(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """New parameters lie on `device` in `dtype`: twenty gigabytes need not pass through the host."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(before)


def random_transformer(sizes: Sizes) -> CogVideoXTransformer3DModel:
    """The transformer with its inpainting channels."""
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=sizes.heads,
        attention_head_dim=64,
        in_channels=16,
        out_channels=16,
        time_embed_dim=sizes.time_features,
        text_embed_dim=sizes.text_features,
        num_layers=sizes.layers,
        sample_width=sizes.width // 8,
        sample_height=sizes.height // 8,
        sample_frames=sizes.frames,
        max_text_seq_length=sizes.text_tokens,
        use_rotary_positional_embeddings=True,
    )
    expand_patch_embedding(transformer)
    return transformer


def random_vae(sizes: Sizes) -> AutoencoderKLCogVideoX:
    """The VAE."""
    vae = AutoencoderKLCogVideoX(
        block_out_channels=sizes.vae_channels,
        latent_channels=16,
        layers_per_block=sizes.vae_layers,
        sample_height=sizes.height,
        sample_width=sizes.width,
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        scaling_factor=0.7,
    )
    return vae.eval().requires_grad_(False)


def random_text_encoder(sizes: Sizes) -> T5EncoderModel:
    """T5 (XXL by default)."""
    config = T5Config(
        d_model=sizes.text_features,
        d_kv=64,
        d_ff=sizes.text_features * 5 // 2,
        num_layers=sizes.text_layers,
        num_heads=sizes.text_heads,
        feed_forward_proj="gated-gelu",
    )
    return T5EncoderModel(config).eval().requires_grad_(False)


class LargeStep:
    """The networks, and a training step on random clips as the trainer takes it."""

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        self.sizes, self.device = sizes, device
        with made_on(device, torch.bfloat16):
            self.transformer = random_transformer(sizes)
            self.vae = random_vae(sizes)
            self.text_encoder = random_text_encoder(sizes)
        learning = prepare_for_training(self.transformer, AdaptationSettings())
        self.optimizer = torch.optim.AdamW(learning, lr=1e-4)
        self.learning = learning
        self.objective = VelocityObjective(self.transformer, noise_schedule(CogVideoXDDIMScheduler))
        self.steps = 0

    @torch.no_grad()
    def encode(self, count: int) -> LatentBatch:
        """A batch from pixels and tokens, as without stored latents."""
        sizes = self.sizes
        tokens = torch.randint(2, 32000, (count, sizes.text_tokens), device=self.device)
        text: Tensor = self.text_encoder(tokens).last_hidden_state
        video = torch.rand(count, 3, sizes.frames, sizes.height, sizes.width) * 2 - 1
        mask = torch.zeros(count, 1, sizes.frames, sizes.height, sizes.width)
        mask[..., sizes.height // 4 : sizes.height // 2, sizes.width // 4 : sizes.width // 2] = 1
        return encode_batch(self.vae, [str(row) for row in range(count)], video, mask, text).to(self.device)

    def train(self, batch: LatentBatch) -> float:
        """Forward, backward, clipping, AdamW; returns the loss."""
        drawn = draw_noise(0, self.steps, batch.sample_ids, batch.latents.shape[1:])
        loss = self.objective(self.transformer, batch, drawn).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        return float(loss.detach())

    def seconds(self, count: int, *, stored: bool) -> float:
        """Median seconds of a step of `count` samples. Raises torch.OutOfMemoryError when they do not fit."""
        batch = self.encode(count) if stored else None

        def step() -> None:
            self.train(self.encode(count) if batch is None else batch)

        for _ in range(WARM_UP):
            step()
        return sorted(self._timed(step) for _ in range(MEASURED))[MEASURED // 2]

    def _timed(self, step: Callable[[], None]) -> float:
        start = time.perf_counter()
        step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - start


def row_of(step: LargeStep, count: int, *, stored: bool) -> tuple[str | float, ...] | None:
    """One line of the table; None when the batch does not fit."""
    on_gpu = step.device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(step.device)
    try:
        seconds = step.seconds(count, stored=stored)
    except torch.OutOfMemoryError:
        step.optimizer.zero_grad(set_to_none=True)
        return None
    sizes = step.sizes
    latents = torch.empty(count, (sizes.frames - 1) // 4 + 1, 16, sizes.height // 8, sizes.width // 8, device="meta")
    peak = peak_flops(step.device)
    busy = f"{model_flops(step.transformer, latents, full=False) / seconds / peak:.1%}" if peak else "–"
    memory = f"{torch.cuda.max_memory_allocated(step.device) / 2**30:.1f}" if on_gpu else "–"
    return ("stored" if stored else "encoded in the step", str(count), seconds, seconds / count, busy, memory)


def measure_large_steps(step: LargeStep, largest: int) -> Report:
    """Batch 1, then doubled up to `largest` as long as it fits, each with stored latents and without."""
    rows = []
    for stored in (True, False):
        count = 1
        while count <= largest and (row := row_of(step, count, stored=stored)) is not None:
            print(row, file=sys.stderr, flush=True)
            rows.append(row)
            count *= 2
    sizes = step.sizes
    weights = sum(parameter.numel() for parameter in step.transformer.parameters()) / 1e6
    title = f"A LoRA step of {weights:,.2f} million weights at {sizes.height}×{sizes.width}×{sizes.frames}"
    columns = ("latents and text", "batch", "seconds", "seconds per sample", "MFU", "peak memory, GiB")
    return Report([], [Table(title, columns, rows)])


def main() -> int:
    """Measure and print; 2 where there is no such device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="where it runs")
    parser.add_argument("--tiny", action="store_true", help="tiny networks: shows only that it runs")
    parser.add_argument("--largest", type=int, default=64, help="no larger batch than this")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("there is no GPU here; --tiny --device cpu shows that the measurement runs", file=sys.stderr)
        return 2
    torch.manual_seed(0)
    report = measure_large_steps(LargeStep(TINY if arguments.tiny else Sizes(), device), arguments.largest)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"On {where}, bfloat16, gradient checkpointing, torch {torch.__version__}.\n\n{report.markdown()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
