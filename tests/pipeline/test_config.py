from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from stand_in_network import STAND_IN

from manifests.differences import differences
from models.registry import NAMES as MODELS
from models.registry import model_class
from models.vocabulary import shipped_words
from pipeline.config import (
    WORK_PHASES,
    Config,
    ConfigError,
    Pool,
    load_config,
    profiles,
    semantic_hash,
)
from pipeline.registry import NAMES, make_stage, stage_class
from stages.stage import Stage

Document = dict[str, Any]
Change = Callable[[Document], Any]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes a YAML file (a document or a text) and returns its path."""

    def write_file(content: Document | str, name: str = "mine.yaml") -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(path)

    return write_file


def profile_document() -> Document:
    text = (Path(__file__).parents[2] / "pipeline" / "profiles" / "cpu.yaml").read_text()
    document: Document = yaml.safe_load(text)
    return document


def hash_of(change: Change = lambda document: None) -> str:
    document = profile_document()
    change(document)
    return semantic_hash(Config.model_validate(document).semantic())


def refusal(source: str, *overrides: str) -> str:
    """The one sentence with which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        load_config(source, overrides)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    for leftover in ("validation error", "errors.pydantic.dev", "Value error", "Traceback", "input_value", "type="):
        assert leftover not in text
    return text


# --- profiles and files ---


@pytest.mark.parametrize("name", profiles())
def test_every_profile_is_sound(name: str) -> None:
    config = load_config(name)
    assert config.profile == name
    for phase in WORK_PHASES:
        assert config.chain(phase)
    assert len(semantic_hash(config.semantic())) == 64


def test_a_file_extends_a_profile_and_changes_what_it_says(write: Callable[..., str]) -> None:
    base = load_config("cpu")
    config = load_config(write({"extends": "cpu", "seed": 7, "stages": {"screen": {"min_area": 0.01}}}))
    assert config.seed == 7
    assert config.stage_settings("screen")["min_area"] == 0.01
    assert config.stage_settings("screen")["max_area"] == base.stage_settings("screen")["max_area"]
    assert config.stage_settings("tag") == base.stage_settings("tag")
    assert config.pools == base.pools


def test_a_file_extends_a_file_beside_it(write: Callable[..., str]) -> None:
    write({"extends": "cpu", "seed": 3, "ingest_slice": 9}, "team/base.yaml")
    config = load_config(write({"extends": "base.yaml", "seed": 4}, "team/mine.yaml"))
    assert (config.seed, config.ingest_slice) == (4, 9)


def test_files_that_extend_each_other_are_refused(write: Callable[..., str]) -> None:
    write({"extends": "a.yaml"}, "b.yaml")
    assert "extends itself" in refusal(write({"extends": "b.yaml"}, "a.yaml"))


