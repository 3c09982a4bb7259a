"""What the pools get of a cluster's cores and GPUs."""

from __future__ import annotations

import pytest

from pipeline import ray_runner
from pipeline.config import Pool, load_config
from pipeline.phase import PhaseSpec
from pipeline.ray_runner import actor_range, fit_cluster


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch):
    """Pretend a cluster of so many cores and GPUs."""

    def pretend(cpus: float, gpus: float) -> None:
        found = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
        monkeypatch.setattr(ray_runner.ray, "cluster_resources", lambda: found)

    return pretend


def spec(*pools: Pool) -> PhaseSpec:
    return PhaseSpec("annotate", "out", 1, 0, {}, pools, {})


def pool(name: str, **limits: float) -> Pool:
    return Pool(name=name, stages=("decode",), **limits)


def test_a_cluster_with_room_changes_nothing(cluster) -> None:
    cluster(16, 2)
    given = spec(pool("front", num_gpus=0.5), pool("caption", num_gpus=1))
    assert fit_cluster(given, 9) == (given, None)


def test_a_cluster_without_gpus_runs_without(cluster) -> None:
    cluster(2, 0)
    fitted, notice = fit_cluster(spec(pool("front", num_gpus=0.5, num_cpus=2), pool("cpu", num_cpus=2)), 9)
    assert [(p.num_cpus, p.num_gpus) for p in fitted.pools] == [(1, 0), (1, 0)]
    assert notice == "Ray has no GPU: what reserves one runs without (front)"


def test_too_few_gpus_are_said_to_be_shared(cluster) -> None:
    cluster(8, 1)
    fitted, notice = fit_cluster(spec(pool("front", num_gpus=1), pool("caption", num_gpus=1), pool("cpu")), 9)
    assert [p.num_gpus for p in fitted.pools] == [0.5, 0.5, 0]
    assert notice == "Ray has 1 GPU, fewer than actors reserve: they share (front, caption)"


def test_pools_grow_up_to_their_limits() -> None:
    others = [pool("other")]
    assert actor_range(pool("p"), others, 99, cpus=8, gpus=0) == (1, 7)
    assert actor_range(pool("p", max_actors=3, min_actors=2), others, 99, cpus=8, gpus=0) == (2, 3)
    assert actor_range(pool("p", min_actors=4), others, 2, cpus=8, gpus=0) == (2, 2)
    assert actor_range(pool("p", num_gpus=0.5), others, 99, cpus=8, gpus=2) == (1, 4)


def test_the_profile_for_gpus_runs_on_one(cluster) -> None:
    pytest.importorskip("torch")
    cluster(8, 1)
    pools = load_config("vivid").pools
    for phase in pools:
        given = spec(*pools[phase])
        assert fit_cluster(given, 9) == (given, None)
