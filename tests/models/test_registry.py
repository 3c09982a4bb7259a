"""Making models: each network gets its weights and its device, or there is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stand_in_network import STAND_IN

from models.placement import DeviceChoice, Placement
from models.registry import ModelChoice, ModelResources, make_model, model_class, weights_of
from models.weights import WEIGHTS_FILE, WeightsError


def mirror(folder: Path, revision: str = "v1") -> Path:
    (folder / "net").mkdir(parents=True)
    (folder / "net" / "words.txt").write_text(revision)
    (folder / WEIGHTS_FILE).write_text(json.dumps({"net": {"revision": revision, "files": {"words.txt": {}}}}))
    return folder


def test_a_network_gets_its_weights_and_its_device(tmp_path: Path) -> None:
    resources = ModelResources(mirror(tmp_path / "w"), {STAND_IN: DeviceChoice(device="cpu", dtype="float16")})
    model = make_model(ModelChoice(name=STAND_IN), resources)
    assert model.info.revision == "v1-unlocked"
    assert model.placement == Placement("cpu", "float16")


def test_a_nodes_own_mirror_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resources = ModelResources(mirror(tmp_path / "head"))
    monkeypatch.setenv("VIVID_WEIGHTS", str(mirror(tmp_path / "node", "v2")))
    assert make_model(ModelChoice(name=STAND_IN), resources).words == ["v2"]


def test_a_mirror_of_another_revision_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resources = ModelResources(mirror(tmp_path / "head"), revisions={"net": "v1-unlocked"})
    assert make_model(ModelChoice(name=STAND_IN), resources).words == ["v1"]
    monkeypatch.setenv("VIVID_WEIGHTS", str(mirror(tmp_path / "node", "v2")))
    with pytest.raises(WeightsError, match="is of revision v2-unlocked, and the run has v1-unlocked"):
        make_model(ModelChoice(name=STAND_IN), resources)


def test_what_a_mirror_lacks_is_taken_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mirror(tmp_path / "vivid" / "weights", "cached")
    monkeypatch.setenv("VIVID_WEIGHTS", str(tmp_path / "node"))
    assert make_model(ModelChoice(name=STAND_IN)).words == ["cached"]
    mirror(tmp_path / "head", "head")
    assert make_model(ModelChoice(name=STAND_IN), ModelResources(tmp_path / "head")).words == ["head"]
    mirror(tmp_path / "node", "node")
    assert make_model(ModelChoice(name=STAND_IN), ModelResources(tmp_path / "head")).words == ["node"]


def test_the_default_device_stands_for_all_others() -> None:
    resources = ModelResources(devices={"default": DeviceChoice(dtype="float16"), "ram": DeviceChoice(device="cpu")})
    assert resources.device("clip").dtype == "float16"
    assert resources.device("ram") == DeviceChoice(device="cpu")
    assert ModelResources().device("ram") == DeviceChoice()


def test_models_without_weights_need_none() -> None:
    assert weights_of(ModelChoice(name="grabcut")) is None
    assert weights_of(ModelChoice(name=STAND_IN, settings={"weights": "other"})) == "other"


@pytest.mark.parametrize(("package", "extra"), [("torch", "models"), ("onnxruntime", "lite")])
def test_a_missing_package_names_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    (tmp_path / f"needs_{package}.py").write_text(f"raise ModuleNotFoundError('No module', name='{package}.nn')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=rf"needs the package {package} .* pip install 'vivid-pipeline\[{extra}\]'"):
        model_class(f"needs_{package}:Model")


def test_other_faults_of_a_module_are_said() -> None:
    with pytest.raises(ValueError, match="model 'no_such_module:Model' cannot be imported: No module named"):
        model_class("no_such_module:Model")
    with pytest.raises(ValueError, match=r"cannot be imported: .*NoSuch"):
        model_class("stand_in_network:NoSuch")
    with pytest.raises(ValueError, match="there is no model 'sam'; known are "):
        model_class("sam")
