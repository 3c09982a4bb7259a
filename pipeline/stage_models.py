"""The settings of a stage with every default spelled out, and the models in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from models.registry import NAMES as MODELS
from models.registry import ModelChoice, full_settings, model_class
from pipeline.config_errors import sentence
from pipeline.registry import suggestion

OfModel = Callable[[ModelChoice], dict[str, Any]]


def spell_out(value: BaseModel, where: str, of_model: OfModel = full_settings) -> dict[str, Any]:
    """Plain values, those of models as `of_model` gives them.

    Raises ValueError, one sentence that begins with `where`.
    """
    result: dict[str, Any] = value.model_dump(mode="json")
    for name in type(value).model_fields:
        field = getattr(value, name)
        if isinstance(field, ModelChoice):
            result[name] = _spell_out_model(field, f"{where}.{name}", of_model)
        elif isinstance(field, BaseModel):
            result[name] = spell_out(field, f"{where}.{name}", of_model)
    return result


def choices(value: BaseModel, where: str) -> Iterator[tuple[str, ModelChoice]]:
    """The models in the settings of a stage, with their places."""
    for name in type(value).model_fields:
        field = getattr(value, name)
        if isinstance(field, ModelChoice):
            yield f"{where}.{name}", field
        elif isinstance(field, BaseModel):
            yield from choices(field, f"{where}.{name}")


def _spell_out_model(choice: ModelChoice, where: str, of_model: OfModel) -> dict[str, Any]:
    if choice.name not in MODELS and ":" not in choice.name:
        raise ValueError(f"{where}.name: there is no model '{choice.name}'; {suggestion(choice.name, MODELS)}")
    try:
        return of_model(choice)
    except ValidationError as error:
        model = model_class(choice.name).Settings
        raise ValueError(sentence(error, model, f"{where}.settings")) from error
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{where}.name: {error}") from error
