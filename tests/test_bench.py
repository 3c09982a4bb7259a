"""The measurements of `make bench` at tiny sizes: that they run, compare equal things and say what they should."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import FRAMES, write_clip, write_config

from bench.decoding import bare_loop, measure_decodes_per_frame, measure_decoding
from bench.figures import Figure, Report, Table, interleaved_least
from bench.mask_variants import measure_variants
from bench.part_overhead import Sleepers, measure_overhead
from bench.plain_variants import plain_variant
from bench.processes import Moment
from bench.real_run import REFERENCE_FRAMES, RealRun, measure_bytes, measure_cores, measure_stages, run_job
from bench.worker_memory import measure_memory
from manifests.dataset import Dataset
from manifests.records import SampleRow
from pipeline.config import load_config
from stages.augment import AugmentSettings, apply_variant, draw_variants
from stages.media import decode_clip


def blob(height: int = 90, width: int = 120) -> np.ndarray:
    """Two overlapping ovals and a speck, off the middle."""
    y, x = np.ogrid[:height, :width]
    ovals = ((x - 40) ** 2 / 500 + (y - 40) ** 2 / 150 < 1) | ((x - 60) ** 2 / 80 + (y - 50) ** 2 / 300 < 1)
    ovals[20, 75] = True
    return ovals


def only_figure(report: Report) -> Figure:
    (figure,) = report.figures
    return figure


# --- what a measurement says ---


@pytest.mark.parametrize(
    ("bound", "value", "met"), [("at least", 0.9, True), ("at least", 0.89, False), ("at most", 0.91, False)]
)
def test_a_figure_keeps_its_target_or_not(bound: str, value: float, met: bool) -> None:
    assert Figure("speed", value, bound, 0.9).met is met


def test_a_report_as_markdown_and_json() -> None:
    missed = Figure("size", 0.2, "at most", 0.1, "of two things")
    report = Report([Figure("speed", 0.95123, "at least", 0.9)], [Table("Parts", ("name", "ms"), [("a", 1.5)])])
    report.add(Report([missed]))
    lines = report.markdown().splitlines()
    assert "| speed | 0.9512 | ≥ 0.9 | yes |" in lines
    assert "| size | 0.2 | ≤ 0.1 | **no** |" in lines
    assert lines[lines.index("**Parts**") + 2 :][:3] == ["| name | ms |", "| --- | --- |", "| a | 1.5 |"]
    assert lines[-1] == "- size: of two things"
    document = json.loads(json.dumps(report.document()))
    assert [(figure["name"], figure["met"]) for figure in document["figures"]] == [("speed", True), ("size", False)]


def test_two_things_are_measured_in_turn() -> None:
    calls: list[str] = []

    def cost(name: str, *costs: float) -> float:
        calls.append(name)
        return costs[calls.count(name) - 1]

    assert interleaved_least(lambda: cost("a", 1, 2, 9), lambda: cost("b", 5, 3, 4), 3) == (1, 3)
    assert calls == ["a", "b", "a", "b", "a", "b"]


# --- the measurements ---


def test_the_bare_loop_decodes_the_same_frames(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 1)
    data = clip.read_bytes()
    assert len(bare_loop(data)) == len(decode_clip(data)) == FRAMES
    assert only_figure(measure_decoding([clip], repetitions=1)).value > 0


def test_each_frame_is_decoded_once_by_a_pool(tmp_path: Path) -> None:
    assert only_figure(measure_decodes_per_frame(tmp_path, clips=2)).value == 1.0


def test_plain_variants_equal_ours() -> None:
    report = measure_variants([blob(), blob()[::-1, ::-1].copy()], repetitions=1)
    assert only_figure(report).value > 0
    assert [row[0] for row in report.tables[0].rows] == list(draw_variants(0, "track-0", AugmentSettings()))


def test_plain_variants_tell_a_wrong_result() -> None:
    drawn = draw_variants(0, "track-0", AugmentSettings())
    results = {kind: plain_variant(blob(), parameters) for kind, parameters in drawn.items()}
    assert len({result.tobytes() for result in results.values()}) == 6
    assert np.array_equal(results["hull"], apply_variant(blob(), drawn["hull"]))


def test_memory_is_taken_after_every_clip(tmp_path: Path) -> None:
    report = measure_memory(tmp_path, clips=4)
    largest_before, largest_after, last, _ = report.tables[0].rows[0]
    assert only_figure(report).value == largest_after / largest_before
    assert 20 < last <= largest_after


@pytest.mark.slow
def test_a_sleeping_pipeline_commits_every_part_on_ray(tmp_path: Path) -> None:
    report = measure_overhead(tmp_path, 5, 2, Sleepers(2, 0.02), Sleepers(1, 0.015))
    bound, measured, overhead = report.tables[0].rows[0]
    assert bound == pytest.approx(30)
    assert measured == pytest.approx(bound + overhead)
    assert only_figure(report).value == pytest.approx(measured / bound)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RealRun:
    folder = tmp_path_factory.mktemp("bench")
    clips = [write_clip(folder / "in" / f"clip{number}.mp4", number) for number in range(3)]
    return run_job(clips, folder, load_config(str(write_config(folder / "tiny.yaml"))), local=True)


def test_a_run_is_watched(run: RealRun) -> None:
    assert {moment.running for moment in run.moments} >= {1}
    assert max(moment.workers for moment in run.moments) > 0
    assert [moment.clock for moment in run.moments] == sorted(moment.clock for moment in run.moments)


def test_cores_count_while_both_workers_have_work(run: RealRun) -> None:
    samples = [(0, 0, 0, 1, 0), (1, 1, 1, 2, 0), (2, 2.7, 1.2, 2, 0), (3, 4.4, 1.4, 2, 0), (4, 5.4, 2.4, 2, 1)]
    figure = only_figure(measure_cores(RealRun(run.folder, [Moment(*sample) for sample in samples])))
    assert figure.value == pytest.approx(3.4 / 4)


def test_bytes_per_sample_are_those_of_the_files(run: RealRun) -> None:
    samples = Dataset(run.folder).rows("samples", SampleRow)
    files = [path for part in ("shards", "manifests") for path in (run.folder / part).rglob("*") if path.is_file()]
    stored, exploded, ratio, unpruned = measure_bytes(run).tables[0].rows[0]
    assert stored * 1e3 == pytest.approx(sum(path.stat().st_size for path in files) / len(samples))
    copies = sum(sample.clip_size + sample.mask_size + len(sample.caption) for sample in samples)
    assert exploded * 1e3 == pytest.approx(copies / len(samples))
    assert ratio == pytest.approx(exploded / stored)
    assert unpruned < ratio


def test_seconds_of_stages_are_per_reference_clip(run: RealRun) -> None:
    *rows, total = measure_stages(run).tables[0].rows
    chain = load_config("cpu").chain
    assert [row[:2] for row in rows] == [
        (phase, stage) for phase in ("ingest", "annotate", "compose") for stage in sorted(chain(phase))
    ]
    assert total[2] == pytest.approx(sum(float(row[2]) for row in rows))
    assert REFERENCE_FRAMES > 0
