"""The contact sheet of a dataset: one static page, ``gallery/index.html``, and its pictures.

The page needs no network and no script, and opens from a disk. Equal datasets give equal bytes. Everything is shown as
the training loader meets it: frames decoded from the shards, variants rebuilt from their stored parameters.
"""

from __future__ import annotations

from manifests.dataset import Dataset
from manifests.gallery_card import PICTURES, Album, ClipCard
from manifests.gallery_charts import distributions
from manifests.gallery_data import ApplyVariant, Decode, Example, GalleryData, GallerySettings, Reason
from manifests.gallery_funnel import funnel_steps, funnel_table, masthead, reject_examples
from manifests.gallery_html import Html, element
from manifests.gallery_page import legend, page, section
from manifests.gallery_pictures import DELETION, marked, shrink
from manifests.ids import ID_HEX_DIGITS
from manifests.statistics import statistics

INDEX = "gallery/index.html"
TRACK_ID_LENGTH = ID_HEX_DIGITS + 3


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
        cards = [ClipCard(shown, data, apply_variant, album, settings).html() for shown in data.shown_clips(max_clips)]
        reasons = data.reasons(settings.examples)
        examples = [_examples(reason, data, album, settings.small_width) for reason in reasons]
    name = dataset.store.url.rstrip("/").rpartition("/")[2]
    document = page(
        name,
        masthead(name, steps),
        section("left-out", "What was left out, and why", "", funnel_table(steps, reasons)),
        section("clips", "Clips", _chosen(len(cards), steps[1].kept), legend(), *cards),
        section("examples", "Examples of what was left out", "", *examples),
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


def _examples(reason: Reason, data: GalleryData, album: Album, width: int) -> Html:
    return reject_examples(reason, [_thumbnail(example, data, album, width) for example in reason.examples])


def _thumbnail(example: Example, data: GalleryData, album: Album, width: int) -> Html | None:
    """The keyframe of the thing's clip, with its mask where that is kept, or None when the clip is in no shard."""
    content = data.content(example.clip_id) if example.clip_id else None
    if content is None:
        return None
    track = example.reject.id[:TRACK_ID_LENGTH]
    mask = content.masks.get(track)
    name = f"{track if mask else example.clip_id}-thumbnail"
    if (known := album.known(name)) is not None:
        return known
    picture = shrink(content.frames([0])[0], width)
    if mask:
        picture = marked(picture, mask.mask(0), DELETION)
    return album.picture(name, picture, "keyframe of its clip")
