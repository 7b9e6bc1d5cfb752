"""A reasoning task: a question in LLM-Adapters' form, and how its answer is judged."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from armada_cli import Decoding, Environment, Split, TrialFailed, UserError
from armada_cli.corpora.json_files import file_place, file_rows
from armada_cli.corpora.prompts import instruction_prompt
from armada_cli.corpora.rows import rows, source
from armada_cli.corpora.tasks import GenerationTask, require_split
from armada_task_reasoning import answers, forms
from armada_task_reasoning.options import RELEASE, ReasoningOptions

FORMAT = re.compile(r"Answer format:\s*([a-z]+\d?(?:/[a-z]+\d?)+)\s*$")
LETTERS = re.compile(r"\(([A-E])\)")


class Reasoning(GenerationTask):
    """Training sets answer to ``train`` and ``validation`` (their held-out rows), the others to ``validation`` alone.

    Attributes:
        notes: training questions that also stand among the evaluation questions on this machine; known after
            ``split("train")``.
    """

    def __init__(self, options: ReasoningOptions, environment: Environment) -> None:
        super().__init__(options, environment)
        if options.scoring == "generation":
            self.decoding = Decoding(
                max_new_tokens=options.max_new_tokens,
                sample=options.sample,
                temperature=options.temperature,
                top_p=options.top_p,
                top_k=options.top_k,
                beams=options.beams,
            )

    def split(self, name: str) -> Split:
        """Questions in the order of their file.

        Raises:
            UserError: rows that are not there, or one that cannot be used (``file:line``).
            ValueError: training rows of a set that is for evaluation.
        """
        require_split(name)
        if self.options.learned_from:
            if name == "train":
                raise ValueError(f"an evaluation set has no training rows; its student learns {self.options.learned_from}")
            return self._evaluated(self._rows())
        table = self._rows()
        training, held = self._parted(table)
        if name == "validation":
            return self._evaluated(held)
        self.notes = self._shared(training)
        texts = [(_prompt(row), row["output"].strip()) for row in training]
        return Split(texts, [row["answer"] for row in training], [_shown(row) for row in training])

    def score(self, outputs: Any, labels: Sequence[Any]) -> dict[str, float]:
        """Accuracy in percent; for written answers also the share in which an answer was extracted (``answered``)."""
        if self.options.scoring == "likelihood":
            return {"accuracy": _share(_likeliest(row) == label for row, label in zip(outputs, labels, strict=True))}
        released = self.options.extraction == "released"
        extracted = [answers.extract(text, label, released) for text, label in zip(outputs, labels, strict=True)]
        right = _share(answers.matches(answer, label) for answer, label in zip(extracted, labels, strict=True))
        return {"accuracy": right, "answered": _share(answer is not None for answer in extracted)}

    def _rows(self) -> list[dict[str, str]]:
        """All rows in LLM-Adapters' form, each checked."""
        options = self.options
        local = options.local_rows(self.environment)
        if local is None:
            if not options.dataset:
                raise UserError(
                    f"no rows of {options.mirror_name} on this machine, and the hub does not have them",
                    f"Download {options.released_file} of {RELEASE} and name it with `file`, "
                    f"or lay a mirror's llm-adapters/{options.mirror_name}/{options.mirror_split}.jsonl",
                )
            table, places = [], []
            for split in options.splits:
                part = rows(options.mirror(self.environment), options.dataset, options.config, split, revision=options.revision)
                table += part
                places += [f"dataset {options.dataset}, split {split}, row {number + 1}" for number in range(len(part))]
            return [_checked(row, options.form, places[number]) for number, row in enumerate(table)]
        form = options.form if local.original else ""
        read = []
        for path in local.paths:
            for number, row in enumerate(file_rows(path)):
                try:
                    read.append(_checked(row, form, ""))
                except UserError as error:
                    raise UserError(f"{file_place(path, number)}: {error.what}", error.hint) from None
        return read

    def _parted(self, table: list[dict[str, str]]) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
        """Training rows without any question that is held out, and the held-out rows."""
        count = self.options.held_out
        if count >= len(table):
            raise UserError(f"held_out: {count} rows are to be held out of {len(table)}", "Hold out fewer")
        chosen = set(random.Random("armada held out").sample(range(len(table)), count))
        held = [table[number] for number in sorted(chosen)]
        known = {_key(row) for row in held}
        return [row for number, row in enumerate(table) if number not in chosen and _key(row) not in known], held

    def _evaluated(self, table: Sequence[dict[str, str]]) -> Split:
        if self.options.scoring == "generation":
            return Split([(_prompt(row),) for row in table], [row["answer"] for row in table], [_shown(row) for row in table])
        texts, labels = [], []
        for row in table:
            names = _candidates(row)
            texts.append((_prompt(row), *(_said(name) for name in names)))
            labels.append(names.index(row["answer"]))
        return Split(texts, labels, [_shown(row) for row in table])

    def _shared(self, training: Sequence[dict[str, str]]) -> list[str]:
        """One line for each local evaluation set with questions in common."""
        keys = {_key(row) for row in training}
        lines = []
        for name in self.options.siblings:
            path = self._sibling(name)
            if path is None:
                continue
            try:
                questions = [_key(row) for row in file_rows(path, ("instruction",))]
            except (UserError, AttributeError):
                continue  # It is said where that set is evaluated.
            both = sum(key in keys for key in questions)
            if both:
                lines.append(f"{both} of the {len(questions)} questions of {name} are also among the training rows")
        return lines

    def _sibling(self, name: str) -> Path | None:
        """An evaluation file of the mirror, or of the repository that `file` lies in."""
        if self.options.file is not None:
            path = Path(self.options.file).parent.parent / "dataset" / name / "test.json"
            if path.is_file():
                return path
        return source(self.options.mirror(self.environment), f"llm-adapters/{name}", None, "test")


