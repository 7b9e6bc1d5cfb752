"""Rows of the original data sets in the form of LLM-Adapters: instruction, input, output, answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

COLUMNS = ("instruction", "output", "answer")
"""What a row in LLM-Adapters' form must have; its ``input`` may be missing."""

Row = Mapping[str, Any]


def question(row: Row, column: str = "question") -> dict[str, str]:
    """ARC: question, choices (text, label), answerKey."""
    choices = row["choices"]
    key = list(choices["label"]).index(row["answerKey"])
    return _chosen(f"Please choose the correct answer to the question: {row[column]}", "Answer", choices["text"], key)


def stem(row: Row) -> dict[str, str]:
    """OpenBookQA, where the question is called question_stem."""
    return question(row, "question_stem")


def ending(row: Row) -> dict[str, str]:
    """HellaSwag: activity_label, ctx, endings, label."""
    begun = f"Please choose the correct ending to complete the given sentence: {row['activity_label']}: {_plain(row['ctx'])}"
    return _chosen(begun, "Ending", [_plain(text) for text in row["endings"]], int(row["label"]))


def blank(row: Row) -> dict[str, str]:
    """WinoGrande: sentence, option1, option2, answer. Here the released rows have no empty line before the format."""
    begun = f"Please choose the correct answer to fill in the blank to complete the given sentence: {row['sentence']}"
    return _chosen(begun, "Option", [row["option1"], row["option2"]], int(row["answer"]) - 1, gap=" ")


def algebra(row: Row) -> dict[str, str]:
    """AQuA-RAT: question, options (``A)21``), rationale, correct."""
    options = " ".join(f"({text[0]}) {text[2:].strip()}" for text in row["options"])
    answer = row["correct"].strip()
    return {
        "instruction": f"{row['question'].strip()} Answer Choices: {options}",
        "input": "",
        "output": f"{row.get('rationale', '').strip()} The answer is {answer}.".strip(),
        "answer": answer,
    }


def sum_problem(row: Row) -> dict[str, str]:
    """MultiArith: question, final_ans."""
    answer = str(row["final_ans"]).strip()
    return {"instruction": row["question"].strip(), "input": "", "output": f"The answer is {answer}.", "answer": answer}


FORMS: dict[str, Callable[[Row], dict[str, str]]] = {
    "question": question,
    "stem": stem,
    "ending": ending,
    "blank": blank,
    "algebra": algebra,
    "sum_problem": sum_problem,
}


def convert(row: Row, form: str) -> dict[str, str]:
    """A row in the form that `FORMS` names.

    Raises:
        ValueError: the row has no answer, or a field of another kind, with the reason in words.
    """
    try:
        return FORMS[form](row)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _chosen(begun: str, name: str, texts: Sequence[str], right: int, gap: str = "\n\n") -> dict[str, str]:
    if not 0 <= right < len(texts):
        raise ValueError(f"choice {right + 1} of {len(texts)}")
    names = [f"{name.lower()}{number}" for number in range(1, len(texts) + 1)]
    listed = " ".join(f"{name}{number}: {text}" for number, text in enumerate(texts, start=1))
    return {
        "instruction": f"{begun}\n\n{listed}{gap}Answer format: {'/'.join(names)}",
        "input": "",
        "output": f"the correct answer is {names[right]}",
        "answer": names[right],
    }


def _plain(text: str) -> str:
    """HellaSwag's text without the marks of WikiHow, as language models are asked it everywhere."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")
