"""Texts of a file, each once, split by a hash of the text; or those of another task, split as it splits its rows."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from armada_cli import Choice, Split, Task, UserError
from armada_cli.corpora.json_files import file_place, file_rows
from armada_cli.corpora.rows import rows, where
from armada_cli.corpora.tasks import DividedTask, require_split
from armada_cli.evaluation import metrics
from armada_cli.held_out import take_part
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

    def split(self, name: str) -> Split:
        """See `DividedTask.split`.

        Raises:
            UserError: the file is missing, not as expected, or too small for two splits; or what the task in `of` raises.
        """
        if self.options.of is not None:
            return self._split_of(self.options.of, name)
        split = super().split(name)
        if not len(split):
            raise UserError(
                f"texts: of the different texts in {self.options.file or self.options.dataset} none is left for {name}",
                "Add texts, or change validation_share",
            )
        return split

    def read(self) -> dict[str, Split]:
        """Both splits; one may be empty."""
        texts = list(dict.fromkeys(self._texts()))
        keyed = sorted((hashlib.sha256(text.encode()).digest(), text) for text in texts)
        edge = self.options.validation_share * 2**64
        held = [text for digest, text in keyed if int.from_bytes(digest[:8], "big") < edge]
        rest = [text for digest, text in keyed if int.from_bytes(digest[:8], "big") >= edge]
        return {
            name: Split([(text,) for text in part], [0] * len(part), part)
            for name, part in (("train", rest), ("validation", held))
        }

    def _split_of(self, of: Choice, name: str) -> Split:
        """The texts of another task, each once: both of a pair, a question and each of its choices. What the training rows have
        is left out of validation.

        A row of one text keeps what its task shows a teacher, which may be a picture; elsewhere a teacher is shown the text.
        """
        require_split(name)
        task: Task = of.registered.component.load()(of.options, self.environment)
        training = take_part(task.sample("train", self.options.rows_of), "train", self.options.held_out)
        shown = _shown(training)
        if name == "validation":
            shown = {text: own for text, own in _shown(task.split(name)).items() if text not in shown}
        if not shown:
            raise UserError(f"texts: task {of.title} has no texts of its own for {name}", "Choose another task")
        return Split([(text,) for text in shown], [0] * len(shown), list(shown.values()))

    def _texts(self) -> Iterator[str]:
        """The texts of the file or of the dataset without spaces around them; empty ones are passed over."""
        if self.options.dataset is not None:
            yield from self._texts_of_dataset(self.options.dataset)
            return
        path = Path(self.options.file or "")
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

    def _texts_of_dataset(self, dataset: str) -> Iterator[str]:
        options, column = self.options, self.options.column or "text"
        place = (self.environment, dataset, options.config, options.part)
        for number, row in enumerate(rows(*place, columns=(column,), revision=options.revision)):
            if not isinstance(row[column], str):
                raise UserError(f"{where(*place, number)}: column {column!r} holds no text", "Name another column")
            if text := row[column].strip():
                yield text

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


def _shown(rows: Split) -> dict[str, Any]:
    """Each text of the rows, with what a teacher is shown of it."""
    shown: dict[str, Any] = {}
    for texts, own in zip(rows.texts, rows.teacher_inputs, strict=True):
        for text in texts:
            if text.strip():
                shown.setdefault(text, own if len(texts) == 1 else text)
    return shown
