"""Trees on disk: a nested tree of arrays and plain values as a directory of three files, none of them pickle.

    arrays.safetensors   every tensor and array          tree.json      the structure, and the plain values
    manifest.json        format, version, and the size and CRC-32 of the other two; itself in one canonical form

so that any truncated or altered byte is found before a value is used. The CRC detects damage, not malice.
"""

from __future__ import annotations

import json
import shutil
import zlib
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from seqel.errors import CheckpointError
from seqel.integrity import checksum, require_own, too_large
from seqel.storage import atomic_directory
from seqel.trees import flatten, unflatten

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["load_tree", "save_tree", "verify_tree"]

ARRAYS, TREE, MANIFEST = "arrays.safetensors", "tree.json", "manifest.json"
FORMAT, VERSION = "seqel-tree", 1
MANIFEST_LIMIT = 1 << 16  # bytes


def save_tree(directory: Path, tree: Any, *, replace: bool = False, fault: Callable[[str], None] | None = None) -> None:
    """Store a nested dict, list or tuple of tensors, numpy arrays, numpy and Python scalars, strings and None.

    Values are restored bit for bit, with their kind (torch or numpy) and dtype, except: tensors are on the CPU, without
    gradient; tensors that shared memory become copies; arrays have the machine's byte order; an OrderedDict becomes a
    dict. `fault(stage)` is a test hook, called before each file is written and at each stage of `atomic_directory`.

    Raises StorageError: the name is taken without `replace`, the disk is full, or a value has another type.
    """
    from safetensors.torch import save_file

    structure, tensors = flatten(tree)
    text = json.dumps(structure, separators=(",", ":"))
    call = fault or (lambda stage: None)
    with atomic_directory(directory, replace=replace, fault=fault) as temporary:
        call(TREE)
        (temporary / TREE).write_text(text, encoding="utf-8")
        call(ARRAYS)
        save_file(tensors, temporary / ARRAYS)
        shutil.copymode(temporary / TREE, temporary / ARRAYS)  # safetensors makes it readable only by the owner
        call(MANIFEST)
        sums = {name: checksum(temporary / name) for name in (ARRAYS, TREE)}
        files = {name: {"size": size, "crc32": crc} for name, (size, crc) in sums.items()}
        (temporary / MANIFEST).write_bytes(_canonical({"format": FORMAT, "version": VERSION, "files": files}))


def load_tree(directory: Path) -> Any:
    """Check and load what `save_tree` stored.

    Raises CheckpointError as `verify_tree` does.
    """
    from safetensors.torch import load_file

    verify_tree(directory)
    try:
        # Cloned, because a loaded tensor maps the file: it would change, or crash, with it.
        tensors = {name: tensor.clone() for name, tensor in load_file(directory / ARRAYS).items()}
        return unflatten(json.loads((directory / TREE).read_bytes()), tensors)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{directory} cannot be read although its checksums are right: {error!r}") from error


def verify_tree(directory: Path) -> None:
    """Check that a stored tree exists, has a known version, and is unaltered to the last byte.

    Raises CheckpointError, which names the file, what was expected and what was got.
    """
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: expected a directory written by Seqel, got none")
    for name in (MANIFEST, TREE, ARRAYS):
        require_own(directory / name, directory)
    path = directory / MANIFEST
    too_large(path, MANIFEST_LIMIT)
    raw = _read(path)
    try:
        manifest = json.loads(raw)
        found = manifest["format"], manifest["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: expected the JSON of a manifest, got {raw[:60]!r}") from error
    if found != (FORMAT, VERSION):
        raise CheckpointError(
            f"{path}: expected format {FORMAT!r} version {VERSION}, got {found[0]!r} version {found[1]!r}; "
            "it was written by another version of Seqel, or is damaged"
        )
    files = manifest.get("files")
    whole = (
        isinstance(files, dict) and set(files) == {ARRAYS, TREE} and all(isinstance(f, dict) for f in files.values())
    )
    if raw != _canonical(manifest) or not whole or not all({"size", "crc32"} <= set(f) for f in files.values()):
        raise CheckpointError(f"{path} is damaged: its content does not match its checksum")
    for name, expected in files.items():
        try:
            size, crc = checksum(directory / name)
        except OSError as error:
            reason = f"cannot be read ({error.strerror}); expected {expected['size']} bytes"
            raise CheckpointError(f"{directory / name} {reason}") from error
        if size != expected["size"]:
            raise CheckpointError(f"{directory / name}: expected {expected['size']} bytes, got {size}")
        if crc != expected["crc32"]:
            raise CheckpointError(f"{directory / name} was altered: expected CRC-32 {expected['crc32']}, got {crc}")


def _canonical(manifest: dict[str, Any]) -> bytes:
    """Return the canonical text of a manifest, with its own checksum, so that no byte of it can change unnoticed."""
    body = json.dumps({**manifest, "crc32": None}, sort_keys=True)
    return json.dumps({**manifest, "crc32": f"{zlib.crc32(body.encode()):08x}"}, sort_keys=True, indent=1).encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); expected a file written by Seqel") from error
