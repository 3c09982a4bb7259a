"""INGEST: slices of the source listing become normalised clips, and found clips become numbered parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from manifests.commits import Commit, PartWriter, read_commits, read_rows
from manifests.records import ClipRow, FoundRow, ListedRow, RejectRow, SourceRow
from manifests.storage import Store
from manifests.tars import TarWriter
from pipeline.phase import PartItem, reject_rows, retried_row
from stages.layout import Found, LayoutSettings, in_layout_order, lay_out, split_groups
from stages.listing import Listing, Refused, Source
from stages.near_duplicates import NearDuplicate, find_near_duplicates
from stages.stage import Record
from stages.work import SourceWork


class IngestPhase:
    """One part: a slice of the listing → one tar of normalised clips with its index."""

    def load(self, _store: Store, item: PartItem) -> Sequence[Record]:
        return item.records

    def finish(self, store: Store, epoch: int, item: PartItem) -> Commit:
        works = [record for record in item.records if isinstance(record, SourceWork)]
        writer = PartWriter(store, "ingest", item.part, epoch)
        found: list[FoundRow] = []
        scratch = store.scratch()
        if any(work.clips for work in works):
            with TarWriter(scratch) as tar:
                for work in works:
                    for clip in work.clips:
                        member = tar.add(clip.row.member, clip.file.read_bytes())
                        found.append(replace(clip.row, offset=member.offset))
                        clip.file.unlink()
            writer.add_file(scratch, "clips.tar", "clips", "part", ".tar")
            writer.add_table("found", FoundRow, found, folder="clips")
        writer.add_table("sources", SourceRow, [_source_row(work, item.part) for work in works])
        hide = (store.url, *(str(work.source.path) for work in works if work.source.path.startswith("/")))
        rejects = [row for work in works for row in reject_rows("ingest", item.part, work.rejects, hide)]
        good = [work for work in works if work.id in item.retried and work.clips]
        writer.add_table("rejects", RejectRow, rejects + [retried_row(work, "ingest", item.part) for work in good])
        counts = {state: sum(_state(work) == state for work in works) for state in ("kept", "filtered", "failed")}
        return writer.commit({**counts, "clips": len(found)}, item.seconds)[0]


def _state(work: SourceWork) -> str:
    # A worker that crashed on it leaves a dropped record; a damaged file sets its own state.
    if work.dropped:
        return "failed"
    return work.state


def _source_row(work: SourceWork, part: int) -> SourceRow:
    source, probe = work.source, work.probe
    return SourceRow(
        source_id=source.source_id,
        ingest_part=part,
        root=source.root,
        path=source.path,
        size=source.size,
        kind=probe.kind if probe else None,
        codec=probe.codec if probe else None,
        width=probe.width if probe else None,
        height=probe.height if probe else None,
        fps=float(probe.fps) if probe and probe.fps else None,
        duration_us=probe.duration_us if probe else None,
        num_clips=len(work.clips),
        state=_state(work),
        licence=source.licence,
        group=source.group or source.source_id,
    )


def listed_sources(store: Store) -> dict[str, ListedRow]:
    """Every source that was ever listed, by id, in listing order; of a retried one the newest row."""
    rows: dict[str, ListedRow] = {}
    for commit in read_commits(store, "listing").values():
        rows.update((row.source_id, row) for row in read_rows(store, commit, "listing", ListedRow))
    return rows


def changed_sources(listed: dict[str, ListedRow], listing: Listing) -> list[str]:
    """``root/path`` of sources whose size, time or tag differs from when they were first listed."""
    changed = []
    for source in listing.sources:
        row = listed.get(source.source_id)
        if row is not None and (row.size, row.mtime_ns, row.etag) != (source.size, source.mtime_ns, source.etag):
            changed.append(f"{source.root}/{source.path}")
    return changed


def commit_listing(store: Store, epoch: int, listing: Listing, slice_size: int, limit: int | None) -> int:
    """Commit the sources that are new; returns how many. `limit` caps the sources of the whole dataset."""
    listed = listed_sources(store)
    room = None if limit is None else max(0, limit - len(listed))
    new = [source for source in listing.sources if source.source_id not in listed][:room]
    known_refusals = {
        row.id
        for commit in read_commits(store, "listing").values()
        for row in read_rows(store, commit, "rejects", RejectRow)
    }
    refused = [refusal for refusal in listing.refused if _refusal_id(refusal) not in known_refusals]
    if not new and not refused:
        return 0
    _commit_listing(store, epoch, _slice(new, slice_size, _next_ingest_part(store)), refused, retried=())
    return len(new)


def commit_retry_listing(store: Store, epoch: int, failed: Iterable[str], slice_size: int) -> int:
    """List failed sources again in new ingest parts; returns how many."""
    listed = listed_sources(store)
    again = [listed[source] for source in failed if source in listed]
    first = _next_ingest_part(store)
    rows = [replace(row, ingest_part=first + index // slice_size) for index, row in enumerate(again)]
    if rows:
        _commit_listing(store, epoch, rows, [], retried=[row.source_id for row in rows])
    return len(rows)


def _next_ingest_part(store: Store) -> int:
    return 1 + max((row.ingest_part for row in listed_sources(store).values()), default=-1)


def _slice(sources: Sequence[Source], size: int, first: int) -> list[ListedRow]:
    return [
        ListedRow(
            source_id=source.source_id,
            ingest_part=first + index // size,
            root=source.root,
            path=source.path,
            size=source.size,
            mtime_ns=source.mtime_ns,
            etag=source.etag,
            caption=source.caption,
            licence=source.licence,
            group=source.group or source.source_id,
            start_us=source.start_us,
            end_us=source.end_us,
        )
        for index, source in enumerate(sources)
    ]


def _commit_listing(
    store: Store, epoch: int, rows: Sequence[ListedRow], refused: Sequence[Refused], retried: Sequence[str]
) -> None:
    number = len(read_commits(store, "listing"))
    by_id: dict[str, list[Refused]] = {}
    for refusal in refused:
        by_id.setdefault(_refusal_id(refusal), []).append(refusal)
    rejects = [_refusal_row(name, number, about_it) for name, about_it in by_id.items()]
    writer = PartWriter(store, "listing", number, epoch)
    writer.add_table("listing", ListedRow, rows, folder="listing")
    writer.add_table("rejects", RejectRow, rejects)
    writer.commit({"sources": len(rows), "refused": len(rejects)}, retried=list(retried))


def _refusal_row(name: str, part: int, refusals: Sequence[Refused]) -> RejectRow:
    # Of two rows with one id only one would be seen, so all that rows of listings say of a path is in one.
    sentences = "; ".join(refusal.message for refusal in refusals)
    return RejectRow(name, "source", "listing", part, "listing", "failed", refusals[0].reason, None, None, sentences)


def _refusal_id(refusal: Refused) -> str:
    return f"{refusal.root}/{refusal.path}"


def ingest_items(store: Store) -> list[PartItem]:
    """Ingest parts that are listed but not committed."""
    done = read_commits(store, "ingest")
    items: list[PartItem] = []
    for commit in read_commits(store, "listing").values():
        parts: dict[int, list[Record]] = {}
        for row in read_rows(store, commit, "listing", ListedRow):
            if row.ingest_part not in done:
                parts.setdefault(row.ingest_part, []).append(SourceWork(row.source_id, _source(row)))
        retried = frozenset(commit.facts.get("retried", ()))
        items += [PartItem(part, tuple(records), retried) for part, records in sorted(parts.items())]
    return items


def _source(row: ListedRow) -> Source:
    return Source(
        source_id=row.source_id,
        root=row.root,
        path=row.path,
        size=row.size,
        mtime_ns=row.mtime_ns,
        etag=row.etag,
        caption=row.caption,
        licence=row.licence,
        group=row.group,
        start_us=row.start_us,
        end_us=row.end_us,
    )


def laid_out(store: Store) -> list[ClipRow]:
    """Every clip row of every layout, oldest first."""
    rows: list[ClipRow] = []
    for commit in read_commits(store, "layout").values():
        rows += read_rows(store, commit, "clips", ClipRow)
    return rows


def commit_layout(store: Store, epoch: int, settings: LayoutSettings, seed: int) -> int:
    """Lay out the clips of ingest parts that no layout has taken yet; returns how many clips."""
    layouts = read_commits(store, "layout")
    taken = {part for commit in layouts.values() for part in commit.facts.get("ingest_parts", ())}
    new = {part: commit for part, commit in read_commits(store, "ingest").items() if part not in taken}
    if not new:
        return 0
    before = laid_out(store)
    found = [Found(row, part) for part, commit in new.items() for row in read_rows(store, commit, "found", FoundRow)]
    found, repeated = _first_of_each(found, {row.clip_id for row in before})
    copies = find_near_duplicates(before, [item.row for item in in_layout_order(found)], settings.near_duplicates)
    copied = {copy.row.clip_id for copy in copies}
    found = [item for item in found if item.row.clip_id not in copied]
    known = {row.group: row.split for row in before}
    splits = split_groups(found, known, settings, seed)
    rows = lay_out(found, splits, settings, 1 + max((row.part for row in before), default=-1))
    writer = PartWriter(store, "layout", len(layouts), epoch)
    writer.add_table("clips", ClipRow, rows)
    rejects = [_repeated_row(item, len(layouts)) for item in repeated]
    rejects += [_copy_row(copy, len(layouts)) for copy in copies]
    writer.add_table("rejects", RejectRow, rejects)
    writer.commit({"clips": len(rows)}, ingest_parts=sorted(new))
    return len(rows)


def _first_of_each(found: Sequence[Found], known: set[str]) -> tuple[list[Found], list[Found]]:
    """Clips not seen before, and those that two overlapping intervals of one source have cut alike."""
    first: list[Found] = []
    repeated: list[Found] = []
    seen = set(known)
    for item in found:
        (repeated if item.row.clip_id in seen else first).append(item)
        seen.add(item.row.clip_id)
    return first, repeated


def _repeated_row(item: Found, part: int) -> RejectRow:
    name, sentence = f"{item.row.clip_id} {item.row.source_id}", "another interval of the file gave the same clip"
    return RejectRow(name, "clip", "layout", part, "layout", "filtered", "same_clip", None, None, sentence)


def _copy_row(copy: NearDuplicate, part: int) -> RejectRow:
    return RejectRow(
        copy.row.clip_id,
        "clip",
        "layout",
        part,
        "layout",
        "filtered",
        "near_duplicate",
        float(copy.distance),
        float(copy.threshold),
        copy.message,
    )


def commit_retry_layout(store: Store, epoch: int, settings: LayoutSettings, failed: Iterable[str]) -> int:
    """Lay out failed clips again in new parts; returns how many."""
    before = {row.clip_id: row for row in laid_out(store)}
    again = [before[clip] for clip in failed if clip in before]
    if not again:
        return 0
    first = 1 + max(row.part for row in before.values())
    rows: list[ClipRow] = []
    for kind in ("video", "image"):
        clips = [row for row in again if row.kind == kind]
        size = settings.part_size(kind)
        start = 1 + max((row.part for row in rows), default=first - 1)
        for index, row in enumerate(clips):
            rows.append(replace(row, part=start + index // size, position=index % size))
    writer = PartWriter(store, "layout", len(read_commits(store, "layout")), epoch)
    writer.add_table("clips", ClipRow, rows)
    writer.commit({"clips": len(rows)}, ingest_parts=[], retried=[row.clip_id for row in rows])
    return len(rows)
