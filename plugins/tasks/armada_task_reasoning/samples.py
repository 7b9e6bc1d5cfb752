"""Questions of our own in LLM-Adapters' form, for `--smoke`."""

from __future__ import annotations

from pathlib import Path

from armada_cli.corpora.rows import write_rows
from armada_cli.models.tiny import SENTENCES
from armada_task_reasoning import forms

PLACES = ("harbour", "attic", "vineyard", "chapel", "market hall")
THINGS = ("kites", "clocks", "bread rolls", "paintings")
WORDS = (
    "Where is it set?",
    "What is it about?",
    "Who tells it?",
    "When does it happen?",
)


def table(name: str, count: int) -> list[dict[str, str]]:
    """`count` rows for the mirror's folder `name`."""
    return [MAKERS[name](number) for number in range(count)]


def write(root: Path, name: str, split: str) -> Path:
    """Lay the rows as a mirror below `root`: 20 to train on, of which 4 are held out, or 4 to evaluate. Returns `root`."""
    write_rows(root, f"llm-adapters/{name}", None, split, table(name, 20 if split == "train" else 4))
    return root


def _question(number: int) -> dict[str, str]:
    text = f"{SENTENCES[number % 16]} {WORDS[number // 16 % 4]}"
    choices = [PLACES[(number + place) % 5] for place in range(4)]
    keys = ["A", "B", "C", "D"]
    return forms.question({"question": text, "choices": {"text": choices, "label": keys}, "answerKey": keys[number % 4]})


def _ending(number: int) -> dict[str, str]:
    endings = [SENTENCES[(number + step) % 16] for step in (1, 3, 5, 7)]
    return forms.ending(
        {"activity_label": "A walk", "ctx": SENTENCES[number % 16], "endings": endings, "label": str(number % 4)}
    )


def _blank(number: int) -> dict[str, str]:
    first, second = ("Ida", "Bruno") if number % 2 else ("Bruno", "Ida")
    text = f"{SENTENCES[number % 16]} {first} asked {second} about it, because _ had been there."
    return forms.blank({"sentence": text, "option1": first, "option2": second, "answer": str(number % 2 + 1)})


def _sum(number: int) -> dict[str, str]:
    have, more = 3 + number, 2 + number * 3 % 7
    thing = THINGS[number % 4]
    return {
        "instruction": f"The {PLACES[number % 5]} holds {have} {thing}. {more} more {thing} arrive. How many are there now?",
        "input": "",
        "output": f"There were {have} and {more} arrive: {have} + {more} = {have + more}. The answer is {have + more}.",
        "answer": f"{have + more}.0",
    }


def _algebra(number: int) -> dict[str, str]:
    right = number % 5
    values = [2 * (number + 1) + step - right for step in range(5)]
    options = [f"{letter}){value}" for letter, value in zip("ABCDE", values, strict=True)]
    text = f"Twice a number is {4 * (number + 1)}. Which number is it?"
    return forms.algebra({"question": text, "options": options, "rationale": "Halve it.", "correct": "ABCDE"[right]})


def _mixed(number: int) -> dict[str, str]:
    return (_question, _ending, _blank)[number % 3](number)


MAKERS = {
    "commonsense": _mixed,
    "math": _sum,
    "hellaswag": _ending,
    "winogrande": _blank,
    "ARC-Challenge": _question,
    "ARC-Easy": _question,
    "openbookqa": _question,
    "MultiArith": _sum,
    "SingleEq": _sum,
    "AQuA": _algebra,
}