def test_an_unknown_profile_is_refused_with_a_suggestion(write: Callable[..., str]) -> None:
    assert refusal("cpuu").endswith("there is no profile and no .yaml file 'cpuu'; did you mean 'cpu'?")
    assert "known are cpu" in refusal("nothing-like-it")
    assert "nothing-like-it" in refusal(write({"extends": "nothing-like-it"}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("seed: [1", "is not YAML"),
        ("- a\n- b\n", "is not a mapping of fields"),
        ("", "is not a mapping of fields"),
        ("seed: 1\n", "pools is missing"),
        ("{1: 2, extends: cpu}", "1: Keys should be strings"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(write: Callable[..., str], content: str, message: str) -> None:
    assert message in refusal(write(content))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert refusal(str(tmp_path / "gone.yaml")).endswith("gone.yaml: No such file or directory")
    (tmp_path / "folder.yaml").mkdir()
    assert "Is a directory" in refusal(str(tmp_path / "folder.yaml"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x80")
    assert "not a text file in UTF-8" in refusal(str(tmp_path / "binary.yaml"))


# --- what may be in it ---


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sede=1", "sede: there is no such field; did you mean 'seed'?"),
        ("layout.video_part_sise=1", "layout.video_part_sise: there is no such field; did you mean 'video_part_size'?"),
        ("pools.annotate.0.max_actor=1", "annotate.0.max_actor: there is no such field; did you mean 'max_actors'?"),
        ("stages.screen.min_aera=1", "stages.screen.min_aera: there is no such field; did you mean 'min_area'?"),
        ("stages.tag.tagger.setings={}", "stages.tag.tagger.setings: there is no such field; did you mean 'settings'?"),
        ("stages.screen.zzz=1", "stages.screen.zzz: there is no such field; known are"),
        ("stages.scren.min_area=0.1", "no pool runs a stage 'scren'; did you mean 'screen'?"),
        ("pools.annotate.0.stages=[decode, tagg]", "there is no stage 'tagg'; did you mean 'tag'?"),
        ("pools.anotate=[]", "there is no phase 'anotate'"),
        ("pools.compose=[]", "the phase 'compose' has no pool"),
        ("stages.segment.segmenter.name=grabcat", "there is no model 'grabcat'; did you mean 'grabcut'?"),
        ("stages.tag.tagger.name=nowhere:Tagger", "stages.tag.tagger.name: model 'nowhere:Tagger' cannot be imported"),
        ("stages.caption.captioner.settings={zzz: 1}", "stages.caption.captioner.settings.zzz: there is no such field"),
    ],
)
def test_unknown_names_are_refused_with_a_suggestion(override: str, message: str) -> None:
    assert message in refusal("cpu", override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=many", 'seed should be a valid integer, unable to parse string as an integer, not "many"'),
        ("seed=-1", "seed should be greater than or equal to 0, not -1"),
        ("seed=", "seed should be a valid integer, not null"),
        ("layout=3", "layout should be a valid dictionary or instance of LayoutSettings, not 3"),
        ("stages=[tag]", 'stages should be a valid dictionary, not ["tag"]'),
        ("pools.annotate=decode", 'pools.annotate should be a valid tuple, not "decode"'),
        ("pools.annotate.0.batch=0", "pools.annotate.0.batch should be greater than or equal to 1, not 0"),
        ("pools.annotate.0.deadline_s=soon", "pools.annotate.0.deadline_s should be a valid number"),
        ("pools.annotate.0={name: a}", "pools.annotate.0.stages is missing"),
        ("stages.screen.min_area=2", "stages.screen.min_area should be less than or equal to 1, not 2"),
        ("stages.screen=3", "stages.screen should be a valid dictionary"),
        ("stages.caption.captioner=attributes", "stages.caption.captioner should be a valid dictionary"),
    ],
)
def test_wrong_values_are_refused_with_the_value(override: str, message: str) -> None:
    assert message in refusal("cpu", override)


def test_a_pool_with_more_actors_at_least_than_at_most_is_refused() -> None:
    overrides = ("pools.annotate.0.min_actors=4", "pools.annotate.0.max_actors=2")
    assert "pools.annotate.0: max_actors 2 is less than min_actors 4" in refusal("cpu", *overrides)


def test_a_stage_that_reads_what_nobody_writes_is_refused() -> None:
    text = refusal("cpu", "pools.annotate.0.stages=[decode, tag, segment]", "stages={}")
    assert "pools.annotate: in the pool 'annotate' stage 'segment' reads" in text
    assert "which no stage before it writes" in text


def test_frames_do_not_travel_between_pools(write: Callable[..., str]) -> None:
    def pools(second: list[str]) -> Document:
        first = {"name": "front", "stages": ["decode", "tag", "detect", "segment"]}
        return {"extends": "cpu", "pools": {"annotate": [first, {"name": "back", "stages": second}]}}

    rest = ["propagate", "measure", "screen", "caption"]
    text = refusal(write(pools(rest)))
    assert "in the pool 'back' stage 'propagate' reads 'frames', which no stage before it writes" in text
    assert load_config(write(pools(["decode", *rest]))).chain("annotate") == load_config("cpu").chain("annotate")


# --- --set ---


def test_set_changes_one_field() -> None:
    overrides = [
        "stages.screen.min_area=0.01",
        "layout.video_part_size = 5",
        "listing.image_extensions=[png, jpg]",
        "pools.annotate.0.max_actors=3",
        "pools.compose.0.prefetch=true",
        "stages.caption.captioner={name: attributes}",
        "seed=1",
        "seed=2",
    ]
    config, before = load_config("cpu", overrides), load_config("cpu")
    assert config.stage_settings("screen")["min_area"] == 0.01
    assert config.layout.video_part_size == 5
    assert config.listing.image_extensions == ("png", "jpg")
    assert config.pools["annotate"][0].max_actors == 3
    assert config.pools["annotate"][0].stages == before.pools["annotate"][0].stages
    assert config.pools["compose"][0].prefetch
    assert config.seed == 2, "the last one counts"
    assert before.seed == 0
    assert before.pools["annotate"][0].max_actors is None


def test_set_goes_after_the_file(write: Callable[..., str]) -> None:
    assert load_config(write({"extends": "cpu", "seed": 7, "stages": None}), ["seed=8", "stages.tag={}"]).seed == 8


def test_set_takes_a_value_with_an_equals_sign() -> None:
    assert load_config("cpu", ["pools.ingest.0.name=a=b"]).pools["ingest"][0].name == "a=b"


def test_set_changes_one_place_of_several_with_the_same_alias(write: Callable[..., str]) -> None:
    path = write("""
extends: cpu
pools:
  annotate:
    - &decoding {name: decoding, stages: [decode], memory_mb: 500}
    - {name: rest, stages: [decode, tag, detect, segment, propagate, measure, screen, caption]}
  compose:
    - *decoding
    - {name: compose, stages: [decode, paste, augment]}
""")
    config = load_config(path, ["pools.annotate.0.memory_mb=900"])
    assert config.pools["annotate"][0].memory_mb == 900
    assert config.pools["compose"][0].memory_mb == 500


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set takes name.name=value, not 'seed'"),
        ("=1", "--set takes name.name=value, not '=1'"),
        ("stages..screen=1", "--set takes name.name=value, not 'stages..screen=1'"),
        (".seed=1", "--set takes name.name=value"),
        ("seed=[1", "--set seed=[1: '[1' is not a YAML value"),
        ("seed.deep=1", "--set seed.deep=1: there is no field 'deep' in the value 0"),
        ("pools.annotate.7.batch=1", "'7' is not a position in a list of 1, from 0"),
        ("pools.annotate.annotate.batch=1", "'annotate' is not a position in a list of 1, from 0"),
    ],
)
def test_a_set_that_makes_no_sense_is_refused(override: str, message: str) -> None:
    assert message in refusal("cpu", override)


