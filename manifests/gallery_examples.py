"""Examples of what was left out, on the gallery's page: one card per thing to see, with all that was said of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from manifests.gallery_album import Album
from manifests.gallery_data import Example, GalleryData, Reason
from manifests.gallery_funnel import anchor, failed_badge
from manifests.gallery_html import Html, element
from manifests.gallery_pictures import DELETION, marked, shrink
from manifests.ids import ID_HEX_DIGITS
from manifests.reasons import reason_words, share_statistic
from manifests.records import RejectRow

_TRACK_ID = re.compile(rf"[0-9a-f]{{{ID_HEX_DIGITS}}}-[0-9]{{2}}")


class Examples:
    """Makes the sections. A picture is shown once: later cards of the same clip only lead to it."""

    def __init__(self, data: GalleryData, album: Album, width: int, shown: Collection[str]) -> None:
        """`shown`: ids of the clips that have a card on the page; `width`: of a picture, pixels."""
        self._data = data
        self._album = album
        self._width = width
        self._shown = shown

    def section(self, reason: Reason) -> Html:
        """The examples of one reason."""
        rest = reason.count - len(reason.examples)
        count = f"{reason.count:,} left out" + (f", {len(reason.examples)} shown" if rest else "")
        groups: dict[str, list[Example]] = {}
        for example in reason.examples:
            groups.setdefault(self._seen_in(example), []).append(example)
        return element(
            "section",
            element(
                "h3",
                reason_words(reason.reason),
                " ",
                element("code", reason.reason),
                failed_badge(reason),
                element("small", f"{reason.level}, {reason.stage}: {count}"),
            ),
            element("ul", *map(self._card, groups, groups.values()), class_="examples"),
            id=anchor(reason),
            class_="reason",
        )

    def _seen_in(self, example: Example) -> str:
        """The name of the picture that shows it: of its track where the masks are kept, else of its clip."""
        track = self._kept_track(example)
        return f"{track or example.clip_id or example.reject.id}-thumbnail"

    def _kept_track(self, example: Example) -> str | None:
        content = self._data.content(example.clip_id) if example.clip_id else None
        track = _TRACK_ID.match(example.reject.id)
        return track[0] if content and track and track[0] in content.masks else None

    def _card(self, name: str, examples: Sequence[Example]) -> Html:
        first = examples[0]
        said = [text for example in examples for text in self._said(example)]
        if first.origin:
            said.append(element("p", self._origin(first), class_="origin"))
        return element("li", self._picture(name, first), element("div", *said))

    def _origin(self, example: Example) -> str:
        if example.clip_id in self._shown:
            return element("a", str(example.origin), href=f"#{example.clip_id}")
        return str(example.origin)

    def _picture(self, name: str, example: Example) -> Html:
        content = self._data.content(example.clip_id) if example.clip_id else None
        if content is None or self._album.known(name):
            return Html("")
        picture = shrink(content.frames([0])[0], self._width)
        if track := self._kept_track(example):
            picture = marked(picture, content.masks[track].mask(0), DELETION)
        return self._album.picture(name, picture, "keyframe of its clip")

    def _said(self, example: Example) -> list[Html]:
        reject = example.reject
        note = "; its mask was not kept" if self._lost_its_mask(example) else ""
        texts = [element("p", reject.message.removesuffix(".") + note if note else reject.message)]
        if (value := _comparison(reject)) is not None:
            texts.append(value)
        texts.append(element("p", element("code", reject.id), class_="origin"))
        return texts

    def _lost_its_mask(self, example: Example) -> bool:
        reject = example.reject
        return reject.level == "track" and bool(_TRACK_ID.fullmatch(reject.id)) and self._kept_track(example) is None


def _comparison(reject: RejectRow) -> Html | None:
    """Value and threshold, with what they are where they are shares."""
    if reject.value is None or reject.threshold is None:
        return None
    sign = "<" if reject.value < reject.threshold else ">" if reject.value > reject.threshold else "="
    statistic = share_statistic(reject.reason)
    if statistic is None:
        numbers, note = f"{reject.value:.3g} {sign} {reject.threshold:.3g}", "threshold"
    else:
        numbers, note = f"{_percent(reject.value)} {sign} {_percent(reject.threshold)}", f"threshold, {statistic}"
    return element("p", numbers, element("small", note), class_="value")


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"