def _checked(row: Mapping[str, Any], form: str, place: str) -> dict[str, str]:
    """One row with clean fields; `place` is put before the fault."""
    before = f"{place}: " if place else ""
    again = "The columns are instruction, input, output and answer, as LLM-Adapters has them"
    if form:
        try:
            row = forms.convert(row, form)
        except ValueError as error:
            raise UserError(f"{before}the row cannot be used ({error})", "Copy the data set again") from None
    missing = [name for name in forms.COLUMNS if name not in row]
    if missing:
        raise UserError(f"{before}no column {missing[0]!r}; there are {', '.join(map(repr, row))}", again)
    answer = row["answer"]
    if isinstance(answer, (int, float)) and not isinstance(answer, bool):
        answer = str(answer)
    fields = {"instruction": row["instruction"], "input": row.get("input") or "", "output": row["output"], "answer": answer}
    for name, value in fields.items():
        if not isinstance(value, str):
            raise UserError(f"{before}column {name!r} holds {value!r:.60}, not a text", again)
        fields[name] = value if name == "output" else value.strip()
    if not fields["instruction"]:
        raise UserError(f"{before}the instruction is empty", again)
    if not answers.form(fields["answer"]):
        raise UserError(f"{before}answer {fields['answer']!r:.60} is no choice, letter or number", again)
    return fields


def _prompt(row: Mapping[str, str]) -> str:
    return instruction_prompt(row["instruction"], row["input"])


def _shown(row: Mapping[str, str]) -> str:
    """What the teacher is shown: no template."""
    return f"{row['instruction']}\n\n{row['input']}" if row["input"] else row["instruction"]


def _key(row: Mapping[str, Any]) -> str:
    return " ".join(f"{row['instruction']} {row.get('input') or ''}".casefold().split())


def _candidates(row: Mapping[str, str]) -> list[str]:
    """The names of a question's choices."""
    kind = answers.form(row["answer"])
    if kind == "letter":
        names = sorted(set(LETTERS.findall(row["instruction"]))) or list("ABCDE")
    elif (stated := FORMAT.search(row["instruction"])) is not None:
        names = stated[1].split("/")
    elif kind == "truth":
        names = ["true", "false"]
    elif kind in answers.CHOICES:
        names = [f"{kind}{number}" for number in range(1, answers.CHOICES[kind] + 1)]
    else:
        raise UserError(f"scoring: the answer {row['answer']!r} is none of several choices", "Use scoring: generation")
    if row["answer"] not in names:
        raise UserError(f"scoring: the answer {row['answer']!r} is none of {', '.join(names)}", "Use scoring: generation")
    return names


def _said(name: str) -> str:
    return f"The answer is {name}" if len(name) == 1 else f"the correct answer is {name}"


def _likeliest(row: Sequence[float]) -> int:
    if any(math.isnan(value) for value in row):
        raise TrialFailed("the likelihood of a choice is NaN")
    return max(range(len(row)), key=lambda number: row[number])


def _share(truths: Any) -> float:
    values = list(truths)
    if not values:
        raise ValueError("there is nothing to score")
    return 100.0 * sum(values) / len(values)
