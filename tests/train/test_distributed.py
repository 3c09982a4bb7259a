"""Two training processes on the CPU: the same result as one, and none waits for ever."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytest.importorskip("accelerate")
pytest.importorskip("diffusers")
import torch
from safetensors.torch import load_file
from training_processes import meeting_port, run_on_cpus

from train.tiny_base import save_tiny_base

STEPS = ["--set", "courses.0.steps=3", "--set", "batch_size=4", "--set", "checkpoint_every=2", "--set", "workers=0"]


def train(launcher: list[str], shards: Path, base: Path, output: Path) -> subprocess.CompletedProcess[str]:
    arguments = ["-m", "pipeline.cli", "train", str(shards), "--base", str(base), "-o", str(output), *STEPS]
    config = output.with_suffix(".yaml")
    config.write_text(
        "courses: [{steps: 3, mixing: {images: 1, videos: 1}, windows: {height: 64, width: 96, frames: 9}}]\n"
    )
    return run_on_cpus([*launcher, *arguments, "--config", str(config)], output.parent)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tiny_shards: Path, tmp_path: Path) -> None:
    base = save_tiny_base(tmp_path / "base")
    # `accelerate launch --cpu` starts one process, whatever number it is given.
    two = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", meeting_port()]
    last_words = []
    for name, launcher, processes in (("one", [], "1 × cpu"), ("two", two, "2 × cpu")):
        run = train(launcher, tiny_shards, base, tmp_path / name)
        assert run.returncode == 0, run.stderr[-3000:]
        assert processes in run.stderr
        last_words.append(run.stdout.strip().partition(": ")[2])
    # The loss is that of all samples of the batch, not of the first process's.
    assert last_words[0] == last_words[1]
    files = ("pytorch_lora_weights.safetensors", "patch_embed.safetensors")
    for file in files:
        one, other = (load_file(tmp_path / name / "final" / file) for name in ("one", "two"))
        assert one.keys() == other.keys()
        for key, value in one.items():
            # Gradients are summed in another order.
            assert torch.allclose(value, other[key], atol=2e-5), key
    # It has learnt something at all.
    update = load_file(tmp_path / "two" / "final" / files[0])
    assert any(value.abs().max() > 0 for key, value in update.items() if "lora_B" in key)


SHARE_NOTHING = """
import os, sys
sys.argv[sys.argv.index("-o") + 1] += "-of-" + os.environ["RANK"]
from pipeline.cli import main
main()
"""


@pytest.mark.slow
def test_processes_that_see_other_checkpoints_do_not_begin(tiny_shards: Path, tmp_path: Path) -> None:
    """As when OUTPUT lies on each machine's own disk: one would train on, the others begin anew."""
    base = save_tiny_base(tmp_path / "base")
    script = tmp_path / "share_nothing.py"
    script.write_text(SHARE_NOTHING)
    two = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", meeting_port(), str(script)]
    arguments = ["train", str(tiny_shards), "--base", str(base), "-o", str(tmp_path / "run"), *STEPS]
    first = run_on_cpus([*two, *arguments], tmp_path)
    assert first.returncode == 0, first.stderr[-3000:]
    again = run_on_cpus([*two, *arguments, "--set", "courses.0.steps=5"], tmp_path)
    assert again.returncode != 0
    assert "process 1 does not see the checkpoints in" in " ".join(again.stderr.split())
