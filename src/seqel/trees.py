"""Converts a nested tree of arrays and plain values to JSON for the structure and named tensors for the arrays.

A pure conversion, exact in both directions, for `seqel.stored_trees` to write. JSON's own types represent themselves; every
other value is {kind: content}, where the content of a tensor, an array or a numpy scalar is its name.
"""

from __future__ import annotations

import math
import struct
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seqel.errors import StorageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["flatten", "unflatten"]

# What safetensors can store (not complex128).
_DTYPES = frozenset(
    {torch.bool, torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32, torch.uint64}
    | {torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64}
    | {torch.float8_e4m3fn, torch.float8_e5m2}
)


def flatten(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """Return the structure in JSON's types, and contiguous CPU tensors by their path in the tree, no two sharing memory.

    Accepts nested dicts (any hashable keys), lists and tuples of tensors, arrays, numpy scalars, int, float, bool, str
    and None. Tensors and arrays are not copied if they can be referred to.

    Raises StorageError for a value of another type, including subclasses, which would not be restored as they were.
    """
    encoder = _Encoder()
    return encoder.encode(tree), encoder.tensors


def unflatten(structure: Any, tensors: dict[str, Tensor]) -> Any:
    """Restore the tree that `flatten` was given; its arrays share the memory of `tensors`.

    Raises KeyError, TypeError or ValueError if the structure was not made by `flatten`.
    """
    return _decode(structure, tensors)


class _Encoder:
    """Converts a tree to JSON, and collects its arrays in `tensors`, named by their path."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._memory: set[int] = set()  # addresses of the collected tensors

    def encode(self, value: Any, path: tuple[str, ...] = ()) -> Any:
        """Return the JSON of a value. JSON's own types represent themselves; others are {kind: content}."""
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is int:  # beyond 64 bits, in hexadecimal: other readers of JSON round, and Python limits decimal digits
            return value if -(2**63) <= value < 2**63 else {"int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"float": struct.pack(">d", value).hex()}
        if kind is str:
            return value if _plain(value) else {"str": value.encode("utf-8", "surrogatepass").hex()}
        if kind is np.str_:
            # numpy's own str() drops trailing NULs of the value
            return {"np.str_": self.encode(str.__str__(value), path)}
        if kind is list:
            return [self.encode(item, (*path, str(i))) for i, item in enumerate(value)]
        if kind is tuple:
            return {"tuple": self.encode(list(value), path)}
        if kind in (dict, OrderedDict):
            if all(type(key) is str and _plain(key) for key in value):
                return {"dict": {key: self.encode(item, (*path, key)) for key, item in value.items()}}
            pairs = [(key, item, (*path, str(key))) for key, item in value.items()]
            return {"items": [[self.encode(key, (*at, "key")), self.encode(item, at)] for key, item, at in pairs]}
        tensor = _storable(value, path)
        address = tensor.untyped_storage().data_ptr()  # 0 for an empty one
        if address in self._memory:
            tensor = tensor.clone()  # safetensors refuses shared memory
        elif address:
            self._memory.add(address)
        name = "/".join(path).encode("ascii", "backslashreplace").decode() or "value"
        while name in self.tensors or name == "__metadata__":  # a name that safetensors reserves
            name += "'"
        self.tensors[name] = tensor
        if isinstance(value, np.ndarray):
            return {"array": name}
        return {"scalar" if isinstance(value, np.generic) else "tensor": name}


def _decode(node: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(node, list):
        return [_decode(item, tensors) for item in node]
    if not isinstance(node, dict):
        return node
    ((kind, body),) = node.items()
    match kind:
        case "dict":
            return {key: _decode(item, tensors) for key, item in body.items()}
        case "items":
            return {_decode(key, tensors): _decode(item, tensors) for key, item in body}
        case "tuple":
            return tuple(_decode(body, tensors))
        case "int":
            return int(body, 16)
        case "float":
            return struct.unpack(">d", bytes.fromhex(body))[0]
        case "str":
            return bytes.fromhex(body).decode("utf-8", "surrogatepass")
        case "np.str_":
            return np.str_(_decode(body, tensors))
        case "tensor":
            return tensors[body]
        case "array":
            return tensors[body].numpy()
        case "scalar":
            return tensors[body].numpy()[()]
    raise ValueError(f"unknown kind {kind!r} in the structure")


def _storable(value: Any, path: tuple[str, ...]) -> Tensor:
    """Return a contiguous CPU tensor with the bits of a tensor, an array or a numpy scalar; without a copy if possible."""
    try:
        if isinstance(value, torch.Tensor) and value.layout is torch.strided and value.device.type != "meta":
            tensor = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        elif type(value) in (np.ndarray, np.memmap) or isinstance(value, np.generic):
            array = np.asarray(value)
            tensor = torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W", "A"]))
        else:
            raise TypeError
        if tensor.dtype not in _DTYPES:
            raise TypeError
    except TypeError:
        place = "/".join(path) or "the root"
        what = f"{type(value).__name__}{f' of {value.dtype}' if hasattr(value, 'dtype') else ''}"
        known = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in _DTYPES))
        raise StorageError(
            f"cannot store the {what} at {place}: expected a dict, list, tuple, int, float, bool, "
            f"str, None, tensor, array or numpy scalar (of {known}), and not a subclass of these"
        ) from None
    return tensor


def _plain(text: str) -> bool:
    """Return whether JSON restores the text exactly: lone surrogates (from odd file names) do not survive in pairs."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)
