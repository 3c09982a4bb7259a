"""COMPOSE's ends: tracks that come back from ANNOTATE, and the shard, samples and tracks of a part's commit."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from committed_parts import CLIPS, EPOCH, annotated, commit_annotate, commit_clips, row_of
from small_work import block, track_of

from manifests.commits import Commit, read_rows
from manifests.masks import MaskTrack
from manifests.records import RejectRow, SampleRow, TrackRow
from manifests.storage import Store, open_store
from pipeline.annotate_phase import AnnotatePhase, clip_items
from pipeline.compose_phase import DELETE_CAPTION, ComposePhase
from pipeline.phase import PartItem
from stages.augment import OPERATOR_VERSION
from stages.work import ClipWork, Pasting, Variant

ORIGINAL = Variant("original", {"op": "original", "ratio": 0.0}, 0.04)
BOX = Variant("box", {"op": "box", "ratio": 0.0}, 0.05)
ENTITY, REGION, PASTED = 0, 1, 2


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A dataset whose part 0 (clips b and a, in this order) is annotated."""
    store = open_store(tmp_path / "out")
    commit_clips(store, [row_of("b"), row_of("a")])
    commit_annotate(store, 0)
    return store


def loaded(store: Store) -> tuple[PartItem, list[ClipWork]]:
    (item,) = clip_items(store, "compose")
    works = [work for work in ComposePhase().load(store, item) if isinstance(work, ClipWork)]
    return item, works


def with_samples(work: ClipWork) -> ClipWork:
    """As the stages of COMPOSE leave a clip: a pasted track, and variants."""
    masks = [block(60, 8 + index) for index in range(work.clip.num_frames)]
    pasting = Pasting("donor-00", "trajectory", 3, -4, 1.5)
    work.tracks.append(track_of(masks, 90, "pasted", "cat", pasting=pasting))
    work.tracks[ENTITY].variants = [ORIGINAL, BOX]
    work.tracks[PASTED].variants = [ORIGINAL]
    return work


def finished(store: Store, works: list[ClipWork], **given: object) -> Commit:
    return ComposePhase().finish(store, EPOCH, PartItem(0, tuple(works), **given))  # type: ignore[arg-type]


def shard_of(store: Store, commit: Commit) -> dict[str, bytes]:
    file = commit.file("shard")
    assert file is not None
    with tarfile.open(fileobj=io.BytesIO(store.read(file.path))) as tar:
        names = tar.getnames()
        assert names == sorted(names)
        return {name: tar.extractfile(name).read() for name in names}  # type: ignore[union-attr]


def test_tracks_come_back_with_masks_and_captions(store: Store) -> None:
    _, works = loaded(store)
    assert [work.id[0] for work in works] == ["b", "a"]
    for work in works:
        before = annotated(ClipWork(work.id, work.clip, work.location)).tracks
        assert [(t.number, t.role, t.tag, t.box, t.masks, t.captions) for t in work.tracks] == [
            (t.number, t.role, t.tag, t.box, t.masks, t.captions) for t in before
        ]


def test_what_annotate_left_out_does_not_come_back(tmp_path: Path) -> None:
    store = open_store(tmp_path / "out")
    commit_clips(store, [row_of("a"), row_of("b"), row_of("c")])
    (item,) = clip_items(store, "annotate")
    failed, filtered, bare = (work for work in item.records if isinstance(work, ClipWork))
    failed.reject(failed.id, "clip", "tag", "timeout", "too slow", state="failed")
    filtered.drop("screen", "dull", "dull")
    failed.dropped = True
    bare.reject(f"{bare.id}-00", "track", "screen", "min_area", "a track of it only")
    AnnotatePhase().finish(store, EPOCH, item)
    _, works = loaded(store)
    assert [(work.id[0], work.tracks) for work in works] == [("c", [])]


def test_a_shard_holds_each_clip_once_with_members_sorted(store: Store) -> None:
    _, works = loaded(store)
    members = shard_of(store, finished(store, [with_samples(work) for work in works]))
    assert list(members) == [
        f"{letter * 16}.{ending}"
        for letter in "ab"
        for ending in ("json", "mp4", "track-00.json.gz", "track-80.json.gz", "track-90.json.gz")
    ]
    for work in works:
        assert members[f"{work.id}.mp4"] == CLIPS[work.id]
        for track in work.tracks:
            assert MaskTrack.from_bytes(members[f"{work.id}.track-{track.number:02d}.json.gz"]) == track.masks


