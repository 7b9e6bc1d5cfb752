"""No model is asked for where downloads are off."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ASK_FOR_EVERYTHING = """
import sys
from pathlib import Path
from armada_cli import Environment, UserError
from armada_cli.registry.catalog import Catalog

catalog, here = Catalog.load(warn=False), Environment(runs=Path(sys.argv[1]), threads=1, offline=sys.argv[2] == "offline")
for name in ("bert-base", "opt-1.3b"):
    card = catalog.find("student", name).component
    try:
        card.load()(card.options(), here)
    except UserError as error:
        print(name, error, flush=True)
for name in ("stable-diffusion", "modelscope-video", "speecht5", "resnet-posters", "image-api", "midjourney"):
    card = catalog.find("teacher", name).component
    options = card.options()
    if name == "midjourney":  # its pipeline is here, its LoRA is not
        pipeline = catalog.find("teacher", "stable-diffusion").component.options().smoke(here.runs)
        options = card.options(model=pipeline.model)
    try:
        card.load()(options, here)
    except UserError as error:
        print(name, error, flush=True)
"""


HUB_MODELS = (
    "stable-diffusion-v1-4",
    "text-to-video-ms-1.7b",
    "speecht5_tts",
    "resnet-50",
    "openjourney-lora",
    "bert-base-uncased",
    "opt-1.3b",
)


@contextlib.contextmanager
def empty_hub() -> Iterator[tuple[str, list[str]]]:
    """A hub without any model: its address, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("offline", [True, False], ids=["offline", "online"])
def test_who_may_not_download_asks_nobody(offline: bool, tmp_path: Path) -> None:
    """In a process without HF_HUB_OFFLINE, which would forbid it whatever a component does. That the hub is asked when
    downloads are allowed shows that asking would be seen."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_", "ARMADA_"))}
    keep = {name: value for name, value in keep.items() if not name.lower().endswith("_proxy")}
    with empty_hub() as (address, asked):
        found = subprocess.run(
            [sys.executable, "-c", ASK_FOR_EVERYTHING, str(tmp_path), "offline" if offline else "online"],
            env={**keep, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    refusals = found.stdout.splitlines()
    assert (found.returncode, len(refusals)) == (0, 8), found.stdout + found.stderr
    if offline:
        assert all("not on this machine, and downloads are off" in line for line in refusals), found.stdout
        # By itself the hub's library may ask what it likes (as which programs call it); it may not ask for a model.
        assert [path for path in asked if any(name in path for name in HUB_MODELS)] == []
    else:
        assert [name for name in HUB_MODELS if not any(name in path for path in asked)] == []