# --- the semantic hash ---


def _set(document: Document, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        document = document.setdefault(name, {})
    document[last] = value


OPERATIONAL = {
    "name": "another",
    "num_cpus": 3.5,
    "num_gpus": 0.5,
    "min_actors": 2,
    "max_actors": 7,
    "deadline_s": 5.0,
    "setup_deadline_s": 6.0,
    "memory_mb": 4321,
    "batch": 4,
    "prefetch": True,
}


def test_every_field_of_a_pool_but_its_stages_is_operational() -> None:
    assert {*OPERATIONAL, "stages"} == set(Pool.model_fields)


@pytest.mark.parametrize("field", list(OPERATIONAL))
def test_how_the_work_is_spread_leaves_the_hash(field: str) -> None:
    def change(document: Document) -> None:
        for phase in WORK_PHASES:
            assert Pool.model_fields[field].default != OPERATIONAL[field]
            document["pools"][phase][0][field] = OPERATIONAL[field]

    assert hash_of(change) == hash_of()


def test_spreading_a_chain_over_pools_leaves_the_hash() -> None:
    def change(document: Document) -> None:
        document["pools"]["annotate"] = [
            {"name": "front", "stages": ["decode", "tag", "detect", "segment"], "batch": 4},
            {"name": "middle", "stages": ["decode", "propagate", "measure", "screen"]},
            {"name": "caption", "stages": ["decode", "caption"], "num_gpus": 1},
        ]

    assert hash_of(change) == hash_of()


def test_the_name_of_the_profile_and_spelled_out_defaults_leave_the_hash() -> None:
    def change(document: Document) -> None:
        full = Config.model_validate(copy.deepcopy(document))
        document.update(full.model_dump(mode="json"))
        document["profile"] = "another"
        document["stages"] = {name: full.stage_settings(name) for phase in WORK_PHASES for name in full.chain(phase)}

    assert hash_of(change) == hash_of()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 1),
        ("ingest_slice", 5),
        ("layout.video_part_size", 3),
        ("layout.image_part_size", 33),
        ("layout.eval_fraction", 0.2),
        ("donors.bank_size", 77),
        ("listing.image_extensions", ["png"]),
        ("stages.screen.min_area", 0.003),
        ("stages.caption.views", 5),
        ("stages.tag.tagger.name", "another_models:Discovery"),
        ("stages.segment.segmenter.settings", {"iterations": 9}),
    ],
)
def test_what_decides_the_data_changes_the_hash(path: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if path == "stages.tag.tagger.name":
        monkeypatch.setitem(MODELS, value, MODELS["motion_discovery"])
    before = Config.model_validate(profile_document()).semantic()
    document = profile_document()
    _set(document, path, value)
    after = Config.model_validate(document).semantic()
    assert semantic_hash(after) != semantic_hash(before)
    (line,) = differences(after, before)
    assert path.split(".")[-1] in line


def test_the_version_of_a_stage_changes_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Config.model_validate(profile_document()).semantic()
    screen = stage_class("screen")
    monkeypatch.setattr(screen, "version", screen.version + 1)
    after = Config.model_validate(profile_document()).semantic()
    assert semantic_hash(after) != semantic_hash(before)
    version = screen.version
    assert differences(after, before) == [f"chains.annotate.screen.version: {version - 1} → {version}"]


def test_the_order_of_the_chain_changes_the_hash() -> None:
    def swap(document: Document) -> None:
        names = document["pools"]["annotate"][0]["stages"]
        i = names.index("measure")
        names[i], names[i + 1] = names[i + 1], names[i]

    assert hash_of(swap) != hash_of()


# --- stages by name ---


@pytest.mark.parametrize("name", list(NAMES))
def test_every_registered_stage_can_be_made(name: str) -> None:
    stage = make_stage(name, {})
    assert isinstance(stage, Stage)
    assert isinstance(stage.settings, BaseModel)


def test_a_stage_of_ones_own_is_named_by_module_and_class() -> None:
    assert make_stage("faulty_stages:Drop", {"ids": ["a"]}).settings.ids == ("a",)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tagg", "there is no stage 'tagg'; did you mean 'tag'?"),
        ("zzz", "there is no stage 'zzz'; known are augment, caption"),
        ("zzz:", "there is no stage 'zzz:'"),
        ("not_there:Stage", "stage 'not_there:Stage' cannot be imported: No module named 'not_there'"),
        ("faulty_stages:Nothing", "has no attribute 'Nothing'"),
        (":Stage", "stage ':Stage' cannot be imported: Empty module name"),
        (".relative:Stage", "stage '.relative:Stage' cannot be imported"),
        ("broken_stage:Stage", "stage 'broken_stage:Stage' cannot be imported: invalid syntax"),
        ("faulty_stages:Item", "'faulty_stages:Item' is not a stage"),
        ("os:sep", "'os:sep' is not a stage"),
    ],
)
def test_a_name_that_is_no_stage_is_refused(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_stage.py").write_text("class Stage:\n    pass pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        stage_class(name)
    assert "\n" not in str(caught.value)


# --- models and their weights ---


def test_every_model_is_named_by_its_place() -> None:
    models = load_config("cpu").models()
    assert models["stages.tag.tagger"].name == "motion_discovery"
    assert models["stages.measure.flow"].name == "lucas_kanade"
    assert models["stages.paste.flow"].name == "lucas_kanade"
    assert set(load_config("cpu").models(["compose"])) == {"stages.paste.flow"}


def test_the_weight_free_profile_names_no_weights() -> None:
    config = load_config("cpu")
    assert config.weights() == {}
    assert "weights" not in config.semantic()


def test_the_revisions_of_weights_are_part_of_what_the_data_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIVID_WEIGHTS", str(tmp_path))
    hashes = set()
    for revision in ("v1", "v2"):
        (tmp_path / "weights.json").write_text(json.dumps({"net": {"revision": revision, "files": {"a": {}}}}))
        config = load_config("cpu", [f"stages.tag.tagger.name={STAND_IN}"])
        assert config.semantic()["weights"] == config.weights(["annotate"]) == {"net": f"{revision}-unlocked"}
        assert config.weights(["compose"]) == {}
        hashes.add(semantic_hash(config.semantic()))
    assert len(hashes) == 2


def test_an_unknown_weight_is_refused() -> None:
    text = refusal("cpu", f"stages.tag.tagger={{name: '{STAND_IN}', settings: {{weights: yolox-nan}}}}")
    assert "stages.tag.tagger.settings.weights: there is no weight 'yolox-nan'; did you mean 'yolox-nano'?" in text


def test_of_weights_that_are_not_here_the_datasets_revision_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIVID_WEIGHTS", str(tmp_path))
    (tmp_path / "weights.json").write_text(json.dumps({"net": {"revision": "v2", "files": {"a": {}}}}))
    config = load_config("cpu", [f"stages.tag.tagger.name={STAND_IN}"])
    bound = config.bound_to({"net": "v1-unlocked", "another": "v3"})
    assert bound.weights() == {"net": "v1-unlocked"}
    assert config.weights() == {"net": "v2-unlocked"}
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "a").write_text("a")
    assert bound.weights() == {"net": "v2-unlocked"}