def test_metadata_tells_a_reader_of_the_tar_alone_what_there_is(store: Store) -> None:
    _, works = loaded(store)
    members = shard_of(store, finished(store, [with_samples(work) for work in works]))
    name = "a" * 16
    metadata = json.loads(members[f"{name}.json"])
    assert (metadata["clip_id"], metadata["fps"], metadata["num_frames"], metadata["split"]) == (
        name,
        12.0,
        12,
        "train",
    )
    assert not {"ingest_part", "position"} & set(metadata)
    assert metadata["tracks"] == [
        {
            "track_id": f"{name}-00",
            "role": "entity",
            "tag": "ball",
            "task": "add_modify",
            "captions": {"short": "a ball", "medium": "a red ball", "long": "A red ball. It moves. It is small."},
            "masks": f"{name}.track-00.json.gz",
            "variants": {"original": ORIGINAL.parameters, "box": BOX.parameters},
        },
        {
            "track_id": f"{name}-80",
            "role": "background",
            "tag": "sky",
            "task": None,
            "captions": {},
            "masks": f"{name}.track-80.json.gz",
            "variants": {},
        },
        {
            "track_id": f"{name}-90",
            "role": "pasted",
            "tag": "cat",
            "task": "delete",
            "captions": {"fixed": DELETE_CAPTION},
            "masks": f"{name}.track-90.json.gz",
            "variants": {"original": ORIGINAL.parameters},
        },
    ]


def test_samples_point_to_their_bytes_in_the_shard(store: Store) -> None:
    _, works = loaded(store)
    commit = finished(store, [with_samples(work) for work in works], bank=4, seconds={"paste": 0.5})
    assert commit.counts == {"kept": 2, "filtered": 0, "failed": 0, "samples": 14, "tracks": 2}
    assert commit.facts == {"bank": 4}
    assert commit.timings == {"paste": 0.5}
    samples = read_rows(store, commit, "samples", SampleRow)
    ids = [f"{variant}-{caption}" for variant in "ob" for caption in "sml"]
    expected = [*(f"00-{code}" for code in ids), "90-o-f"]
    assert [sample.sample_id for sample in samples] == [f"{letter * 16}-{end}" for letter in "ba" for end in expected]
    members = shard_of(store, commit)
    for sample in samples:
        assert store.read_range(sample.shard, sample.clip_offset, sample.clip_size) == CLIPS[sample.clip_id]
        masks = store.read_range(sample.shard, sample.mask_offset, sample.mask_size)
        assert masks == members[sample.mask_member]
        assert (sample.clip_member, sample.mask_member) == (
            f"{sample.clip_id}.mp4",
            f"{sample.clip_id}.track-{sample.track_id[-2:]}.json.gz",
        )
        assert (sample.num_frames, sample.operator_version) == (12, OPERATOR_VERSION)
        variant = {"original": ORIGINAL, "box": BOX}[sample.mask_variant]
        assert (json.loads(sample.variant_parameters), sample.area_mean) == (variant.parameters, variant.area_mean)
    assert {(s.task, s.caption_kind, s.caption) for s in samples} == {
        ("add_modify", "short", "a ball"),
        ("add_modify", "medium", "a red ball"),
        ("add_modify", "long", "A red ball. It moves. It is small."),
        ("delete", "fixed", DELETE_CAPTION),
    }
    # The other tracks are rows of ANNOTATE's already.
    pasted = read_rows(store, commit, "tracks", TrackRow)
    assert [(row.track_id, row.donor_track_id) for row in pasted] == [
        (f"{letter * 16}-90", "donor-00") for letter in "ba"
    ]


def test_a_clip_without_a_sample_is_left_out_with_its_reason(store: Store) -> None:
    _, (empty, used) = loaded(store)
    commit = finished(store, [empty, with_samples(used)], retried=frozenset({empty.id, used.id}))
    assert {name[:16] for name in shard_of(store, commit)} == {used.id}
    assert (commit.counts["kept"], commit.counts["filtered"]) == (1, 1)
    rejects = {row.id: row for row in read_rows(store, commit, "rejects", RejectRow)}
    assert (rejects[empty.id].stage, rejects[empty.id].reason) == ("pack", "no_sample")
    # What is good now makes up for the failure before.
    assert (rejects[used.id].state, rejects[used.id].reason) == ("kept", "retried")


def test_a_part_in_which_nothing_is_left_has_no_shard(store: Store) -> None:
    _, works = loaded(store)
    commit = finished(store, works)
    assert [file.name for file in commit.files] == ["rejects"]
    assert commit.counts == {"kept": 0, "filtered": 2, "failed": 0, "samples": 0, "tracks": 0}
    assert not clip_items(store, "compose")


def test_an_image_lies_in_the_shard_as_a_jpeg(tmp_path: Path) -> None:
    store = open_store(tmp_path / "out")
    commit_clips(store, [row_of("a", kind="image", fps=None, num_frames=1)])
    commit_annotate(store, 0)
    _, (work,) = loaded(store)
    commit = finished(store, [with_samples(work)])
    assert f"{work.id}.jpg" in shard_of(store, commit)
    sample = read_rows(store, commit, "samples", SampleRow)[0]
    assert (sample.kind, sample.fps, sample.clip_member) == ("image", None, f"{work.id}.jpg")
