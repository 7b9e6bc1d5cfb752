"""An instruction set: instructions in MiniLLM's form, answers in free text, compared with one or several references."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from armada_cli import Decoding, Environment, Split, UserError
from armada_cli.corpora.prompts import instruction_prompt
from armada_cli.corpora.rows import rows, where
from armada_cli.corpora.tasks import GenerationTask, require_split
from armada_task_instructions.options import InstructionOptions

TOKEN = re.compile(r"\w+|[^\w\s]")


class Instructions(GenerationTask):
    """Dolly answers to ``train`` and ``validation``, the others to ``validation`` alone.

    Attributes:
        notes: how many instructions the training and the evaluation rows share; known after ``split("train")``.
    """

    def __init__(self, options: InstructionOptions, environment: Environment) -> None:
        super().__init__(options, environment)
        self.decoding = Decoding(
            max_new_tokens=options.max_new_tokens,
            max_prompt_tokens=options.max_prompt_tokens,
            sample=options.sample,
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k,
            seeds=options.seeds if options.sample else options.seeds[:1],
        )

    def split(self, name: str) -> Split:
        """Instructions in the order of the data set; labels are tuples of references.

        Raises:
            UserError: rows that are not there, or one that cannot be used (``file:line``).
            ValueError: training rows of a set that is for evaluation.
        """
        require_split(name)
        if name == "train" and not self.options.trains:
            raise ValueError("an evaluation set has no training rows; its student learns dolly")
        table = self._rows(name)
        if name == "validation":
            table = self._chosen(table)
            texts: list[tuple[str, ...]] = [(_prompt(row),) for row in table]
        else:
            self.notes = self._shared(table)
            texts = [(_prompt(row), _references(row)[0].strip()) for row in table]
        return Split(texts, [_references(row) for row in table], [_shown(row) for row in table])

    def _rows(self, name: str) -> list[dict[str, Any]]:
        options = self.options
        place, split = options.mirror(self.environment), options.split_name(name)
        table = rows(
            place, options.dataset, options.config, split, columns=("instruction", "output"), revision=options.revision
        )
        for number, row in enumerate(table):
            fault = _fault(row)
            if fault:
                spot = where(place, options.dataset, options.config, split, number)
                raise UserError(f"{spot}: {fault}", "The columns are instruction, input and output, as MiniLLM has them")
        return table

    def _chosen(self, table: list[dict[str, Any]]) -> list[dict[str, Any]]:
        longer, first = getattr(self.options, "longer_than", 0), getattr(self.options, "first", 0)
        kept = [row for row in table if not longer or len(TOKEN.findall(_references(row)[0])) > longer]
        if not kept:
            raise UserError(f"longer_than: no reference of {self.options.dataset} has over {longer} tokens", "Lower it")
        return kept[:first] if first else kept

    def _shared(self, training: Sequence[Mapping[str, Any]]) -> list[str]:
        """A line when training and evaluation rows ask the same."""
        keys = {_key(row) for row in training}
        evaluated = self._rows("validation")
        both = sum(_key(row) in keys for row in evaluated)
        if not both:
            return []
        return [f"{both} of the {len(evaluated)} rows evaluated ask what a training row asks"]


def _fault(row: Mapping[str, Any]) -> str:
    """Why a row cannot be used; empty when it can."""
    if not isinstance(row["instruction"], str) or not row["instruction"].strip():
        return "the instruction is empty or no text"
    if not isinstance(row.get("input") or "", str):
        return f"column 'input' holds {row['input']!r:.60}, not a text"
    output = row["output"]
    texts = output if isinstance(output, list) else [output]
    if not texts or not all(isinstance(text, str) for text in texts):
        return f"column 'output' holds {output!r:.60}, neither a text nor a list of texts"
    if not any(text.strip() for text in texts):
        return "the output is empty"
    return ""


def _prompt(row: Mapping[str, Any]) -> str:
    # The data's own column `prompt` is the same template; rebuilding it serves rows that have none.
    return instruction_prompt(row["instruction"], row.get("input") or "")


def _references(row: Mapping[str, Any]) -> tuple[str, ...]:
    output = row["output"]
    return tuple(text for text in (output if isinstance(output, list) else [output]) if text.strip())


def _shown(row: Mapping[str, Any]) -> str:
    """What the teacher is shown: no template."""
    text = row.get("input") or ""
    return f"{row['instruction']}\n\n{text}" if text else row["instruction"]


def _key(row: Mapping[str, Any]) -> str:
    return " ".join(f"{row['instruction']} {row.get('input') or ''}".casefold().split())
