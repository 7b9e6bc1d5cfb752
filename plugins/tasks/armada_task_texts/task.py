"""Texts of a file, each once, split by a hash of the text."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from armada_cli import Split, UserError
from armada_cli.corpora.json_files import file_place, file_rows
from armada_cli.corpora.tasks import DividedTask
from armada_cli.evaluation import metrics
from armada_cli.reading import encoding_fault, read_bytes
from armada_task_texts.options import TextsOptions


class Texts(DividedTask):
    """A text -> its masked words. A teacher is shown the same text."""

    options: TextsOptions
    kind = "masked"

    def labels(self) -> Sequence[str]:
        """None."""
        return ()

    def score(self, outputs: Any, labels: Sequence[Any]) -> dict[str, float]:
        """Perplexity of the masked tokens."""
        return metrics.score(self.options.metrics, outputs, labels)

    def read(self) -> dict[str, Split]:
        """Both splits.

        Raises:
            UserError: the file is missing, or not as expected, or too small for two splits.
        """
        texts = list(dict.fromkeys(self._texts()))
        keyed = sorted((hashlib.sha256(text.encode()).digest(), text) for text in texts)
        edge = self.options.validation_share * 2**64
        held = [text for digest, text in keyed if int.from_bytes(digest[:8], "big") < edge]
        rest = [text for digest, text in keyed if int.from_bytes(digest[:8], "big") >= edge]
        parts = {"train": rest, "validation": held}
        for name, part in parts.items():
            if not part:
                raise UserError(
                    f"texts: of the {len(texts)} different texts in {self.options.file} none is left for {name}",
                    "Add texts, or change validation_share",
                )
        return {
            name: Split([(text,) for text in part], [0] * len(part), part)
            for name, part in (("train", rest), ("validation", held))
        }

    def _texts(self) -> Iterator[str]:
        """The file's texts without spaces around them; empty ones are passed over."""
        path = Path(self.options.file)
        if path.suffix.lower() in (".jsonl", ".json"):
            column = self.options.column or "text"
            for number, row in enumerate(file_rows(path, [column])):
                if not isinstance(row[column], str):
                    raise UserError(f"{file_place(path, number)}: {column} is no text", "Write it in quotes")
                if text := row[column].strip():
                    yield text
            return
        content = self._decode(path)
        texts = self._column(path, content) if self.options.has_columns else iter(content.split("\n"))
        yield from (text.strip() for text in texts if text.strip())

    def _decode(self, path: Path) -> str:
        try:
            content = read_bytes(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}", "Check the path") from error
        if fault := encoding_fault(content):
            raise UserError(f"{path}: {fault[0]}", fault[1])
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise UserError(f"{path}:{line}: this is not UTF-8", "Save the file as UTF-8") from error

    def _column(self, path: Path, content: str) -> Iterator[str]:
        column = self.options.column or "text"
        reader = csv.DictReader(io.StringIO(content, newline=""), delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        names = reader.fieldnames or []
        if column not in names:
            known = ", ".join(map(repr, names[:12])) or "no columns"
            raise UserError(f"{path} has no column {column!r}", f"It has {known}: name one with `column`")
        for row in reader:
            yield row[column] or ""
