"""Output in whatever encoding the terminal, the pipe or the file has: a character that it lacks is replaced, never an error."""

from __future__ import annotations

import codecs
import sys

PLAIN = {"±": "~", "×": "x", "…": ".", "·": ".", "•": "*", "–": "-", "—": "-", "→": ">", "−": "-", "─": "-", "━": "=", "│": "|"}
"""What stands for a character in an encoding without it: one for one, so that the columns of tables stay straight."""


def never_fail_to_encode() -> None:
    """Make standard output and standard error replace what they cannot encode. UTF-8 lacks only lone surrogates, which file
    names may hold. A stream that is missing (`pythonw`) or of another kind is left as it is."""
    codecs.register_error("armada.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="armada.plain")


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(character, "?") for character in error.object[error.start : error.end]), error.end
