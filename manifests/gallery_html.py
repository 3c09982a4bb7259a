"""HTML as values: text is escaped unless it is markup already, so that no caption or path can become a tag."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


class Html(str):
    """Finished markup. Any other string is text, and is escaped when it is put into an element."""

    __slots__ = ()


_VOID = frozenset({"br", "hr", "img", "link", "meta"})


def element(tag: str, /, *content: str, **attributes: str | int | float | bool | None) -> Html:
    """``<tag attributes>content</tag>``. Attributes lose a trailing ``_`` (``class_``); None and False are left out."""
    parts = [f"<{tag}"]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        parts.append(f" {attribute}" if value is True else f' {attribute}="{escape(str(value), quote=True)}"')
    parts.append(">")
    if tag not in _VOID:
        parts += [*(_markup(part) for part in content), f"</{tag}>"]
    return Html("".join(parts))


def joined(parts: Iterable[str], separator: str = "") -> Html:
    """Parts one after another, texts escaped."""
    return Html(_markup(separator).join(_markup(part) for part in parts))


def _markup(part: str) -> str:
    return part if isinstance(part, Html) else escape(part, quote=False)
