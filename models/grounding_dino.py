"""Grounding DINO: boxes for any tags (Liu et al. 2023), with a mapping from boxes to tags of our own.

A tag list longer than the network's text is looked for in several passes. Tags in one pass are not independent of each
other: the text chooses the queries and colours the picture's features, so the same tag may get another box or score
beside other tags, and a chunked list is not numerically the list in one text (which the network cannot read). What the
chunks do is exact: where boxes and scores do not depend on the other tags, any chunking gives what one text gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, Field
from transformers import BertTokenizer, GroundingDinoForObjectDetection, GroundingDinoImageProcessor

from models.batching import Batches
from models.box_suppression import Boxes, Scores, suppress
from models.phrase_scores import DELIMITERS, into_passes, phrase_of, phrase_scores, spans, text_of
from models.placement import Placement, check_finite
from models.pretrained import load_network, load_processor
from models.protocols import Detection, Image, ModelInfo
from models.weights import Weights, WeightsError


class GroundingDinoSettings(BaseModel, frozen=True, extra="forbid"):
    """What counts as found. Areas are fractions of the frame."""

    weights: str = Field(default="grounding-dino-tiny", description="entry in the list of weights")
    min_score: float = Field(
        default=0.25,
        ge=0,
        le=1,
        description="boxes whose best tag scores lower are dropped; the threshold of the published post-processing",
    )
    same_tag_iou: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="of two boxes of one tag that overlap more, the better stays; lower loses things that stand close",
    )
    any_tag_iou: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="of two boxes of any tags that overlap more, the better stays: one thing under two names; lower "
        "loses what stands before something else (a rider and the horse); 1 lets passes repeat each other's boxes",
    )
    min_area: float = Field(
        default=0.001, ge=0, le=1, description="smallest box; what is smaller is screened out later"
    )
    max_area: float = Field(
        default=1.0, gt=0, le=1, description="largest box; below 1 background regions that fill the frame are lost"
    )
    text_tokens: int = Field(
        default=256, ge=8, description="longest text of a pass; the network's own limit, if lower, counts"
    )
    batch: int = Field(
        default=4, ge=1, description="pictures of equal size at a time; halved when the GPU's memory is too small"
    )


@dataclass(frozen=True)
class _Pass:
    """One text for one clip's first frame."""

    clip: int
    image: Image
    tags: list[str]


