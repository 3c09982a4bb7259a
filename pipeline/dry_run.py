"""--dry-run: the chain, the pools, the parts and what would be done, without touching anything."""

from __future__ import annotations

from collections.abc import Sequence

from manifests.commits import read_run
from manifests.differences import differences
from manifests.storage import open_store
from models.weights import list_with
from pipeline.annotate_phase import clip_items
from pipeline.config import WORK_PHASES, Config, Pool, semantic_hash
from pipeline.drive import Options
from pipeline.ingest_phase import changed_sources, ingest_items, listed_sources
from pipeline.run import outside
from stages.listing import list_sources


def plan_text(inputs: Sequence[str], out: str, config: Config, options: Options) -> str:
    """A page for the terminal. Raises what listing the inputs raises."""
    store = open_store(out)
    document = read_run(store)
    if document is not None:
        config = config.bound_to(document["semantic"].get("weights", {}))
    listing = outside(list_sources(inputs, config.listing), store)
    lines = [f"profile {config.profile}, seed {config.seed}, configuration {semantic_hash(config.semantic())[:12]}"]
    for phase in WORK_PHASES:
        lines.append(f"{phase}:")
        for pool in config.pools[phase]:
            gpus = f", {pool.num_gpus:g} GPU" if pool.num_gpus else ""
            lines.append(f"  pool {pool.name}: {' → '.join(pool.stages)}")
            actors = f"{_actors(pool, options)}, deadline {pool.deadline_s:g} s"
            lines.append(f"    {pool.num_cpus:g} CPU{gpus} each, {actors}")
    lines += _weight_lines(config, options)
    listed = listed_sources(store) if document else {}
    new = [source for source in listing.sources if source.source_id not in listed]
    lines.append(f"inputs: {len(listing.sources)} sources ({len(new)} new)")
    lines.append(f"  {len(listing.refused)} refused, {listing.ignored} other files passed over")
    lines += [f"  refused: {refusal.path}: {refusal.message}" for refusal in listing.refused[:10]]
    lines += [f"  changed since listed: {name}" for name in changed_sources(listed, listing)[:10]]
    if options.limit is not None:
        new = new[: max(0, options.limit - len(listed))]
    if document is None:
        lines.append(f"{out}: new folder")
    else:
        lines.append(f"{out}: run {document['epoch']}, {len(listed)} sources listed")
        lines += [f"  other configuration: {line}" for line in differences(config.semantic(), document["semantic"])]
    parts = -(-len(new) // config.ingest_slice)
    lines.append("would do:")
    lines.append(f"  ingest: {len(ingest_items(store)) + parts} parts of up to {config.ingest_slice} sources")
    lines.append(
        f"  annotate: {len(clip_items(store, 'annotate'))} parts laid out so far, more once the sources are cut"
    )
    lines.append(f"  compose: {len(clip_items(store, 'compose'))} parts laid out so far")
    return "\n".join(lines)


def _weight_lines(config: Config, options: Options) -> list[str]:
    lines = []
    for name, revision in config.weights(options.phases).items():
        known = list_with(name)
        missing = known.missing(name)
        state = f"missing: {', '.join(missing)} (see `vivid weights {name}`)" if missing else f"in {known.base}"
        lines.append(f"weights {name} {revision}: {state}")
    return lines


def _actors(pool: Pool, options: Options) -> str:
    if options.local:
        return "in this process"
    least = 1 if options.workers else pool.min_actors
    most = options.workers or pool.max_actors
    return f"{least} to {most} actors" if most else f"{least} actors or more, as many as there are cores"
