"""What a step of each method costs beside plain fine-tuning: `python benchmarks/costs.py`. It takes ten minutes of one core.

Every method trains through `armada run`, one trial after the other on one thread, in float32: a student of 6 layers and
teachers of 12, all 768 wide, with random weights, which cost what trained ones do. The rows are CoLA's where ``ARMADA_DATA``
(or ../shared/data) has them, otherwise made-up sentences of CoLA's lengths. Figures are seconds of training by steps, over
those of the plain student of the same seed: the median of `SEEDS`. What is computed once and kept, and trials that a method
builds on, are no part of a step; the first stages stand on lines of their own.

Beside each figure stands the cost that can be derived from passes: fine-tuning the student is three of its forward passes, a
teacher's forward pass two of them. A method more than `SLACK` times above it is marked.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from training import sentences, student

ROWS, BATCH, EPOCHS = 192, 16, 2
SEEDS = (0, 1, 2)
SLACK = 1.3
WIDTH = 384

EXPECTED = {
    "undistilled": 1.0,
    "parameter-matched": 1.0,
    "label-smoothing": 1.0,
    "kd": 1.0,
    "pkd": 1.0,
    "tinybert-intermediate": 1.67,
    "tinybert": 1.0,
    "rco": 1.0,
    "takd": 1.0,
    "sftn-teacher": 3.0,  # 1.5 times the fine-tuning of the teacher, which is twice the student's
    "sftn": 1.0,
    "continuation-kd": 1.0,
    "rail-kd": 1.0,
    "dml": 2.0,
    "prokt": 4.0,
    "metadistil": 7.0,
    "visual-guidance": 1.1,
    "x-adapter": 0.45,
    "armada": 1.125,
}
PRETRAINING = {"undistilled": 1.0, "vokenization-pretraining": 1.3, "vidlankd-pretraining": 1.4}
"""Beside plain learning of masked words."""

RECIPE = """
student: {{name: encoder, model: {place}/student}}
teacher: {{name: precomputed, path: {place}/vectors.npy, ids: {place}/ids.txt, missing: random}}
tasks:
  - {{name: {task}, validation_share: 0.1}}
methods: [{methods}]
train: {{epochs: {epochs}, batch_size: {batch}, precision: float32, evaluate: end, max_length: 64}}
limit: {{validation: 16}}
seeds: {seeds}
"""
TEACHER = "{{name: encoder, model: {place}/teacher}}"
TAUGHT = {"kd", "pkd", "tinybert", "rco", "takd", "sftn", "continuation-kd", "rail-kd", "prokt", "metadistil"}
OPTIONS = {"rco": ", anchors: 2", "armada": ", manifold: elementwise"}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_models(place)
        write_table(place / "rows.jsonl")
        report(measure(place, f"files, file: {place}/rows.jsonl, validation_share: 0.1", EXPECTED), EXPECTED, "fine-tuning")
        report(
            measure(place, f"texts, file: {place}/texts.txt, validation_share: 0.1", PRETRAINING), PRETRAINING, "masked words"
        )


def write_models(place: Path) -> None:
    """Random encoders with MiniLM's tokenizer, and a vector of one text; the other texts' are drawn."""
    import numpy as np
    from transformers import BertConfig, BertModel

    tokenizer = student().tokenizer
    for name, layers in (("student", 6), ("teacher", 12)):
        BertModel(BertConfig(vocab_size=len(tokenizer), num_hidden_layers=layers)).save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    np.save(place / "vectors.npy", np.zeros((1, WIDTH), np.float32))
    (place / "ids.txt").write_text("no text of the task\n", encoding="utf-8")


def write_table(path: Path) -> None:
    rows = sentences().limited(ROWS)
    lines = [
        json.dumps({"text": texts[0], "label": "ab"[int(label)]}) for texts, label in zip(rows.texts, rows.labels, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    path.with_name("texts.txt").write_text("\n".join(texts[0] for texts in rows.texts) + "\n", encoding="utf-8")


def measure(place: Path, task: str, expected: Mapping[str, float]) -> dict[str, list[float]]:
    """Method -> its cost of a step in each seed, beside the plain student's."""
    teacher = TEACHER.format(place=place)
    methods = ", ".join(
        f"{{name: {name}{f', teacher: {teacher}' if name in TAUGHT else ''}{OPTIONS.get(name, '')}}}"
        for name in expected
        if name not in ("tinybert-intermediate", "sftn-teacher")  # trials that others build on
    )
    recipe = place / "costs.yaml"
    recipe.write_text(
        RECIPE.format(place=place, task=task, methods=methods, epochs=EPOCHS, batch=BATCH, seeds=list(SEEDS)), encoding="utf-8"
    )
    armada = Path(sys.executable).with_name("armada")
    with tempfile.TemporaryDirectory() as runs:
        command = [str(armada), "run", str(recipe), "--runs", runs, "--workers", "1"]
        done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        seconds = {key: statistics.median(values) for key, values in read_steps(Path(runs)).items()}
    costs: dict[str, list[float]] = defaultdict(list)
    for (name, seed), value in seconds.items():
        if name in expected and ("undistilled", seed) in seconds:
            costs[name].append(value / seconds["undistilled", seed])
    return costs


def read_steps(runs: Path) -> dict[tuple[str, int], list[float]]:
    """(method, seed) -> seconds of a step of each of its trials of the student, or of its first stage."""
    steps: dict[tuple[str, int], list[float]] = defaultdict(list)
    for spec, result, timings in read_trials(runs):
        built = spec["build"]
        name = built["method"]["name"]
        model = built["student"]["options"]["model"]
        # the teacher's own training, and that of an assistant
        if not str(model).endswith("student") and name != "sftn-teacher":
            continue
        steps[name, spec["seed"]].append(timings["stages"]["training"] / result["steps"])
    return steps


def read_trials(runs: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    for folder in sorted((runs / "trials").iterdir()):
        parts = [json.loads((folder / f"{name}.json").read_text()) for name in ("spec", "result", "timings")]
        yield parts[0], parts[1], parts[2]


def report(costs: Mapping[str, list[float]], expected: Mapping[str, float], plain: str) -> None:
    for name, wanted in expected.items():
        values = sorted(costs[name])
        middle = statistics.median(values)
        mark = f"  MORE THAN {SLACK} TIMES" if middle > SLACK * wanted else ""
        print(f"costs: {name}: {middle:.2f} ({values[0]:.2f} .. {values[-1]:.2f}) of {plain}, derived {wanted}{mark}")


if __name__ == "__main__":
    main()
