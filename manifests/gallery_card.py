"""One clip on the contact sheet: its pictures, masks, variants, captions and deletion tracks, each with a label."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import numpy as np

from manifests.gallery_album import Album
from manifests.gallery_data import ApplyVariant, GalleryData, GallerySettings, Lender, ShardClip, ShownClip
from manifests.gallery_html import Html, element, joined
from manifests.gallery_pictures import (
    BACKGROUND,
    DELETION,
    Colour,
    Image,
    close_up,
    css_colour,
    entity_colour,
    found_overlay,
    marked,
    masked_out,
    outlined,
    shrink,
)
from manifests.ids import ID_HEX_DIGITS, VARIANT_CODES
from manifests.masks import Mask, MaskTrack
from manifests.reasons import reason_words, share_statistic
from manifests.records import ClipRow, RejectRow, TrackRow

_TAKEN_AS_IMAGE = "1 frame taken as an image: a drawn share of the video clips joins the images"
_WHITE: Colour = (255, 255, 255)
_MOTIONS = {
    "trajectory": ("Deletion: own trajectory", "The borrowed mask moves as it did in the clip it comes from."),
    "background": ("Deletion: with the background", "The borrowed mask stays on the ground as the camera moves."),
    "still": ("Deletion", "The borrowed mask, pasted into the image's background."),
}


class ClipCard:
    """Makes the card of one clip."""

    def __init__(
        self, shown: ShownClip, data: GalleryData, apply_variant: ApplyVariant, album: Album, settings: GallerySettings
    ) -> None:
        self._shown = shown
        self._data = data
        self._apply_variant = apply_variant
        self._album = album
        self._settings = settings
        self._masks = shown.content.masks
        self._times = _spread(shown.clip.num_frames, settings.strip_frames)
        self._paste_times = _spread(shown.clip.num_frames, settings.strip_frames - 1)
        frames = shown.content.frames([*self._times, *self._paste_times])
        self._keyframe = frames[0]
        self._large = shrink(frames[0], settings.large_width)
        self._small = {index: shrink(frame, settings.small_width) for index, frame in frames.items()}

    def html(self) -> Html:
        """The card."""
        clip, shown = self._shown.clip, self._shown
        entities = shown.of_role("entity")
        rows = [self._overview(entities)]
        for index, track in enumerate(entities):
            in_full = index < self._settings.entities
            rows += self._entity(track, entity_colour(index)) if in_full else [self._brief(track, entity_colour(index))]
        rows += [self._deletion(track) for track in shown.of_role("pasted")]
        return element(
            "article",
            _head(shown),
            *rows,
            id=clip.clip_id,
            class_="clip",
            style=f"--ratio:{clip.width / clip.height:.4f}",
        )

    def _mask_track(self, track: TrackRow) -> MaskTrack:
        return self._masks[track.track_id]

    def _name(self, *parts: object) -> str:
        return "-".join(str(part) for part in (self._shown.clip.clip_id, *parts))

    def _overview(self, entities: Sequence[TrackRow]) -> Html:
        background = self._shown.of_role("background")
        shown_names = [_dot(self._shown.names[track.track_id], entity_colour(i)) for i, track in enumerate(entities)]
        overlay = found_overlay(
            self._large,
            [self._mask_track(track).mask(0) for track in background],
            [self._mask_track(track).mask(0) for track in entities],
        )
        keyframe = "The image" if self._shown.clip.kind == "image" else "Keyframe (first frame)"
        figures = [
            self._album.figure(self._name("keyframe"), self._large, keyframe),
            self._album.figure(self._name("found"), overlay, _found_label(shown_names, background)),
        ]
        if entities:
            label = f"Masked picture x ⊙ (1 − m) for {self._shown.names[entities[0].track_id]}"
            image = masked_out(self._large, self._mask_track(entities[0]).mask(0))
            figures.append(self._album.figure(self._name("masked"), image, label))
        tracks = Counter(reject.reason for reject in self._shown.dropped.values() if reject.level == "track")
        notes = [f"Left out: {reason_words(reason)}{_times(count)}." for reason, count in tracks.items()]
        return _row("What was found", notes, figures, "three")

    def _entity(self, track: TrackRow, colour: Colour) -> Iterable[Html]:
        yield _row(self._title(track, colour), self._facts(track), [_captions(track)], "text")
        if self._shown.clip.kind == "video":
            yield _row("Over time", ["The mask, followed through the clip."], self._strip(track, colour), "six")
        yield self._variants(track, colour)

    def _brief(self, track: TrackRow, colour: Colour) -> Html:
        """An entity in one row: its captions and its masks over time."""
        content = [_captions(track)]
        if self._shown.clip.kind == "video":
            content.append(element("div", *self._strip(track, colour), class_="row six"))
        facts = [*self._facts(track), "Its mask variants are not drawn here."]
        return _row(self._title(track, colour), facts, content, "text")

    def _title(self, track: TrackRow, colour: Colour) -> Html:
        return _dot(self._shown.names[track.track_id], colour)

    def _facts(self, track: TrackRow) -> list[str]:
        whole = ", mean over the clip" if self._shown.clip.kind == "video" else ""
        facts = [f"{track.area_mean:.1%} of the frame{whole}"]
        if track.stability is not None:
            low = track.stability < self._settings.low_stability
            stability = element("b", f"stability {track.stability:.2f}", class_="low" if low else None)
            facts.append(joined([stability, ": tracked there and back, overlap with its first mask"]))
        if track.visible_fraction < 1:
            facts.append(f"seen in {track.visible_fraction:.0%} of the frames")
        if track.caption_score is not None:
            facts.append(f"caption score {track.caption_score:.1f}")
        return facts

    def _strip(self, track: TrackRow, colour: Colour) -> list[Html]:
        return [self._at(track, frame, colour, "over") for frame in self._times]

    def _at(self, track: TrackRow, frame: int, colour: Colour, kind: str) -> Html:
        mask = self._mask_track(track).mask(frame)
        label = _time(frame, self._shown.clip) + ("" if mask.any() else " · out of view")
        name = self._name(track.track_id[-2:], kind, frame)
        return self._album.figure(name, marked(self._small[frame], mask, colour), label)

    def _variants(self, track: TrackRow, colour: Colour) -> Html:
        """All variants on the same part of the keyframe, close enough to tell them apart."""
        own = {sample.mask_variant: sample for sample in self._shown.samples if sample.track_id == track.track_id}
        mask = self._mask_track(track).mask(0)
        masks = {name: self._apply_variant(mask, json.loads(row.variant_parameters)) for name, row in own.items()}
        window = close_up(reduce(np.logical_or, masks.values(), mask))
        picture = shrink(window.cut(self._keyframe), self._settings.small_width)
        figures = []
        for variant in VARIANT_CODES:
            if variant not in own:
                figures.append(self._dropped(track, variant))
                continue
            drawn = outlined(picture, window.cut(mask), _WHITE, thin=True) if variant != "original" else picture
            drawn = marked(drawn, window.cut(masks[variant]), colour)
            label = self._variant_label(variant, masks[variant], own[variant].area_mean)
            figures.append(self._album.figure(self._name(track.track_id[-2:], variant), drawn, label))
        notes = ["On the keyframe, with their share of it. White: the original outline."]
        if (zoom := mask.shape[1] / window.width) > 1:
            notes.append(f"Zoomed in {zoom:.1f}×.")
        return _row("Mask variants", [" ".join(notes)], figures, "six")

    def _variant_label(self, variant: str, mask: Mask, mean: float) -> Html:
        label = joined([_variant_name(variant), element("b", f"{mask.mean():.1%}")], " ")
        if self._shown.clip.kind == "image":
            return label
        return joined([label, element("br"), f"mean over the clip {mean:.1%}"])

    def _dropped(self, track: TrackRow, variant: str) -> Html:
        reject = self._shown.dropped.get(f"{track.track_id}-{VARIANT_CODES[variant]}")
        hole = element("div", f"left out: {_why(reject) if reject else 'no sample uses it'}", class_="hole")
        return element("figure", hole, element("figcaption", _variant_name(variant)))

    def _deletion(self, track: TrackRow) -> Html:
        title, sentence = _MOTIONS.get(track.motion or "", ("Deletion", ""))
        count = sum(sample.track_id == track.track_id for sample in self._shown.samples)
        facts = f"{sentence} Scale {track.scale or 1:.2f}, {_plural(count, 'sample')}."
        figures = [self._donor(track), *(self._at(track, frame, DELETION, "paste") for frame in self._paste_times)]
        return _row(_dot(title, DELETION), [facts], figures, "six")

    def _donor(self, track: TrackRow) -> Html:
        donor = track.donor_track_id or ""
        lender = self._data.lender(donor)
        label = _lender_label(lender) if lender else joined([f"from “{track.tag}” ", element("code", donor)])
        content = self._data.content(donor[:ID_HEX_DIGITS])
        if content is None or donor not in content.masks:
            hole = element("div", "its clip is in no shard", class_="hole")
            return element("figure", hole, element("figcaption", label), class_="donor")
        picture = _donor_picture(content, donor, self._settings.small_width)
        return self._album.figure(f"{donor}-donor", picture, label, class_="donor")


def _lender_label(lender: Lender) -> Html:
    when = f" at {lender.start_s:.1f} s" if lender.start_s else ""
    return joined([f"from “{lender.name}”", element("br"), element("small", lender.file + when)])


def _why(reject: RejectRow) -> str:
    """Why a variant was left out, with the statistic that was compared."""
    statistic = share_statistic(reject.reason)
    if statistic is None or reject.value is None or reject.threshold is None:
        return reject.message
    return f"covers {reject.value:.1%} {statistic}, the limit is {reject.threshold:.1%}"


def _donor_picture(content: ShardClip, donor: str, width: int) -> Image:
    frame = shrink(content.frames([0])[0], width)
    return marked(frame, content.masks[donor].mask(0), DELETION)


def _spread(num_frames: int, count: int) -> list[int]:
    """Up to `count` frame numbers, evenly from the first to the last."""
    if num_frames <= count:
        return list(range(num_frames))
    return [round(i * (num_frames - 1) / (count - 1)) for i in range(count)]


def _time(frame: int, clip: ClipRow) -> str:
    return "keyframe" if frame == 0 else f"{frame / (clip.fps or 1):.1f} s"


def _row(title: str, notes: Iterable[str], content: Iterable[str], layout: str) -> Html:
    return element(
        "section",
        element("div", element("h4", title), *(element("p", note) for note in notes), class_="label"),
        element("div", *content, class_=f"row {layout}"),
        class_="line",
    )


def _head(shown: ShownClip) -> Html:
    clip = shown.clip
    image = _TAKEN_AS_IMAGE if shown.from_video else "image"
    length = f"{clip.num_frames} frames, {clip.num_frames / clip.fps:.1f} s at {clip.fps:g} fps" if clip.fps else image
    when = f"from {clip.start_us / 1e6:.1f} s" if clip.fps and clip.start_us else None
    counts: Mapping[str, int] = {
        task: sum(sample.task == task for sample in shown.samples) for task in ("add_modify", "delete")
    }
    made = f"{counts['add_modify']} add / modify + {counts['delete']} deletion samples"
    facts = [f"{clip.width} × {clip.height}", length, when, clip.licence, made]
    return element(
        "header",
        element("h3", shown.source),
        element("span", clip.split, class_=f"badge {clip.split}"),
        element("code", clip.clip_id),
        element("p", " · ".join(fact for fact in facts if fact)),
    )


def _dot(text: str, colour: Colour) -> Html:
    return element("span", element("i", class_="dot", style=f"background:{css_colour(colour)}"), text, class_="thing")


def _found_label(entities: Sequence[Html], background: Sequence[TrackRow]) -> Html:
    """The names of what was found; a region that is called just "background" is not named twice."""
    parts = list(entities)
    if background:
        tags = ", ".join(dict.fromkeys(track.tag for track in background))
        parts.append(_dot("background" if tags == "background" else f"background ({tags})", BACKGROUND))
    return joined(parts or ["Nothing was found"], " ")


def _captions(track: TrackRow) -> Html:
    texts = {"short": track.caption_short, "medium": track.caption_medium, "long": track.caption_long}
    return element("dl", *(joined([element("dt", kind), element("dd", text)]) for kind, text in texts.items() if text))


def _variant_name(variant: str) -> str:
    return variant.replace("_", " + ")


def _times(count: int) -> str:
    return f" ({count} ×)" if count > 1 else ""


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
