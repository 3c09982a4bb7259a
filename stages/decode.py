"""Decode: the clip's frames, read from its committed byte range, once for all stages of a pool."""

from __future__ import annotations

from collections.abc import Sequence

from stages.media import MediaError, decode_clip
from stages.stage import Stage
from stages.work import ClipWork


class Decode(Stage[ClipWork]):
    """Reads and decodes in `prepare`, so that it can run ahead of the model stages."""

    name = "decode"
    reads = ("clip", "location")
    writes = ("frames",)

    def prepare(self, record: ClipWork) -> None:
        where = record.location
        data = self.context.store.read_range(where.path, where.offset, where.size)
        # The stages look for things and follow them; no pixel of these frames is stored.
        record.frames = decode_clip(data, exact=False)

    def run(self, records: Sequence[ClipWork]) -> None:
        """Check that the clip is what its row says. Raises MediaError otherwise."""
        for record in records:
            frames, clip = record.decoded(), record.clip
            if len(frames) != clip.num_frames or frames[0].shape != (clip.height, clip.width, 3):
                height, width, _ = frames[0].shape
                raise MediaError(
                    "decode_error",
                    f"clip {clip.clip_id} decodes to {len(frames)} frames of {width}×{height}, "
                    f"its row says {clip.num_frames} of {clip.width}×{clip.height}",
                )
