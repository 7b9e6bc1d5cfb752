"""Rows of Parquet; pyarrow is imported when they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from armada_cli import UserError
from armada_task_files.columns import Rows, find_repeated, no_column
from armada_task_files.text import (
    read_head,
)

PARQUET_ROWS = 4096
"""Rows of Parquet turned into Python values at a time."""


def read_parquet(path: str, columns: Sequence[str]) -> Rows:
    if not read_head(path, 4).startswith(b"PAR1"):
        raise UserError(f"{path}: not a Parquet file", "Write it again, or name a .csv, .tsv or .jsonl file")
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            names = list(file.schema_arrow.names)
            twice = find_repeated(names, columns)
            if twice:
                raise UserError(f"{path}: two columns are called {twice[0]!r}", "Give each column a name of its own")
            missing = [name for name in columns if name not in names]
            if missing:
                raise no_column(path, missing, names)
            number = 0
            for batch in file.iter_batches(PARQUET_ROWS, columns=list(dict.fromkeys(columns))):
                cells = [[_text_of(value) for value in batch.column(name).to_pylist()] for name in columns]
                for row in zip(*cells, strict=True):
                    number += 1
                    yield number, row
    except UserError:
        raise
    except Exception as error:  # damage surfaces as whatever type the damaged part leads to, a UnicodeDecodeError for one
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: damaged, or of a type that is not read here ({reason})", "Write the file again") from None


def _text_of(value: Any) -> Any:
    """Some writers store a text as bytes, without saying that it is one."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value