NETWORKS = {
    "tag.tagger": "ram",
    "detect.detector": "grounding_dino",
    "segment.segmenter": "sam2",
    "propagate.tracker": "sam2_tracker",
    "measure.flow": "raft",
    "paste.flow": "raft",
    "caption.captioner": "internvl",
    "score.scorer": "clip",
}
SERVER = {"url": "http://localhost:8000/v1", "model": "m"}


def vivid_hash(place: str = "", settings: Document | None = None, name: str | None = None) -> str:
    """Hash of the profile `vivid`, with settings of the model at a place."""
    stage, _, field = place.partition(".")
    choice = {"name": name or NETWORKS.get(place), "settings": settings or {}}
    overrides = [f"stages.{stage}.{field}={json.dumps(choice)}"] if place else []
    return semantic_hash(load_config("vivid", overrides).semantic())


def test_sizes_of_batches_do_not_change_the_data() -> None:
    pytest.importorskip("torch")
    assert {f"stages.{place}" for place in NETWORKS} == set(load_config("vivid").models())
    usual = vivid_hash()
    for place, name in NETWORKS.items():
        settings = dict.fromkeys(model_class(name).operational, 3)
        assert settings, name
        changed = load_config("vivid", [f"stages.{place}.settings={json.dumps(settings)}"])
        stage, _, field = place.partition(".")
        assert settings.items() <= changed.stage_settings(stage)[field]["settings"].items(), "workers are told"
        assert vivid_hash(place, settings) == usual, place


