"""The folder and its configuration: bound once, refused by field, warned of by environment."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from manifests.commits import RUN_FILE, current_epoch, read_run
from manifests.storage import Store, open_store
from pipeline import binding
from pipeline.binding import STAMPED, STAMPED_WITH_NETWORKS, ConfigMismatch, bind, bind_roots, environment
from pipeline.config import Config, load_config, semantic_hash


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "out")


def bound(store: Store, *overrides: str) -> tuple[int, str]:
    """The epoch, and what was printed (to a pipe of 80 columns)."""
    out = io.StringIO()
    return bind(store, load_config("cpu", overrides), Console(file=out, width=80)), out.getvalue()


def document(store: Store) -> dict[str, Any]:
    found = read_run(store)
    assert found is not None
    return found


def test_a_new_folder_is_bound_and_every_run_is_a_new_epoch(store: Store) -> None:
    assert read_run(store) is None
    assert [bound(store), bound(store), bound(store)] == [(1, ""), (2, ""), (3, "")]
    assert current_epoch(store) == 3
    config = load_config("cpu")
    assert document(store)["semantic_hash"] == semantic_hash(config.semantic())
    assert document(store)["profile"] == "cpu"
    assert Config.model_validate(document(store)["config"]) == config


def test_another_semantic_configuration_is_refused_by_field(store: Store) -> None:
    bound(store)
    before = store.read(RUN_FILE)
    with pytest.raises(ConfigMismatch) as caught:
        bound(store, "stages.screen.min_area=0.01", "seed=7")
    message = str(caught.value)
    assert "chains.annotate.screen.settings.min_area: 0.002 → 0.01; seed: 0 → 7" in message
    assert message.startswith(f"{store.url} was made with another configuration (")
    assert store.read(RUN_FILE) == before


def test_no_more_fields_are_named_than_a_person_reads(store: Store) -> None:
    bound(store)
    limits = ("min_area=0.1", "max_area=0.9", "min_visible=0.1", "min_stability=0.1", "max_area_jump=2")
    ratios = ("max_area_fraction=0.9", "min_area_fraction=0.1", "expand_ratio=[0,1]", "hull_ratio=[0,1]")
    overrides = [f"stages.screen.{limit}" for limit in limits] + [f"stages.augment.{ratio}" for ratio in ratios]
    with pytest.raises(ConfigMismatch, match=r"; and 3 more\)"):
        bound(store, *overrides)


def test_how_the_work_is_spread_is_free_and_remembered(store: Store) -> None:
    bound(store)
    epoch, printed = bound(store, "pools.annotate.0.deadline_s=5", "pools.annotate.0.max_actors=3")
    assert (epoch, printed) == (2, "")
    assert document(store)["config"]["pools"]["annotate"][0]["deadline_s"] == 5


def test_another_environment_only_warns_each_difference_in_one_line(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(store)
    ours = environment()
    other = ours | {"cpu": "A processor [/] with a very long name " * 3, "av": "99.0"}
    monkeypatch.setattr(binding, "environment", lambda networks: other)
    epoch, printed = bound(store)
    assert epoch == 2
    start = "other environment than at the last run, bytes may differ: "
    lines = printed.splitlines()
    assert lines[0] == f'{start}av: "{ours["av"]}" → "99.0"'
    assert lines[1].startswith(f"{start}cpu: ")
    assert "[/]" in lines[1]
    assert len(lines) == 2
    # The new one is what the next run is compared with.
    assert bound(store) == (3, "")


def test_the_environment_names_what_can_change_bytes() -> None:
    stamped = environment()
    assert set(stamped) == {"python", "cpu", *STAMPED}
    assert all(stamped.values())
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", stamped["numpy"])


def test_networks_stamp_their_libraries_too_where_installed() -> None:
    pytest.importorskip("torch")
    more = set(environment(networks=True)) - set(environment())
    assert "torch" in more
    assert more <= set(STAMPED_WITH_NETWORKS)


def test_roots_are_remembered_and_a_moved_one_is_taken_over(store: Store) -> None:
    bound(store)
    assert bind_roots(store, {"in": "/data/a"}) == {"in": "/data/a"}
    assert bind_roots(store, {"more": "/data/b"}) == {"in": "/data/a", "more": "/data/b"}
    assert bind_roots(store, {"in": "/moved/a"}) == {"in": "/moved/a", "more": "/data/b"}
    bound(store)
    before = store.read(RUN_FILE)
    assert bind_roots(store, {}) == {"in": "/moved/a", "more": "/data/b"}
    assert store.read(RUN_FILE) == before
    assert json.loads(before)["epoch"] == 2
