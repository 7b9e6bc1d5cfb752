"""What a run may be called: its name is a folder inside the runs folder, beside others that have names of their own."""

from __future__ import annotations

import os
import unicodedata

from armada_cli.errors import UserError

STORE = "features.db"
RESERVED = ("trials", "features", "outputs", STORE, "smoke", "image-api", "posters")
"""What lies in the runs folder beside the runs. The store has companions whose names begin like its own."""

RUN_FILES = (
    "origin.json",
    "recipe.yaml",
    "resolved.json",
    "run.json",
    "changes.jsonl",
    "report.txt",
    "report.md",
    "report.json",
    "report.html",
    "contrasts.json",
)
"""What a run's folder holds."""

MAX_BYTES = 100


def require_run_name(name: str, source: str) -> None:
    """Refuse a name that is not that of one new folder inside the runs folder. `source` says where it comes from, with what to
    do about it.

    Raises:
        UserError: why not.
    """
    reason = refuse_folder_name(name)
    if not reason and is_reserved(name):
        reason = "the runs folder keeps something else under it"
    if reason:
        raise UserError(f"{name!r} cannot be the name of a run: {reason}", source)


def refuse_folder_name(name: str) -> str:
    """Why a text is not the name of one visible folder; empty when it is."""
    if not name:
        return "it is empty"
    if name in (".", ".."):
        return "it leads out of its folder"
    if "/" in name or "\\" in name:
        return "it holds a separator of folders"
    if name.startswith("."):
        return "it begins with a dot, as unfinished files do"
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in name):
        return "it holds an invisible or a broken character"
    if len(os.fsencode(name)) > MAX_BYTES:
        return f"it is longer than {MAX_BYTES} bytes"
    return ""


def is_reserved(name: str) -> bool:
    """Whether the runs folder keeps something else under this name. Some file systems do not tell capitals and Unicode forms
    apart."""
    alike = unicodedata.normalize("NFKC", name).casefold()
    return alike in RESERVED or alike.startswith(STORE)
