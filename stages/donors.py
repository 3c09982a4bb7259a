"""Donors: a seeded bank of entity tracks, lent to other clips as shapes to delete (VIVID-10M, mask pasting)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pydantic import BaseModel, Field

from manifests.ids import draw, draw_order
from manifests.records import ClipRow, DonorRow


class DonorSettings(BaseModel, frozen=True, extra="forbid"):
    """How many donors a bank holds."""

    bank_size: int = Field(
        default=2000,
        ge=1,
        description="donors per split and kind; every worker holds the bank (~150 KB per video donor)",
    )


def draw_bank(candidates: Iterable[DonorRow], settings: DonorSettings, seed: int) -> list[DonorRow]:
    """A seeded sample per split and kind, sorted by track id; independent of the candidates' order."""
    pools: dict[tuple[str, str], dict[str, DonorRow]] = {}
    for row in candidates:
        pools.setdefault((row.split, row.kind), {})[row.track_id] = row
    bank: list[DonorRow] = []
    for _, pool in sorted(pools.items()):
        bank += [pool[name] for name in draw_order(seed, "donor_bank", list(pool))[: settings.bank_size]]
    return sorted(bank, key=lambda row: row.track_id)


def lendable(bank: Sequence[DonorRow], clip: ClipRow) -> list[DonorRow]:
    """Donors for a clip: same split, another source, another group; an image may also borrow a video's first mask."""
    return [
        donor
        for donor in bank
        if donor.split == clip.split
        and (donor.kind == clip.kind or clip.kind == "image")
        and donor.source_id != clip.source_id
        and donor.group != clip.group
    ]


def donors_for(bank: Sequence[DonorRow], clip: ClipRow, seed: int) -> Iterator[DonorRow]:
    """`lendable` donors in the clip's own random order."""
    yield from sorted(lendable(bank, clip), key=lambda donor: draw(seed, clip.clip_id, f"donor {donor.track_id}"))
