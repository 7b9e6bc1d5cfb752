"""Rows of published datasets from a local mirror, and what is said when they cannot be had."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from armada_cli import Environment, Split, UserError
from armada_cli.corpora.rows import fetched, rows, source, where
from armada_cli.models import hub


def put(root: Path, name: str, content: str | bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def lines(*items: Any) -> str:
    return "".join(json.dumps(item) + "\n" for item in items)


FIRST = {"sentence": "The kettle sings.", "label": 1, "idx": 0}
SECOND = {"sentence": "Sings kettle the.", "label": 0, "idx": 1}


def test_rows_of_a_configuration_come_from_its_folder(tmp_path):
    path = put(tmp_path, "someone/tests/small/train.jsonl", lines(FIRST, SECOND))
    environment = Environment(data=tmp_path)
    assert source(environment, "someone/tests", "small", "train") == path
    assert rows(environment, "someone/tests", "small", "train") == [FIRST, SECOND]


def test_rows_of_a_dataset_without_configurations_come_from_its_own_folder(tmp_path):
    path = put(tmp_path, "someone/plain/test.jsonl", lines(FIRST))
    environment = Environment(data=tmp_path)
    assert source(environment, "someone/plain", None, "test") == path
    assert source(environment, "someone/plain", "default", "test") == path
    assert rows(environment, "someone/plain", None, "test") == [FIRST]


def test_there_is_no_source_without_a_mirror_or_without_the_split(tmp_path):
    put(tmp_path, "someone/tests/small/train.jsonl", lines(FIRST))
    assert source(Environment(), "someone/tests", "small", "train") is None
    assert source(Environment(data=tmp_path), "someone/tests", "small", "validation") is None


def test_a_file_that_changes_is_read_anew(tmp_path):
    environment = Environment(data=tmp_path)
    put(tmp_path, "a/b/c/train.jsonl", lines(FIRST))
    assert len(rows(environment, "a/b", "c", "train")) == 1
    put(tmp_path, "a/b/c/train.jsonl", lines(FIRST, SECOND))
    assert len(rows(environment, "a/b", "c", "train")) == 2


def test_a_row_is_placed_by_the_line_an_editor_shows(tmp_path):
    path = put(tmp_path, "a/b/c/train.jsonl", json.dumps(FIRST) + "\n\n" + json.dumps(SECOND))
    environment = Environment(data=tmp_path)
    assert rows(environment, "a/b", "c", "train") == [FIRST, SECOND]
    assert where(environment, "a/b", "c", "train", 1) == f"{path}:3"
    assert where(Environment(), "a/b", "c", "train", 1) == "dataset a/b, config c, split train, row 2"


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (b'{"sentence": "The kett', "not a JSON object (Unterminated string starting at)"),
        (b"[1, 2]", "a JSON list, not an object"),
        (b"null", "a JSON null, not an object"),
        (b'{"sentence": "Caf\xe9", "label": 1}', "byte 0xe9 is not UTF-8"),
        (b"[" * 100_000, "not a JSON object (it is nested more than 100 deep)"),
    ],
)
def test_a_damaged_line_is_told_with_file_and_line(tmp_path, damage, told):
    path = put(tmp_path, "a/b/c/train.jsonl", lines(FIRST).encode() + damage + b"\n")
    with pytest.raises(UserError) as caught:
        rows(Environment(data=tmp_path), "a/b", "c", "train")
    assert str(caught.value) == f"{path}:2: {told}. The file is damaged or no JSONL: copy it again"


def test_a_missing_column_is_told_with_file_line_and_the_columns_there(tmp_path):
    path = put(tmp_path, "a/b/c/train.jsonl", lines(FIRST, {"text": "Tea.", "label": 1}))
    with pytest.raises(UserError) as caught:
        rows(Environment(data=tmp_path), "a/b", "c", "train", columns=("sentence", "label"))
    assert (
        str(caught.value)
        == f"{path}:2: no column 'sentence'; there are 'text', 'label'. A mirror keeps the hub's own column names"
    )


def test_an_empty_file_is_told(tmp_path):
    path = put(tmp_path, "a/b/c/train.jsonl", "\n")
    with pytest.raises(UserError) as caught:
        rows(Environment(data=tmp_path), "a/b", "c", "train")
    assert str(caught.value) == f"{path}: no row in it. Copy the train split of a/b there again, one JSON object a line"


def test_offline_without_the_rows_is_one_line_that_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError) as caught:
        rows(Environment(offline=True), "nyu-mll/glue", "qqp", "train")
    assert str(caught.value) == (
        "dataset nyu-mll/glue, config qqp, split train is not on this machine, and downloads are off. "
        "Give --data DIR with DIR/nyu-mll/glue/qqp/train.jsonl in it, or go online (unset HF_HUB_OFFLINE)"
    )
    with pytest.raises(UserError) as caught:
        rows(Environment(offline=True, data=tmp_path / "mine"), "nyu-mll/glue", "qqp", "train")
    assert f"Save it as {tmp_path}/mine/nyu-mll/glue/qqp/train.jsonl, or go online" in str(caught.value)


def test_offline_never_opens_a_connection(tmp_path, monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(UserError, match="downloads are off"):
        rows(Environment(offline=True), "nyu-mll/glue", "qqp", "train")


def test_a_dataset_in_the_cache_counts_as_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    assert not fetched("someone/tests", "small")
    (tmp_path / "someone___tests" / "small").mkdir(parents=True)
    assert fetched("someone/tests", "small")


def test_a_mirror_is_read_without_the_datasets_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # importing it raises
    put(tmp_path, "a/b/c/train.jsonl", lines(FIRST))
    assert rows(Environment(data=tmp_path), "a/b", "c", "train") == [FIRST]


def test_rows_that_are_in_no_mirror_come_through_the_datasets_package(tmp_path, monkeypatch):
    # The package takes a folder where it takes a hub name, and prepares it with the same code.
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    put(tmp_path, "own/train.jsonl", lines(FIRST, SECOND))
    assert rows(Environment(), str(tmp_path / "own"), None, "train", columns=("sentence",)) == [FIRST, SECOND]
    with pytest.raises(UserError) as caught:
        rows(Environment(), str(tmp_path / "own"), None, "train", columns=("text",))
    assert str(caught.value) == (
        f"dataset {tmp_path}/own, split train: no column 'text'; there are 'sentence', 'label', 'idx'. "
        "A mirror keeps the hub's own column names"
    )
    with pytest.raises(UserError, match=r"split test could not be loaded \(ValueError: .*Go online, or give --data DIR"):
        rows(Environment(), str(tmp_path / "own"), None, "test")


def test_offline_a_prepared_dataset_is_served_from_the_cache_without_a_connection(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    cache = tmp_path / "cache"
    monkeypatch.setenv("HF_DATASETS_CACHE", str(cache))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    put(tmp_path, "tests/small/train.jsonl", lines(FIRST))
    datasets.load_dataset(str(tmp_path / "tests"), "default", split="train")
    (prepared,) = (path.parent for path in cache.rglob("dataset_info.json"))
    place = cache / "someone___tests" / "default" / "0.0.0" / ("0" * 40)
    place.parent.mkdir(parents=True)
    prepared.rename(place)
    tried = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *names, **_: tried.append(names))
    assert rows(Environment(offline=True), "someone/tests", "default", "train") == [FIRST]
    assert tried == []


def test_a_limit_keeps_whole_rows_of_all_over_the_split_the_same_ones_always():
    split = Split([(f"text {n}",) for n in range(200)], list(range(200)), [f"shown {n}" for n in range(200)])
    found = split.limited(40)
    assert len(found) == 40
    assert list(found.labels) == sorted(set(found.labels))
    assert found.texts == [(f"text {n}",) for n in found.labels]
    assert found.teacher_inputs == [f"shown {n}" for n in found.labels]
    assert all(any(n // 50 == quarter for n in found.labels) for quarter in range(4)), "not the first rows, which may be sorted"
    assert found == split.limited(40)
    assert found.labels != split.limited(40, "validation").labels
    assert split.limited(None) is split.limited(200) is split.limited(500) is split


@pytest.mark.parametrize(
    ("variable", "below"),
    [("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub"), ("HOME", ".cache/huggingface/hub")],
)
def test_a_model_in_the_hubs_cache_is_found_where_the_hub_keeps_it(tmp_path, monkeypatch, variable, below):
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    assert list(hub.downloads("someone/model"))
    program = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    place = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    assert Path(place) == tmp_path / below
    folder = Path(place) / "models--someone--model" / "snapshots" / "0123"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    assert list(hub.downloads("someone/model")), "nothing says that this commit is the main branch's"
    (folder.parents[1] / "refs").mkdir()
    (folder.parents[1] / "refs" / "main").write_text("0123", encoding="utf-8")
    assert hub.snapshot("someone/model") == folder
    assert list(hub.downloads("someone/model")) == []
