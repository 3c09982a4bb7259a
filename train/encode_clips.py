"""Encode clips: latents of a clip's windows, and of the masked video for a drawn share of its masks."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from manifests.ids import draw_fraction
from manifests.latents import dataset_url
from manifests.masks import MaskTrack
from manifests.records import SampleRow
from manifests.storage import open_store
from models.placement import Placement, place
from stages.latent_work import (
    ClipLatents,
    EncodedWindow,
    Masking,
    NumberedWindow,
    by_track,
    clip_shape,
    distinct_windows,
    touches,
)
from stages.media import decode_clip
from stages.stage import Context, Stage
from train.base_identity import base_folder, identify
from train.base_parts import load_vae
from train.conditioning import (
    encode_mean,
    mask_video,
    masked_scale,
    set_keyframe,
    to_mask,
    to_model_range,
    video_scale,
)
from train.data import cut_masks
from train.latent_members import pack_latents
from train.latent_settings import EncodeSettings

MODEL = "cogvideox"
"""The name by which a device is chosen for the base."""


class EncodeClips(Stage[ClipLatents]):
    """Reads and cuts in `prepare`, so that it can run ahead of the VAE; one video at a time, as the trainer encodes."""

    name = "encode"
    reads = ("samples",)
    writes = ("windows", "masks", "encoded")
    Settings = EncodeSettings
    settings: EncodeSettings

    def setup(self, context: Context) -> None:
        """Load the VAE. Raises ValueError when the base is not the one that the latents are bound to."""
        super().setup(context)
        self.dataset = open_store(dataset_url(context.store.url))
        placement = place(context.models.device(MODEL))
        self.vae = load_vae(checked_base(self.settings), torch_dtype(placement), placement.device)

    def prepare(self, record: ClipLatents) -> None:
        first, settings = record.samples[0], self.settings.latents
        windows = distinct_windows(clip_shape(first), settings.windows, self.context.seed)
        distinct = sorted({index for _, window in windows for index in window.indices})
        data = self.dataset.read_range(first.shard, first.clip_offset, first.clip_size)
        frames = dict(zip(distinct, decode_clip(data, indices=distinct), strict=True))
        record.windows = [
            NumberedWindow(number, window, np.stack([window.cut(frames[index]) for index in window.indices]))
            for number, window in windows
        ]
        record.masks = {}
        if settings.masked_share:
            for track, samples in by_track(record.samples).items():
                where = samples[0]
                stored = self.dataset.read_range(where.shard, where.mask_offset, where.mask_size)
                record.masks[track] = MaskTrack.from_bytes(stored)

    def run(self, records: Sequence[ClipLatents]) -> None:
        for record in records:
            assert record.windows is not None, "the record was not prepared"
            record.encoded = [encoded for window in record.windows for encoded in self._encode(record, window)]

    def _encode(self, record: ClipLatents, piece: NumberedWindow) -> Iterator[EncodedWindow]:
        video = to_model_range(piece.pixels).unsqueeze(0).to(self.vae.device)
        yield self._spill(piece, None, encode_mean(self.vae, video), video_scale(self.vae))
        assert record.masks is not None
        for track, samples in by_track(record.samples).items():
            if track not in record.masks:
                continue
            masks = record.masks[track]
            if not touches(piece.window, masks.boxes(), self.settings.latents.windows.min_seen):
                continue
            for sample in samples:
                if self._is_chosen(sample, piece.number):
                    yield from self._encode_masked(piece, video, sample, masks)

    def _encode_masked(
        self, piece: NumberedWindow, video: Tensor, sample: SampleRow, masks: MaskTrack
    ) -> Iterator[EncodedWindow]:
        cut = cut_masks(masks, piece.window, sample.variant_parameters)
        mask = to_mask(cut).unsqueeze(0).to(video.device)
        masked = mask_video(video, mask)
        forms = [(False, masked)]
        if sample.kind == "video":
            forms.append((True, set_keyframe(masked, mask, video[:, :, 0])[0]))
        for kive, pixels in forms:
            masking = Masking(sample.track_id, sample.mask_variant, kive)
            yield self._spill(piece, masking, encode_mean(self.vae, pixels), masked_scale(self.vae))

    def _is_chosen(self, sample: SampleRow, window: int) -> bool:
        key = f"{sample.track_id} {sample.mask_variant} {window}"
        return draw_fraction(self.context.seed, key, "masked latents") < self.settings.latents.masked_share

    def _spill(self, piece: NumberedWindow, masking: Masking | None, mean: Tensor, scale: float) -> EncodedWindow:
        file = self.context.scratch / uuid.uuid4().hex
        file.write_bytes(pack_latents(mean, scale))
        return EncodedWindow(piece.number, piece.window, masking, file)


def checked_base(settings: EncodeSettings) -> str:
    """The base's folder here. Raises ValueError when it is another base than the run was started with."""
    folder = base_folder(settings.base)
    if identify(folder).model_dump() != settings.identity:
        raise ValueError(f"the base {settings.base} of this worker is not the one the run was started with")
    return str(folder)


def torch_dtype(placement: Placement) -> torch.dtype:
    """Number format of a placement, as torch names it."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[placement.dtype]
