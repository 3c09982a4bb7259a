"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

# Before numpy and torch are imported: threads of BLAS and OpenMP spin against each other on a loaded machine.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
# No test may ask a hub for anything.
for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
    os.environ[variable] = "1"
# What the user of this machine has set is not what the tests are about.
os.environ.pop("VIVID_WEIGHTS", None)

import cv2
import pytest
from hypothesis import HealthCheck, settings
from tiny_dataset import vivid, write_config, write_inputs

# The same examples on every run, however slow the machine; --hypothesis-profile=default draws others.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _one_opencv_thread() -> None:
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips and masks beside the checkout; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real clips is not beside this checkout (../shared/data)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of six 96×64 clips and four images, made by the real job."""
    folder = tmp_path_factory.mktemp("training")
    write_inputs(folder / "in", clips=6, images=4)
    config = write_config(folder / "config.yaml")
    run = vivid("shards", folder / "in", "--out", folder / "out", "--config", config, "--local")
    assert run.returncode == 0, run.stderr
    return folder / "out"
