"""Rows of published datasets, from a local mirror or from the hub.

A mirror is a folder laid out as the hub names things, one JSON object a line, with the hub's columns and label numbers::

    DIR/nyu-mll/glue/cola/train.jsonl           owner/name/config/split.jsonl
    DIR/MiniLLM/dolly/test.jsonl                owner/name/split.jsonl, for a dataset without configurations

A file of the mirror is read with plain `json`, so that `armada check` can count its rows without importing numpy. Without
such a file the rows come through `datasets.load_dataset`.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any

from armada_cli.contracts import Environment
from armada_cli.corpora.json_files import check_columns, read_lines
from armada_cli.errors import UserError, name_error
from armada_cli.models.hub import cache_home


def source(environment: Environment, dataset: str, config: str | None, split: str) -> Path | None:
    """The mirror's file for one split, or None when there is none: ``<data>/owner/name/config/split.jsonl``, else (for a
    dataset without configurations) ``<data>/owner/name/split.jsonl``."""
    if environment.data is None:
        return None
    path = mirror_file(environment.data, dataset, config, split)
    return path if path.is_file() else None


def rows(
    environment: Environment,
    dataset: str,
    config: str | None,
    split: str,
    *,
    columns: Iterable[str] = (),
    revision: str | None = None,
) -> list[dict[str, Any]]:
    """Every row of one split, as the hub's own columns. Nothing is remembered between two calls.

    Args:
        dataset: the hub's name, ``owner/name``; config: its configuration, or None.
        columns: names that every row must have.
        revision: the hub's branch, tag or commit; the mirror ignores it.

    Raises:
        UserError: the file is damaged or lacks a column (``file:line``), or there is no file and the hub cannot be
            reached, does not have the split, or may not be asked (``environment.offline``).
    """
    wanted = tuple(columns)
    path = source(environment, dataset, config, split)
    if path is None:
        table = _from_hub(environment, dataset, config, split, revision)
        check_columns(name_split(dataset, config, split), table[0], wanted)
        return table
    table = []
    for line, row in read_lines(path):
        if any(name not in row for name in wanted):
            check_columns(f"{path}:{line}", row, wanted)
        table.append(row)
    if not table:
        raise UserError(f"{path}: no row in it", f"Copy the {split} split of {dataset} there again, one JSON object a line")
    return table


def write_rows(root: Path, dataset: str, config: str | None, split: str, table: Iterable[Mapping[str, Any]]) -> Path:
    """Write one split into a mirror as `rows` reads it, in one step; returns the file.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    from armada_cli.files import write_atomic

    path = root / dataset / (config or "") / f"{split}.jsonl"
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table))
    return path


def where(environment: Environment, dataset: str, config: str | None, split: str, row: int) -> str:
    """The place of a row for an error message: ``file:line``, or the hub's name and the row's number from 1."""
    path = source(environment, dataset, config, split)
    if path is None:
        return f"{name_split(dataset, config, split)}, row {row + 1}"
    for number, (line, _) in enumerate(read_lines(path)):
        if number == row:
            return f"{path}:{line}"
    return str(path)


def fetched(dataset: str, config: str | None) -> bool:
    """Whether an earlier run has left the dataset in the cache of the `datasets` package. A look at a folder, no import."""
    cache = Path(os.environ.get("HF_DATASETS_CACHE", cache_home() / "datasets")).expanduser()
    return (cache / dataset.replace("/", "___") / (config or "default")).is_dir()


def mirror_file(root: Path, dataset: str, config: str | None, split: str) -> Path:
    """The file of a mirror that holds a split, or would hold it.

    Raises:
        UserError: a name would lead out of the mirror.
    """
    for name in (split if config is None else config, split):  # the name of the dataset is no option
        if not is_file_name(name):
            hint = "Name it as the hub does; a mirror of your own is named with `path:`, or with --data"
            raise UserError(f"{name_split(dataset, config, split)}: {name!r} is no name of a file in a mirror", hint)
    folder = root / dataset
    if config is not None and ((folder / config).is_dir() or not (folder / f"{split}.jsonl").is_file()):
        folder = folder / config
    return folder / f"{split}.jsonl"


def is_file_name(name: str) -> bool:
    """Whether a name stands for one file or folder, of which it is known where it lies: no separator of any system, no drive,
    not ``.`` or ``..``."""
    path = PureWindowsPath(name)  # knows the separators of all systems
    return path.parts == (name,) and not path.drive and name != ".." and "\0" not in name


def name_split(dataset: str, config: str | None, split: str) -> str:
    """How messages call a split."""
    return f"dataset {dataset}" + (f", config {config}" if config else "") + f", split {split}"


def _from_hub(
    environment: Environment, dataset: str, config: str | None, split: str, revision: str | None
) -> list[dict[str, Any]]:
    name = name_split(dataset, config, split)
    root = environment.data if environment.data is not None else Path("DIR")
    file = mirror_file(root, dataset, config, split)
    mirror = f"save it as {file}" if environment.data is not None else f"give --data DIR with {file} in it"
    if environment.offline and not fetched(dataset, config):
        raise UserError(
            f"{name} is not on this machine, and downloads are off", f"{mirror}, or go online (unset HF_HUB_OFFLINE)"
        )
    try:
        with _client(environment.offline) as client:
            table = client.load_dataset(dataset, config, split=split, revision=revision)
    except Exception as error:  # the hub's client raises a dozen unrelated types; all mean that the rows did not come
        hint = f"Go online, or {mirror}"
        if "script" in str(error).lower():
            # A dataset that is still a script is never executed; the hub keeps a converted copy beside it.
            hint = f"Try `revision: refs/convert/parquet`, or {mirror}"
        raise UserError(f"{name} could not be loaded ({name_error(error, 160)})", hint) from error
    if not len(table):
        raise UserError(f"{name} has no rows", mirror)
    return [dict(row) for row in table]


@contextmanager
def _client(offline: bool) -> Iterator[Any]:
    """The `datasets` package, quiet about its retries (they would bury the one line that matters) and, when `offline`, held
    back from the network even where the process was started without HF_HUB_OFFLINE; all as before afterwards."""
    import datasets
    from huggingface_hub import constants

    chatter = [logging.getLogger("huggingface_hub"), logging.getLogger("datasets")]
    before = [logger.level for logger in chatter], datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    try:
        for logger in chatter:
            logger.setLevel(logging.ERROR)
        if offline:
            datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
        yield datasets
    finally:
        levels, datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
        for logger, level in zip(chatter, levels, strict=True):
            logger.setLevel(level)
