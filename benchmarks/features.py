"""Figures of the feature store and the teachers: `python benchmarks/features.py [store] [speech] [pictures]`.

Medians of `REPEATS`; sentences of CoLA where ``ARMADA_DATA`` (or ../shared/data) has them, otherwise made-up ones.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from armada_cli import Environment
from armada_cli.features.extract import extract
from armada_cli.features.identity import identity_key, input_hashes
from armada_cli.features.store import FeatureStore
from armada_cli.registry.catalog import Catalog

REPEATS = 5
ROWS, WIDTH = 100_000, 128
SENTENCES = 400


def measure_store() -> None:
    """100,000 x 128 float32 written in batches, then read by a shuffled list of keys in a fresh connection."""
    with tempfile.TemporaryDirectory() as folder:
        identity = {"name": "benchmark"}
        draw = np.random.default_rng(0)
        vectors = draw.standard_normal((ROWS, WIDTH)).astype(np.float32)
        texts = [f"text {number}" for number in range(ROWS)]
        hashes = input_hashes(texts)
        path = Path(folder) / "features.db"
        with FeatureStore(path) as store:
            started = time.perf_counter()
            for start in range(0, ROWS, 1000):
                store.put(identity, hashes[start : start + 1000], vectors[start : start + 1000])
            print(f"store: {ROWS} x {WIDTH} written in batches of 1000: {time.perf_counter() - started:.2f} s")
            started = time.perf_counter()
            for start in range(0, 3200, 32):
                store.put({"name": "small"}, hashes[start : start + 32], vectors[start : start + 32])
            print(f"store: one durable batch of 32: {(time.perf_counter() - started) * 10:.2f} ms")
        order = draw.permutation(ROWS)
        wanted = [hashes[row] for row in order]

        def read() -> None:
            with FeatureStore(path) as store:
                found = store.get(identity_key(identity), wanted)
                assert found[1].all()

        print(f"store: {ROWS} x {WIDTH} read by keys: {median(read):.2f} s (to reach: 1 s)")

        def count() -> None:
            with FeatureStore(path) as store:
                assert store.count_missing(identity_key(identity), texts) == 0

        print(f"store: missing among {ROWS} texts counted: {median(count):.2f} s")


def median(act: Callable[[], None]) -> float:
    """Seconds that `act` takes."""
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def sentences() -> list[str]:
    """Sentences of CoLA's training split, or made-up ones of the same length."""
    root = Path(os.environ.get("ARMADA_DATA") or Path(__file__).parents[2] / "shared" / "data")
    path = root / "nyu-mll" / "glue" / "cola" / "train.jsonl"
    if path.is_file():
        with path.open(encoding="utf-8") as stream:
            return [json.loads(line)["sentence"] for line, _ in zip(stream, range(SENTENCES), strict=False)]
    return [f"Number {number} of the sentences was read aloud by a friend." for number in range(SENTENCES)]


def measure_teacher(name: str, goal: str) -> None:
    """A teacher's texts per second, extraction and its durable batches included; construction apart."""
    teacher = Catalog.load().find("teacher", name)
    options = teacher.component.options()
    texts = sentences()
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        environment = Environment(runs=Path(folder))
        with FeatureStore.of(environment) as store:
            started = time.perf_counter()
            extract(teacher, options, environment, texts[:8], store, progress=False)
            print(f"{name}: made and warm after {time.perf_counter() - started:.1f} s")
            cpu = time.process_time()
            for part in range(4):
                report = extract(teacher, options, environment, texts[8:][part::4], store, progress=False)
                rates.append(report.new / report.seconds)
            cpu = (time.process_time() - cpu) / (len(texts) - 8)
            again = extract(teacher, options, environment, texts, store, progress=False)
    print(
        f"{name}: {statistics.median(rates):.1f} texts/s on {environment.threads} cores, {1000 * cpu:.0f} ms CPU a text{goal}"
    )
    print(f"{name}: second run: {again.new} teacher calls")


def main(chosen: list[str]) -> None:
    parts = {
        "store": measure_store,
        "speech": lambda: measure_teacher("speech-offline", " (to reach: 20 texts/s)"),
        "pictures": lambda: measure_teacher("pictures-offline", ""),
    }
    for name in chosen or list(parts):
        parts[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
