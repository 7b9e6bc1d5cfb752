from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from armada_cli.content import content_fingerprint
from armada_cli.corpora.json_files import file_rows
from armada_cli.errors import UserError
from armada_cli.files import read_json
from armada_cli.models.vocabulary import count_pieces
from armada_cli.models.weights import count_parameters, damage, read_header
from armada_cli.reading import MAX_DEPTH, check_file, load_json, open_file, parse_json

pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


def nested(depth: int, kind: str) -> str:
    return "[" * depth + "]" * depth if kind == "list" else '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize("kind", ["list", "mapping"])
def test_json_may_be_a_hundred_deep_and_no_deeper(kind: str) -> None:
    assert json.dumps(parse_json(nested(MAX_DEPTH, kind)))
    for depth in (MAX_DEPTH + 1, 900, 5_000, 200_000):
        with pytest.raises(ValueError, match="nested more than 100 deep"):
            parse_json(nested(depth, kind))


def test_width_is_not_depth() -> None:
    assert len(parse_json("[" + "[[]]," * 10_000 + "[]]")) == 10_001


def test_a_number_of_thousands_of_digits_is_not_python_s_setting() -> None:
    with pytest.raises(ValueError, match="a number has too many digits"):
        parse_json('{"seed": ' + "9" * 5_000 + "}")


@pytest.mark.parametrize("content", [b"", b"\xff", b"{", nested(3_000, "list").encode(), b"9" * 5_000])
def test_a_damaged_file_that_armada_can_make_again_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    assert read_json(tmp_path / "result.json") is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [(nested(3_000, "mapping"), "it is nested more than 100 deep"), ('{"a": ' + "9" * 5_000 + "}", "too many digits")],
)
def test_a_damaged_line_of_the_user_s_is_named_by_its_place(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"a": 1}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"train\.jsonl:2: not a JSON object \(.*{reason}"):
        file_rows(path)


@pipes
def test_a_named_pipe_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "model.safetensors"
    os.mkfifo(pipe)
    for read in (open_file, load_json, read_header, check_file):
        with pytest.raises(OSError, match="not an ordinary file"):
            read(pipe)
    assert read_json(pipe) is None
    assert damage(tmp_path) == "model.safetensors: it cannot be read (not an ordinary file)"
    assert count_parameters(tmp_path) == 0
    assert content_fingerprint(pipe) == "missing:model.safetensors"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    for read in (open_file, load_json, check_file):
        with pytest.raises((IsADirectoryError, PermissionError)):
            read(tmp_path)


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": "F32", "shape": [1], "data_offsets": [0, float("inf")]},
        {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 0]},
        {"dtype": "F32", "data_offsets": [0, 0]},
        {"dtype": ["F32"], "shape": [0], "data_offsets": [0, 0]},
        {"shape": [0], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [0], "data_offsets": ["0", "0"]},
        [],
        None,
    ],
)
def test_a_header_that_is_no_table_of_tensors_is_damage(tmp_path: Path, tensor: object) -> None:
    header = json.dumps({"weight": tensor}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert damage(tmp_path) == "model.safetensors: its header is no table of tensors"
    assert count_parameters(tmp_path) == 0


def test_a_layer_with_a_number_of_thousands_of_digits_is_counted(tmp_path: Path) -> None:
    name = f"layer.{'9' * 5_000}.weight"
    header = json.dumps({name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    assert count_parameters(tmp_path, layers=1) == 2


def test_an_endless_number_in_a_sentencepiece_model_ends() -> None:
    assert count_pieces(b"\x80" * 2_000_000) == 0
