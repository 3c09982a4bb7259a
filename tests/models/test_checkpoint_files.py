"""Checkpoints of torch: whatever is wrong with one is one sentence, and nothing in it is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from models.checkpoint_files import check_fit, read_tensors
from models.weights import WeightsError

TENSORS = {"head.weight": torch.arange(600.0).view(20, 30), "head.bias": torch.ones(20)}


def saved(document: object, path: Path, **how: bool) -> Path:
    torch.save(document, path, **how)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_come_by_name(tmp_path: Path, zipped: bool) -> None:
    whole = read_tensors(saved(TENSORS, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped))
    document = {"model": TENSORS, "epoch": 4}
    inner = read_tensors(saved(document, tmp_path / "b.pth", _use_new_zipfile_serialization=zipped), under="model")
    for found in (whole, inner):
        assert found.keys() == TENSORS.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


@pytest.mark.parametrize("zipped", [True, False])
def test_any_damage_is_one_sentence(tmp_path: Path, zipped: bool) -> None:
    whole = saved(TENSORS, tmp_path / "whole.pth", _use_new_zipfile_serialization=zipped).read_bytes()
    path = tmp_path / "damaged.pth"
    contents = [b"", b"<html>not found</html>", whole[: len(whole) // 2], whole[:-30], whole[100:]]
    rng = np.random.default_rng(0)
    for _ in range(100):
        bytes_ = bytearray(whole)
        for place in rng.integers(0, 500, 5):
            bytes_[place] = rng.integers(256)
        contents.append(bytes(bytes_))
    refused = 0
    for content in contents:
        path.write_bytes(content)
        try:
            read_tensors(path)
        except WeightsError as error:
            refused += 1
            text = str(error)
            assert text.startswith(f"the checkpoint {path} ")
            assert "\n" not in text
            assert "\x1b" not in text
            # torch's own text advises to run what the file holds.
            assert "weights_only" not in text
    assert refused > 20


class Harm:
    """What a pickle may do when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("the checkpoint ran code",)


def test_code_is_not_run(tmp_path: Path) -> None:
    path = saved({"head.weight": Harm()}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"a\.pth cannot be read: it is damaged, or holds other things than tensors"):
        read_tensors(path)


@pytest.mark.parametrize("document", [[1, 2], {"epoch": 3}, {"model": 3}, {"model": [TENSORS]}, {1: torch.ones(1)}])
def test_what_holds_no_tensors_by_name_is_refused(tmp_path: Path, document: object) -> None:
    path = saved(document, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"a\.pth has no tensors by name$"):
        read_tensors(path)
    with pytest.raises(WeightsError, match=r"a\.pth has no tensors by name under 'model'$"):
        read_tensors(path, under="model")


def test_the_first_of_each_fault_is_named() -> None:
    check_fit(TENSORS, TENSORS, "x")
    wanted = {"a": torch.ones(1), "b": torch.ones(2), "c": torch.ones(2, 3), "scale": torch.tensor(1.0)}
    given = {"c": torch.ones(3, 2), "d": torch.ones(1), "scale": torch.ones(1)}
    with pytest.raises(WeightsError) as caught:
        check_fit(given, wanted, "the checkpoint x")
    assert str(caught.value) == (
        "the checkpoint x does not fit its network: it lacks a and 1 more; it has the unknown d; "
        "it has in another shape c (3×2 for 2×3) and 1 more"
    )
    with pytest.raises(WeightsError, match=r"it has in another shape scale \(1 for one number\)$"):
        check_fit({"scale": torch.ones(1)}, {"scale": torch.tensor(1.0)}, "x")
