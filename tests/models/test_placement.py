"""Where networks run: the first CUDA device in bfloat16, else the CPU in float32."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from models.placement import DeviceChoice, Placement, check_finite, cuda_devices, place


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    """Pretend that torch is imported and sees so many CUDA devices."""

    def pretend(count: int) -> None:
        cuda = SimpleNamespace(is_available=lambda: count > 0, device_count=lambda: count)
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))

    return pretend


@pytest.mark.parametrize(
    ("count", "choice", "expected"),
    [
        (0, {}, Placement("cpu", "float32")),
        (2, {}, Placement("cuda", "bfloat16")),
        (2, {"device": "cpu"}, Placement("cpu", "float32")),
        (2, {"device": "cuda:1", "dtype": "float16"}, Placement("cuda:1", "float16")),
        (0, {"dtype": "bfloat16"}, Placement("cpu", "bfloat16")),
        (1, {"dtype": "float32"}, Placement("cuda", "float32")),
    ],
)
def test_placements(gpus, count: int, choice: dict[str, str], expected: Placement) -> None:
    gpus(count)
    assert place(DeviceChoice(**choice)) == expected


@pytest.mark.parametrize(
    ("count", "device", "message"),
    [(0, "cuda", "'cuda' is not there: this machine has no CUDA device"), (1, "cuda:1", "has 1 CUDA device")],
)
def test_a_device_that_is_not_there_is_refused(gpus, count: int, device: str, message: str) -> None:
    gpus(count)
    with pytest.raises(ValueError, match=message):
        place(DeviceChoice(device=device))


def test_without_torch_there_is_only_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert cuda_devices() == 0
    assert place(DeviceChoice()) == Placement("cpu", "float32")


def test_output_that_is_not_numbers_is_refused() -> None:
    check_finite([0.0, 1e30], "x", "float32")
    for wrong in ([1.0, float("nan")], [[float("inf")]], float("nan")):
        with pytest.raises(ValueError, match="x gives values that are not numbers in float16; choose another dtype"):
            check_finite(wrong, "x", "float16")
