"""Weights that a model's folder has only as pickled tensors (``pytorch_model.bin``): read by torch's restricted loader, which
runs nothing that a file asks for, and written once as safetensors into the user's cache.

Many models of the hub have no other weights on their main branch (older BERTs, OPT, DeBERTa-v2). transformers would ask a
service on the web to convert them, with the user's token; here nothing is sent anywhere. What is made is a folder like the
source, with the same small files, so that everything that loads models loads it as any other.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from armada_cli.content import content_fingerprint, fingerprints_of_files
from armada_cli.errors import UserError, one_line
from armada_cli.files import cache_folder, make_readable, publish_folder, read_json, remove_leftovers, write_json
from armada_cli.models.packaged import NOTE, alone, telling
from armada_cli.models.weights import damage

PICKLED = re.compile(r"(?P<stem>(?:diffusion_)?pytorch_model)(?P<part>-\d{5}-of-\d{5})?\.bin")
"""Names of weights that `save_pretrained` of transformers and of diffusers wrote before safetensors."""

SAFE = re.compile(r"(diffusion_pytorch_)?model(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?")
"""Names of the weights that are loaded where they are there. Others (of an adapter, in half precision) are no substitute."""

FORM = 1
"""Raised when other files are made of the same source."""

COPIED = 16 << 20
"""Bytes up to which a file beside the weights is copied; larger ones (weights of a pipeline's other parts) are linked."""

OTHER_WEIGHTS = (".bin", ".bin.index.json", ".h5", ".msgpack", ".ot", ".onnx", ".pt", ".pth", ".ckpt", ".gguf")


def safe_name(name: str) -> str:
    """``pytorch_model-00001-of-00002.bin`` -> ``model-00001-of-00002.safetensors``, as `save_pretrained` would name it."""
    name = name.removeprefix("pytorch_") if name.startswith("pytorch_") else name
    return name.replace(".bin", ".safetensors", 1)


def is_pickled(folder: Path) -> bool:
    """Whether the weights right inside the folder are pickled, and there are none as safetensors."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return only_pickled(names)


def only_pickled(names: list[str]) -> bool:
    """`is_pickled` of file names; names of weights for other programs (``*.onnx``) do not count."""
    safe = any(SAFE.fullmatch(name) for name in names)
    index = any(name.endswith(".bin.index.json") and PICKLED.fullmatch(name.removesuffix(".index.json")) for name in names)
    return not safe and (index or any(PICKLED.fullmatch(name) for name in names))


def parts(folder: Path) -> list[Path]:
    """The folder itself, and its folders (the parts of a pipeline), as far as their weights are pickled."""
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    pipeline = inside if (folder / "model_index.json").is_file() else []
    return [part for part in [folder, *pipeline] if is_pickled(part)]


def wanted(names: list[str], *, pipeline: bool) -> list[str]:
    """Which of a repository's files to fetch when its weights are all or in part pickled; empty when none are.

    Args:
        names: of all its files, ``/`` between folders.
        pipeline: whether it is a pipeline of diffusers, whose parts are folders.
    """
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, _, base = name.rpartition("/")
        if "/" not in folder and (pipeline or not folder):
            folders.setdefault(folder, []).append(base)
    if not any(only_pickled(files) for files in folders.values()):
        return []
    needed = []
    for folder, files in folders.items():
        bins = only_pickled(files)
        for file in files:
            match = PICKLED.fullmatch(file.removesuffix(".index.json"))
            safe = SAFE.fullmatch(file)
            small = not file.endswith((*OTHER_WEIGHTS, ".safetensors", ".safetensors.index.json", ".md", ".png", ".jpg"))
            if (bins and match) or (folder and not bins and safe) or small:
                needed.append(f"{folder}/{file}" if folder else file)
    return needed


def problems(folder: Path) -> Iterator[str]:
    """What is wrong with the pickled weights of a folder, as far as names and sizes tell."""
    for part in parts(folder):
        try:
            files = _files(part)
        except ValueError as error:
            yield f"damaged weights in {part}, {error}; copy or fetch them again"
            continue
        for path in files:
            if path.stat().st_size == 0:
                yield f"damaged weights in {part}, {path.name}: it is empty; copy or fetch them again"


def converted(folder: Path, subject: str) -> Path:
    """The folder with all of its weights as safetensors: itself when it has no pickled ones, else one in the user's cache,
    made now unless it is there.

    Args:
        subject: who needs it, as in ``teacher stable-diffusion``, for messages.

    Raises:
        UserError: a file is damaged, holds more than tensors, or the disk is full.
    """
    pickled_parts = parts(folder)
    if not pickled_parts:
        return folder
    digest = _digest(folder, pickled_parts)
    target = cache_folder() / "models" / f"converted-{digest[:16]}-{FORM}"
    if _ready(target, digest):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with alone(target.with_name(f"{target.name}.lock")) as certain:
            if certain:
                remove_leftovers(target)
            if not _ready(target, digest):  # another process may have made it meanwhile
                _convert(folder, pickled_parts, target, digest, subject)
    except OSError as error:
        size = sum(path.stat().st_size for part in pickled_parts for path in _files(part))
        raise UserError(
            f"{subject} {folder}: its weights cannot be converted to safetensors in {target} ({error.strerror or error})",
            f"{size / 1e6:.0f} MB are needed there, once; free some space, or name another cache with XDG_CACHE_HOME",
        ) from error
    return target


def _files(part: Path) -> list[Path]:
    """The pickled files of one part: those of its index, or the single one.

    Raises:
        ValueError: a shard is missing, or the index cannot be read.
    """
    for index in sorted(part.glob("*.bin.index.json")):
        if not PICKLED.fullmatch(index.name.removesuffix(".index.json")):
            continue
        mapping = read_json(index)
        names = mapping.get("weight_map") if isinstance(mapping, dict) else None
        if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
            raise ValueError(f"{index.name}: it is no index of shards")
        shards = sorted(set(names.values()))
        for name in shards:
            if not PICKLED.fullmatch(name):  # also keeps the paths inside the folder
                raise ValueError(f"{index.name}: it names {name[:80]!r}, which is no file of weights")
            if not (part / name).is_file():
                raise ValueError(f"{name}: it is missing")
        return [part / name for name in shards]
    singles = [path for path in sorted(part.iterdir()) if (match := PICKLED.fullmatch(path.name)) and not match["part"]]
    if not singles:
        raise ValueError("its shards have no *.bin.index.json")
    return singles


def _kept(folder: Path, pickled_parts: list[Path]) -> Iterator[Path]:
    """Files beside the pickled weights that go into the new folder, relative to the source."""
    folders = (
        [folder, *(path for path in folder.iterdir() if path.is_dir())] if (folder / "model_index.json").is_file() else [folder]
    )
    for inside in folders:
        for path in sorted(inside.iterdir()):
            other = path.name.endswith(OTHER_WEIGHTS) and (inside in pickled_parts or not PICKLED.fullmatch(path.name))
            if path.is_file() and not path.name.startswith(".") and not other:
                yield path.relative_to(folder)


def _digest(folder: Path, pickled_parts: list[Path]) -> str:
    """SHA-256 over names and contents of all that goes into the new folder."""
    digest = hashlib.sha256()
    try:
        weights = [path for part in pickled_parts for path in _files(part)]
    except ValueError as error:
        raise UserError(f"{folder}: damaged weights, {error}", "Copy or fetch them again") from None
    for path in [*weights, *(folder / name for name in _kept(folder, pickled_parts))]:
        digest.update(
            f"{path.relative_to(folder).as_posix()}\0{content_fingerprint(path)}\n".encode("utf-8", "surrogateescape")
        )
    return digest.hexdigest()


def _ready(target: Path, digest: str) -> bool:
    note = read_json(target / NOTE)
    if not isinstance(note, dict) or note.get("sha256") != digest:
        return False
    folders = [target, *(path for path in target.iterdir() if path.is_dir())]
    whole = all(path.exists() for inside in folders for path in inside.iterdir())  # links lead somewhere
    return (
        whole
        and all(damage(inside) is None for inside in folders)
        and note.get("made") == fingerprints_of_files(target, besides=NOTE)
    )


def _convert(folder: Path, pickled_parts: list[Path], target: Path, digest: str, subject: str) -> None:
    files = [path for part in pickled_parts for path in _files(part)]
    total = sum(path.stat().st_size for path in files) or 1
    with (
        telling(f"{subject}: weights of {folder}, converted once to safetensors in {target}") as step,
        tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", ignore_cleanup_errors=True) as place,
    ):
        made = Path(place) / "folder"
        made.mkdir()
        for name in _kept(folder, pickled_parts):
            _take_over(folder / name, made / name)
        done = 0

        def tell(path: Path) -> None:
            nonlocal done
            step(path.name, done / total)
            done += path.stat().st_size

        for part in pickled_parts:
            inside = made / part.relative_to(folder)
            inside.mkdir(exist_ok=True)
            _convert_part(part, inside, subject, tell)
        make_readable(made)
        sources = {str(path.relative_to(folder).as_posix()): content_fingerprint(path) for path in files}
        results = fingerprints_of_files(made, besides=NOTE)
        write_json(made / NOTE, {"source": str(folder), "files": sources, "sha256": digest, "made": results})
        if _digest(folder, pickled_parts) != digest:
            raise UserError(
                f"{subject}: the weights in {folder} changed while they were read", "Run it again when they are whole"
            )
        publish_folder(made, target, lambda: _ready(target, digest))


def _convert_part(part: Path, inside: Path, subject: str, tell: Callable[[Path], None]) -> None:
    """Write one part's weights, a shard in memory at a time."""
    from safetensors.torch import save_file

    files = _files(part)
    where: dict[str, str] = {}
    size = 0
    for path in files:
        tell(path)
        tensors = _separate(_read(path, subject))
        save_file(tensors, inside / safe_name(path.name), metadata={"format": "pt"})
        where |= dict.fromkeys(tensors, safe_name(path.name))
        size += sum(value.nbytes for value in tensors.values())
    shard = PICKLED.fullmatch(files[0].name)
    if shard and shard["part"]:
        text = json.dumps({"metadata": {"total_size": size}, "weight_map": where}, indent=2)
        (inside / f"{safe_name(shard['stem'] + '.bin')}.index.json").write_text(text, encoding="utf-8")


def _separate(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors, each with memory of its own: safetensors hold no two names of one memory (tied weights), and no view of a
    larger one. What has its own stays where it is, in the mapped file."""
    separate: dict[str, Any] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        value = tensor.detach().contiguous()
        storage = value.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != value.nbytes:
            value = value.clone()
        seen.add(value.untyped_storage().data_ptr())
        separate[name] = value
    return separate


def _read(path: Path, subject: str) -> Mapping[str, Any]:
    """Name -> tensor of one pickled file.

    Raises:
        UserError: it is damaged, or holds more than tensors.
    """
    import torch

    try:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            content = torch.load(path, map_location="cpu", weights_only=True)  # torch's format before 1.6
    except pickle.UnpicklingError as error:
        if re.search("GLOBAL|Unsupported (global|class)|not allowed", str(error)):
            raise _more_than_tensors(path, subject) from error
        raise _damaged(path, subject, error) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise _damaged(path, subject, error) from error
    if isinstance(content, Mapping) and set(content) == {"state_dict"} and isinstance(content["state_dict"], Mapping):
        content = content["state_dict"]
    whole = isinstance(content, Mapping) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    )
    if not whole:
        raise _more_than_tensors(path, subject)
    if not content:
        raise _damaged(path, subject, "it holds no tensors")
    return content


def _more_than_tensors(path: Path, subject: str) -> UserError:
    return UserError(
        f"{subject}: {path} holds more than tensors, and nothing in it was run",
        "Take the weights from a source that you trust, as *.safetensors",
    )


def _damaged(path: Path, subject: str, error: object) -> UserError:
    return UserError(f"{subject}: {path} is damaged, or no file of weights ({one_line(error, 120)})", "Copy or fetch it again")


def _take_over(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    if source.stat().st_size > COPIED:
        try:
            target.symlink_to(source.resolve())
            return
        except OSError:  # Windows allows links to few
            pass
    shutil.copyfile(source, target)
