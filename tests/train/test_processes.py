from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("accelerate")
from accelerate import Accelerator
from accelerate.utils import DistributedType

from train import processes
from train.processes import check_agreement, make_accelerator


@pytest.mark.parametrize(
    ("way", "fsdp_version", "name"),
    [
        (DistributedType.DEEPSPEED, None, "DEEPSPEED"),
        (DistributedType.FSDP, 1, "FSDP 1"),
        (DistributedType.FSDP, 2, None),
    ],
)
def test_ways_that_could_not_be_resumed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: DistributedType, fsdp_version: int | None, name: str | None
) -> None:
    plugin = None if fsdp_version is None else SimpleNamespace(fsdp_version=fsdp_version)
    monkeypatch.setattr(Accelerator, "distributed_type", property(lambda _: way))
    monkeypatch.setattr(Accelerator, "state", SimpleNamespace(fsdp_plugin=plugin), raising=False)
    monkeypatch.setattr(processes, "Accelerator", lambda **_: object.__new__(Accelerator))
    if name is None:
        make_accelerator(tmp_path)
        return
    with pytest.raises(ValueError, match=rf"under DDP or FSDP 2 \(train/fsdp\.yaml\), not under {name}"):
        make_accelerator(tmp_path)


def test_the_process_that_sees_something_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_agreement([1, 2], tmp_path)
    monkeypatch.setattr(processes, "gather_object", lambda mine: [*mine, *mine, [1]])
    with pytest.raises(ValueError, match=r"process 2 does not see the checkpoints in .* all machines reach"):
        check_agreement([1, 2], tmp_path)