@dataclass(frozen=True)
class _Candidates:
    """Boxes in pixels with their best tag."""

    boxes: Boxes
    scores: Scores
    tags: npt.NDArray[np.str_]

    def take(self, indices: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> _Candidates:
        return _Candidates(self.boxes[indices], self.scores[indices], self.tags[indices])


class GroundingDino:
    """Finds boxes for tags in the first frame. Frames are batched with others of equal size only.

    Padding a smaller picture would change what is found in it. Float32 is the format for it: in bfloat16
    boxes are as coarse as 1/256 of the frame, and other queries are chosen.
    """

    Settings = GroundingDinoSettings
    batched = True
    operational = frozenset({"batch"})

    def __init__(self, settings: GroundingDinoSettings, weights: Weights, placement: Placement) -> None:
        """Raises WeightsError when the checkpoint or its tokenizer is damaged or of another network."""
        self.info = ModelInfo(weights.name, weights.revision)
        self._settings = settings
        self._tokenizer = load_processor(BertTokenizer, weights)
        _check_delimiters(self._tokenizer, weights)
        self._processor = load_processor(GroundingDinoImageProcessor, weights)
        self._network = load_network(GroundingDinoForObjectDetection, weights, placement)
        self._text_tokens = min(settings.text_tokens, self._network.config.max_text_len)
        self._batches = Batches(settings.batch)

    def detect(self, clips: Sequence[Sequence[Image]], tags: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """Detections of each clip's `tags` in its first frame, best first; none without tags.

        Raises ValueError for a tag without a word or too long for a text, and when scores are not numbers.
        """
        passes = [
            _Pass(number, frames[0], chunk)
            for number, (frames, wanted) in enumerate(zip(clips, tags, strict=True))
            for chunk in self._chunks(wanted)
        ]
        found: list[list[_Candidates]] = [[] for _ in clips]
        for group in _equal_sized(passes):
            for one, candidates in zip(group, self._batches.run(group, self._forward), strict=True):
                found[one.clip].append(candidates)
        return [self._detections(candidates) if candidates else [] for candidates in found]

    def _chunks(self, tags: Sequence[str]) -> list[list[str]]:
        """The tags of each pass, without repetitions."""
        lengths = {}
        for tag in tags:
            lengths[tag] = len(self._tokenizer(phrase_of(tag), add_special_tokens=False).input_ids)
        return into_passes(lengths, self._text_tokens)

    def _forward(self, passes: Sequence[_Pass]) -> list[_Candidates]:
        device = self._network.device
        # Copies: torch shares no memory that is read-only or runs backwards. And channels are named: the library would
        # take a picture of three rows for one of three channels.
        pixels = self._processor(
            images=[np.array(one.image) for one in passes],
            input_data_format="channels_last",
            return_tensors="pt",
            device=device,
        )
        texts = [text_of([phrase_of(tag) for tag in one.tags]) for one in passes]
        text = self._tokenizer(texts, padding=True, return_tensors="pt").to(device)
        with torch.inference_mode():
            output = self._network(
                pixel_values=pixels["pixel_values"].to(self._network.dtype), pixel_mask=pixels["pixel_mask"], **text
            )
        logits, boxes = output.logits.float().cpu().numpy(), output.pred_boxes.float().cpu().numpy()
        ids = text["input_ids"].tolist()
        return [self._candidates(*parts) for parts in zip(passes, ids, logits, boxes, strict=True)]

    def _candidates(
        self, one: _Pass, token_ids: list[int], logits: npt.NDArray[np.float32], boxes: Boxes
    ) -> _Candidates:
        columns = spans(token_ids)
        if len(columns) != len(one.tags):
            raise ValueError(f"the {len(one.tags)} tags {', '.join(one.tags)!r:.200} read as {len(columns)} phrases")
        scores = phrase_scores(logits, columns)
        check_finite(scores, self.info.name, self._network.dtype)
        height, width = one.image.shape[:2]
        found = _Candidates(
            _in_pixels(boxes, width, height), scores.max(axis=1), np.asarray(one.tags)[scores.argmax(1)]
        )
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        areas = sides.prod(axis=1) / (width * height)
        limits = self._settings
        return found.take(
            (found.scores >= limits.min_score)
            & (sides > 0).all(axis=1)
            & (areas >= limits.min_area)
            & (areas <= limits.max_area)
        )

    def _detections(self, passes: Sequence[_Candidates]) -> list[Detection]:
        merged = _Candidates(
            np.concatenate([one.boxes for one in passes]),
            np.concatenate([one.scores for one in passes]),
            np.concatenate([one.tags for one in passes]),
        )
        # Any tag first: it takes away what a further pass says of the same box, before that can suppress boxes of the
        # worse tag. In the other order the cut of a tag list would show.
        merged = merged.take(suppress(merged.boxes, merged.scores, self._settings.any_tag_iou))
        merged = merged.take(suppress(merged.boxes, merged.scores, self._settings.same_tag_iou, merged.tags))
        return [
            Detection((float(x0), float(y0), float(x1), float(y1)), str(tag), float(score))
            for (x0, y0, x1, y1), score, tag in zip(merged.boxes, merged.scores, merged.tags, strict=True)
        ]


def _check_delimiters(tokenizer: BertTokenizer, weights: Weights) -> None:
    """Without these ids the network never separates phrases, and nothing would say so."""
    for token, number in DELIMITERS.items():
        if tokenizer.convert_tokens_to_ids(token) != number:
            raise WeightsError(
                f"the vocabulary of the weight '{weights.name}' has '{token}' not at {number}, where the network looks"
            )


def _equal_sized(passes: Iterable[_Pass]) -> list[list[_Pass]]:
    groups: dict[tuple[int, ...], list[_Pass]] = {}
    for one in passes:
        groups.setdefault(one.image.shape, []).append(one)
    return list(groups.values())


def _in_pixels(boxes: Boxes, width: int, height: int) -> Boxes:
    """Centre, width and height as fractions → corners in pixels, within the frame."""
    centres, halves = boxes[:, :2], boxes[:, 2:] / 2
    scale = np.asarray([width, height], np.float32)
    corners = [np.clip((centres + sign * halves) * scale, 0, scale) for sign in (-1, 1)]
    return np.concatenate(corners, axis=1)
