"""The card says what is true: its recipes are run as they stand, in a process that knows nothing of this project."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
import torch
from huggingface_hub import ModelCard
from tiny_models.cogvideox import TEXT_TOKENS, inpaint_pipeline, inpaint_transformer, noise, small_clip, tiny_base
from tiny_models.cogvideox_results import FULL, LORA, learnt, predict

from train.checkpoint import save_checkpoint
from train.conditioning import (
    encode_masked_video,
    join_channels,
    mask_to_latent_size,
    mask_video,
    to_mask,
    to_model_range,
)
from train.model_card import hub_name, model_card
from train.positions import rotary_embedding
from train.provenance import Provenance
from train.settings import TrainSettings

USE = """
import sys

given = torch.load("given.pt")
joined = transformer_input(given["noisy"], given["video"], given["mask"])
rotary = given["cosines"], given["sines"]
with torch.no_grad():
    predicted = transformer(joined, given["text"], torch.tensor([300]), image_rotary_emb=rotary).sample
torch.save({"input": joined, "predicted": predicted}, "made.pt")
assert "train" not in sys.modules
"""


def recipe(card: str) -> str:
    """All code of the section on plain diffusers."""
    section = card.split("## With diffusers alone")[1].split("\n## ")[0]
    return "\n\n".join(re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL))


@pytest.mark.parametrize(
    ("settings", "inverted"), [(LORA, False), (FULL, True)], ids=["lora", "full, inverted scale of latents"]
)
def test_plain_diffusers_gives_what_our_loader_gives(tmp_path, settings, inverted):
    base = shutil.copytree(tiny_base(), tmp_path / "tiny-base")
    vae_config = base / "vae" / "config.json"
    vae_config.write_text(json.dumps({**json.loads(vae_config.read_text()), "invert_scale_latents": inverted}))
    transformer, config = learnt(settings, base=base)
    # Where the recipe says that the result lies.
    result = tmp_path / "path" / "of" / "this" / "folder"
    save_checkpoint(result, transformer, config)
    text = recipe((result / "README.md").read_text())
    assert "train" not in re.findall(r"(?:import|from) (\w+)", text)

    loaded = inpaint_pipeline(result)
    frames, masks = small_clip()
    video, mask, noisy = to_model_range(frames)[None], to_mask(masks)[None], noise(1, 3, 16, 8, 12)
    masked = encode_masked_video(loaded.vae, mask_video(video, mask))
    expected = join_channels(noisy, masked, mask_to_latent_size(mask))
    cosines, sines = rotary_embedding(transformer, noisy)
    given = {"noisy": noisy, "video": video, "mask": mask, "text": noise(1, TEXT_TOKENS, 32)}
    torch.save({**given, "cosines": cosines, "sines": sines}, tmp_path / "given.pt")

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", text + USE], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = torch.load(tmp_path / "made.pt")
    torch.testing.assert_close(made["input"], expected)
    torch.testing.assert_close(made["predicted"], predict(loaded.transformer, expected))
    assert (made["predicted"] - predict(inpaint_transformer(), expected)).abs().max() > 0.05


def card_of(**fields):
    _, config = learnt(LORA)
    return model_card(config.model_copy(update=fields))


def test_front_matter_is_what_hubs_read():
    card = ModelCard(card_of(base="someone/Some-Base_5b.v1", base_revision="abc"))
    assert card.data.to_dict() == {
        "base_model": "someone/Some-Base_5b.v1",
        "library_name": "diffusers",
        "pipeline_tag": "video-to-video",
        "tags": ["cogvideox", "video-editing", "inpainting", "lora"],
    }
    assert 'from_pretrained(base, subfolder="transformer", revision="abc")' in card.text
    assert 'from_pretrained(base, subfolder="vae", revision="abc")' in card.text


def test_of_a_local_base_only_the_name_is_told(tmp_path):
    (tmp_path / "my: base").mkdir()
    card = ModelCard(card_of(base=str(tmp_path / "my: base")))
    assert card.data.base_model is None
    assert "`my: base`" in card.text
    assert str(tmp_path) not in card.content


def test_a_folder_of_two_parts_is_no_hub_name(tmp_path, monkeypatch):
    # Not where the tests run: a training there may have made the folder.
    monkeypatch.chdir(tmp_path)
    assert hub_name("training/final") == "training/final"
    (tmp_path / "training" / "final").mkdir(parents=True)
    assert hub_name("training/final") is None
    assert hub_name("./final") is None
    assert hub_name("~/final") is None
    assert hub_name("final") is None


def test_card_says_how_to_install_and_that_the_update_alone_is_not_enough():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    card = card_of()
    assert f"`{project['name']}` ({project['license']})" in card
    assert 'pip install ".[train]"' in card
    assert "train" in project["optional-dependencies"]
    for address in project.get("urls", {}).values():
        assert address in card
    assert "The LoRA alone does not edit" in card


def test_card_says_how_it_was_trained():
    settings = TrainSettings.model_validate(
        {
            "seed": 17,
            "batch_size": 4,
            "accumulation": 2,
            "ema": 0.99,
            "optimizer": {"learning_rate": 3e-5, "warmup_steps": 7, "schedule": "cosine"},
            "courses": [
                {"steps": 1500, "mixing": {"videos": 0}, "windows": {"height": 64, "width": 96, "frames": 9}},
                {"steps": 500, "mixing": {"images": 2, "kive": 0.25}, "windows": {"frames": 17, "fps": 12}},
            ],
        }
    )
    provenance = Provenance(
        dataset="clips",
        dataset_profile="cpu",
        dataset_configuration="aa11",
        dataset_content="bb22",
        samples={"image add_modify": 1200, "video delete": 34},
        settings=settings.model_dump(mode="json"),
    )
    rows = dict(
        re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", card_of(step=1800, provenance=provenance), flags=re.MULTILINE)
    )
    assert rows["dataset"] == "`clips`: profile `cpu`, configuration `aa11`, content `bb22`"
    assert rows["samples"] == "1,234 of the split `train`: image add_modify 1,200, video delete 34"
    assert rows["steps"] == "1,800 of 2,000"
    assert rows["course 0"] == (
        "1,500 steps on windows of 64×96, 9 frames; images : videos = 10 : 0, add & modify : delete = 3 : 1, "
        "first frame given: 0.5 of the videos"
    )
    assert rows["course 1"].startswith("500 steps on windows of 480×720, 17 frames at 12 per second; ")
    assert rows["course 1"].endswith(
        "images : videos = 2 : 1, add & modify : delete = 3 : 1, first frame given: 0.25 of the videos"
    )
    assert rows["batch"] == "4 × 2 accumulated"
    assert rows["learning rate"] == "3e-05, cosine after 7 warm-up steps (AdamW)"
    assert rows["averaged weights"] == "decay 0.99"
    assert rows["seed"] == "17"
