"""Trees are restored bit for bit, and unsupported values are refused."""

from __future__ import annotations

import json
import math
import random
import struct
from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from seqel.errors import StorageError
from seqel.trees import flatten, unflatten


def bits(value: Any) -> Any:
    """Return a comparable form of a tree that includes all that must be restored: kinds, dtypes, shapes and bits."""
    if isinstance(value, dict):
        return "dict", [(bits(key), bits(item)) for key, item in value.items()]
    if isinstance(value, list | tuple):
        return type(value).__name__, [bits(item) for item in value]
    if isinstance(value, torch.Tensor):
        raw = value.detach().resolve_conj().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return "tensor", str(value.dtype), tuple(value.shape), raw
    if isinstance(value, np.ndarray):
        return (
            "array",
            value.dtype.newbyteorder("=").str,
            value.shape,
            np.asarray(value, value.dtype.newbyteorder("=")).tobytes(),
        )
    if isinstance(value, np.generic) and not isinstance(value, np.str_):
        return "scalar", value.dtype.str, value.tobytes()
    if type(value) is float:
        return "float", struct.pack(">d", value)
    return type(value).__name__, value


def there_and_back(tree: Any) -> Any:
    structure, tensors = flatten(tree)
    return unflatten(json.loads(json.dumps(structure)), {name: tensor.clone() for name, tensor in tensors.items()})


NUMPY = ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8"]
TORCH = [
    torch.bool,
    torch.uint8,
    torch.int64,
    torch.uint64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
]
arrays = st.sampled_from(NUMPY).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
)


def random_tensor(dtype: torch.dtype, shape: list[int], raw: bytes) -> torch.Tensor:
    """Return a tensor of arbitrary bits, including all NaNs; only a bool must be 0 or 1."""
    values = torch.frombuffer(bytearray(raw), dtype=torch.uint8)[: math.prod(shape) * dtype.itemsize].clone()
    return (values % 2 if dtype is torch.bool else values).view(dtype).reshape(shape)


shapes = st.lists(st.integers(0, 3), max_size=3)
tensors = st.builds(random_tensor, st.sampled_from(TORCH), shapes, st.binary(min_size=216, max_size=216))
scalars = (
    st.none() | st.booleans() | st.integers() | st.integers(-(2**200), 2**200) | st.floats() | st.text(st.characters())
    | st.sampled_from(NUMPY).flatmap(lambda dtype: hnp.from_dtype(np.dtype(dtype))) | st.text().map(np.str_)
)  # fmt: skip
keys = st.text(max_size=3) | st.integers() | st.tuples(st.integers(), st.text(max_size=2)) | st.none()
trees = st.recursive(
    scalars | arrays | tensors,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(trees)
@example(np.str_("a\0"))
def test_round_trip(tree: Any) -> None:
    assert bits(there_and_back(tree)) == bits(tree)


@pytest.mark.parametrize(
    "value",
    [
        2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**5000, -(10**5000), True, 1, 1.0, -0.0, 5e-324, 1e308,
        math.inf, -math.inf, struct.unpack(">d", bytes.fromhex("7ff8000000000123"))[0],
        "", "é\n\0", "\ud83d\ude00", "\ud800", np.bool_(True), np.uint64(2**64 - 1), np.float16("nan"), np.str_("x"),
        torch.tensor(3.5, dtype=torch.bfloat16), torch.zeros(0, 3), np.zeros((2, 0)), np.array(7, np.uint64),
        {"__metadata__": torch.ones(1)}, {"a/b": torch.ones(1), "a": {"b": torch.zeros(1)}}, {"": {"": torch.ones(2)}},
        {1: "a", "1": "b", None: "c", (1, 2): "d", 2.5: torch.ones(1)}, {"dict": {"tensor": "name"}}, (), [], {}, [()],
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_edge_values(value: Any) -> None:
    assert bits(there_and_back(value)) == bits(value)


def test_real_states() -> None:
    """The states in a run: generators, a network, an optimiser."""
    network = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    generator, old = np.random.default_rng(1), np.random.RandomState(2)
    tree = {
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "python": random.Random(3).getstate(),
        "numpy": generator.bit_generator.state,
        "old": old.get_state(),
        "torch": torch.Generator().manual_seed(4).get_state(),
    }
    back = there_and_back(tree)
    assert bits(back) == bits(tree)
    again = np.random.default_rng(0)
    again.bit_generator.state = back["numpy"]
    assert again.random() == generator.random()
    twin = torch.optim.AdamW(network.parameters())
    twin.load_state_dict(back["optimiser"])
    assert bits(twin.state_dict()) == bits(optimiser.state_dict())


def test_views_strides_and_sharing() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    read_only = np.arange(3)
    read_only.flags.writeable = False
    tree: list[Any] = [base, base, base[1], base.T, base[:, 1], base.expand(2, 3, 4), base[0].view(torch.int32)]
    tree += [np.arange(5)[::-1], np.arange(6).reshape(2, 3).T, read_only, np.array([1, 2], ">i4"), np.array(1.5, ">f8")]
    tree += [torch.nn.Parameter(torch.ones(2)), torch.tensor([1 + 2j]).conj()]
    back = there_and_back(tree)
    assert bits(back) == bits(tree)
    back[0][0, 0] = 99.0
    assert back[1][0, 0] == 0.0, "tensors that shared memory come back as copies"
    assert back[9].flags.writeable
    _, flat = flatten(tree)
    pointers = [tensor.untyped_storage().data_ptr() for tensor in flat.values()]
    assert len(set(pointers)) == len(pointers)
    assert flat["0"].data_ptr() == base.data_ptr(), "the first is not copied: a replay may fill half the memory"
    assert there_and_back(OrderedDict(a=1)) == {"a": 1}


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    "value",
    [
        object(), {1, 2}, b"bytes", 1j, np.array([object()]), np.array(["text"]), np.zeros(1, np.complex128),
        np.zeros(1, np.longdouble), np.datetime64("2020-01-01"), np.ma.masked_array([1]), Pair(1, 2), torch.Size([1]),
        torch.zeros(1, dtype=torch.complex128), torch.eye(2).to_sparse(), torch.zeros(1, device="meta"), np.int64,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_refuses_by_name_and_place(value: Any) -> None:
    with pytest.raises(StorageError, match=rf"cannot store the {type(value).__name__}.* at run/0: expected"):
        flatten({"run": [value]})


def test_refuses_a_foreign_structure() -> None:
    with pytest.raises(ValueError, match="unknown kind 'pickle'"):
        unflatten({"pickle": "x"}, {})
    with pytest.raises(KeyError):
        unflatten({"tensor": "x"}, {})
