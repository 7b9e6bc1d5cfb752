"""Train small recipes with two checkouts of ARMADA and compare every score to the last bit.

    python benchmarks/same_scores.py OLD_PYTHON NEW_PYTHON [--only NAME]... [--keep FOLDER] [--workers N]

OLD_PYTHON and NEW_PYTHON are interpreters of two environments, each with one checkout installed; the same one twice shows
whether trials are deterministic. The recipes cover classification, regression, multiple choice, several labels and generation,
with every built-in method, in float32. They are held once, and written in the form that each checkout reads: where a control
and the aligner's settings stand has changed between the two.

Compared are `scores`, the scores of each epoch, `auxiliary` and `by_seed` of every trial, also of trials that others build on.
An accuracy moves in steps, and after so few steps some students name one class for every row, whatever taught them; so the
exported weights are compared too, tensor by tensor. A line for each trial, then the verdict. Exit status 1 when a score or a
student's weights differ, or a trial is missing on one side.

With `--keep` the runs stay below FOLDER/old and FOLDER/new. A side is run again only when the code that made it has changed
since, so the next comparison runs only the new side. About five minutes a side on two cores. Needs the extras `offline` and
`offline-large` in both environments, and the benchmarks of docs/offline.md (ARMADA_DATA, or ../shared/data).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

SIDES = ("old", "new")

# --------------------------------------------------------------------------------------------------------------- recipes

STUDENT = {"name": "minilm-offline", "layers": 2, "as": "two layers"}
SPEECH = {"name": "speech-offline", "as": "speech"}
PICTURES = {"name": "pictures-offline", "as": "pictures"}
MEMBERS = ["speech-offline", "pictures-offline"]
CONCATENATE = {"name": "ensemble", "teachers": MEMBERS, "combine": "concatenate", "as": "one aligner"}
ALIGNERS = {"name": "ensemble", "teachers": MEMBERS, "combine": "aligners", "as": "an aligner each"}

UNTAUGHT = [
    {"name": "undistilled", "as": "undistilled"},
    {"name": "parameter-matched", "as": "parameter-matched"},
]
MANIFOLDS = [
    {"name": "armada", "as": "euclid", "manifold": "euclid"},
    {"name": "armada", "as": "cosine", "manifold": "cosine"},
    {"name": "armada", "as": "elementwise", "manifold": "elementwise"},
]
CONTROLS = [
    {"name": "armada", "as": "shuffled", "manifold": "cosine", "control": "shuffled"},
    {"name": "armada", "as": "noise for features", "manifold": "euclid", "control": "noise"},
]
VARIANTS = [
    {"name": "armada", "as": "frozen", "manifold": "euclid", "aligner": "frozen"},
    {"name": "armada", "as": "noisy", "manifold": "euclid", "noise": 0.5},
    {"name": "armada", "as": "noisy, redrawn", "manifold": "cosine", "noise": 0.5, "noise_redrawn": True},
    {"name": "armada", "as": "fixed projection", "manifold": "euclid", "projection": "fixed"},
    {"name": "armada", "as": "mean pooling", "manifold": "cosine", "pooling": "mean"},
    {"name": "armada", "as": "aligner's own rate", "manifold": "euclid", "aligner_lr": 0.01, "aligner_epochs": 1},
    {"name": "armada", "as": "aligner sees manifold", "manifold": "elementwise", "aligner_manifold": True, "beta": 0.3},
    {"name": "armada", "as": "other weights", "manifold": "cosine", "alpha": 0.2, "beta": 0.5, "gamma": 0.1, "tau": 2.0},
]
KD = [{"name": "kd", "as": "kd", "teacher": {"name": "minilm-offline", "layers": 3}}]
TRAIN = {"epochs": 2, "batch_size": 16, "lr": 5e-4, "max_length": 48, "precision": "float32", "log_every": 2}
DECODER_TRAIN = {"epochs": 1, "batch_size": 4, "lr": 1e-3, "max_length": 128, "precision": "float32", "log_every": 1}


def make_recipes(data: Path) -> dict[str, dict[str, Any]]:
    """Name -> recipe. A control and the aligner's settings stand beside a method's options, in neither checkout's form.

    Args:
        data: the folder of `write_data`.
    """
    files = {
        "name": "files",
        "as": "topics",
        "file": str(data / "train.jsonl"),
        "validation": str(data / "validation.jsonl"),
        "target": "multilabel",
    }
    vectors = {"name": "precomputed", "as": "vectors", "path": str(data / "vectors.npy"), "ids": str(data / "vectors.txt")}
    instructions = {"name": "dolly", "as": "dolly", "max_new_tokens": 16, "seeds": [10, 20]}
    questions = [
        {"name": "arc-easy", "as": "arc-easy", "scoring": "likelihood"},
        {"name": "openbookqa", "as": "openbookqa", "beams": 1, "max_new_tokens": 12},
    ]
    decoded = [UNTAUGHT[0], MANIFOLDS[1], CONTROLS[0]]
    every = [*UNTAUGHT, *MANIFOLDS, *CONTROLS, *VARIANTS, *KD]
    few: dict[str, Any] = {"limit": {"train": 64, "validation": 64}, "seeds": [0]}
    return {
        "cola": {
            "student": STUDENT,
            "teacher": SPEECH,
            "tasks": ["cola"],
            "methods": every,
            "train": TRAIN,
            **few,
            "seeds": [0, 1],
        },
        "stsb": {
            "student": STUDENT,
            "teacher": PICTURES,
            "tasks": ["stsb"],
            "methods": [*UNTAUGHT, *MANIFOLDS, *CONTROLS, VARIANTS[0], *KD],
            "train": {**TRAIN, "accumulation": 2, "select": "best"},
            "features": {"width": 32},
            **few,
        },
        "copa": {
            "student": STUDENT,
            "teacher": SPEECH,
            "tasks": ["copa"],
            "methods": [*UNTAUGHT, *MANIFOLDS, *CONTROLS, VARIANTS[5], *KD],
            "train": {**TRAIN, "batch_size": 8, "evaluate": "end"},
            "features": {"reduce": "gaussian", "width": 48, "seed": 3},
            **few,
        },
        "tweets": {
            "student": STUDENT,
            "teacher": [CONCATENATE, ALIGNERS],
            "tasks": ["tweets-offline"],
            "methods": [UNTAUGHT[0], *MANIFOLDS, *CONTROLS, VARIANTS[0], VARIANTS[1]],
            "train": TRAIN,
            **few,
        },
        "files": {
            "student": STUDENT,
            "teacher": vectors,
            "tasks": [files],
            "methods": [*UNTAUGHT, *MANIFOLDS, *CONTROLS, *VARIANTS[1:5], *KD],
            "train": TRAIN,
            "features": {"reduce": "none", "standardise": False},
            "seeds": [0],
        },
        "instructions": {
            "student": {"name": "smollm2-offline", "as": "SmolLM2"},
            "teacher": SPEECH,
            "tasks": [instructions],
            "methods": [*decoded, {**VARIANTS[5], "manifold": "euclid"}],
            "train": DECODER_TRAIN,
            "limit": {"train": 12, "validation": 8},
            "seeds": [0],
        },
        "reasoning": {
            "student": {"name": "smollm2-offline", "as": "SmolLM2"},
            "teacher": PICTURES,
            "tasks": questions,
            "methods": decoded,
            "train": DECODER_TRAIN,
            "limit": {"train": 12, "validation": 12},
            "seeds": [0],
        },
    }


def write_form(recipe: Mapping[str, Any], aligner_in_train: bool) -> dict[str, Any]:
    """The recipe as one checkout reads it.

    Args:
        aligner_in_train: the older form, where `control` is an option and the aligner's settings are keys of `train`. The newer
            one has `control` under the method's `features`, and the aligner's settings as options.
    """
    methods = []
    for method in recipe["methods"]:
        entry = dict(method)
        if aligner_in_train:
            moved = {name: entry.pop(name) for name in ("aligner_lr", "aligner_epochs") if name in entry}
            if moved:
                entry["train"] = {**entry.get("train", {}), **moved}
        elif "control" in entry:
            entry["features"] = {"control": entry.pop("control")}
        methods.append(entry)
    return {**recipe, "methods": methods}


def write_data(folder: Path) -> None:
    """`train.jsonl` (64 rows) and `validation.jsonl` (48), texts with one to three of four topics, and vectors of all texts."""
    import numpy as np

    topics = {
        "sea": ["harbour", "ferry", "anchor", "tide", "gull"],
        "music": ["violin", "choir", "drum", "opera", "tune"],
        "garden": ["meadow", "tulip", "hedge", "spade", "bee"],
        "kitchen": ["teapot", "oven", "spoon", "bread", "salt"],
    }
    draw = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    texts = []
    for name, count in (("train", 64), ("validation", 48)):
        lines = []
        for number in range(count):
            labels = draw.sample(sorted(topics), draw.randint(1, 3))
            words = [word for label in labels for word in draw.sample(topics[label], 2)]
            draw.shuffle(words)
            texts.append(f"{name} note {number}: the {' and the '.join(words)} of {draw.choice(['old', 'new', 'our'])} days")
            lines.append(json.dumps({"text": texts[-1], "label": labels}))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    np.save(folder / "vectors.npy", np.random.default_rng(0).standard_normal((len(texts), 24)).astype(np.float32))
    (folder / "vectors.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------- comparing


class Key(NamedTuple):
    """What a trial is called on both sides. Its id is no such name: it may differ where the scores do not."""

    recipe: str
    task: str
    student: str
    teacher: str
    method: str
    seed: int


@dataclass(frozen=True)
class Finished:
    """Of one trial: its scores by name, the digest of its weights ('' without any), and why it has no result."""

    scores: Mapping[str, float | None] = field(default_factory=dict)
    weights: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Row:
    """One trial on both sides. `differ` has the scores that are not the same: name, old value, new value."""

    key: Key
    count: int
    differ: tuple[tuple[str, str, str], ...] = ()
    weights: str = ""
    missing: str = ""

    @property
    def equal(self) -> bool:
        return not self.differ and not self.missing and self.weights != "differ"


def compare(old: Mapping[Key, Finished], new: Mapping[Key, Finished]) -> list[Row]:
    """Every trial of either side, in the old side's order and then the new one's.

    Numbers are equal when all their bits are: 0.0 and -0.0 differ, nan and nan do not.
    """
    rows = []
    for key in dict.fromkeys([*old, *new]):
        sides = [side.get(key, Finished(missing="no such trial")) for side in (old, new)]
        reasons = [f"{name}: {side.missing}" for name, side in zip(SIDES, sides, strict=True) if side.missing]
        if reasons:
            rows.append(Row(key, max(len(side.scores) for side in sides), missing="; ".join(reasons)))
            continue
        one, other = (side.scores for side in sides)
        names = list(dict.fromkeys([*one, *other]))
        differ = []
        for name in names:
            before, after = (describe_number(side[name]) if name in side else "no score" for side in (one, other))
            if before != after:
                differ.append((name, before, after))
        same = sides[0].weights == sides[1].weights
        weights = "" if same and not sides[0].weights else "equal" if same else "differ"
        rows.append(Row(key, len(names), tuple(differ), weights))
    return rows


def describe_number(value: float | None) -> str:
    """A text that two numbers share only when their bits are the same; `repr` gives the shortest that reads back exactly."""
    return repr(None if value is None else float(value))


def verdict(rows: Sequence[Row]) -> str:
    """The last line: `N trials, M scores: all equal`, or what is not."""
    differ, missing = sum(len(row.differ) for row in rows), sum(bool(row.missing) for row in rows)
    weights = sum(row.weights == "differ" for row in rows)
    parts = [f"{differ} scores differ in {sum(bool(row.differ) for row in rows)} trials"] if differ else []
    parts += [f"{missing} trials are missing"] if missing else []
    if not parts:
        parts = ["all equal" if rows else "nothing was compared"]
    parts += [f"the weights of {weights} students differ"] if weights else []
    return f"{len(rows)} trials, {sum(row.count for row in rows)} scores: {', '.join(parts)}"


def make_table(rows: Sequence[Row]) -> Table:
    """A line for each trial."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("recipe", "task", "teacher", "method"):
        table.add_column(name, overflow="fold")
    table.add_column("seed", justify="right")
    table.add_column("scores", justify="right")
    table.add_column("old and new", overflow="fold")
    table.add_column("weights")
    for row in rows:
        said = row.missing or "\n".join(f"{name}: {old} | {new}" for name, old, new in row.differ) or "equal"
        key = row.key
        cells = (key.recipe, key.task, key.teacher, key.method, str(key.seed), str(row.count), said, row.weights)
        table.add_row(*map(Text, cells), style="" if row.equal else "bold red")
    return table


