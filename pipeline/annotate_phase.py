"""ANNOTATE: parts of normalised clips become tracks with masks, measures and captions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from manifests.commits import Commit, PartWriter, read_commits, read_rows
from manifests.ids import track_id
from manifests.records import ClipRow, FoundRow, RejectRow, TrackRow
from manifests.storage import Store
from manifests.tars import TarWriter
from pipeline.ingest_phase import laid_out
from pipeline.phase import PartItem, reject_rows, state_counts
from stages.stage import Record
from stages.work import ClipWork, Location, Track


class AnnotatePhase:
    """One part: some clips → one tar of masks and one table of tracks."""

    def load(self, _store: Store, item: PartItem) -> Sequence[Record]:
        return item.records

    def finish(self, store: Store, epoch: int, item: PartItem) -> Commit:
        works = [record for record in item.records if isinstance(record, ClipWork)]
        writer = PartWriter(store, "annotate", item.part, epoch)
        tracks = [(work, track) for work in works if not work.dropped for track in work.tracks]
        places: dict[str, list[int]] = {}
        if tracks:
            scratch = store.scratch()
            with TarWriter(scratch) as tar:
                for work, track in tracks:
                    member = tar.add(mask_member(work.id, track.number), track.masks.to_bytes())
                    places[track_id(work.id, track.number)] = [member.offset, member.size]
            writer.add_file(scratch, "masks.tar", "masks", "part", ".tar")
        writer.add_table("tracks", TrackRow, [track_row(work.clip, track) for work, track in tracks])
        rejects = [row for work in works for row in reject_rows("annotate", item.part, work.rejects, (store.url,))]
        writer.add_table("rejects", RejectRow, rejects)
        counts = {**state_counts(works), "tracks": len(tracks)}
        return writer.commit(counts, item.seconds, masks=places, other_tags=other_tag_counts(works))[0]


def other_tag_counts(works: Iterable[ClipWork]) -> dict[str, int]:
    """In how many clips each tag of neither vocabulary stood: a frequent one may belong into one of them."""
    return dict(sorted(Counter(tag.name for work in works for tag in work.other_tags).items()))


def mask_member(clip: str, number: int) -> str:
    """Name of the tar member with a track's masks."""
    return f"{clip}.track-{number:02d}.json.gz"


def track_row(clip: ClipRow, track: Track) -> TrackRow:
    """The manifest's row of a track."""
    shares = track.masks.areas() / (clip.width * clip.height)
    captions, pasting = track.captions, track.pasting
    return TrackRow(
        track_id=track_id(clip.clip_id, track.number),
        clip_id=clip.clip_id,
        part=clip.part,
        role=track.role,
        tag=track.tag,
        box=[float(value) for value in track.box],
        score=round(float(track.score), 6),
        num_frames=len(track.masks),
        member=mask_member(clip.clip_id, track.number),
        area_min=round(float(shares.min()), 6),
        area_mean=round(float(shares.mean()), 6),
        area_max=round(float(shares.max()), 6),
        visible_fraction=round(float((shares > 0).mean()), 6),
        stability=track.stability,
        foreground_motion=track.foreground_motion,
        background_motion=track.background_motion,
        relative_motion=track.relative_motion,
        caption_short=captions.short if captions else None,
        caption_medium=captions.medium if captions else None,
        caption_long=captions.long if captions else None,
        caption_score=track.caption_score,
        models=json.dumps(track.models, sort_keys=True),
        donor_track_id=pasting.donor_track_id if pasting else None,
        motion=pasting.motion if pasting else None,
        dx=pasting.dx if pasting else None,
        dy=pasting.dy if pasting else None,
        scale=pasting.scale if pasting else None,
    )


def clip_locations(store: Store, ingest_parts: Iterable[int]) -> dict[str, Location]:
    """Where the normalised clips of some ingest parts lie."""
    commits = read_commits(store, "ingest")
    places: dict[str, Location] = {}
    for part in sorted(set(ingest_parts)):
        tar = commits[part].file("clips.tar")
        for row in read_rows(store, commits[part], "found", FoundRow):
            assert tar is not None
            places[row.clip_id] = Location(tar.path, row.offset, row.size)
    return places


def clip_items(store: Store, phase: str) -> list[PartItem]:
    """Laid-out parts that `phase` (annotate or compose) has not committed, with the clips of each."""
    done = read_commits(store, phase)
    parts: dict[int, list[ClipRow]] = {}
    for row in laid_out(store):
        if row.part not in done:
            parts.setdefault(row.part, []).append(row)
    places = clip_locations(store, (row.ingest_part for rows in parts.values() for row in rows))
    retried = frozenset(
        clip for commit in read_commits(store, "layout").values() for clip in commit.facts.get("retried", ())
    )
    return [
        PartItem(part, tuple(ClipWork(row.clip_id, row, places[row.clip_id]) for row in rows), retried)
        for part, rows in sorted(parts.items())
    ]
