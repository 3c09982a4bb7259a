from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import CogVideoXTransformer3DModel
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from train.telemetry import Meter, model_flops, peak_flops


def test_flops_are_those_of_the_matrix_products() -> None:
    """Against torch's own counter on a forward pass; small layers beside the blocks are left out of the estimate."""
    torch.manual_seed(0)
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=4, attention_head_dim=64, num_layers=4, in_channels=33, out_channels=16, text_embed_dim=64,
        time_embed_dim=64, sample_width=16, sample_height=16, sample_frames=9, max_text_seq_length=32,
        use_rotary_positional_embeddings=False,
    )  # fmt: skip
    latents = torch.zeros(2, 3, 33, 16, 16)
    # The fused attention of CPUs is not counted.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        transformer(latents, torch.zeros(2, 32, 64), torch.tensor([1, 2]))
    # A full step is three forward passes, a LoRA's two.
    assert model_flops(transformer, latents, full=True) / 3 == pytest.approx(counter.get_total_flops(), rel=0.05)
    assert model_flops(transformer, latents, full=False) / 2 == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_waiting_and_pauses_are_told_from_work() -> None:
    now = 100.0
    meter = Meter(clock=lambda: now)
    meter.losses, meter.samples = [1.0, 2.0], 6
    with meter.waiting():
        now += 2
    with meter.paused():
        now += 30
    now += 6
    figures = meter.report(torch.device("cpu"), 1)
    assert figures["loss"] == 1.5
    assert figures["waiting_share"] == 0.25
    assert figures["samples_per_s"] == 0.75
    assert "mfu" not in figures
    now += 4
    again = meter.report(torch.device("cpu"), 1)
    assert (again["samples_per_s"], again["waiting_share"]) == (0, 0), "each report starts anew"


def test_a_cpu_has_no_known_peak() -> None:
    assert peak_flops(torch.device("cpu")) is None
