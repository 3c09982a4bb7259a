from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("diffusers")
from latents_in_process import WINDOWS, latent_settings
from small_work import context_in
from written_shards import write_part

from manifests.latents import latents_url
from manifests.storage import open_store
from pipeline.latents_phase import LatentsPhase
from pipeline.phase import PartItem
from stages.latent_work import ClipLatents, PartOfDataset
from stages.stage import Context
from train.base_identity import identify
from train.encode_clips import EncodeClips
from train.latent_members import unpack_latents
from train.latent_settings import EncodeSettings
from train.tiny_base import TinyBaseSettings, save_tiny_base


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_base(tmp_path_factory.mktemp("base"), TinyBaseSettings(vae_channels=2))


def surroundings(folder: Path) -> Context:
    folder.mkdir()
    return context_in(folder, store=open_store(latents_url(str(folder.parent / "out"), "default")))


def encoded(base: Path, folder: Path, share: float) -> list[ClipLatents]:
    """The clips of a part of one, encoded."""
    if not (folder / "out").exists():
        write_part(folder / "out", 0, "a")
    context = surroundings(folder / f"scratch {share}")
    latents = latent_settings(masked_share=share, windows={**WINDOWS, "width": 64})
    stage = EncodeClips(EncodeSettings(base=str(base), identity=identify(base).model_dump(), latents=latents))
    stage.setup(context)
    loaded = LatentsPhase().load(context.store, PartItem(0, (PartOfDataset("part 0", "train"),)))
    records = [record for record in loaded if isinstance(record, ClipLatents)]
    for record in records:
        stage.prepare(record)
    stage.run(records)
    stage.close()
    return records


def test_windows_come_first_and_masks_only_where_they_are_seen(base: Path, tmp_path: Path) -> None:
    (first,) = encoded(base, tmp_path, 1.0)
    plain = [one for one in first.encoded if one.masking is None]
    assert [one.number for one in plain] == [0, 1]
    for one in plain:
        assert unpack_latents(one.file.read_bytes()).shape == (3, 16, 8, 8)
    masked = {(one.number, *vars(one.masking).values()) for one in first.encoded if one.masking is not None}
    # The shape to delete stands at x 60–78; its square starts at 8 and moves by 4 a frame.
    tracks = {(number, track) for number, track, _, _ in masked}
    assert len(masked) == len(tracks) * 2 * 2, "two variants, with and without the keyframe"
    assert (0, first.id + "-90") in tracks
    still = [one for one in first.encoded if one.masking is None or one.masking.track_id.endswith("-90")]
    assert len({one.file.read_bytes() for one in still}) == len(still)


def test_the_share_is_drawn_and_nested(base: Path, tmp_path: Path) -> None:
    """What a smaller share stores, a larger one stores as well, byte for byte."""
    found = []
    for share in (0.0, 0.4, 1.0):
        records = encoded(base, tmp_path, share)
        found.append({(r.id, one.number, one.masking): one.file.read_bytes() for r in records for one in r.encoded})
    none, some, all_of_them = found
    assert none.items() < some.items() < all_of_them.items()
    assert all(masking is None for _, _, masking in none)


def test_a_worker_with_another_base_does_not_begin(base: Path, tmp_path: Path) -> None:
    settings = EncodeSettings(base=str(base), identity={"vae": "another"}, latents=latent_settings())
    with pytest.raises(ValueError, match=r"of this worker is not the one the run was started with"):
        EncodeClips(settings).setup(surroundings(tmp_path / "scratch"))
