"""What a student answered: a choice, a number, a letter, found in whatever it wrote.

LLM-Adapters takes the first ``answer1`` .. ``answer5`` (``ending1``, ``option1``, ``solution1``, ``true``) of a text, the
last number, and the first capital from A to E. The rules here are the same with their accidents mended, as each function
says; ``released=True`` gives the rules as they were released, accidents included.
"""

from __future__ import annotations

import re

CHOICES = {"answer": 5, "ending": 4, "option": 2, "solution": 2}
"""How a data set names its choices, and how many there are at most."""

TOLERANCE = 1e-3
"""How far a number may be from the right one."""

_LABEL = re.compile(rf"({'|'.join(CHOICES)})([1-9])")
_BODY = r"(?:\d+(?:\.\d+)?|(?<!\.)\.\d+)"
_NUMBER = re.compile(
    # A minus is a sign unless something stands before it that could be subtracted from; a digit inside a word, as in H2O,
    # or after the point of another number, begins no number.
    r"(?P<sign>(?<![\w)\]%.])-[$€£]?|[$€£]-)?(?<![A-Za-z_\d])(?<!\d\.)"
    rf"(?:(?P<whole>\d+) +(?P<over>\d+)/(?P<under>\d+)(?![\d/])|(?P<top>{_BODY})(?:/(?P<bottom>{_BODY})(?![\d/]))?)"
)
_LETTER_SAID = re.compile(r"(?:answer|option|choice)\s*(?:is|are|:|=|-)?\s*(?:option|choice)?\s*[\"'(\[]*([A-E])(?![A-Za-z'’])")
_LETTER_MARKED = re.compile(r"[(\[]\s*([A-E])\s*[)\]]|(?<![A-Za-z])([A-E])(?=\s*[).:]|\s*$)")


def choice(text: str, family: str) -> str | None:
    """The first choice that is named, as ``answer3``. Upper case, a space, ``#`` or ``:`` before the number, brackets around
    it, and an answer that is the number alone are understood; ``answer12`` is none."""
    last = CHOICES[family]
    match = re.search(rf"(?<![a-z]){family}\s*[:#]?\s*[(\[]?([1-{last}])(?!\d|\.\d)", text, re.IGNORECASE)
    if match is None:
        match = re.fullmatch(rf"\W*([1-{last}])\W*", text)
    return f"{family}{match[1]}" if match else None


def truth(text: str) -> str | None:
    """The first ``true`` or ``false`` that is a word."""
    match = re.search(r"\b(true|false)\b", text, re.IGNORECASE)
    return match[1].lower() if match else None


def number(text: str) -> float | None:
    """The last number: with thousands separators, decimals, a sign (the minus of Unicode too), a currency before or a unit
    behind it, or a fraction (``3/4``, ``1 1/2``). In ``10-3`` the last number is 3."""
    text = text.replace("\u2212", "-")
    text = re.sub(r"\\d?frac\{(\d+)\}\{(\d+)\}", r" \1/\2", text)
    text = re.sub(r"(?<=\d)[,\u00a0\u202f](?=\d{3}(?!\d))", "", text)
    numbers = list(_NUMBER.finditer(text))
    if not numbers:
        return released_number(text)
    last = numbers[-1]
    if last["whole"]:
        value = float(last["whole"]) + _ratio(last["over"], last["under"])
    else:
        value = _ratio(last["top"], last["bottom"])
    return -value if last["sign"] else value


def letter(text: str) -> str | None:
    """The letter that is called the answer, the last time one is; else the last letter from A to E in brackets, before ``)``,
    ``.`` or ``:``, or at the end. The article in "A train" is none, nor is the first letter of "Answer"."""
    said = _LETTER_SAID.findall(re.sub(r"(?i)\b(answer|option|choice|is|are)\b", lambda word: word[0].lower(), text))
    if said:
        return said[-1]
    marked = _LETTER_MARKED.findall(text)
    if marked:
        return "".join(marked[-1])
    alone = re.fullmatch(r"\W*([A-Ea-e])\W*", text)
    return alone[1].upper() if alone else None


def extract(text: str, label: str, released: bool = False) -> str | float | None:
    """What `text` answers, in the form of the right answer `label`; None when it answers nothing."""
    kind = form(label)
    if kind in CHOICES:
        return released_choice(text, kind) if released else choice(text, kind)
    if kind == "truth":
        return _first(r"true|false", text) if released else truth(text)
    if kind == "letter":
        return _first(r"A|B|C|D|E", text) if released else letter(text)
    return released_number(text) if released else number(text)


def matches(answer: str | float | None, label: str) -> bool:
    """Whether what `extract` found is right."""
    if answer is None:
        return False
    if isinstance(answer, str):
        return answer == label.strip()
    right = number(label)
    return right is not None and abs(answer - right) <= TOLERANCE


def form(label: str) -> str:
    """A key of `CHOICES`, ``truth``, ``letter`` or ``number``; empty for a label that is nothing of these."""
    label = label.strip()
    match = _LABEL.fullmatch(label)
    if match and int(match[2]) <= CHOICES[match[1]]:
        return match[1]
    if label in ("true", "false"):
        return "truth"
    if re.fullmatch(r"[A-E]", label):
        return "letter"
    return "number" if number(label) is not None else ""


def released_choice(text: str, family: str) -> str | None:
    """LLM-Adapters' own rule: the first of the names, spelt exactly, wherever it stands."""
    return _first(rf"{family}[1-{CHOICES[family]}]", text)


def released_number(text: str) -> float | None:
    """LLM-Adapters' own rule: the last number once all commas are gone; ``10-3`` gives -3."""
    numbers = re.findall(r"-?\d+\.?\d*", text.replace(",", ""))
    return float(numbers[-1]) if numbers else None


def _first(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[0] if match else None


def _ratio(top: str, bottom: str | None) -> float:
    return float(top) if bottom is None or not float(bottom) else float(top) / float(bottom)
