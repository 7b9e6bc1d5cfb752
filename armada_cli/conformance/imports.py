"""What a module imports, seen in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from armada_cli.registry.catalog import HEAVY

SECONDS = 120

PROGRAM = """
import importlib, json, sys, time
places, modules, hooks, heavy = json.loads(sys.argv[1])
sys.path[:] = places
import armada_cli
import armada_cli.contracts
for name in modules:
    module = importlib.import_module(name)
    for hook in hooks:
        if callable(getattr(module, hook, None)):
            getattr(module, hook)()
print(json.dumps(sorted(set(heavy) & set(sys.modules))))
"""


def heavy_imports(modules: Sequence[str], hooks: Sequence[str] = ()) -> list[str]:
    """Those of `HEAVY` that a fresh process has imported after the modules, and after calling the hooks they have.

    Raises:
        ValueError: a module cannot be imported there; the message is its error's last line.
    """
    places = [place or "." for place in sys.path]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([places, list(modules), list(hooks), HEAVY])],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
    )
    if ran.returncode:
        raise ValueError((ran.stderr.strip().splitlines() or ["it ended without a word"])[-1])
    return json.loads(ran.stdout.strip().splitlines()[-1])
