"""Whether a model folder brings Python code that would have to run before the model can be loaded.

Told from the folder's JSON files, without importing transformers, so that `armada check` can say it. What is not told here, as
of a model of the hub or of a class for one kind of task alone, is said when the model is loaded
(`armada_cli.models.hub.cannot_load`).
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

from armada_cli.reading import load_json

SETTINGS = {
    "config.json": ("AutoConfig", ()),
    "tokenizer_config.json": ("AutoTokenizer", ("tokenizer_class",)),
    "preprocessor_config.json": ("AutoImageProcessor", ("image_processor_type", "feature_extractor_type")),
}
"""File -> the key of its `auto_map` that names code in the folder, and what names the library's own class."""


def needs_own_code(folder: Path, index: str = "config.json") -> bool:
    """Whether a model folder cannot be loaded without running code that lies in it.

    transformers prefers its own classes: a folder with an `auto_map` and a `model_type` that the library knows needs no code.

    Args:
        index: ``model_index.json`` for the folder of a diffusers pipeline.
    """
    if index != "config.json":
        return any(
            # ["pipeline", "Own"] is pipeline.py beside the index, ["unet_own", "Own"] is unet/unet_own.py.
            (folder / f"{value[0]}.py" if name == "_class_name" else folder / name / f"{value[0]}.py").is_file()
            for name, value in _read(folder / index).items()
            if isinstance(value, list) and value and isinstance(value[0], str)
        )
    model_type = _read(folder / "config.json").get("model_type")
    for file, (key, classes) in SETTINGS.items():
        settings = _read(folder / file)
        own = settings.get("auto_map")
        # A tokenizer's may be a list: of the slow and the fast class.
        if not own or (isinstance(own, dict) and key not in own):
            continue
        if not _is_known(model_type) and not any(_is_known(settings.get(name)) for name in classes):
            return True
    return False


def _is_known(name: Any) -> bool:
    """Whether the installed transformers speaks of a type or a class anywhere; where its tables cannot be read, it may."""
    tables = _tables()
    return isinstance(name, str) and (not tables or any(f'"{form}"' in tables for form in (name, name.removesuffix("Fast"))))


@functools.cache
def _tables() -> str:
    """The text of transformers' tables of model types and their classes; reading it does not import the library."""
    package = importlib.util.find_spec("transformers")
    if package is None or package.origin is None:
        return ""
    files = sorted((Path(package.origin).parent / "models" / "auto").glob("*.py"))
    return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)


def _read(file: Path) -> dict[str, Any]:
    try:
        value = load_json(file)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