@pytest.mark.parametrize(
    ("place", "settings"),
    [
        ("tag.tagger", {"max_tags": 29}),
        ("detect.detector", {"text_tokens": 255}),
        ("segment.segmenter", {"multimask": True}),
        ("propagate.tracker", {"backend": "sam2"}),
        ("measure.flow", {"updates": 11}),
        ("caption.captioner", {"prompt": {"side": 447}}),
        ("caption.captioner", {"max_new_tokens": 321}),
    ],
)
def test_what_a_network_does_changes_the_hash(place: str, settings: Document) -> None:
    pytest.importorskip("torch")
    assert vivid_hash(place, settings) != vivid_hash()


def test_where_and_how_patiently_a_server_is_asked_does_not_change_the_data() -> None:
    def asked(**settings: Any) -> str:
        choice = {"name": "openai_captioner", "settings": {**SERVER, **settings}}
        return semantic_hash(load_config("cpu", [f"stages.caption.captioner={json.dumps(choice)}"]).semantic())

    operational = {
        "url": "https://elsewhere/v1",
        "key_env": "KEY",
        "timeout_s": 1.5,
        "connect_timeout_s": 1.5,
        "concurrency": 3,
        "attempts": 3,
        "first_wait_s": 0.5,
        "longest_wait_s": 5.5,
    }
    for name, value in operational.items():
        assert asked(**{name: value}) == asked(), name
    semantic = {"model": "n", "prompt": {"hint": False}, "max_tokens": 511, "extra_body": {"temperature": 1}}
    for name, value in semantic.items():
        assert asked(**{name: value}) != asked(), name
    settings = model_class("openai_captioner").Settings
    assert {*operational, *semantic} == set(settings.model_fields)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_operational_settings_are_settings(name: str) -> None:
    if name == "yolox":
        pytest.importorskip("onnxruntime")
    elif name not in ("motion_discovery", "grabcut", "colour_tracker", "attributes", "lucas_kanade"):
        pytest.importorskip("torch")
    cls = model_class(name)
    assert getattr(cls, "operational", frozenset()) <= set(cls.Settings.model_fields)


