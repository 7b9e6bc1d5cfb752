"""A teacher in a process of its own, where nothing is left of this one and hashes are drawn anew."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armada_cli.contracts import Component, Environment
from armada_cli.registry.restore import write_options

SECONDS = 1800

PROGRAM = """
import importlib, json, sys
from pathlib import Path
asked = json.loads(sys.stdin.read())
sys.path[:] = asked["places"]
import numpy as np
from armada_cli.contracts import Environment, canonical
from armada_cli.registry.restore import read_options
def named(module, name):
    return getattr(importlib.import_module(module), name)
options = read_options(named(*asked["options"]), asked["values"])
paths = {name: value if value is None else Path(value) for name, value in asked["paths"].items()}
environment = Environment(**asked["environment"], **paths)
teacher = named(*asked["target"])(options, environment)
vectors = teacher.represent([Path(value) if asked["pictures"] else value for value in asked["inputs"]])
np.save(asked["file"], vectors, allow_pickle=False)
own = getattr(options, "identity", None)
Path(asked["file"]).with_suffix(".json").write_text(canonical(own(environment)) if own else "", encoding="utf-8")
"""


def represent_elsewhere(
    card: Component, options: Any, environment: Environment, inputs: Sequence[str | Path], file: Path
) -> tuple[np.ndarray, str]:
    """The vectors [n, width] that a fresh process has, and what the options' own `identity` says there (empty without one).

    Args:
        file: an ``.npy`` through which the vectors are handed over.

    Raises:
        LookupError: the classes cannot be named to another process.
        ValueError: it failed there; the message is its error's last line.
    """
    module, _, name = card.target.partition(":")
    kind = type(options)
    if "." in name or "<locals>" in kind.__qualname__ or "__main__" in (module, kind.__module__):
        raise LookupError("Its class or its options cannot be imported by name")
    given = {item.name: getattr(environment, item.name) for item in dataclasses.fields(environment)}
    paths = {name: value and str(value) for name in ("runs", "data") for value in [given.pop(name)]}
    question = {
        "places": [place or "." for place in sys.path],
        "target": [module, name],
        "options": [kind.__module__, kind.__qualname__],
        "values": write_options(options),
        "environment": given,
        "paths": paths,
        "pictures": isinstance(inputs[0], Path),
        "inputs": [str(item) for item in inputs],
        "file": str(file),
    }
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    try:
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=os.environ | {"PYTHONHASHSEED": seed},
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"it did not end within {SECONDS // 60} minutes") from None
    if ran.returncode:
        raise ValueError((ran.stderr.strip().splitlines() or ["it ended without a word"])[-1])
    return np.load(file, allow_pickle=False), file.with_suffix(".json").read_text(encoding="utf-8")
