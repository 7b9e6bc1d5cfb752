"""Flip one byte after the other in a finished and in a half-finished run, go on, and look at the scores.

    python benchmarks/flips.py [--count 300] [--seed 0]

Every flip happens in a copy of a run with a text teacher and a manifold method: once finished, with one more seed to be made,
once stopped in the middle. Then the recipe is run again in this process, and its figures are compared with those of an
undisturbed run. A flip is `harmless` (the same scores, nothing was made again), `repaired` (the same scores after something
was), `named` (a line and no score), or `wrong`: another score, or a traceback. Exit status 1 for the last. Notes of answers
have a test of their own (`tests/test_evaluation.py`).
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

TRAIN = "{epochs: 2, batch_size: 16, lr: 1e-3, log_every: 1, max_length: 16, precision: float32}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=300, help="flips, half of them in each run")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        counts = try_flips(Path(folder), given.count, given.seed)
    for (state, verdict), number in sorted(counts.items()):
        print(f"{state:<14} {verdict:<10} {number}")
    return int(any(verdict == "wrong" for _, verdict in counts))


def try_flips(folder: Path, count: int, seed: int) -> collections.Counter[tuple[str, str]]:
    """(state, verdict) -> how many flips."""
    recipe = write_inputs(folder)
    whole, finished, halfway = folder / "whole", folder / "finished", folder / "halfway"
    assert armada("run", recipe, "--runs", whole, "--workers", "0", "--set", "seeds=[0, 1]")[0] == 0
    assert armada("run", recipe, "--runs", finished, "--workers", "0")[0] == 0
    stop_halfway(recipe, halfway)
    expected = scores(whole)
    choose = random.Random(seed)
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    for state, source in (("finished", finished), ("half-finished", halfway)):
        files = sorted(path for path in source.rglob("*") if path.is_file() and path.stat().st_size)
        for number in range(count // 2):
            # Every file has its turn; weights would otherwise be nearly all that is hit.
            name = files[number % len(files)].relative_to(source)
            work = folder / "work"
            shutil.copytree(source, work)
            content = bytearray((work / name).read_bytes())
            place = choose.randrange(len(content))
            content[place] ^= 1 << choose.randrange(8)
            (work / name).write_bytes(content)
            verdict = judge(recipe, work, expected)
            counts[state, verdict] += 1
            if verdict == "wrong":
                print(f"{state}: byte {place} of {name}: another score or a traceback", file=sys.stderr)
            shutil.rmtree(work)
    return counts


def judge(recipe: Path, runs: Path, expected: dict[str, object]) -> str:
    before = {path.parent.name: path.read_bytes() for path in runs.glob("trials/*/result.json")}
    try:
        status, said = armada("run", recipe, "--runs", runs, "--workers", "0", "--set", "seeds=[0, 1]")
    except BaseException:
        return "wrong"
    found = scores(runs)
    if "Traceback" in said or any(found[name] != expected.get(name) for name in found):
        return "wrong"
    if status or found.keys() < expected.keys():
        return "named"
    after = {path.parent.name: path.read_bytes() for path in runs.glob("trials/*/result.json")}
    again = "made again" in said or any(after[name] != content for name, content in before.items())
    return "repaired" if again else "harmless"


def scores(runs: Path) -> dict[str, object]:
    """Trial id -> its scores, as the report reads them, for every trial that it shows as done."""
    from armada_cli.reporting.folder import read_run
    from armada_cli.runs import Runs

    found: dict[str, object] = {}
    with contextlib.suppress(Exception):
        for trial in read_run(runs / "flips").trials:
            if trial.score is not None:
                found[trial.id] = (trial.scores, trial.epochs)
    for path in runs.glob("trials/*/result.json"):
        result = Runs(runs).result(path.parent.name)
        if result is not None:
            found.setdefault(path.parent.name, (result["scores"], tuple(result.get("epochs") or ())))
    return found


def stop_halfway(recipe: Path, runs: Path) -> None:
    """Leave a checkpoint, a log and features behind: the run is interrupted in the second trial's second epoch."""
    from armada_cli.training.loop import Loop

    real, steps = Loop._step, iter(range(10**9))

    def step(self: Loop, number: int, rows: list[int]) -> float:
        if next(steps) >= 16:
            raise KeyboardInterrupt
        return real(self, number, rows)

    Loop._step = step  # type: ignore[method-assign]
    try:
        with contextlib.suppress(KeyboardInterrupt):
            armada("run", recipe, "--runs", runs, "--workers", "0")
    finally:
        Loop._step = real  # type: ignore[method-assign]
    assert any(runs.glob("trials/*/checkpoint/step-*")), "nothing is half-finished"


def armada(*words: str | Path) -> tuple[int, str]:
    from armada_cli.main import run

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = run([str(word) for word in words])
    return status, said.getvalue()


def write_inputs(folder: Path) -> Path:
    """A tiny BERT, 48 rows, their vectors, and a recipe."""
    import numpy as np
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = [f"word{number}" for number in range(40)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    BertTokenizerFast(vocab={word: number for number, word in enumerate(vocabulary)}).save_pretrained(folder / "bert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=16, **sizes)).save_pretrained(folder / "bert")
    draw = random.Random(1)
    rows = {
        name: [(" ".join(draw.sample(words, 5)), draw.choice(["good", "bad"])) for _ in range(48)] for name in ("train", "test")
    }
    for name, part in rows.items():
        lines = "".join(f"{text},{label}\n" for text, label in part)
        (folder / f"{name}.csv").write_text(f"text,label\n{lines}", encoding="utf-8")
    texts = sorted({text for part in rows.values() for text, _ in part})
    np.save(folder / "vectors.npy", np.random.default_rng(0).standard_normal((len(texts), 12)).astype(np.float32))
    (folder / "vectors.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    student = json.dumps({"name": "encoder", "model": str(folder / "bert")})
    recipe = folder / "flips.yaml"
    recipe.write_text(
        f"student: {student}\n"
        f"teacher: {{name: precomputed, path: {folder / 'vectors.npy'}, ids: {folder / 'vectors.txt'}}}\n"
        f"tasks: [{{name: files, file: {folder / 'train.csv'}, validation: {folder / 'test.csv'}}}]\n"
        f"methods: [{{name: kd, teacher: {student}}}, {{name: armada, manifold: euclid, hidden: 16}}]\n"
        f"train: {TRAIN}\nfeatures: {{width: 8}}\nseeds: [0]\n",
        encoding="utf-8",
    )
    return recipe


if __name__ == "__main__":
    raise SystemExit(main())