def test_the_words_of_a_vocabulary_count_and_not_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    shipped = "\n".join(shipped_words("entities"))
    own, copy = tmp_path / "own.txt", tmp_path / "copy.txt"
    own.write_text(shipped)
    copy.write_text("# another rule\n" + "\n".join(reversed(shipped.upper().splitlines())))
    assert vivid_hash("tag.tagger", {"entities": str(own)}) == vivid_hash()
    assert vivid_hash("tag.tagger", {"entities": str(copy)}) == vivid_hash()
    own.write_text(shipped.partition("\n")[2])
    assert vivid_hash("tag.tagger", {"entities": str(own)}) != vivid_hash()
    before = vivid_hash()
    monkeypatch.setattr("models.vocabulary.shipped_words", lambda name: ["dog", name])
    assert vivid_hash() != before


def test_a_vocabulary_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    text = refusal("vivid", f"stages.tag.tagger.settings.background={tmp_path / 'gone.txt'}")
    assert "stages.tag.tagger" in text
    assert "the vocabulary " in text
    assert "gone.txt cannot be read" in text


def test_devices_do_not_change_the_data() -> None:
    def on_gpu(document: Document) -> None:
        document["devices"] = {"default": {"device": "cuda:1", "dtype": "float16"}, "raft": {"dtype": "float32"}}

    assert hash_of(on_gpu) == hash_of()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("devices={raftt: {}}", "devices: there is no model 'raftt'; did you mean 'raft'?"),
        ("devices={raft: {device: gpu}}", "devices.raft.device"),
        ("devices={raft: {dtype: int8}}", "devices.raft.dtype"),
        ("pools.annotate.0.num_gpus=1.5", "num_gpus 1.5 is neither a share of one GPU nor a whole number of them"),
    ],
)
def test_a_device_that_cannot_be_meant_is_refused(override: str, message: str) -> None:
    assert message in refusal("cpu", override)
