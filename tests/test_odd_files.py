"""What users name may hold pipes, zips, adapters and absurd numbers: a line each, no waiting, nothing outside."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from armada_student_encoders.options import EncoderOptions
from armada_task_instructions import armada_tasks
from armada_teacher_precomputed.teacher import _load

from armada_cli import Environment, UserError
from armada_cli.corpora.rows import is_file_name, rows, source, where, write_rows

INSTRUCTIONS = {card.name: card for card in armada_tasks()}
OFFLINE = Environment(offline=True)
OUTSIDE = ["../../x", "..", ".", "", "/etc/passwd", "a/b", "a\\b", "..\\x", "C:x", "C:", "a\0b"]

pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_of_a_mirror_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n', encoding="utf-8")
    environment = Environment(data=tmp_path / "mirror", offline=True)
    for asked in (("a/b", None, name), ("a/b", name, "train")):
        with pytest.raises(UserError, match="is no name of a file in a mirror"):
            source(environment, *asked)
        with pytest.raises(UserError, match="is no name of a file in a mirror"):
            rows(environment, *asked)
        with pytest.raises(UserError, match="is no name of a file in a mirror"):
            where(environment, *asked, 0)


@pytest.mark.parametrize("name", ["train", "test[:10]", "validation_matched", "a.b", "v1-0", "..a", "日本"])
def test_names_of_the_hub_are_names_of_files(name: str) -> None:
    assert is_file_name(name)


@pytest.mark.parametrize("name", INSTRUCTIONS)
@pytest.mark.parametrize("split", OUTSIDE)
def test_a_split_that_leads_out_of_a_mirror_is_a_problem_of_the_recipe(tmp_path: Path, name: str, split: str) -> None:
    options = INSTRUCTIONS[name].options(split=split, path=str(tmp_path))
    assert any(line.startswith(f"split: {split!r} is no name of a split") for line in options.problems(OFFLINE))


def test_a_mirror_is_written_and_read_as_before(tmp_path: Path) -> None:
    write_rows(tmp_path, "a/b", "c", "train", [{"x": 1}])
    assert rows(Environment(data=tmp_path), "a/b", "c", "train") == [{"x": 1}]


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("features.npy", b"")


def write_arrays(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, features=np.ones((3, 2)))


def header(shape: str) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"
    return b"\x93NUMPY\x01\x00v\x00" + text.ljust(117).encode() + b"\n"


ODD = {
    "a zip": write_zip,
    "arrays": write_arrays,
    "a pickle": lambda path: path.write_bytes(pickle.dumps(np.ones(3))),
    "objects": lambda path: np.save(path, np.array([{}, {}]), allow_pickle=True),
    "nothing": lambda path: path.touch(),
    "a folder": lambda path: path.mkdir(),
    "an endless header": lambda path: path.write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b"(" * 10_000),
    "a shape of terabytes": lambda path: path.write_bytes(header("(10000000000, 9)")),
    "a shape below zero": lambda path: path.write_bytes(header("(-1, 9)") + bytes(36)),
    "numbers as text": lambda path: path.write_bytes(header("('2', 9)") + bytes(72)),
}


@pytest.mark.parametrize("kind", [*ODD, pytest.param("a pipe", marks=pipes)])
@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
def test_vectors_that_are_something_else_are_one_line(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / "vectors.npy"
    os.mkfifo(path) if kind == "a pipe" else ODD[kind](path)
    path = path.rename(tmp_path / f"vectors{suffix}")
    with pytest.raises(UserError, match="cannot be read as vectors"):
        _load(path)


def write_model(folder: Path, **config: object) -> None:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", **config}), encoding="utf-8")


def problems(folder: Path) -> list[str]:
    return list(EncoderOptions(model=str(folder)).problems(OFFLINE))


@pytest.mark.parametrize(
    "name", ["num_hidden_layers", "n_layer", "hidden_size", "intermediate_size", "vocab_size", "num_heads"]
)
@pytest.mark.parametrize("value", [10**9, 10**300, 10**400, 1e300, float("inf")])
def test_a_configuration_of_a_size_that_no_model_has_is_refused(tmp_path: Path, name: str, value: float) -> None:
    write_model(tmp_path, **{name: value})
    assert any(f"model: its config.json says {name} is " in line for line in problems(tmp_path))
    write_model(tmp_path, text_config={name: value})
    assert any(f"model: its config.json says {name} is " in line for line in problems(tmp_path))


def test_the_sizes_of_real_models_are_not_refused(tmp_path: Path) -> None:
    write_model(tmp_path, num_hidden_layers=126, hidden_size=16_384, vocab_size=262_144, intermediate_size=53_248)
    assert not any("says" in line for line in problems(tmp_path))


def test_an_adapter_inside_a_folder_of_a_model_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/else"}', encoding="utf-8")
    assert any(f"{tmp_path} holds an adapter; merge it first" in line for line in problems(tmp_path))


@pipes
def test_a_pipe_among_weights_is_damage(tmp_path: Path) -> None:
    write_model(tmp_path)
    os.mkfifo(tmp_path / "other.safetensors")
    assert any("other.safetensors: it cannot be read (not an ordinary file)" in line for line in problems(tmp_path))


@pipes
@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "vocab.json"])
def test_a_pipe_in_place_of_a_file_of_a_model_does_not_wait(tmp_path: Path, name: str) -> None:
    write_model(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    assert problems(tmp_path)
