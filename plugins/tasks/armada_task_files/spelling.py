"""What looks the same is the same: texts and class names are compared without case, spacing, Unicode form and invisible
characters."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

INVISIBLE = re.compile(
    "[\u00ad\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb]"
)
"""Zero-width and format characters, variation selectors, and letters without ink (fillers of Hangul, Braille's empty cell). Not
the tags that make England's flag another than Scotland's."""

WHOLE = re.compile(r"([+-]?)0*(\d+)(\.0*)?")
"""A whole number as a table may hold it: 1, +1, 1.0. Not 1e0, which may be a code; and 01 stays apart from 1 (a postcode)."""


def visible(text: str) -> str:
    """The text without characters that no reader sees: zero-width spaces and joiners, byte order marks, soft hyphens, marks of
    direction, variation selectors."""
    if text.isascii():
        return text
    return INVISIBLE.sub("", text)


def _invisible(character: str) -> bool:
    return INVISIBLE.fullmatch(character) is not None


def comparable(text: str) -> str:
    """What two texts have in common that differ in case, spacing, Unicode form or invisible characters alone."""
    return " ".join(visible(unicodedata.normalize("NFKC", text)).casefold().split())


def class_key(name: str) -> str:
    """What two spellings of one class have in common; 1 and 1.0 are one class too."""
    key = comparable(name)
    number = WHOLE.fullmatch(key)
    if number is None or (key.lstrip("+-").startswith("0") and len(key.lstrip("+-").split(".")[0]) > 1):
        return key
    sign = "-" if number[1] == "-" and number[2] != "0" else ""
    return sign + number[2]


class Spellings:
    """Which class every spelling in a table means.

    Args:
        counts: spelling -> rows that have it.
        classes: the names that the user gives; empty: one for each class, in its most frequent spelling.
    """

    def __init__(self, counts: Mapping[str, int], classes: Sequence[str] = ()) -> None:
        self.counts = Counter(counts)
        self._meant: dict[str, str] = {}
        self._exact = {name: name for name in classes}
        keys: dict[str, list[str]] = {}
        if classes:
            for name in classes:
                keys.setdefault(class_key(name), []).append(name)
            # Names of the user's own that look the same are told apart to the letter.
            self._keys = {key: names[0] for key, names in keys.items() if len(names) == 1}
            return
        for spelling in sorted(counts):
            keys.setdefault(class_key(spelling), []).append(spelling)
        whole = all(WHOLE.fullmatch(key) for key in keys)
        self._keys = {
            key: key if whole or (len(spellings) > 1 and WHOLE.fullmatch(key)) else _best(spellings, self.counts)
            for key, spellings in keys.items()
        }

    def meant(self, spelling: str) -> str:
        """The name of the class; an unknown spelling is returned as it is."""
        name = self._meant.get(spelling)
        if name is None:
            name = self._exact.get(spelling) or self._keys.get(class_key(spelling), spelling)
            self._meant[spelling] = name
        return name

    def note(self, where: str, shown: int = 3) -> str | None:
        """A line about classes with several spellings, with the rows of each; None where there are none."""
        spellings: dict[str, list[str]] = {}
        for spelling in sorted(self.counts):
            spellings.setdefault(self.meant(spelling), []).append(spelling)
        several = [(name, spelt) for name, spelt in sorted(spellings.items()) if len(spelt) > 1]
        if not several:
            return None
        told = [
            f"{', '.join(f'{_spelt(one, spelt)} ({self.counts[one]})' for one in spelt)} are read as {name!r}"
            for name, spelt in several[:shown]
        ]
        if len(several) > shown:
            told.append(f"{len(several) - shown} more")
        return (
            f"{where} writes one class in several ways: {'; '.join(told)}. If they are different classes, name "
            "all classes with `classes`"
        )


def _best(spellings: Iterable[str], counts: Mapping[str, int]) -> str:
    """The most frequent spelling, composed; among equals one that has nothing invisible."""
    best = min(
        spellings, key=lambda name: (-counts[name], visible(name) != name, unicodedata.normalize("NFC", name) != name, name)
    )
    return " ".join(_trimmed(unicodedata.normalize("NFC", best)).split())


def _trimmed(text: str) -> str:
    while text and _invisible(text[0]):
        text = text[1:]
    # A variation selector belongs to the character before it.
    while text and _invisible(text[-1]) and not 0xFE00 <= ord(text[-1]) <= 0xFE0F:
        text = text[:-1]
    return text


def _spelt(spelling: str, others: Sequence[str]) -> str:
    """Quoted; with escapes where the difference would not be seen."""
    composed = unicodedata.normalize("NFC", spelling)
    alike = any(other != spelling and unicodedata.normalize("NFC", other) == composed for other in others)
    return ascii(spelling) if alike and composed != spelling else repr(spelling)
