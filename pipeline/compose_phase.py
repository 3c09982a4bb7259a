"""COMPOSE: clips, tracks and donors become shards and the samples that point into them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from manifests.commits import Commit, PartWriter, read_commit, read_rows
from manifests.ids import sample_id, track_id
from manifests.masks import MaskTrack
from manifests.records import RejectRow, SampleRow, TrackRow
from manifests.storage import Store
from manifests.tars import Member, TarWriter, read_tar
from models.protocols import Captions
from pipeline.annotate_phase import mask_member, track_row
from pipeline.phase import PartItem, reject_rows, retried_row, state_counts
from stages.augment import OPERATOR_VERSION
from stages.stage import Record
from stages.work import ClipWork, Track, Variant

DELETE_CAPTION = "Remove objects and generate areas that blend with the background."
"""The paper's fixed caption of every deletion sample."""


class ComposePhase:
    """One part: its clips and tracks → one shard and the samples in it."""

    def load(self, store: Store, item: PartItem) -> Sequence[Record]:
        """Add the committed tracks to the clips; what failed in ANNOTATE does not come back."""
        commit = read_commit(store, "annotate", item.part)
        rows = read_rows(store, commit, "tracks", TrackRow)
        tar = commit.file("masks.tar")
        masks = read_tar(store.read(tar.path)) if tar else {}
        rejects = read_rows(store, commit, "rejects", RejectRow)
        left_out = {row.id for row in rejects if row.level == "clip"}
        works: list[Record] = []
        for work in item.records:
            assert isinstance(work, ClipWork)
            if work.id not in left_out:
                work.tracks = [_track(row, masks[row.member]) for row in rows if row.clip_id == work.id]
                works.append(work)
        return works

    def finish(self, store: Store, epoch: int, item: PartItem) -> Commit:
        works = [record for record in item.records if isinstance(record, ClipWork)]
        for work in works:
            if not work.dropped and not any(track.variants and _captions(track) for track in work.tracks):
                work.drop("pack", "no_sample", "no track of it makes a sample")
        used = [work for work in works if not work.dropped]
        writer = PartWriter(store, "compose", item.part, epoch)
        samples: list[SampleRow] = []
        if used:
            scratch = store.scratch()
            with TarWriter(scratch) as tar:
                for work in sorted(used, key=lambda work: work.id):
                    for name, data in _members(store, work):
                        tar.add(name, data)
            shard = writer.add_file(scratch, "shard", "shards", "part", ".tar")
            samples = [row for work in used for row in _samples(work, shard, tar.members)]
        pasted = [track_row(work.clip, track) for work in used for track in work.of_role("pasted")]
        writer.add_table("tracks", TrackRow, pasted)
        writer.add_table("samples", SampleRow, samples)
        rejects = [row for work in works for row in reject_rows("compose", item.part, work.rejects, (store.url,))]
        rejects += [retried_row(work, "compose", item.part) for work in used if work.id in item.retried]
        writer.add_table("rejects", RejectRow, rejects)
        counts = {**state_counts(works), "samples": len(samples), "tracks": len(pasted)}
        return writer.commit(counts, item.seconds, bank=item.bank)[0]


def _track(row: TrackRow, masks: bytes) -> Track:
    x0, y0, x1, y1 = row.box
    captions = None
    if row.caption_short and row.caption_medium and row.caption_long:
        captions = Captions(row.caption_short, row.caption_medium, row.caption_long)
    number = int(row.track_id.rpartition("-")[2])
    return Track(number, row.role, row.tag, (x0, y0, x1, y1), row.score, MaskTrack.from_bytes(masks), captions=captions)


def clip_member(work: ClipWork) -> str:
    """Name of the tar member with the clip itself."""
    return f"{work.id}.{'mp4' if work.clip.kind == 'video' else 'jpg'}"


def _members(store: Store, work: ClipWork) -> Iterator[tuple[str, bytes]]:
    """The members of one clip in sorted order: metadata, pixels, masks. The pixels are the ingest tar's bytes."""
    where = work.location
    members = {
        f"{work.id}.json": _metadata(work),
        clip_member(work): store.read_range(where.path, where.offset, where.size),
        **{mask_member(work.id, track.number): track.masks.to_bytes() for track in work.tracks},
    }
    yield from sorted(members.items())


def _metadata(work: ClipWork) -> bytes:
    """What a reader of the tar alone needs: the clip's row, its tracks, their captions and mask variants."""
    clip = asdict(work.clip)
    del clip["ingest_part"], clip["position"]
    tracks = [
        {
            "track_id": track_id(work.id, track.number),
            "role": track.role,
            "tag": track.tag,
            "task": _task(track),
            "captions": dict(_captions(track)),
            "masks": mask_member(work.id, track.number),
            "variants": {variant.name: variant.parameters for variant in track.variants},
        }
        for track in work.tracks
    ]
    return json.dumps({**clip, "tracks": tracks}, sort_keys=True, indent=1).encode()


def _task(track: Track) -> str | None:
    return {"entity": "add_modify", "pasted": "delete"}.get(track.role)


def _captions(track: Track) -> list[tuple[str, str]]:
    """(kind, text) of every caption a track's samples carry."""
    if track.role == "pasted":
        return [("fixed", DELETE_CAPTION)]
    if track.captions is None:
        return []
    return [("short", track.captions.short), ("medium", track.captions.medium), ("long", track.captions.long)]


def _samples(work: ClipWork, shard: str, members: dict[str, Member]) -> Iterator[SampleRow]:
    for track in work.tracks:
        for variant in track.variants:
            for kind, text in _captions(track):
                yield _sample(work, track, variant, kind, text, shard, members)


def _sample(
    work: ClipWork,
    track: Track,
    variant: Variant,
    caption_kind: str,
    caption: str,
    shard: str,
    members: dict[str, Member],
) -> SampleRow:
    clip, name = work.clip, track_id(work.id, track.number)
    pixels, masks = members[clip_member(work)], members[mask_member(work.id, track.number)]
    return SampleRow(
        sample_id=sample_id(name, variant.name, caption_kind),
        clip_id=work.id,
        target_clip_id=None,
        pair_id=None,
        track_id=name,
        part=clip.part,
        task=_task(track) or "",
        kind=clip.kind,
        split=clip.split,
        width=clip.width,
        height=clip.height,
        fps=clip.fps,
        num_frames=clip.num_frames,
        mask_variant=variant.name,
        variant_parameters=json.dumps(variant.parameters, sort_keys=True),
        operator_version=OPERATOR_VERSION,
        area_mean=variant.area_mean,
        caption_kind=caption_kind,
        caption=caption,
        shard=shard,
        clip_member=pixels.name,
        clip_offset=pixels.offset,
        clip_size=pixels.size,
        mask_member=masks.name,
        mask_offset=masks.offset,
        mask_size=masks.size,
    )
