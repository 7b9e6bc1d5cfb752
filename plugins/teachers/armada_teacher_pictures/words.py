"""Which pictogram stands for which words: the Unicode names of the code points that a font can draw."""

from __future__ import annotations

import re
import struct
import unicodedata
from collections.abc import Iterable, Iterator

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")

_FURNITURE = """
a an and are as at be but by face for from has have he her his i in is it its left me my no not of off on or our out
over right she sign so symbol that the their them they this to up us was we were with without you your black white heavy
light medium small large button squared circled negative tone type fitzpatrick emoji modifier variation selector
component presentation ornament style one two rightwards leftwards upwards downwards do can will would could should who
what when how if am did does been had which there than then more most very put place last only way new
"""

FURNITURE = frozenset(_FURNITURE.split())
"""Words that draw nothing of their own: function words, and what Unicode names say about the shape of a sign."""


def read_code_points(font: bytes) -> set[int]:
    """Code points that a TrueType font maps to a glyph: its `cmap` table, formats 4 and 12.

    Raises:
        ValueError: the bytes are no font, or it has neither format.
    """
    try:
        (tables,) = struct.unpack_from(">H", font, 4)
        for number in range(tables):
            tag, _, offset, _ = struct.unpack_from(">4sLLL", font, 12 + 16 * number)
            if tag == b"cmap":
                return _read_cmap(font, offset)
    except struct.error:
        pass
    raise ValueError("not a font with a Unicode character map")


def _read_cmap(font: bytes, base: int) -> set[int]:
    (count,) = struct.unpack_from(">H", font, base + 2)
    points: set[int] = set()
    known = False
    for number in range(count):
        platform, encoding, offset = struct.unpack_from(">HHL", font, base + 4 + 8 * number)
        (form,) = struct.unpack_from(">H", font, base + offset)
        if platform not in (0, 3) or (platform == 3 and encoding not in (1, 10)):
            continue
        if form == 12:
            known = True
            (groups,) = struct.unpack_from(">L", font, base + offset + 12)
            for group in range(groups):
                first, last, _ = struct.unpack_from(">LLL", font, base + offset + 16 + 12 * group)
                points.update(range(first, min(last, 0x10FFFF) + 1))
        elif form == 4:
            known = True
            (doubled,) = struct.unpack_from(">H", font, base + offset + 6)
            ends = struct.unpack_from(f">{doubled // 2}H", font, base + offset + 14)
            starts = struct.unpack_from(f">{doubled // 2}H", font, base + offset + 16 + doubled)
            for first, last in zip(starts, ends, strict=True):
                points.update(range(first, last + 1) if last != 0xFFFF else range(first, last))
    if not known:
        raise ValueError("not a font with a Unicode character map")
    return points


def is_pictogram(code: int) -> bool:
    """Whether a code point is a picture with a name: symbols, but no letters, digits, skin tones or invisible joiners."""
    character = chr(code)
    return unicodedata.category(character) in ("So", "Sm") and bool(unicodedata.name(character, "")) and code > 0xFF


class Vocabulary:
    """Words -> pictograms.

    A run of words that is a pictogram's whole name ("hot dog") gives that pictogram. Otherwise a word gives the pictogram
    whose name has it and the fewest other words; of several the one with the lowest code point. A pictogram that stands in
    the text itself gives itself.
    """

    def __init__(self, code_points: Iterable[int], *, plurals: bool = True) -> None:
        self.plurals = plurals
        self.pictograms = {code for code in code_points if is_pictogram(code)}
        self.names: dict[tuple[str, ...], int] = {}
        best: dict[str, tuple[int, int]] = {}
        for code in sorted(self.pictograms):
            words = tuple(_WORD.findall(unicodedata.name(chr(code)).lower().replace("-", " ")))
            telling = tuple(word for word in words if word not in FURNITURE and len(word) > 1)
            if not telling:
                continue
            self.names.setdefault(words, code)
            self.names.setdefault(telling, code)
            for word in telling:
                best[word] = min(best.get(word, (99, code)), (len(words), code))
        self.words = {word: code for word, (_, code) in best.items()}
        self.longest = max((len(name) for name in self.names), default=1)

    def find(self, text: str) -> list[int]:
        """The code points of a text's pictograms, in the order of its words; a repeated word counts each time."""
        codes = [ord(character) for character in text if ord(character) in self.pictograms]
        words = _WORD.findall(text.lower().replace("’", "'"))
        place = 0
        while place < len(words):
            for length in range(min(self.longest, len(words) - place), 1, -1):
                code = self._name(words[place : place + length])
                if code is not None:
                    codes.append(code)
                    place += length
                    break
            else:
                code = self._word(words[place])
                if code is not None:
                    codes.append(code)
                place += 1
        return codes

    def _name(self, words: list[str]) -> int | None:
        for last in self._forms(words[-1]):
            name = (*words[:-1], last)
            if name in self.names:
                return self.names[name]
        return None

    def _word(self, word: str) -> int | None:
        if word in FURNITURE:
            return None
        for form in self._forms(word):
            if form not in FURNITURE and (code := self.names.get((form,), self.words.get(form))) is not None:
                return code
        return None

    def _forms(self, word: str) -> Iterator[str]:
        word = word.removesuffix("'s")
        yield word
        if self.plurals and len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
            if word.endswith("ies"):
                yield word[:-3] + "y"
            yield word[:-1]
            if word.endswith("es"):
                yield word[:-2]
