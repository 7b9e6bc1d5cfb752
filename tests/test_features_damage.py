"""What a failing disk or a stranger does to the feature store is named, costs no sound vector, and is never served."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from running import Ended, armada

from armada_cli import UserError
from armada_cli.features.carry import export_vectors, import_vectors
from armada_cli.features.identity import identity_key, input_hashes, read_identity
from armada_cli.features.store import FeatureStore

IDENTITY = {"name": "drum", "options": {"seed": 1}}
KEY = identity_key(IDENTITY)
HASHES = input_hashes(["a slow march", "a quick dance", "a long silence"])
VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4)

DESCRIPTIONS = {
    "cut": '{"name":"drum"',
    "another": '{"name":"harp","options":{"seed":1}}',
    "another option": '{"name":"drum","options":{"seed":2}}',
    "deep": "[" * 5_000,
    "a list": "[1]",
    "a number": "1",
    "a number of thousands of digits": "9" * 5_000,
    "nothing": "",
    "not a number": '{"name":NaN}',
    "half a character": '{"name":"\\ud800"}',
    "bytes": b"\xff\xfe{",
    "an integer": 3,
}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    with FeatureStore(tmp_path / "features.db") as store:
        store.put(IDENTITY, HASHES, VECTORS, ["band 1.0"])
    return tmp_path


def spoil(runs: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(runs / "features.db") as connection:
        connection.execute(statement, values)
    connection.close()


def features(runs: Path, *arguments: str) -> Ended:
    return armada("features", *arguments, "--runs", runs)


@pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_damaged_description_is_named_and_costs_no_vector(runs: Path, description: object) -> None:
    spoil(runs, "UPDATE identities SET identity = ?", description)
    assert KEY in features(runs, "list").out
    assert json.loads(features(runs, "list", "--json").out)[0]["description"] == {}
    checked = features(runs, "verify")
    assert checked.status == 1
    assert f"drum {KEY}: its description is damaged; its vectors are kept" in checked.out
    assert "3 vectors and 0 prepared files checked, 0 damaged" in checked.out
    with FeatureStore(runs / "features.db") as store:
        assert store.get(KEY, HASHES)[1].all()
        store.describe(IDENTITY)
        assert store.identity(KEY) == IDENTITY
    assert features(runs, "verify").status == 0


@pytest.mark.parametrize("description", [b"\xff\xfe{", "[" * 5_000])
def test_what_is_damaged_can_be_pruned_and_not_exported(runs: Path, description: object) -> None:
    spoil(runs, "UPDATE identities SET identity = ?", description)
    exported = features(runs, "export", str(runs / "out.safetensors"))
    assert exported.status == 2
    assert f"the description of the teacher {KEY} is damaged" in exported.err
    assert features(runs, "prune", "--identity", KEY, "--yes").status == 0
    assert "0 vectors" in features(runs, "verify").out


@pytest.mark.parametrize("name", ["harp", b"\xff", 3, ""])
def test_a_changed_name_of_a_teacher_is_damage(runs: Path, name: object) -> None:
    spoil(runs, "UPDATE identities SET teacher = ?", name)
    assert features(runs, "list").status == 0
    assert features(runs, "verify").status == 1


def test_a_changed_key_is_damage(runs: Path) -> None:
    spoil(runs, "UPDATE identities SET key = ?", "0" * 16)
    assert "its description is damaged" in features(runs, "verify").out
    with FeatureStore(runs / "features.db") as store:
        assert store.missing(KEY, HASHES) == HASHES


@pytest.mark.parametrize("width", [3, 0, -4, None, 10**15, "four", b"\x04", 4.5])
def test_a_damaged_width_costs_no_vector(runs: Path, width: object) -> None:
    spoil(runs, "UPDATE identities SET width = ?", width)
    assert features(runs, "list").status == 0
    assert features(runs, "verify").out == "3 vectors and 0 prepared files checked, 0 damaged\n"
    with FeatureStore(runs / "features.db") as store:
        vectors, found = store.get(KEY, HASHES)
        assert found.all()
        np.testing.assert_array_equal(vectors, VECTORS)
        assert store.put(IDENTITY, input_hashes(["new"]), VECTORS[:1]) == 1


@pytest.mark.parametrize("moment", ["now", -1.0, 1e300, float("inf"), b"\x00", 10**18])
def test_a_damaged_time_is_none(runs: Path, moment: object) -> None:
    spoil(runs, "UPDATE identities SET updated = ?", moment)
    assert features(runs, "list").status == 0
    assert json.loads(features(runs, "list", "--json").out)[0]["updated"] == ""


def test_a_damaged_maker_is_left_out(runs: Path) -> None:
    spoil(runs, "UPDATE makers SET maker = ?", b"\xff")
    assert json.loads(features(runs, "list", "--json").out)[0]["makers"] == []


@pytest.mark.parametrize("item", ["text", 3, b"short"])
def test_a_damaged_input_is_dropped_by_verify(runs: Path, item: object) -> None:
    spoil(runs, "UPDATE vectors SET input = ? WHERE id = 1", item)
    assert "1 of 3 vectors are damaged" in features(runs, "verify").out
    assert features(runs, "verify").status == 0


def test_an_empty_file_is_named_and_reading_leaves_it(tmp_path: Path) -> None:
    path = tmp_path / "features.db"
    path.touch()
    assert features(tmp_path, "list").status == 0
    checked = features(tmp_path, "verify")
    assert checked.status == 1
    assert f"{path} is empty: what it held is lost, and the next run computes it again" in checked.out
    assert features(tmp_path, "prune", "--all", "--yes").status == 0
    assert path.stat().st_size == 0
    with FeatureStore(path) as store:
        assert store.missing(KEY, HASHES) == HASHES
        assert store.put(IDENTITY, HASHES, VECTORS) == 3
    assert features(tmp_path, "verify").status == 0


@pytest.mark.parametrize("description", ["[" * 5_000, "9" * 5_000, '{"name":NaN}', '{"name":"\\ud800"}', "[]", ""])
def test_an_import_with_a_damaged_description_is_one_line(runs: Path, tmp_path: Path, description: str) -> None:
    from armada_cli.features.prepare import read_tensors, write_tensors

    path = tmp_path / "carried.safetensors"
    with FeatureStore(runs / "features.db") as store:
        export_vectors(store, [KEY], path)
        tensors, metadata = read_tensors(path, "", "")
        write_tensors(path, tensors, {**metadata, KEY: description})
        with pytest.raises(UserError, match=f"the teacher identity {KEY} does not match its description"):
            import_vectors(store, path)


def test_prepared_files_with_damaged_metadata_do_not_stop_a_prune(runs: Path) -> None:
    from armada_cli.features.prepare import write_tensors

    (runs / "features").mkdir()
    for number, text in enumerate(["[" * 5_000, "[1]", "3", '{"name":NaN}', '{"name":"\\ud800"}', "null"]):
        metadata = {"format": "?", "teacher": text}
        write_tensors(runs / "features" / f"{number}.safetensors", {"features": VECTORS}, metadata)
    assert features(runs, "prune", "--all", "--yes").status == 0


def test_only_the_identity_of_a_key_is_read() -> None:
    text = json.dumps(IDENTITY)
    assert read_identity(text, KEY) == IDENTITY
    assert read_identity(text.replace("drum", "drun"), KEY) is None
