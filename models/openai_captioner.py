"""Captions from any OpenAI-compatible server (vLLM, SGLang, …), many requests in flight."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import cv2
from pydantic import Field

from manifests.ids import draw_fraction
from models.caption_prompt import PROMPT_VERSION, CaptionRequest, PromptSettings, caption_views
from models.chat_endpoint import ChatEndpoint, EndpointError, EndpointSettings
from models.protocols import Captions, EntityView, Image, ModelInfo, NoCaptions

ENDPOINT = "endpoint"


class OpenAICaptionerSettings(EndpointSettings, frozen=True, extra="forbid"):
    """Which server and model, and how patiently it is asked."""

    model: str = Field(min_length=1, description="the model's name as the server lists it under /models")
    prompt: PromptSettings = Field(default=PromptSettings(), description="what the model is shown and told")
    concurrency: int = Field(
        default=32, ge=1, le=1024, description="most requests in flight; servers batch what comes together"
    )
    max_tokens: int = Field(default=512, ge=16, description="most tokens of an answer; too few cut the JSON off")
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        description="fields added to every request or put in place of ours, null leaves one out: e.g. response_format "
        "for servers that can hold the answer to a JSON schema",
    )
    attempts: int = Field(
        default=5, ge=1, le=100, description="attempts per request while the server is busy, broken or out of reach"
    )
    first_wait_s: float = Field(default=1.0, ge=0, description="wait before the second attempt, then doubled, seconds")
    longest_wait_s: float = Field(
        default=60.0, ge=0, description="no wait is longer, not even when the server asks for it (Retry-After), seconds"
    )


class OpenAICaptioner:
    """A Captioner that asks a server. A view it gets no answer for has no captions; the others go on."""

    Settings = OpenAICaptionerSettings
    batched = True
    # A server that moved, or is asked more patiently, gives the same captions.
    operational = frozenset(
        {
            "url",
            "key_env",
            "timeout_s",
            "connect_timeout_s",
            "concurrency",
            "attempts",
            "first_wait_s",
            "longest_wait_s",
        }
    )

    def __init__(self, settings: OpenAICaptionerSettings) -> None:
        """Raises ValueError when the key's variable is not set."""
        self._settings = settings
        self._endpoint = ChatEndpoint(settings)
        self._pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="caption")
        self.info = ModelInfo("openai_captioner", f"{settings.model}-prompt{PROMPT_VERSION}")

    @classmethod
    def check(cls, settings: OpenAICaptionerSettings) -> None:
        """Ask the server for its models. Raises ValueError, one sentence, unless it answers and has the model."""
        names = ChatEndpoint(settings).models()
        if settings.model not in names:
            raise ValueError(
                f"the caption endpoint {settings.url} has no model '{settings.model}'; "
                f"it has {', '.join(sorted(names)[:10]) or 'none'}"
            )

    def caption(self, views: Sequence[EntityView]) -> list[Captions | NoCaptions]:
        """Captions of each entity, all views asked side by side."""
        answers = caption_views(views, self._settings.prompt, self._ask_all)
        return [
            replace(answer, message=self._endpoint.clean(answer.message)) if isinstance(answer, NoCaptions) else answer
            for answer in answers
        ]

    def _ask_all(self, wanted: Sequence[CaptionRequest]) -> list[str | NoCaptions]:
        return list(self._pool.map(self._ask, wanted))

    def _ask(self, wanted: CaptionRequest) -> str | NoCaptions:
        body, attempt = self._body(wanted), 1
        while True:
            try:
                return self._endpoint.answer(body)
            except EndpointError as error:
                if not error.passing or attempt >= self._settings.attempts:
                    times = f", after {attempt} attempts" if attempt > 1 else ""
                    return NoCaptions(ENDPOINT, f"{error}{times}", passing=True)
                time.sleep(wait_s(self._settings, wanted.view, attempt, error.retry_after_s))
            attempt += 1

    def _body(self, wanted: CaptionRequest) -> dict[str, Any]:
        pictures = [{"type": "image_url", "image_url": {"url": _data_url(picture)}} for picture in wanted.pictures]
        content = [*pictures, {"type": "text", "text": wanted.text}]
        body = {
            "model": self._settings.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self._settings.max_tokens,
            "temperature": 0,
            "seed": 0,
            **self._settings.extra_body,
        }
        return {name: value for name, value in body.items() if value is not None}


def wait_s(settings: OpenAICaptionerSettings, view: EntityView, attempt: int, asked_s: float) -> float:
    """Seconds to wait after a failed attempt (from 1): doubled each time, spread over half of it so that views do not
    come back all at once, no shorter than the server asked for, and never above the longest wait.
    """
    doubled = min(settings.first_wait_s * 2.0 ** (attempt - 1), settings.longest_wait_s)
    spread = 0.5 + 0.5 * draw_fraction(view.seed, view.key, f"wait {attempt}")
    return min(max(doubled * spread, asked_s), settings.longest_wait_s)


def _data_url(picture: Image) -> str:
    _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode("ascii")
