"""The contact sheet of a dataset: one static page, ``gallery/index.html``, and its pictures.

The page needs no network and no script, and opens from a disk. Equal datasets give equal bytes. Everything is shown as
the training loader meets it: frames decoded from the shards, variants rebuilt from their stored parameters.
"""

from __future__ import annotations

from manifests.dataset import Dataset
from manifests.gallery_album import PICTURES, Album
from manifests.gallery_card import ClipCard
from manifests.gallery_charts import distributions
from manifests.gallery_data import ApplyVariant, Decode, GalleryData, GallerySettings
from manifests.gallery_examples import Examples
from manifests.gallery_funnel import funnel_steps, funnel_table, masthead
from manifests.gallery_html import element
from manifests.gallery_page import legend, page, section
from manifests.statistics import statistics

INDEX = "gallery/index.html"


def write_gallery(
    dataset: Dataset,
    decode: Decode,
    apply_variant: ApplyVariant,
    *,
    max_clips: int = 60,
    settings: GallerySettings | None = None,
) -> list[str]:
    """Write the page and its pictures into the dataset's folder; returns the paths written, the page first.

    Pictures of an earlier page that this one does not show are removed.

    Args:
        dataset: the dataset, on a disk or in an object store.
        decode: gives the frames of a clip's bytes by number, uint8 RGB (`stages.media.decode_clip`).
        apply_variant: gives a variant's mask from its stored parameters (`stages.augment.apply_variant`).
        max_clips: clips on the contact sheet, chosen by their ids.
        settings: sizes and counts of the pictures.
    """
    settings = settings or GallerySettings()
    album = Album(dataset.store, settings.jpeg_quality)
    with GalleryData(dataset, decode) as data:
        steps = funnel_steps(dataset)
        shown = data.shown_clips(max_clips)
        cards = [ClipCard(clip, data, apply_variant, album, settings).html() for clip in shown]
        reasons = data.reasons(settings.examples)
        examples = Examples(data, album, settings.small_width, {clip.clip.clip_id for clip in shown})
        left_out = [examples.section(reason) for reason in reasons]
    name = dataset.store.url.rstrip("/").rpartition("/")[2]
    document = page(
        name,
        masthead(name, steps),
        section("left-out", "What was left out, and why", "", funnel_table(steps, reasons)),
        section("clips", "Clips", _chosen(len(cards), steps[1].kept), legend(), *cards),
        section("examples", "Examples of what was left out", "", *left_out),
        section(
            "distributions", "Distributions", "", element("div", distributions(statistics(dataset)), class_="cards")
        ),
    )
    dataset.store.replace(INDEX, document.encode())
    for path in set(dataset.store.list(PICTURES)) - set(album.paths):
        dataset.store.remove(path)
    return [INDEX, *album.paths]


def _chosen(shown: int, total: int) -> str:
    return f"All {total:,} clips." if shown == total else f"{shown:,} of {total:,} clips, drawn at random."
