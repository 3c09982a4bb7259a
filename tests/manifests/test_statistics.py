"""The numbers behind the distributions, and query results as text."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from written_dataset import small_scenes, write_dataset

from manifests.commits import RUN_FILE
from manifests.dataset import Dataset
from manifests.statistics import (
    MAX_CELL,
    StatisticsSettings,
    format_csv,
    format_table,
    histogram,
    round_step,
    statistics,
)
from manifests.storage import open_store


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    store = open_store(tmp_path_factory.mktemp("statistics") / "small")
    write_dataset(store, *small_scenes(), failed=("bad.mp4",))
    return Dataset(store)


@pytest.fixture(scope="module")
def numbers(dataset):
    return statistics(dataset)


def test_a_histogram_counts_half_open_bins_and_keeps_outliers_in_the_end_bins():
    found = histogram(np.array([-1.0, 0.0, 1.0, 1.5, 2.0, 99.0]), [0, 1, 2, 3])
    assert found["counts"] == [2, 2, 2]
    assert (found["count"], found["min"], found["max"]) == (6, -1.0, 99.0)
    assert found["mean"] == pytest.approx(17.083333)
    assert found["p50"] == 1.25


def test_a_histogram_of_nothing_has_no_measures():
    found = histogram(np.array([]), [0, 1, 2])
    assert found["counts"] == [0, 0]
    assert (found["count"], found["mean"], found["p95"]) == (0, None, None)


@pytest.mark.parametrize(("least", "step"), [(0.03, 0.05), (0.1, 0.1), (0.11, 0.2), (0.21, 0.25), (2.6, 5), (9, 10)])
def test_steps_are_round(least, step):
    assert round_step(least) == step


def test_captions_are_counted_in_words_per_entity_track(numbers):
    words = numbers["caption_words"]
    assert [words[kind]["count"] for kind in ("short", "medium", "long")] == [3, 3, 3]
    # The first clip's caption has three words, the others have two.
    assert (words["short"]["min"], words["short"]["max"]) == (2, 3)
    # "A box. It moves to the right. It is grey." has ten words.
    assert words["long"]["max"] == 10
    assert words["short"]["edges"] == words["long"]["edges"]
    assert all(edge == int(edge) for edge in words["long"]["edges"])


def test_areas_are_fractions_of_the_frame_per_track(numbers):
    # 20 × 20 moving, and 12 × 12 still, twice, on 64 × 96.
    areas = np.array([400, 144, 144]) / (64 * 96)
    assert numbers["mask_area"]["entity"]["mean"] == pytest.approx(areas.mean(), abs=1e-4)
    assert numbers["mask_area"]["pasted"]["count"] == 3


def test_variants_count_tracks_and_not_captions(numbers):
    counts = {name: found["count"] for name, found in numbers["variant_area"].items()}
    assert counts == {"original": 6, "expand": 6, "hull": 6, "box": 6, "hull_expand": 6, "box_expand": 5}


def test_motion_and_stability_are_those_of_entities_in_videos(numbers):
    assert {name: (found["count"], found["mean"]) for name, found in numbers["motion"].items()} == {
        "foreground": (2, 0.2),
        "background": (2, 0.05),
        "relative": (2, 0.15),
    }
    stability = numbers["stability"]["entity"]
    assert (stability["edges"][0], stability["edges"][-1]) == (0, 1)
    assert stability["counts"][17] == 2


def test_two_motions_from_one_place_are_one_placement(numbers):
    assert numbers["paste_scale"]["scale"]["count"] == 2
    assert numbers["paste_scale"]["scale"]["max"] == 1.0
    # The still square's box is 60..72 × 4..16; the image's is 20..30 × 30..40.
    assert numbers["paste_position"]["x"]["max"] == pytest.approx(66 / 96, abs=1e-6)
    assert numbers["paste_position"]["y"]["min"] == pytest.approx(10 / 64, abs=1e-6)
    grid = numbers["paste_grid"]
    assert sum(map(sum, grid["counts"])) == 2
    assert grid["counts"][int(10 / 64 * grid["rows"])][int(66 / 96 * grid["columns"])] == 1


def test_every_histogram_accounts_for_every_value(numbers):
    for group, histograms in numbers.items():
        if group != "paste_grid":
            for found in histograms.values():
                assert sum(found["counts"]) == found["count"]
                assert len(found["edges"]) == len(found["counts"]) + 1
                assert found["edges"] == sorted(set(found["edges"]))


def test_numbers_survive_json_and_do_not_change(dataset, numbers):
    assert json.loads(json.dumps(numbers)) == numbers
    assert statistics(Dataset(dataset.store)) == numbers


def test_fewer_bins_when_asked(dataset):
    coarse = statistics(dataset, StatisticsSettings(bins=4, grid=(3, 2)))
    assert len(coarse["mask_area"]["entity"]["counts"]) <= 6
    assert (coarse["paste_grid"]["columns"], coarse["paste_grid"]["rows"]) == (3, 2)


def test_a_run_without_any_part_has_empty_distributions(tmp_path: Path):
    store = open_store(tmp_path / "empty")
    store.replace(RUN_FILE, b'{"epoch": 1}')
    numbers = statistics(Dataset(store))
    assert numbers["caption_words"]["long"]["count"] == 0
    assert sum(map(sum, numbers["paste_grid"]["counts"])) == 0


def test_a_table_is_aligned_with_numbers_to_the_right():
    text = format_table(["name", "count", "share"], [("dog", 7, 0.5), ("camel", 12, None), (None, 0, 1 / 3)])
    assert text.splitlines() == [
        "name   count     share",
        "─────  ─────  ────────",
        "dog        7       0.5",
        "camel     12",
        "           0  0.333333",
        "(3 rows)",
    ]


def test_a_table_without_rows_still_shows_its_columns():
    assert format_table(["id"], []).splitlines() == ["id", "──", "(0 rows)"]


def test_a_cell_can_neither_break_lines_nor_steer_the_terminal():
    text = format_table(["caption"], [("two\nlines\x1b[2J",), ("x" * 500,)])
    lines = text.splitlines()
    assert len(lines) == 5
    assert "\x1b" not in text
    assert lines[2] == "two lines�[2J"
    assert lines[3] == "x" * (MAX_CELL - 1) + "…"


def test_wide_characters_take_two_columns():
    lines = format_table(["tag", "n"], [("犬", 1), ("dog", 2)]).splitlines()
    assert lines[2] == "犬   1"
    assert lines[3] == "dog  2"


def test_csv_gives_cells_whole_and_reads_back():
    long = 'A box, which moves.\nIt is "grey". ' * 9
    text = format_csv(["caption", "score"], [(long, 1 / 3), (None, 7)])
    assert text.startswith("caption,score\n")
    assert text.endswith("\n,7\n")
    assert list(csv.reader(io.StringIO(text)))[1:] == [[long, repr(1 / 3)], ["", "7"]]
    assert format_csv(["id"], []) == "id\n"
