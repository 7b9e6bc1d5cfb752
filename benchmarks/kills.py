"""A run that is killed again and again ends in the bytes of one left alone: `python benchmarks/kills.py [KILLS [SEED]]`.

Half of the kills come at a random moment, to the whole process group. The other half come at a write event: the process that
opens a file for writing, renames, removes or makes something in the runs folder for the n-th time kills itself before it does.
Both the run's own process and its workers are killed so. Each round is a fresh folder, `PER_ROUND` kills and an undisturbed
end; then results, students, prepared vectors, the stored vectors and the report's table must be equal to the bit, and no half
of a file may be left. Random tiny models, made-up rows; the moments are drawn from the seed, 0 by default.
"""

from __future__ import annotations

import collections
import contextlib
import csv
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

KILLS = 60
PER_ROUND = 3
LONGEST_WAIT = 14.0
"""Seconds until a kill at a random moment; about what the whole run takes."""

WATCH = '''
"""Counts what this process writes under one folder, tells it in a file, and kills the process at the event asked for."""

import os
import signal
import sys

FOLDER, LOG, AT, ROLE = (os.environ.get("KILLS_" + name, "") for name in ("FOLDER", "LOG", "AT", "ROLE"))
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "sqlite3.connect"}
role = "worker" if any("spawn_main" in word for word in sys.orig_argv) else "main"
count = 0


def watch(event, arguments):
    global count
    if event == "open":
        path, mode, flags = arguments
        if not (flags or 0) & (os.O_WRONLY | os.O_RDWR) and not set(mode or "") & set("wax+"):
            return
    elif event not in WRITES:
        return
    else:
        path = arguments[0]
    if not isinstance(path, (str, bytes, os.PathLike)) or not os.path.abspath(os.fsdecode(path)).startswith(FOLDER):
        return
    count += 1
    if LOG:
        os.write(log, role[:1].encode())
    if role == ROLE and count == int(AT):
        os.kill(os.getpid(), signal.SIGKILL)


if FOLDER:
    log = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT) if LOG else -1
    sys.addaudithook(watch)
'''

RECIPE = """
student: {{name: encoder, model: {model}}}
teacher: {{name: precomputed, path: {vectors}, ids: {ids}}}
tasks: [{{name: files, as: words, file: {train}, validation: {validation}}}]
methods:
  - undistilled
  - {{name: armada, manifold: euclid, hidden: 48}}
  - {{name: kd, teacher: {{name: encoder, model: {model}}}}}
train: {{epochs: 3, batch_size: 8, lr: 3e-3, log_every: 2, max_length: 32}}
features: {{width: 16}}
seeds: [0]
"""


def main(kills: int, seed: int) -> None:
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = write(folder)
        events = Events(folder)
        whole = folder / "whole"
        begun = time.monotonic()
        assert run(recipe, whole, events.environment(whole, log=True)) == 0
        expected, counts = content(whole), events.counted()
        print(f"undisturbed: {time.monotonic() - begun:.1f} s, {len(expected)} things to compare, write events {dict(counts)}")
        done: collections.Counter[str] = collections.Counter()
        number = 0
        while sum(done.values()) < kills:
            number += 1
            runs = folder / f"round-{number}"
            said = []
            for _ in range(min(PER_ROUND, kills - sum(done.values()))):
                if draw.random() < 0.5:
                    kind, died = "a random moment", at_random(recipe, runs, draw.uniform(0.3, LONGEST_WAIT))
                else:
                    role = draw.choice(("main", "worker"))
                    at = draw.randint(1, counts[role])
                    kind = f"a write event of {'a worker' if role == 'worker' else 'the run itself'}"
                    died = at_event(recipe, runs, events, role, at)
                if died:
                    done[kind] += 1
                    said.append(kind)
            status = run(recipe, runs, os.environ)
            found = content(runs)
            other = sorted(key for key in {*expected, *found} if expected.get(key) != found.get(key))
            left = halves(runs)
            moments = ", ".join(said) or "no moment"
            print(f"round {number}: killed at {moments}: status {status}, {len(other)} differ, {len(left)} left", flush=True)
            if status or other or left:
                sys.exit(f"kills: round {number} ended otherwise: {other[:5]} {left[:5]}")
        print(
            f"{sum(done.values())} kills, all byte-equal: "
            + ", ".join(f"{count} at {kind}" for kind, count in sorted(done.items()))
        )


