"""Fixtures that several test files share: a tiny student of the real class, a small labelled table, vectors for its texts.

The tiny checkpoints are random: they prove plumbing, never quality. Everything here is our own; nothing needs a network.
"""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A shell without job control starts background jobs with Ctrl-C ignored, and their children inherit that: the tests that
# interrupt a command would wait for nothing.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent

GOOD = ["warm", "bright", "gentle", "generous", "lively", "splendid"]
BAD = ["dull", "grim", "bitter", "careless", "tedious", "dreadful"]
THINGS = ["harbour", "teapot", "orchestra", "garden", "ferry", "lantern", "kitchen", "violin", "meadow", "letter"]
FRAMES = ["the {t} was {a}", "what a {a} {t} we saw", "nobody calls the old {t} {a}, but it is {a}", "a {a} {t}"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take more than a minute as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="takes more than a minute; run with --slow"))


def sentences() -> list[tuple[str, str]]:
    """Every frame with every adjective and thing, (text, label), in an order that mixes the classes."""
    rows = []
    for number, thing in enumerate(THINGS):
        for place, frame in enumerate(FRAMES):
            for good, bad in zip(GOOD, BAD, strict=True):
                pair = [(frame.format(t=thing, a=good), "good"), (frame.format(t=thing, a=bad), "bad")]
                rows += pair if (number + place) % 2 else pair[::-1]
    return rows


@pytest.fixture(scope="session")
def tiny_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and width 32 with random weights and a word-piece vocabulary of these sentences."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-bert")
    words = sorted({word for text, _ in sentences() for word in text.replace(",", " ,").split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(folder)
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """``train`` (96 rows) and ``validation`` (48 rows) as CSV files with columns text and label."""
    folder = tmp_path_factory.mktemp("table")
    rows = sentences()
    found = {}
    for name, part in (("train", rows[:96]), ("validation", rows[96:144])):
        found[name] = folder / f"{name}.csv"
        with found[name].open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("text", "label"), *part])
    return found


@pytest.fixture(scope="session")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A safetensors file of 24 numbers for every sentence, for the teacher `precomputed`: its ids lie beside it."""
    import numpy as np

    folder = tmp_path_factory.mktemp("vectors")
    texts = [text for text, _ in sentences()]
    generator = np.random.default_rng(3)
    np.save(folder / "vectors.npy", generator.standard_normal((len(texts), 24)).astype(np.float32))
    (folder / "vectors.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return folder / "vectors.npy"


@pytest.fixture
def recipe(tmp_path: Path, tiny_student: Path, table: dict[str, Path], vectors: Path) -> Callable[..., Path]:
    """Writes a recipe of the tiny student, the small table and its vectors; keywords replace whole top-level lines."""

    def write(name: str = "tiny", **lines: str) -> Path:
        parts = {
            "student": f"{{name: encoder, model: {tiny_student}}}",
            "teacher": f"{{name: precomputed, path: {vectors}, ids: {vectors.with_suffix('.txt')}}}",
            "tasks": f"[{{name: files, as: words, file: {table['train']}, validation: {table['validation']}}}]",
            "methods": "[undistilled, {name: armada, manifold: euclid, hidden: 48}]",
            "train": "{epochs: 2, batch_size: 16, lr: 1e-3, log_every: 2, max_length: 32}",
            "features": "{width: 16}",
            "seeds": "[0]",
        } | lines
        path = tmp_path / f"{name}.yaml"
        path.write_text("".join(f"{key}: {value}\n" for key, value in parts.items()), encoding="utf-8")
        return path

    return write
