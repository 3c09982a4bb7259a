"""The pictures beside the gallery's page."""

from __future__ import annotations

from manifests.gallery_html import Html, element
from manifests.gallery_pictures import Image, jpeg
from manifests.storage import Store

PICTURES = "gallery/pictures"


class Album:
    """Writes pictures beside the page and gives their markup."""

    def __init__(self, store: Store, quality: int) -> None:
        self._written: dict[str, Html] = {}
        self._store = store
        self._quality = quality

    @property
    def paths(self) -> list[str]:
        """The pictures written, relative to the dataset."""
        return [f"{PICTURES}/{name}.jpg" for name in self._written]

    def picture(self, name: str, image: Image, alt: str) -> Html:
        """An ``img`` of the picture, written once however often it is asked for."""
        if name not in self._written:
            self._store.replace(f"{PICTURES}/{name}.jpg", jpeg(image, self._quality))
            height, width = image.shape[:2]
            self._written[name] = element(
                "img", src=f"pictures/{name}.jpg", width=width, height=height, alt=alt, loading="lazy"
            )
        return self._written[name]

    def known(self, name: str) -> bool:
        """Whether a picture is already written."""
        return name in self._written

    def figure(self, name: str, image: Image, caption: str, class_: str | None = None) -> Html:
        """The picture over its label."""
        plain = caption if not isinstance(caption, Html) else name
        return element("figure", self.picture(name, image, plain), element("figcaption", caption), class_=class_)
