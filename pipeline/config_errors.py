"""What is wrong with a configuration, in words: the first of a validation's errors as one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pipeline.registry import suggestion


def sentence(error: ValidationError, model: type[BaseModel], root: str = "") -> str:
    """The first of the errors in words. `root` is where in the configuration the model stands."""
    first = error.errors(include_url=False)[0]
    location, given, message = first["loc"], first["input"], first["msg"]
    where = ".".join(str(part) for part in (root, *location) if part != "")
    if first["type"] == "extra_forbidden":
        return f"{where}: there is no such field; {suggestion(str(location[-1]), _fields_at(model, location[:-1]))}"
    if first["type"] == "missing":
        return f"{where} is missing"
    message = message.removeprefix("Value error, ")
    if message.startswith("Input "):
        return f"{where} {message.removeprefix('Input ')}, not {json.dumps(given, default=str)[:100]}"
    return f"{where}: {message}" if where else message


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> Iterable[str]:
    """Field names of the model that a location inside `model` is in; keys of dicts and positions are passed over."""
    for part in location:
        field = model.model_fields.get(str(part))
        model = next(_models_in(field.annotation), model) if field else model
    return model.model_fields


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
