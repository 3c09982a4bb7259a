"""The measurement of a large training step, at tiny sizes on the CPU."""

from __future__ import annotations

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("peft")
import torch

from bench.large_step import TINY, LargeStep, main, measure_large_steps


@pytest.fixture(scope="module")
def step() -> LargeStep:
    torch.manual_seed(0)
    return LargeStep(TINY, torch.device("cpu"))


def test_a_step_trains_the_lora_and_the_patch_embedder_only(step: LargeStep) -> None:
    batch = step.encode(1)
    assert batch.latents.shape == (1, 3, 16, 8, 12)
    assert step.transformer.config.in_channels == 33
    before = {name: weight.detach().clone() for name, weight in step.transformer.named_parameters()}
    assert step.train(batch) > 0
    moved = {n for n, w in step.transformer.named_parameters() if not torch.equal(w, before[n])}
    assert moved
    assert all("lora" in name or name.startswith("patch_embed.proj") for name in moved)


def test_every_batch_is_measured_with_stored_latents_and_without(step: LargeStep) -> None:
    (table,) = measure_large_steps(step, largest=2).tables
    assert [(row[0], row[1]) for row in table.rows] == [
        ("stored", "1"),
        ("stored", "2"),
        ("encoded in the step", "1"),
        ("encoded in the step", "2"),
    ]
    assert all(row[2] > 0 for row in table.rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["large_step.py"])
    assert main() == 2
    assert "no GPU" in capsys.readouterr().err