# --------------------------------------------------------------------------------------------------------------- reading


def read_side(runs: Path, recipes: Sequence[str]) -> dict[Key, Finished]:
    """The trials of the recipes in one folder of runs, with those that they build on. A recipe without a run is one missing
    trial, so that it is told also where neither side could run it.

    Raises:
        ValueError: two trials have one key.
    """
    trials: dict[Key, Finished] = {}
    for recipe in recipes:
        path = runs / recipe / "run.json"
        if not path.is_file():
            trials[Key(recipe, "", "", "", "", 0)] = Finished(missing="the recipe was not run")
            continue
        record = json.loads(path.read_text(encoding="utf-8"))
        for part in ("trials", "dependencies"):
            for entry in record[part]:
                key = name_trial(recipe, entry, part == "dependencies")
                if key in trials:
                    raise ValueError(f"two trials of one name: {key}")
                trials[key] = read_trial(runs / "trials" / entry["id"], entry)
    return trials


def name_trial(recipe: str, entry: Mapping[str, Any], depended: bool) -> Key:
    """A trial that others build on has a task of its own name. Its student comes from a method's option, where it has no
    title of ours, so the key does without."""
    task = f"{entry['task']}, for others" if depended else entry["task"]
    student = "" if depended else entry["student"]
    return Key(recipe, task, student, entry["teacher"] or "", entry["method"], entry["seed"])


