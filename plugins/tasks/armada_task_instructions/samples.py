"""Instructions of our own in MiniLLM's form, for `--smoke`."""

from __future__ import annotations

from armada_cli.corpora.prompts import instruction_prompt
from armada_cli.models.tiny import SENTENCES

TASKS = (
    "Repeat the sentence and say that it was a quiet day for everybody in the town.",
    "Write the sentence down twice, so that nobody can overlook it.",
    "Tell me what happened yesterday, in the words of the person who saw it.",
)


def table(count: int, skip: int = 0) -> list[dict[str, object]]:
    """`count` rows after the first `skip`: with an input and without one, with one reference and with two."""
    return [_row(number) for number in range(skip, skip + count)]


def _row(number: int) -> dict[str, object]:
    sentence = SENTENCES[number % len(SENTENCES)]
    task = TASKS[number % len(TASKS)]
    text = sentence if number % 2 == 0 else ""
    # A reference of over ten tokens, so that the sets of long answers keep the row.
    answer = f"{sentence} {SENTENCES[(number + 5) % len(SENTENCES)]}"
    instruction = f"Task {number + 1}: {task}"
    output = [answer, f"{sentence} It was a quiet day for everybody in the town."] if number % 4 == 3 else answer
    return {"instruction": instruction, "input": text, "output": output, "prompt": instruction_prompt(instruction, text)}
