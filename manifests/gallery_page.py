"""The frame of the gallery's page: document, sections and legend."""

from __future__ import annotations

from importlib import resources

from manifests.gallery_html import Html, element, joined

LEGEND = (
    (
        "Add / modify sample",
        "the clip, the masks m of something in it and a caption of that thing: the editor sees the masked clip "
        "x ⊙ (1 − m) and learns to draw what the caption says.",
    ),
    (
        "Deletion sample",
        "the untouched clip and the masks of something that is not in it, borrowed from another clip and pasted into "
        "the background: the editor learns to fill a mask with background.",
    ),
    (
        "Mask variants and captions",
        "every track is used with up to six mask shapes; an entity is described in three lengths, a deletion always by "
        "“Remove objects and generate areas that blend with the background.”",
    ),
)


def page(name: str, *sections: str) -> Html:
    """The whole document."""
    style = resources.files("manifests").joinpath("gallery.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{name} · dataset gallery"),
        element("style", Html(style)),
    )
    return joined(
        [Html("<!doctype html>\n"), element("html", head, element("body", element("main", *sections)), lang="en")]
    )


def legend() -> Html:
    """What the kinds of samples are."""
    return element(
        "dl", *(joined([element("dt", name), element("dd", sentence)]) for name, sentence in LEGEND), class_="legend"
    )


def section(anchor_name: str, title: str, note: str, *content: str) -> Html:
    """One section of the page."""
    return element("section", element("h2", title), element("p", note, class_="lead"), *content, id=anchor_name)
