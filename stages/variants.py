"""Augment: the six mask variants of every track that makes samples, minus those of unusable size."""

from __future__ import annotations

from collections.abc import Sequence

from manifests.ids import VARIANT_CODES, track_id
from stages.augment import AugmentSettings, draw_variants, size_reason, variant_areas
from stages.stage import Stage
from stages.work import ClipWork, Variant


class Augment(Stage[ClipWork]):
    """Draws variants once per track and keeps those whose masks are neither too large nor too small."""

    name = "augment"
    reads = ("tracks",)
    writes = ("tracks",)
    Settings = AugmentSettings
    settings: AugmentSettings

    def run(self, records: Sequence[ClipWork]) -> None:
        for record in records:
            frame_area = record.clip.width * record.clip.height
            for track in record.of_role("entity") + record.of_role("pasted"):
                name = track_id(record.id, track.number)
                drawn = draw_variants(self.context.seed, name, self.settings)
                for variant, areas in variant_areas(track.masks, drawn).items():
                    verdict = size_reason(areas, frame_area, self.settings)
                    if verdict is None:
                        share = round(float(areas.mean()) / frame_area, 6)
                        track.variants.append(Variant(variant, dict(drawn[variant]), share))
                        continue
                    reason, value, threshold = verdict
                    record.reject(
                        f"{name}-{VARIANT_CODES[variant]}",
                        "sample",
                        self.name,
                        reason,
                        f"as '{variant}' it covers {value:.2%} of the frame",
                        value=round(value, 6),
                        threshold=threshold,
                    )
