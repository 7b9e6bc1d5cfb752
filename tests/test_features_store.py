"""The feature store: what goes in comes out, damage does not."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from armada_cli import Component, Environment, NoOptions, UserError
from armada_cli.features.identity import identity_key, input_hash, input_hashes, teacher_identity
from armada_cli.features.store import FeatureStore, WidthMismatch
from armada_cli.registry.registered import Registered

IDENTITY = {"name": "drum", "options": {"seed": 1}}
KEY = identity_key(IDENTITY)
TEXTS = ["a slow march", "a quick dance", "a long silence"]
HASHES = input_hashes(TEXTS)
VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    store = FeatureStore(tmp_path / "runs" / "features.db")
    store.put(IDENTITY, HASHES, VECTORS)
    return store


def test_vectors_come_back_in_the_order_asked_for_and_as_often(store: FeatureStore) -> None:
    vectors, found = store.get(KEY, [HASHES[2], HASHES[0], HASHES[2]])
    assert found.all()
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, VECTORS[[2, 0, 2]])


def test_another_process_reads_what_was_stored(store: FeatureStore) -> None:
    code = (
        "import sys; from armada_cli.features.store import *; "
        "print(FeatureStore(sys.argv[1]).get(sys.argv[2], input_hashes(sys.argv[3:]))[0].sum())"
    )
    result = subprocess.run([sys.executable, "-c", code, store.path, KEY, *TEXTS], capture_output=True, text=True, check=True)
    assert float(result.stdout) == VECTORS.sum()


def test_what_is_missing_is_named_once_and_in_order(store: FeatureStore) -> None:
    new = input_hashes(["z", "y"])
    assert store.missing(KEY, [new[0], HASHES[1], new[1], new[0]]) == new
    assert store.count_missing(KEY, ["y", "y", TEXTS[0]]) == 1


def test_a_store_that_does_not_exist_misses_everything_and_is_not_made(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "features.db")
    assert store.count_missing(KEY, TEXTS) == 3
    assert store.entries() == []
    assert not store.get(KEY, HASHES)[1].any()
    assert not store.path.exists()


def test_a_stored_vector_is_not_replaced(store: FeatureStore) -> None:
    assert store.put(IDENTITY, HASHES[:1], VECTORS[:1] + 9) == 0
    np.testing.assert_array_equal(store.get(KEY, HASHES[:1])[0], VECTORS[:1])


def test_teachers_do_not_see_each_others_vectors(store: FeatureStore) -> None:
    other = {**IDENTITY, "options": {"seed": 2}}
    assert store.missing(identity_key(other), HASHES) == HASHES
    store.put(other, HASHES[:1], np.zeros((1, 9), np.float32))
    assert [(entry.rows, entry.width) for entry in store.entries()] == [(3, 4), (1, 9)]


def test_a_second_width_is_refused_and_nothing_of_it_is_stored(store: FeatureStore) -> None:
    with pytest.raises(WidthMismatch, match="5 wide, its stored ones are 4 wide"):
        store.put(IDENTITY, input_hashes(["new"]), np.zeros((1, 5), np.float32))
    assert store.count_missing(KEY, ["new"]) == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE vectors SET vector = zeroblob(16) WHERE input = :item",
        "UPDATE vectors SET vector = substr(vector, 1, 8) WHERE input = :item",
        "UPDATE vectors SET checksum = x'00' WHERE input = :item",
        "UPDATE vectors SET vector = 'words' WHERE input = :item",
        "UPDATE vectors SET vector = 3.5 WHERE input = :item",
        "UPDATE vectors SET (vector, checksum) = (SELECT vector, checksum FROM vectors WHERE input <> :item) "
        "WHERE input = :item",
    ],
    ids=["zeroed", "cut", "checksum", "text", "number", "anothers"],
)
def test_a_damaged_row_is_dropped_and_never_served(store: FeatureStore, damage: str) -> None:
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute(damage, {"item": HASHES[1]})
    connection.close()
    assert store.verify(KEY) == (2, [HASHES[1]])
    vectors, found = store.get(KEY, HASHES)
    assert found.tolist() == [True, False, True]
    assert np.isnan(vectors[1]).all()
    assert store.missing(KEY, HASHES) == [HASHES[1]]


def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "features.db"
    path.write_text("These are notes, and no database at all. " * 200)
    with pytest.raises(UserError, match=r"features\.db: is damaged .*\. Move it away") as error:
        FeatureStore(path).count_missing(KEY, TEXTS)
    assert "\n" not in str(error.value)
    assert path.read_text().startswith("These are notes")


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "features.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(UserError, match="not a feature store"):
        FeatureStore(path).put(IDENTITY, HASHES, VECTORS)
    assert path.read_bytes() == before


def test_a_store_of_a_later_armada_is_not_touched(store: FeatureStore) -> None:
    store.close()
    connection = sqlite3.connect(store.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UserError, match="format 99"):
        store.entries()


def test_a_torn_database_page_is_one_line(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "features.db")
    many = input_hashes(str(number) for number in range(3000))
    store.put(IDENTITY, many, np.ones((3000, 4), np.float32))
    store.close()
    content = bytearray(store.path.read_bytes())
    content[16384:] = os.urandom(len(content) - 16384)
    store.path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged") as error:
        store.get(KEY, many)
    assert "\n" not in str(error.value)


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        store = FeatureStore(place / "features.db")
        store.put(IDENTITY, HASHES, VECTORS)
        many = input_hashes(str(number) for number in range(20_000))
        with pytest.raises(UserError, match=r"features\.db: the disk is full") as error:
            store.put(IDENTITY, many, np.ones((20_000, 4), np.float32))
        assert "\n" not in str(error.value)
        assert store.get(KEY, HASHES)[1].all()
        assert store.verify(KEY) == (3, [])
        store.close()
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_read_only_disk_can_be_read_and_says_so_when_written(store: FeatureStore) -> None:
    store.close()
    place = store.path.parent
    mounted = subprocess.run(["mount", "--bind", "-o", "ro", str(place), str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a read-only file system cannot be mounted here")
    try:
        assert store.get(KEY, HASHES)[1].all()
        with pytest.raises(UserError, match=r"features\.db: is read-only\. Make it writable"):
            store.put(IDENTITY, input_hashes(["new"]), VECTORS[:1])
        store.close()
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_folder_where_the_file_should_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "features.db").mkdir()
    with pytest.raises(UserError, match="cannot be opened"):
        FeatureStore(tmp_path / "features.db").put(IDENTITY, HASHES, VECTORS)


def test_media_are_known_by_their_content(tmp_path: Path) -> None:
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    one.write_bytes(b"picture")
    two.write_bytes(b"picture")
    assert input_hash(one) == input_hash(two)
    with pytest.raises(UserError, match=r"three\.png: cannot be read"):
        input_hash(tmp_path / "three.png")


def test_same_named_teachers_of_two_distributions_have_two_identities() -> None:
    card = Component("drum", "Beats", "drums:Drum")
    one, two = (Registered("teacher", card, "drum", name, "1.0") for name in ("drums-a", "drums-b"))
    keys = {identity_key(teacher_identity(item, NoOptions(), Environment())) for item in (one, two)}
    assert len(keys) == 2


def test_counting_imports_nothing_heavy(store: FeatureStore) -> None:
    code = (
        "import sys; from armada_cli.features.prepare import count_missing, prepared_key; "
        "from armada_cli.features.store import FeatureStore; "
        "print(FeatureStore(sys.argv[1]).count_missing(sys.argv[2], ['new'])); "
        "print(sorted({'numpy', 'torch', 'scipy', 'pandas', 'safetensors', 'rich'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code, store.path, KEY], capture_output=True, text=True, check=True)
    assert result.stdout.split("\n")[:2] == ["1", "[]"]
