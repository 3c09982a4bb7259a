from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
from manifests.dataset import Dataset
from train.curriculum import Curriculum
from train.data import DataError, Example
from train.sample_table import SampleTable
from train.settings import TrainSettings

WINDOWS = {"height": 64, "width": 96, "frames": 9}
HALF = {"images": 1, "videos": 1}


def curriculum(dataset: Path, *courses: dict[str, Any], **given: Any) -> Curriculum:
    document = {"courses": [{"windows": WINDOWS, **course} for course in courses], "batch_size": 2, "workers": 0}
    settings = TrainSettings.model_validate({**document, **given})
    return Curriculum(str(dataset), SampleTable(Dataset(dataset)), settings)


def names(batches: list[list[Example]]) -> list[list[tuple[str, str, object]]]:
    return [[(e.slot.key, e.sample.sample_id, e.window) for e in batch] for batch in batches]


def test_a_course_goes_on_where_the_one_before_has_stopped(tiny_shards: Path) -> None:
    """Counted anew, it would show the same samples in the same windows, with the same captions dropped."""
    parts = curriculum(tiny_shards, {"steps": 3, "mixing": HALF}, {"steps": 3, "mixing": HALF}, accumulation=2)
    whole = curriculum(tiny_shards, {"steps": 6, "mixing": HALF}, accumulation=2)
    seen = names(list(parts.examples(0, 6)))
    assert seen == names(list(whole.examples(0, 6)))
    assert len({key for batch in seen for key, *_ in batch}) == 6 * 2 * 2


def test_any_step_is_begun_with(tiny_shards: Path) -> None:
    courses = ({"steps": 2, "mixing": {"videos": 0}}, {"steps": 3, "mixing": {"images": 0}})
    whole = names(list(curriculum(tiny_shards, *courses).examples(0, 5)))
    for start in (1, 2, 4):
        assert names(list(curriculum(tiny_shards, *courses).examples(start, 5))) == whole[start:]
    for step, batch in enumerate(curriculum(tiny_shards, *courses).examples(0, 5)):
        assert {example.slot.kind for example in batch} == ({"image"} if step < 2 else {"video"})


def test_ranks_share_every_pass(tiny_shards: Path) -> None:
    course = {"steps": 3, "mixing": HALF}
    whole = names(list(curriculum(tiny_shards, course).examples(0, 3)))
    pieces = [names(list(curriculum(tiny_shards, course).examples(0, 3, rank, 2))) for rank in (0, 1)]
    assert [one + other for one, other in zip(*pieces, strict=True)] == whole


@pytest.mark.parametrize("workers", [0, 1])
def test_a_lost_store_is_one_sentence_from_a_loaders_process_too(
    tiny_shards: Path, tmp_path: Path, workers: int
) -> None:
    copy = Path(shutil.copytree(tiny_shards, tmp_path / "out"))
    for shard in (copy / "shards").iterdir():
        shard.unlink()
    with pytest.raises(DataError, match=r"^8 samples in a row .* shards/part-\S+ in \S+ is gone: .*$"):
        next(curriculum(copy, {"steps": 1}, workers=workers).examples(0, 1))


def test_what_is_missing_is_said_by_course(tiny_shards: Path) -> None:
    made = curriculum(tiny_shards, {"steps": 1}, {"steps": 1})
    made._mixings[1].counts.pop(("image", "delete"))
    said = made.missing()
    assert said[-1] == "course 1: the dataset has no delete samples of images; the rest is trained on"
