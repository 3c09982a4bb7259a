from __future__ import annotations

import logging
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")
import torch
from latents_in_process import WINDOWS, latent_settings, make_latents

from manifests.dataset import Dataset
from stages.windows import WindowSettings
from train import latent_store
from train.conditioning import encode_batch, to_mask, to_model_range
from train.data import EditSamples, Example, LatentStore, SampleReader
from train.latent_batches import LatentBatches
from train.latent_store import StoredLatents, open_latents
from train.mixing import Mixing, MixingSettings, RankBatches
from train.sample_table import SampleTable
from train.settings import TrainSettings
from train.text import assemble_text
from train.tiny_base import TinyBaseSettings, save_tiny_base
from train.trainer import Trainer

SHOWN = WindowSettings.model_validate(WINDOWS)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_base(tmp_path_factory.mktemp("base"), TinyBaseSettings(vae_channels=2)))


@pytest.fixture(scope="module")
def dataset(tiny_shards: Path, base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny dataset with latents, and half of the masked latents. Read-only."""
    folder = Path(shutil.copytree(tiny_shards, tmp_path_factory.mktemp("stored") / "out"))
    make_latents(folder, base, latent_settings(masked_share=0.5))
    return folder


def settings(steps: int = 3, **given: Any) -> TrainSettings:
    course = {"steps": steps, "mixing": {"images": 1, "videos": 2}, "windows": WINDOWS}
    return TrainSettings.model_validate(
        {"courses": [course], "batch_size": 2, "workers": 0, "precision": "float32", "log_every": 1, **given}
    )


def examples(dataset: Path, latents: LatentStore | None, batches: int = 8) -> list[Example]:
    table = SampleTable(Dataset(dataset))
    mixing = Mixing(MixingSettings(images=1, videos=2), table.counts(), 2, 0)
    samples = EditSamples(SampleReader(str(dataset), SHOWN, 0, latents), mixing, table)
    return [samples[slot] for batch in RankBatches(mixing, 0, batches) for slot in batch]


class Losses:
    """Losses of a training, and how often its VAE was asked."""

    def __init__(self, dataset: Path, base: str, folder: Path, latents: LatentStore | None, **given: Any) -> None:
        trainer = Trainer(str(dataset), base, folder, settings(**given), latents=latents)
        self.values: list[torch.Tensor] = []
        self.encodings = 0
        objective, encode = trainer.objective, trainer.parts.vae.encode

        def remember(*arguments: Any) -> torch.Tensor:
            losses = objective(*arguments)
            self.values.append(losses.detach().clone())
            return losses

        def count(*arguments: Any, **named: Any) -> Any:
            self.encodings += 1
            return encode(*arguments, **named)

        remember.num_timesteps = objective.num_timesteps  # type: ignore[attr-defined]
        trainer.objective = remember  # type: ignore[assignment]
        trainer.parts.vae.encode = count
        trainer.run()


def test_the_loss_is_the_same_with_and_without(dataset: Path, base: str, tmp_path: Path) -> None:
    """To the bit: three steps of images and videos, with weights that change in between."""
    without = Losses(dataset, base, tmp_path / "without", None)
    stored = Losses(dataset, base, tmp_path / "stored", open_latents(dataset))
    assert len(without.values) == 3
    assert all(torch.equal(one, other) for one, other in zip(without.values, stored.values, strict=True))
    assert len({float(loss) for losses in without.values for loss in losses}) == 6
    # Two encodings per sample: none is left of the first, and half or so of the second.
    assert without.encodings == 12
    assert 0 < stored.encodings < 6


def test_everything_found_is_what_encoding_gives(dataset: Path, base: str) -> None:
    """All forms come up: whole and masked, with the keyframe and without, images and videos."""
    from train.base_parts import load_text_encoder, load_vae

    vae = load_vae(base, torch.float32, "cpu")
    encoder = load_text_encoder(base, 226, torch.float32, "cpu")
    store, seen = open_latents(dataset), set()
    empty = store.empty_text()
    assert empty is not None
    assert torch.equal(empty, encoder.encode_empty())
    for plain, found in zip(examples(dataset, None, 16), examples(dataset, store, 16), strict=True):
        assert found.sample == plain.sample
        assert found.latents is not None
        assert found.text is not None
        assert torch.equal(found.text, encoder.encode([plain.caption])[0])
        assert plain.frames is not None
        assert (found.frames is None) == (found.masked_latents is not None), "pixels are read where they are needed"
        video, mask = to_model_range(plain.frames)[None], to_mask(plain.masks)[None]
        text = assemble_text([found.text], empty)
        truth = encode_batch(vae, ["x"], video, mask, text, kive=[plain.slot.kive])
        assert torch.equal(truth.latents[0], found.latents)
        if found.masked_latents is not None:
            assert torch.equal(truth.masked_latents[0], found.masked_latents)
        seen.add((plain.slot.kind, plain.slot.kive, found.masked_latents is not None))
    assert {("video", kive, stored) for kive in (True, False) for stored in (True, False)} <= seen
    assert ("image", False, True) in seen


def test_a_batch_of_stored_latents_needs_neither_pixels_nor_models(dataset: Path) -> None:
    """With the empty prompt put in, T5 is not even loaded."""
    from train.base_parts import load_vae
    from train.latent_batches import CaptionCache

    def refuse() -> Any:
        raise AssertionError("T5 was loaded")

    store = open_latents(dataset)
    whole = [example for example in examples(dataset, store) if example.masked_latents is not None]
    videos = [example for example in whole if example.slot.kind == "video"]
    captions, empty = CaptionCache(refuse), store.empty_text()
    assert empty is not None
    captions.put_empty(empty)
    vae = load_vae(bound_base(dataset), torch.float32, "cpu")
    vae.encode = refuse
    batch = LatentBatches(vae, captions, torch.device("cpu"), 0.0, 0)(videos)
    assert len(videos) > 2
    assert batch.text.shape == (len(videos), 226, 32)
    assert all(bool(mask[0].any()) != example.slot.kive for mask, example in zip(batch.mask, videos, strict=True))


def bound_base(dataset: Path) -> str:
    from pipeline.latents_run import bound_settings

    base, _ = bound_settings(str(dataset), "default")
    assert base is not None
    return base


def test_a_store_travels_to_other_processes(dataset: Path, base: str, tmp_path: Path) -> None:
    store = open_latents(dataset)
    store.empty_text()
    data = pickle.dumps(store)
    assert len(data) < 40_000, "indices travel, latents do not"
    (one,), (other,) = examples(dataset, store, 1)[:1], examples(dataset, pickle.loads(data), 1)[:1]
    assert one.latents is not None
    assert other.latents is not None
    assert torch.equal(one.latents, other.latents)


@pytest.mark.slow
def test_loader_workers_use_it(dataset: Path, base: str, tmp_path: Path) -> None:
    here = Losses(dataset, base, tmp_path / "here", open_latents(dataset))
    workers = Losses(dataset, base, tmp_path / "workers", open_latents(dataset), workers=2)
    assert all(torch.equal(one, other) for one, other in zip(here.values, workers.values, strict=True))
    assert workers.encodings == here.encodings


def test_what_cannot_be_read_is_encoded_instead(
    dataset: Path, base: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One tar is lost, another is rubbish, a third is cut short."""
    broken = Path(shutil.copytree(dataset, tmp_path / "out"))
    lost, rubbish, short = sorted((broken / "latents" / "default" / "clips").glob("*.tar"))[:3]
    lost.unlink()
    rubbish.write_bytes(b"\0" * rubbish.stat().st_size)
    short.write_bytes(short.read_bytes()[:600])
    with caplog.at_level(logging.WARNING, "vivid.train"):
        stored = Losses(broken, base, tmp_path / "stored", open_latents(broken))
    without = Losses(dataset, base, tmp_path / "without", None)
    assert all(torch.equal(one, other) for one, other in zip(without.values, stored.values, strict=True))
    assert stored.encodings > 0
    assert "are not used" in caplog.text


def test_other_windows_find_nothing(dataset: Path) -> None:
    store = open_latents(dataset)
    example = examples(dataset, None, 1)[0]
    shifted = type(example.window)(**{**vars(example.window), "x0": example.window.x0 + 1})
    found = store.find(example.sample, shifted, example.slot.kive)
    assert (found.latents, found.masked_latents) == (None, None)
    assert found.text is not None


def test_another_training_is_refused_by_name(dataset: Path, base: str, tmp_path: Path) -> None:
    store = open_latents(dataset)
    store.check(base, SHOWN, 0)
    with pytest.raises(ValueError, match=r"another training .seed: 0 → 3; windows.fixed: 2 → 0."):
        store.check(base, SHOWN.model_copy(update={"fixed": 0}), 3)
    other = save_tiny_base(tmp_path / "other", TinyBaseSettings(vae_channels=2, seed=1))
    with pytest.raises(ValueError, match=r"base.text: .* base.vae: "):
        store.check(other, SHOWN, 0)


def test_no_latents_is_one_sentence(tiny_shards: Path) -> None:
    with pytest.raises(ValueError, match=r"there are no latents 'default' in .*; `vivid latents .*` makes them"):
        open_latents(tiny_shards)
    with pytest.raises(ValueError, match="letters, digits"):
        open_latents(tiny_shards, "../other")


def test_texts_are_kept_but_not_all(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_store, "CACHED_TEXTS", 2)
    store, reads = StoredLatents(dataset), []
    read = store._unpacked
    monkeypatch.setattr(store, "_unpacked", lambda place, unpack: reads.append(place) or read(place, unpack))
    captions = sorted({example.caption for example in examples(dataset, None)})[:3]
    assert len(captions) == 3
    for caption in (*captions[:2], captions[1], captions[0], captions[2], captions[0], captions[1]):
        assert store._text(caption) is not None
    assert len(reads) == 3 + 1, "the least recently used went"