class Events:
    """Has a process tell of its write events, or die at one."""

    def __init__(self, folder: Path) -> None:
        self.place, self.log = folder / "watch", folder / "events"
        self.place.mkdir()
        (self.place / "sitecustomize.py").write_text(WATCH, encoding="utf-8")

    def environment(self, runs: Path, log: bool = False, role: str = "", at: int = 0) -> dict[str, str]:
        """The variables of a process whose writes under `runs` are watched."""
        return {
            **os.environ,
            "PYTHONPATH": str(self.place),
            "KILLS_FOLDER": str(runs),
            "KILLS_LOG": str(self.log) if log else "",
            "KILLS_ROLE": role,
            "KILLS_AT": str(at),
        }

    def counted(self) -> dict[str, int]:
        """Write events of each kind of process."""
        told = collections.Counter(self.log.read_text(encoding="ascii"))
        return {"main": told["m"], "worker": told["w"]}


def start(recipe: Path, runs: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """`armada run` in a process group of its own."""
    command = [sys.executable, "-m", "armada_cli.main", "run", str(recipe), "--runs", str(runs), "--workers", "1"]
    return subprocess.Popen(
        command,
        env={**environment, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def run(recipe: Path, runs: Path, environment: Mapping[str, str]) -> int:
    """The exit status of a run that nobody disturbs."""
    return start(recipe, runs, environment).wait()


def at_random(recipe: Path, runs: Path, wait: float) -> bool:
    """Kill the whole group after so many seconds. False when the run had ended."""
    process = start(recipe, runs, os.environ)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(wait)
        return False
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def at_event(recipe: Path, runs: Path, events: Events, role: str, at: int) -> bool:
    """Run with a process that dies at its n-th write event. False when it never came to it."""
    process = start(recipe, runs, events.environment(runs, role=role, at=at))
    status = process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # workers of a run that died notice it by themselves, a little later
    return status == (-signal.SIGKILL if role == "main" else 1)


def content(runs: Path) -> dict[str, bytes]:
    """All that must be equal, by its place in the folder."""
    patterns = ("trials/*/result.json", "trials/*/student/*", "outputs/*/*/*")
    found = {
        str(path.relative_to(runs)): path.read_bytes() for pattern in patterns for path in runs.glob(pattern) if path.is_file()
    }
    for path in runs.glob("features/*.safetensors"):
        found[str(path.relative_to(runs))] = settled(path.read_bytes())
    with contextlib.closing(sqlite3.connect(f"file:{runs / 'features.db'}?mode=ro", uri=True)) as store:
        tables = [name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in sorted(tables):
            columns = [row[1] for row in store.execute(f"PRAGMA table_info({table})") if row[1] != "updated"]
            rows = store.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
            found[f"features.db: {table}"] = repr(sorted(map(repr, rows))).encode()
    report = (runs / "victim" / "report.txt").read_text(encoding="utf-8")
    found["report"] = re.split(r"^Provenance$", report, maxsplit=1, flags=re.MULTILINE)[0].encode()
    return found


def settled(content: bytes) -> bytes:
    """A safetensors file with its header's keys in order: the library writes the metadata in a random one."""
    length = 8 + int.from_bytes(content[:8], "little")
    return json.dumps(json.loads(content[8:length]), sort_keys=True).encode() + content[length:]


def halves(runs: Path) -> list[str]:
    """Halves of files and folders that nobody will finish."""
    hidden = [path for path in runs.rglob(".*") if path.name != ".lock"]
    return [str(path.relative_to(runs)) for path in [*hidden, *runs.glob("trials/*/checkpoint/*")]]


def write(folder: Path) -> Path:
    """A tiny random encoder, made-up rows, random vectors for them, and a recipe over all three."""
    import numpy as np

    from armada_cli.registry import catalog

    options = catalog.current().find("student", "bert-base").component.options().smoke(folder / "model")
    draw = random.Random(1)
    words = {"good": ["warm", "bright", "gentle", "lively"], "bad": ["dull", "grim", "bitter", "tedious"]}
    things = [f"thing{number}" for number in range(40)]
    rows = [(f"the {thing} was {word}", label) for thing in things for label, some in words.items() for word in some]
    draw.shuffle(rows)
    for part, some in (("train", rows[:96]), ("validation", rows[96:144])):
        with (folder / f"{part}.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("text", "label"), *some])
    texts = [text for text, _ in rows]
    np.save(folder / "vectors.npy", np.random.default_rng(3).standard_normal((len(texts), 24)).astype(np.float32))
    (folder / "texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    path = folder / "victim.yaml"
    places = {"vectors": folder / "vectors.npy", "ids": folder / "texts.txt"}
    places |= {part: folder / f"{part}.csv" for part in ("train", "validation")}
    path.write_text(RECIPE.format(model=options.model, **places), encoding="utf-8")
    return path


if __name__ == "__main__":
    main(*map(int, [*sys.argv[1:], *(str(KILLS), "0")[len(sys.argv) - 1 :]]))
