"""Runs command lines for tests: inside this process, where torch is imported once, or as processes that can be killed."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from armada_cli.main import run
from armada_cli.registry import catalog


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The last line on standard error."""
        return self.err.strip().splitlines()[-1]


def armada(*arguments: str | Path) -> Ended:
    """Run one command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run([str(argument) for argument in arguments])
    return Ended(status, out.getvalue(), err.getvalue())


def train(recipe: Path, runs: Path, *more: str) -> Ended:
    """`armada run` of a recipe in this process, one trial after the other."""
    return armada("run", recipe, "--runs", runs, "--workers", "0", *more)


@contextlib.contextmanager
def plugins_changed() -> Iterator[None]:
    """Inside, and again behind it, the process looks for plugins anew. Modules that a test wrote are forgotten behind it:
    another test's plugin may have the same name."""
    catalog.current.cache_clear()
    before = set(sys.modules)
    try:
        yield
    finally:
        catalog.current.cache_clear()
        for name in set(sys.modules) - before:
            place = getattr(sys.modules[name], "__file__", None) or ""
            if place.startswith(tempfile.gettempdir() + os.sep) and not place.startswith(sys.prefix + os.sep):
                del sys.modules[name]


def results(runs: Path) -> dict[str, bytes]:
    """Trial id -> the bytes of its result."""
    return {path.parent.name: path.read_bytes() for path in sorted(runs.glob("trials/*/result.json"))}


def written(runs: Path, name: str = "tiny") -> str:
    """The words of a run's whole report, between single spaces."""
    return " ".join((runs / name / "report.txt").read_text(encoding="utf-8").split())


def kept_bytes(runs: Path) -> dict[str, bytes]:
    """What finished trials keep beside their results, by file: weights, predictions, heads. A result that is right says
    nothing of them."""
    files = [path for path in sorted(runs.glob("trials/*/**/*.safetensors")) if "checkpoint" not in path.parts]
    return {str(path.relative_to(runs)): path.read_bytes() for path in files}


def by_method(runs: Path) -> dict[str, dict[str, Any]]:
    """Method's title, with the task and the seed where there are several -> result."""
    found = {}
    for path in runs.glob("trials/*/result.json"):
        spec = json.loads((path.parent / "spec.json").read_text(encoding="utf-8"))
        found[spec["title"]] = json.loads(path.read_text(encoding="utf-8")) | {"folder": path.parent, "spec": spec}
    return found


def recorded(runs: Path, name: str = "tiny") -> list[dict[str, Any]]:
    """The trials as run.json lists them."""
    return json.loads((runs / name / "run.json").read_text(encoding="utf-8"))["trials"]


# ------------------------------------------------------------------------------------------------------------- processes


def start(*arguments: str | Path, processes: int = 1, **environment: str) -> subprocess.Popen[str]:
    """The command in a process group of its own, as a shell starts it. Several processes come from torch's launcher, which is
    what `accelerate launch` starts them with on several GPUs; with `--cpu` that starts one, whatever it is asked for."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes > 1 else []
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("ARMADA_", "_ARMADA"))}
    return subprocess.Popen(
        [sys.executable, *several, "-m", "armada_cli.main", *map(str, arguments)],
        env={**keep, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], seconds: float = 300) -> Ended:
    """Wait for a process."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"the command did not end within {seconds} s:\n{out}\n{err}") from None
    return Ended(process.returncode, out, err)


def wait_until(true: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 240) -> bool:
    """Whether the condition came true before the process ended; polled every millisecond."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        if process.poll() is not None:
            return bool(true())
        time.sleep(0.001)
    raise AssertionError("what the test waits for did not happen")


def group(leader: int) -> list[int]:
    """The living processes of a process group; zombies are dead."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[2]) == leader and fields[0] not in "ZX":
                found.append(int(path.parent.name))
    return found


def workers(leader: int) -> list[int]:
    """The worker processes of a run: children that were spawned to serve trials."""
    found = []
    for process in group(leader):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
            if "spawn_main" in command:
                found.append(process)
    return found


def nobody_left(leader: int, seconds: float = 10) -> bool:
    """Whether every process of a group is gone within so many seconds."""
    deadline = time.monotonic() + seconds
    while group(leader):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def table_of(text: str) -> str:
    """A report without what differs from run to run: everything from its provenance on."""
    return re.split(r"^Provenance$", text, maxsplit=1, flags=re.MULTILINE)[0]


# ----------------------------------------------------------------------------------------------------------------- disks


@contextlib.contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A disk of so many KiB, mounted in memory."""
    folder.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def mount(*arguments: str) -> None:
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("a disk that is full or read-only needs root and mount")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not mount: {done.stderr.strip()}")
