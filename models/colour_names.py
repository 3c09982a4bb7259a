"""What a person calls the colour of a surface: the eleven basic colour terms of English, with light and dark.

A colour takes the name of the nearest of some 200 prototypes in OKLab, where equal distances look about equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_LINEAR_TO_CONE = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_CONE_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_CHROMA_WEIGHT = 2.0
"""OKLab understates differences of chroma against those of lightness; doubling a and b evens them out."""

_PROTOTYPES = {
    ("", "black"): "000000 1c1c1c 2e2e2e 1b1d2a 24242e 2b2622 35353c 404046",
    ("dark", "grey"): "606060 5f6874 625d58",
    ("", "grey"): "808080 969696 6e6e6e 89939d 7d8791 95908a a5a29a",
    ("light", "grey"): "bebebe b4bcc4 c2bfba cdcdcd",
    ("", "white"): "ffffff f2f2f2 e6e6e6 dfdfdf f4efe6 ebe3d6 ddd0c8 e6ecf2 faf6ea",
    ("dark", "red"): "8b0000 6a0a14 9b1620 4a0610 7a1f1f",
    ("", "red"): "ff0000 d01c1c e53232 c8102e b3202a f4423a e50000 c0392b cd5c5c b9484e",
    ("light", "pink"): "ffc0cb ffd3dd f8c8dc ffb2c1",
    ("", "pink"): "ff69b4 f48fb1 e78ea5 ff81a0 ff1493 e8439b f06292 fe86a4 d98ca0",
    ("dark", "pink"): "c2407c c74767 cb416b d1357a b85c7a",
    ("light", "orange"): "ffc080 ffb267 fdaa48 ffcba4 f0b898 e8ab8a",
    ("", "orange"): "ff8c00 ff7514 f28c28 fb9038 e8590c f97306 ff9a2e e67e22 ff6347",
    ("dark", "orange"): "c85a0a cc5500 c9691c",
    ("light", "yellow"): "ffffb0 fdf6a2 fffdd0 f8eeb0",
    ("", "yellow"): "ffff00 ffd700 f5c518 fff04d fce166 ffeb3b e6d51e fac205 eed24a",
    ("dark", "yellow"): "c9ae08 d1b32a b59a0c bfac05 c8a832",
    ("light", "green"): "90ee90 b7e4b0 c0f0a0 bfe6c4 c8fd9a a8d8a0 98fb98",
    (
        "",
        "green",
    ): "00a000 2e9b3f 6aa84f 00ff00 15b01a 7fbf3f 8ee53f 1fa774 7f9a50 a4bf20 3cb371 32cd32 b4d832 228b22 3d8550",
    ("dark", "green"): "006400 1b4d2b 3d5a1e 0f3d1a 4b5d16 556b2f 2f5d3a 34472a 5c6b2c 808000",
    ("light", "blue"): "add8e6 87ceeb 95d0fc b5c9e8 a8c8e4 a0e0f0 c3d8ee 7bc8f6 40e0f0",
    ("", "blue"): "0000ff 1f6fd0 3778bf 0fa0d8 4169e1 5b7db8 0343df 5a9bd5 3f6fa5 1aa8c8 247afd 6e8fc4 5f9ea0",
    ("dark", "blue"): "00008b 0a2a5e 1f3a6e 00035b 2a4570 101a44 1d3350 204a66",
    ("light", "purple"): "c9a0dc bf77f6 d6c4ee c4a8e6 dda0dd e0c8f0 b79fd6",
    ("", "purple"): "800080 7e1e9c 8e44ad 9b5fc0 6a3fb5 a442a0 8a5fa0 ab20fd 9370db 805b87 b040c0 6b4fa0",
    ("dark", "purple"): "4b0082 35063e 5a1a5e 3d1450 48345c 3a1a5a",
    ("light", "brown"): "c4a07a b98f63 d2b48c bea08a cfb199 d3b683 c9a88f b59a78 c69c6d d8bba0 e6c8b6 cbb9ad ad8c82",
    (
        "",
        "brown",
    ): "8b4513 7b4b2a a0623a 8d6e53 9a6a3c 78583c 7f4e1e 94694b a0522d 87684f aa7a4a 7d6a14 947706 c07f3f b0651e",
    ("dark", "brown"): "3d2314 4a2c17 5c4033 53331a 452f24 5a3a22 341c0c",
}


@dataclass(frozen=True)
class Colour:
    """A basic colour term with an optional ``light`` or ``dark`` before it."""

    modifier: str
    term: str

    def __str__(self) -> str:
        return f"{self.modifier} {self.term}".strip()


def oklab(rgb: npt.NDArray[np.uint8] | Array) -> Array:
    """OKLab (..., 3) of sRGB values in 0..255: lightness in [0, 1], then a (green to red) and b (blue to yellow)."""
    encoded = np.asarray(rgb, np.float64) / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _LINEAR_TO_CONE.T) @ _CONE_TO_OKLAB.T, np.float64)


def weighted(lab: Array) -> Array:
    """OKLab (..., 3) with chroma doubled: Euclidean distances in it are differences to the eye."""
    return np.asarray(lab * [1.0, _CHROMA_WEIGHT, _CHROMA_WEIGHT], np.float64)


_NAMES = [Colour(*name) for name, codes in _PROTOTYPES.items() for _ in codes.split()]
_PLACES = weighted(
    oklab(np.array([list(bytes.fromhex(code)) for codes in _PROTOTYPES.values() for code in codes.split()], np.uint8))
)


def name_colour(lab: Array) -> Colour:
    """The name of one OKLab colour (3,): that of the nearest prototype."""
    return _NAMES[int(np.argmin(np.linalg.norm(_PLACES - weighted(lab), axis=1)))]
