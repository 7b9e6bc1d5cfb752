"""What the headers of safetensors files tell without torch: whether a file is whole, and how many parameters it holds."""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path
from typing import Any

from armada_cli.reading import load_json, open_file, parse_json

LARGEST_HEADER = 100_000_000
"""Bytes; the format allows no more."""


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file.

    Raises:
        OSError: it cannot be read. ValueError: it is no safetensors file.
    """
    metadata = _read_json(path)[0].get("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ValueError("its header is no table of tensors")
    return metadata


def _read_json(path: Path) -> tuple[dict[str, Any], int]:
    """The header as it stands in the file, and its length in bytes."""
    with open_file(path) as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else -1
        if not 2 <= length <= min(LARGEST_HEADER, path.stat().st_size - 8):
            raise ValueError("its header is cut short or no header")
        header = parse_json(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no table of tensors")
    return header, length


def read_header(path: Path) -> dict[str, Any]:
    """Tensor name -> dtype, shape and offsets, without the metadata.

    Raises:
        ValueError: the file is cut short, or not a safetensors file.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    header, length = _read_json(path)
    header.pop("__metadata__", None)
    try:
        end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        sound = all(_is_count(item) for tensor in header.values() for item in (*tensor["shape"], *tensor["data_offsets"]))
    except (KeyError, TypeError, IndexError):
        sound, end = False, 0
    if not sound or not all(isinstance(tensor.get("dtype"), str) for tensor in header.values()):
        raise ValueError("its header is no table of tensors")
    if size != 8 + length + end:
        raise ValueError(f"it has {size} bytes, its header speaks of {8 + length + end}")
    return header


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def read_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape, of all weights of a model's folder (an adapter's are no model's); empty where a header cannot be
    read, or a shard that the index names is not there."""
    shapes: dict[str, tuple[int, ...]] = {}
    if missing_shard(folder):
        return {}
    for path in folder.glob("model*.safetensors"):
        try:
            shapes |= {name: tuple(item["shape"]) for name, item in read_header(path).items()}
        except (OSError, ValueError, KeyError, TypeError):
            return {}
    return shapes


def missing_shard(folder: Path) -> str | None:
    """The first file that an index of the weights names and that is not there."""
    for index in sorted(folder.glob("*.safetensors.index.json")):
        if index.with_name(index.name.removesuffix(".index.json")).is_file():  # a whole file beside it is loaded instead
            continue
        try:
            files = set(load_json(index)["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return index.name
        for name in sorted(files, key=str):
            if not isinstance(name, str) or not (folder / name).is_file():
                return str(name)
    return None


def damage(folder: Path) -> str | None:
    """The first damaged, empty or missing ``*.safetensors`` of a folder, as ``name: what is wrong``; None: all are whole."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            if not read_header(path):
                return f"{path.name}: it holds no tensors"
        except OSError as error:
            return f"{path.name}: it cannot be read ({error.strerror})"
        except ValueError as error:
            return f"{path.name}: {error}"
    missing = missing_shard(folder)
    return f"{missing}: it is missing, or no index of shards" if missing else None


def count_parameters(folder: Path, layers: int | None = None) -> int:
    """Elements of all floating tensors in a folder's safetensors files; 0 when a header cannot be read.

    Args:
        layers: count only the first so many layers (tensors named ``layer.N.`` or ``layers.N.``); None counts all.
    """
    total = 0
    for path in folder.glob("*.safetensors"):
        try:
            tensors = read_header(path)
        except (OSError, ValueError):
            return 0
        for name, item in tensors.items():
            layer = re.search(r"\blayers?\.(\d{1,9})\.", name)
            if layer and layers is not None and int(layer[1]) >= layers:
                continue
            if item["dtype"] in ("F64", "F32", "F16", "BF16"):
                total += math.prod(item["shape"])
    return total