def read_trial(folder: Path, entry: Mapping[str, Any]) -> Finished:
    """What `result.json` says of the scores."""
    path = folder / "result.json"
    if entry["status"] != "done" or not path.is_file():
        return Finished(missing=entry.get("reason") or "no result")
    result = json.loads(path.read_text(encoding="utf-8"))
    scores = dict(flatten("scores", result.get("scores")))
    for epoch in result.get("epochs") or ():
        scores |= flatten(f"epoch {epoch['epoch']}", epoch.get("scores"))
        scores |= flatten(f"epoch {epoch['epoch']} auxiliary", epoch.get("auxiliary"))
    scores |= flatten("auxiliary", result.get("auxiliary"))
    scores |= flatten("by_seed", result.get("by_seed"))
    return Finished(scores, digest_weights(folder / "student"))


def flatten(name: str, value: Any) -> Iterator[tuple[str, float | None]]:
    """Nested mappings as (`name.key.key`, number). An empty one, or None for one, gives nothing."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if item is None:
                yield f"{name}.{key}", None
            else:
                yield from flatten(f"{name}.{key}", item)
    elif value is not None:
        yield name, value


def digest_weights(folder: Path) -> str:
    """SHA-256 of all tensors of an exported student: names, types, shapes and bytes, not how the file orders them."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("**/*.safetensors")):
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            for name in sorted(header):
                start, end = header[name]["data_offsets"]
                whole.update(json.dumps([name, header[name]["dtype"], header[name]["shape"]]).encode())
                stream.seek(8 + length + start)
                whole.update(stream.read(end - start))
    return whole.hexdigest() if folder.is_dir() else ""


# --------------------------------------------------------------------------------------------------------------- running

ASK = """
import hashlib, importlib.metadata, importlib.util, json, pathlib
import armada_cli
try:
    from armada_cli.settings import Train
    fields = set(Train.__dataclass_fields__)
except ImportError:
    fields = set()
package = pathlib.Path(armada_cli.__file__).parent
folders = {package}
for entry in importlib.metadata.entry_points(group="armada"):
    if entry.module.partition(".")[0] != "armada_cli":
        spec = importlib.util.find_spec(entry.module)
        if spec and spec.origin:
            folders.add(pathlib.Path(spec.origin).parent)
code = hashlib.sha256()
for folder in sorted(folders):
    for path in sorted(folder.rglob("*.py")):
        code.update(f"{folder.name}/{path.relative_to(folder).as_posix()}".encode() + path.read_bytes())
for name in ("torch", "transformers", "accelerate", "peft", "numpy", "scikit-learn"):
    code.update(f"{name} {importlib.metadata.version(name)}".encode())
print(json.dumps({"aligner_in_train": "aligner_lr" in fields, "package": str(package), "code": code.hexdigest()}))
"""


@dataclass(frozen=True)
class Side:
    """One interpreter and where it works."""

    name: str
    python: Path
    folder: Path
    environment: Mapping[str, str]

    @property
    def runs(self) -> Path:
        return self.folder / self.name

    def ask(self) -> dict[str, Any]:
        """Which form of recipes the checkout reads (`aligner_in_train`), where its `package` is, and a digest of its `code`."""
        done = self._python("-c", ASK)
        if done.returncode:
            sys.exit(f"{self.python} cannot import armada_cli: {done.stderr.strip().splitlines()[-1]}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def reuse(self, code: str) -> bool:
        """Whether runs of the same code are there. Those of other code are removed: a trial's id does not tell them apart."""
        note = self.runs / "code.txt"
        kept = note.is_file() and note.read_text(encoding="utf-8") == code
        if not kept:
            shutil.rmtree(self.runs, ignore_errors=True)
            self.runs.mkdir(parents=True)
            note.write_text(code, encoding="utf-8")
        return kept

    def run(self, name: str, recipe: Mapping[str, Any], workers: int | None) -> str:
        """Run one recipe. Returns what it complained of, or nothing."""
        path = self.folder / "recipes" / self.name / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(dict(recipe), sort_keys=False), encoding="utf-8")
        (self.runs / name / "run.json").unlink(missing_ok=True)  # of an earlier run, should this one not come so far
        words = ["-m", "armada_cli", "run", str(path), "--runs", str(self.runs)]
        done = self._python(*words, *([] if workers is None else ["--workers", str(workers)]))
        return f"exit status {done.returncode}\n{(done.stderr or done.stdout)[-2000:]}" if done.returncode else ""

    def _python(self, *words: str) -> subprocess.CompletedProcess[str]:
        # Python looks for packages in the working directory first, and a checkout has them.
        environment = dict(self.environment)
        return subprocess.run([self.python, *words], cwd=self.folder, env=environment, text=True, capture_output=True)


def make_environment() -> dict[str, str]:
    """Of both sides: offline, one thread, and nothing that would show one checkout to the other's interpreter."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ARMADA_", "PYTHON"))}
    data = os.environ.get("ARMADA_DATA") or str(Path(__file__).resolve().parents[2] / "shared" / "data")
    settings = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUTF8": "1"}
    return environment | settings | {"ARMADA_DATA": str(Path(data).resolve())}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", type=Path, metavar="OLD_PYTHON")
    parser.add_argument("new", type=Path, metavar="NEW_PYTHON")
    parser.add_argument("--only", action="append", choices=list(make_recipes(Path())), help="run this recipe; repeatable")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave both sides' runs there, and use what is there")
    parser.add_argument("--workers", type=int, help="trials side by side, as `armada run` has it")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        # No symbolic link of an interpreter is followed: a virtual environment is known by it.
        pythons = {"old": Path(os.path.abspath(given.old)), "new": Path(os.path.abspath(given.new))}
        rows = run_sides(pythons, (given.keep or Path(temporary)).resolve(), given.only, given.workers)
    console = Console()
    if not console.is_terminal:
        console.width = 150
    console.print(make_table(rows))
    print(f"students whose weights were compared: {sum(bool(row.weights) for row in rows)}")
    print(verdict(rows))
    return 0 if rows and all(row.equal for row in rows) else 1


def run_sides(pythons: Mapping[str, Path], folder: Path, only: Sequence[str] | None, workers: int | None) -> list[Row]:
    """Run the recipes on both sides and compare. What a run complained of goes to standard error."""
    write_data(folder / "data")
    recipes = {name: recipe for name, recipe in make_recipes(folder / "data").items() if not only or name in only}
    trials: dict[str, dict[Key, Finished]] = {}
    for name in SIDES:
        side = Side(name, pythons[name], folder, make_environment())
        answer = side.ask()
        began, kept = time.monotonic(), side.reuse(answer["code"])
        note = ", what is finished is used again" if kept else ""
        print(f"{name}: {answer['package']}{note}", flush=True)
        for title, recipe in recipes.items():
            started = time.monotonic()
            complaint = side.run(title, write_form(recipe, answer["aligner_in_train"]), workers)
            print(f"  {title:<14} {time.monotonic() - started:6.1f} s", flush=True)
            if complaint:
                print(f"{name}, recipe {title}: {complaint}", file=sys.stderr, flush=True)
        print(f"  {'all':<14} {time.monotonic() - began:6.1f} s", flush=True)
        trials[name] = read_side(side.runs, list(recipes))
    return compare(trials["old"], trials["new"])


if __name__ == "__main__":
    raise SystemExit(main())
