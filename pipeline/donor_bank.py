"""The donor bank's commit: drawn once over the annotate parts present, named by every COMPOSE commit that used it."""

from __future__ import annotations

from collections.abc import Iterator

from manifests.commits import Commit, PartWriter, read_commits, read_rows
from manifests.records import DonorRow, TrackRow
from manifests.storage import Store
from pipeline.ingest_phase import laid_out
from stages.donors import DonorSettings, draw_bank


def commit_bank(store: Store, epoch: int, settings: DonorSettings, seed: int) -> bool:
    """Draw a bank for the parts that no bank serves yet, from all annotated parts; False when every part has one.

    Only once every laid-out part is annotated: a bank must not depend on where a run was interrupted.
    """
    banks = read_commits(store, "donors")
    served = {part for commit in banks.values() for part in commit.facts["serves"]}
    annotated = read_commits(store, "annotate")
    new = sorted(set(annotated) - served)
    if not new:
        return False
    bank = draw_bank(_candidates(store, annotated), settings, seed)
    writer = PartWriter(store, "donors", len(banks), epoch)
    writer.add_table("bank", DonorRow, bank, folder="donors")
    writer.commit({"donors": len(bank)}, serves=new)
    return True


def _candidates(store: Store, annotated: dict[int, Commit]) -> Iterator[DonorRow]:
    clips = {(row.clip_id, row.part): row for row in laid_out(store)}
    for commit in annotated.values():
        tar = commit.file("masks.tar")
        for row in read_rows(store, commit, "tracks", TrackRow):
            clip = clips.get((row.clip_id, row.part))
            if row.role != "entity" or clip is None or tar is None:
                continue
            offset, size = commit.facts["masks"][row.track_id]
            yield DonorRow(
                track_id=row.track_id,
                clip_id=row.clip_id,
                source_id=clip.source_id,
                group=clip.group,
                split=clip.split,
                kind=clip.kind,
                tag=row.tag,
                fps=clip.fps,
                masks=store.read_range(tar.path, offset, size),
            )


def banks_by_part(store: Store) -> dict[int, tuple[int, str | None]]:
    """Number and file of the bank that serves each part; no file when nothing could be lent."""
    serving: dict[int, tuple[int, str | None]] = {}
    for number, commit in read_commits(store, "donors").items():
        file = commit.file("bank")
        for part in commit.facts["serves"]:
            serving[part] = (number, file.path if file else None)
    return serving
