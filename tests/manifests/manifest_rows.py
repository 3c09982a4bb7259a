"""Rows of any manifest, filled in from their declared types."""

from __future__ import annotations

import types
import typing
from dataclasses import fields
from typing import Any, TypeVar

Row = TypeVar("Row")

_PLAIN: dict[Any, object] = {str: "", int: 0, float: 0.0, bytes: b"", list[float]: []}


def column_types(row: type) -> dict[str, tuple[Any, bool]]:
    """Plain type and nullability of each column."""
    hints = typing.get_type_hints(row)
    found = {}
    for field in fields(row):
        hint = hints[field.name]
        nullable = isinstance(hint, types.UnionType)
        found[field.name] = (typing.get_args(hint)[0] if nullable else hint, nullable)
    return found


def example(row: type[Row], **given: object) -> Row:
    """A row with the given values; the rest is null where it may be, else empty or zero."""
    columns = column_types(row)
    return row(**{name: None if nullable else _PLAIN[kind] for name, (kind, nullable) in columns.items()} | given)
