"""Reason codes of the `rejects` table in words, and what a size reason compares."""

from __future__ import annotations

_WORDS = {
    # sources
    "outside_root": "outside the input folder",
    "missing": "the file is not there",
    "not_a_file": "not a plain file",
    "bad_name": "a name that cannot be used",
    "bad_row": "a listing's row that cannot be used",
    "bad_interval": "start and end that cannot be used",
    "bad_listing": "a listing that cannot be used",
    "damaged_archive": "the tar archive is damaged or cut off",
    "compressed_archive": "a compressed tar archive",
    "changed": "the file changed after it was listed",
    "unreadable": "cannot be read",
    "no_video": "no picture stream in the file",
    "no_decoder": "no decoder for its picture stream",
    "no_frame": "fewer frames than its header says",
    "too_large": "more pixels than allowed",
    "too_long": "longer than its header allows",
    "damaged": "damaged on the way",
    "decode_error": "decodes to something else than its row says",
    # clips
    "min_duration": "shorter than the minimum",
    "min_short_side": "short side below the minimum",
    "min_fps": "fewer frames per second than the minimum",
    "black": "mostly black",
    "blank": "mostly one plain area",
    "frozen": "mostly one still picture",
    "slide_show": "slides that stand still",
    "near_duplicate": "nearly the same as another clip",
    "same_clip": "another interval gave the same clip",
    "no_sample": "nothing in it makes a sample",
    # tracks
    "no_entity": "nothing stands out from the background",
    "empty_mask": "nothing found inside its box",
    "duplicate": "its mask is another entity's",
    "min_visible": "seen in too few frames",
    "min_area": "too small",
    "max_area": "too large",
    "min_stability": "lost when tracked there and back",
    "max_area_jump": "its size jumps from one frame to the next",
    "min_score": "its caption does not fit its picture",
    "no_caption": "no caption could be made",
    "unseen": "no mask shows it",
    "unparsed": "the captioner's answer could not be used",
    "endpoint": "the caption endpoint did not answer",
    "no_background": "no background to paste into",
    "no_donor": "no other clip could lend its shape",
    "no_place": "no borrowed mask fits into the background",
    "covers_entity": "the pasted mask comes to lie on an entity",
    "leaves_frame": "the pasted mask leaves the frame",
    "motion_in_doubt": "nothing confirmed the background's motion",
    # samples
    "mask_too_large": "this mask variant covers too much",
    "mask_too_small": "this mask variant covers too little",
    # any record
    "crashed": "the worker process ended",
    "error": "an error while it was worked on",
    "memory": "took too much memory",
    "timeout": "took too long",
}

_STATISTICS = {
    "mask_too_large": "in its largest frame",
    "max_area": "in its largest frame",
    "mask_too_small": "mean over the clip",
    "min_area": "mean over the frames it is seen in",
    "min_visible": "share of the clip's frames",
}
"""What the value is of reasons whose value and threshold are shares of a frame or of the frames."""


def reason_words(code: str) -> str:
    """A reason in a few words; the code of a stage of one's own with blanks for underscores."""
    return _WORDS.get(code, code.replace("_", " "))


def has_words(code: str) -> bool:
    """Whether `reason_words` says more than the code itself."""
    return code in _WORDS


def share_statistic(code: str) -> str | None:
    """Which statistic a reason's value is when it is a share, such as "in its largest frame"; else None."""
    return _STATISTICS.get(code)
