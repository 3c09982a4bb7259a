"""The phases of `vivid latents`: parts of a dataset become tars of latents and of text embeddings, with their indices.

A set of latents numbers its parts as the dataset does. A caption belongs to the first part it is seen in: parts that
are appended bring only captions that are new, and no part depends on which others are done.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from pathlib import Path

from manifests.commits import Commit, PartWriter, read_commit, read_rows
from manifests.latents import CaptionRow, LatentRow, caption_key, dataset_url, entry_key
from manifests.records import RejectRow, SampleRow
from manifests.storage import Store, open_store
from manifests.tars import Member, TarWriter
from pipeline.phase import PartItem, reject_rows, state_counts
from stages.latent_work import CaptionText, ClipLatents, EncodedWindow, PartOfDataset, window_id
from stages.stage import Record


class LatentsPhase:
    """One part: its clips → one tar of latents and their index."""

    def load(self, store: Store, item: PartItem) -> Sequence[Record]:
        """The clips of the part's samples."""
        part = _part(item)
        dataset = open_store(dataset_url(store.url))
        rows = read_rows(dataset, read_commit(dataset, "compose", item.part), "samples", SampleRow)
        clips: dict[str, list[SampleRow]] = {}
        for row in rows:
            if part.split is None or row.split == part.split:
                clips.setdefault(row.clip_id, []).append(row)
        return [ClipLatents(clip, tuple(samples)) for clip, samples in sorted(clips.items())]

    def finish(self, store: Store, epoch: int, item: PartItem) -> Commit:
        records = [record for record in item.records if isinstance(record, ClipLatents)]
        writer = PartWriter(store, "latents", item.part, epoch)
        kept = [record for record in records if not record.dropped and record.encoded]
        rows: list[LatentRow] = []
        if kept:
            scratch = store.scratch()
            with TarWriter(scratch) as tar:
                for record in kept:
                    members = [_move(tar, _name(record, one), one.file) for one in record.encoded]
                    rows += map(_latent_row, repeat(record), record.encoded, members)
            writer.add_file(scratch, "latents.tar", "clips", "part", ".tar")
        writer.add_table("latents", LatentRow, rows, folder="index")
        _add_rejects(writer, item, records)
        masked = sum(row.track_id is not None for row in rows)
        counts = {**state_counts(records), "windows": len(rows) - masked, "masked": masked}
        return writer.commit(counts, item.seconds)[0]


class CaptionsPhase:
    """One part: the captions first seen in it → one tar of text embeddings and their index."""

    def load(self, _store: Store, item: PartItem) -> Sequence[Record]:
        """A record per caption."""
        return [
            CaptionText(f"{caption_key(caption) % 2**64:016x}", caption) for caption in sorted(_part(item).captions)
        ]

    def finish(self, store: Store, epoch: int, item: PartItem) -> Commit:
        records = [record for record in item.records if isinstance(record, CaptionText)]
        writer = PartWriter(store, "captions", item.part, epoch)
        rows: list[CaptionRow] = []
        kept = [(record, record.file) for record in records if not record.dropped and record.file is not None]
        if kept:
            scratch = store.scratch()
            with TarWriter(scratch) as tar:
                for record, file in kept:
                    member = _move(tar, f"{record.id}.safetensors", file)
                    key = caption_key(record.caption)
                    rows.append(CaptionRow(key, record.tokens, member.name, member.offset, member.size))
            writer.add_file(scratch, "captions.tar", "captions", "part", ".tar")
        writer.add_table("captions", CaptionRow, rows, folder="index")
        _add_rejects(writer, item, records)
        return writer.commit({**state_counts(records), "tokens": sum(row.tokens for row in rows)}, item.seconds)[0]


def _part(item: PartItem) -> PartOfDataset:
    (part,) = item.records
    assert isinstance(part, PartOfDataset)
    return part


def _add_rejects(writer: PartWriter, item: PartItem, records: Sequence[Record]) -> None:
    hide = (writer.store.url, dataset_url(writer.store.url))
    rows = [row for record in records for row in reject_rows(writer.phase, item.part, record.rejects, hide)]
    writer.add_table("rejects", RejectRow, rows, folder="rejects")


def _move(tar: TarWriter, name: str, file: Path) -> Member:
    member = tar.add(name, file.read_bytes())
    file.unlink()
    return member


def _name(record: ClipLatents, encoded: EncodedWindow) -> str:
    masking = f".{encoded.masking.label}" if encoded.masking else ""
    return f"{record.id}.window-{encoded.number}{masking}.safetensors"


def _latent_row(record: ClipLatents, encoded: EncodedWindow, member: Member) -> LatentRow:
    window, masking, shown = encoded.window, encoded.masking, window_id(encoded.window)
    whose = (masking.track_id, masking.variant, masking.kive) if masking else (None, None, None)
    return LatentRow(
        key=entry_key(record.id, shown, *whose),
        clip_id=record.id,
        window_id=shown,
        track_id=whose[0],
        mask_variant=whose[1],
        kive=None if whose[2] is None else int(whose[2]),
        window=encoded.number,
        start=int(window.indices[0]),
        x0=float(window.x0),
        y0=float(window.y0),
        member=member.name,
        offset=member.offset,
        size=member.size,
    )
