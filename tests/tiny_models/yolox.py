"""A tiny random YOLOX: the same inputs and outputs, one convolution per stride, written as ONNX without its package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

SIZE = 96
"""Sides of its input, px."""
_VARINT, _BYTES = 0, 2
_FLOAT, _INT64 = 1, 7
_ATTRIBUTE_INT, _ATTRIBUTE_INTS = 2, 7


def save_tiny_yolox(folder: Path) -> None:
    """`yolox_nano.onnx` in the folder; what it finds depends on the picture and is nonsense."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "yolox_nano.onnx").write_bytes(tiny_yolox())


def tiny_yolox(numbers: int = 85) -> bytes:
    """The file; with other `numbers` per cell than 85 it is a network of other names."""
    rng = np.random.default_rng(5)
    nodes, tensors, parts = [], [], []
    for stride in (8, 16, 32):
        for head, channels, bias, spread in (("box", 4, 0.7, 0.01), ("score", numbers - 4, -1.0, 0.03)):
            name = f"{head}{stride}"
            # Spread over the patch so that all strides answer alike to a picture of 0..255.
            weight = rng.normal(0, spread / stride, (channels, 3, stride, stride))
            tensors += [_tensor(f"{name}.w", weight), _tensor(f"{name}.b", np.full(channels, bias))]
            strides = _attribute("strides", [stride, stride])
            nodes.append(_node("Conv", ["images", f"{name}.w", f"{name}.b"], f"{name}.raw", strides))
        nodes.append(_node("Sigmoid", [f"score{stride}.raw"], f"score{stride}"))
        nodes.append(_node("Concat", [f"box{stride}.raw", f"score{stride}"], f"grid{stride}", _attribute("axis", 1)))
        nodes.append(_node("Reshape", [f"grid{stride}", "flat"], f"cells{stride}"))
        parts.append(f"cells{stride}")
    tensors.append(_tensor("flat", np.array([1, numbers, -1], np.int64)))
    nodes.append(_node("Concat", parts, "all", _attribute("axis", 2)))
    nodes.append(_node("Transpose", ["all"], "output", _attribute("perm", [0, 2, 1])))
    cells = sum((SIZE // stride) ** 2 for stride in (8, 16, 32))
    graph = b"".join(
        [
            *(_field(1, node) for node in nodes),
            _field(2, b"tiny"),
            *(_field(5, tensor) for tensor in tensors),
            _field(11, _value("images", [1, 3, SIZE, SIZE])),
            _field(12, _value("output", [1, cells, numbers])),
        ]
    )
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 13))


def _node(operation: str, inputs: Sequence[str], output: str, attribute: bytes = b"") -> bytes:
    names = b"".join(_field(1, name.encode()) for name in inputs)
    return names + _field(2, output.encode()) + _field(4, operation.encode()) + attribute


def _attribute(name: str, value: int | list[int]) -> bytes:
    if isinstance(value, int):
        inner = _field(3, value) + _field(20, _ATTRIBUTE_INT)
    else:
        inner = b"".join(_field(8, item) for item in value) + _field(20, _ATTRIBUTE_INTS)
    return _field(5, _field(1, name.encode()) + inner)


def _tensor(name: str, values: np.ndarray) -> bytes:
    kind, values = (_INT64, values) if values.dtype == np.int64 else (_FLOAT, values.astype(np.float32))
    dims = b"".join(_field(1, length) for length in values.shape)
    return dims + _field(2, kind) + _field(8, name.encode()) + _field(9, values.tobytes())


def _value(name: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(_field(1, _field(1, length)) for length in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, _FLOAT) + _field(2, dims)))


def _field(number: int, value: int | bytes) -> bytes:
    """One field of a protocol buffer message."""
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    coded = bytearray()
    while value > 127:
        coded.append(value & 127 | 128)
        value >>= 7
    return bytes([*coded, value])
