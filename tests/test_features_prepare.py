"""Prepared features on disk, features carried between machines, and the command."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import torch
from parrot import Parrot, parrot_fixture  # noqa: F401 - the fixture `parrot`
from safetensors.numpy import load_file, save_file

from armada_cli import Environment, UserError
from armada_cli.execution.outputs import write_outputs
from armada_cli.features.carry import export_vectors, import_vectors
from armada_cli.features.extract import ExtractionReport
from armada_cli.features.identity import identity_key, input_hashes, teacher_identity
from armada_cli.features.prepare import (
    MissingVectors,
    Prepared,
    count_missing,
    load_prepared,
    prepare,
    prepared_key,
    read_metadata,
    represent,
)
from armada_cli.features.store import FeatureStore
from armada_cli.main import run
from armada_cli.runs import Runs
from armada_cli.settings import Features

TEXTS = [f"line {number} of the song" for number in range(12)] + ["line 3 of the song"]
PLAIN = Features(reduce="none", standardise=False)


def made(bird: Parrot, spec: Features = PLAIN, texts: list[str] = TEXTS) -> tuple[Prepared, ExtractionReport | None]:
    return represent(bird.teacher, bird.options(), bird.environment, texts, spec, progress=False)


def test_rows_are_in_the_order_of_the_texts_repeats_included(parrot: Parrot) -> None:
    prepared, _ = made(parrot)
    features = load_prepared(prepared.path)
    assert features.shape == (13, 6) == (prepared.rows, prepared.width)
    np.testing.assert_array_equal(features[12], features[3])
    backwards, report = made(parrot, texts=TEXTS[::-1])
    assert report is not None
    assert report.new == 0
    np.testing.assert_array_equal(load_prepared(backwards.path), features[::-1])


def test_the_file_tells_whose_features_it_holds(parrot: Parrot) -> None:
    prepared, _ = made(parrot, Features(width=3))
    metadata = read_metadata(prepared.path)
    identity = json.loads(metadata["teacher"])
    assert (identity["name"], identity["distribution"]) == ("parrot", "armada-parrot")
    assert json.loads(metadata["spec"]) == dataclasses.asdict(Features(width=3))
    tensors = load_file(prepared.path)
    rows = load_prepared(made(parrot)[0].path).astype(np.float64)
    again = ((rows - tensors["center"]) @ tensors["components"] - tensors["mean"]) / tensors["scale"]
    np.testing.assert_allclose(again, tensors["features"], atol=1e-5)


def test_what_is_prepared_is_found_again_without_the_store(parrot: Parrot) -> None:
    first, _ = made(parrot)
    shutil.move(parrot.environment.runs / "features.db", parrot.folder / "away.db")
    calls = len(parrot.calls())
    assert made(parrot) == (first, None)
    assert len(parrot.calls()) == calls
    hashes = input_hashes(TEXTS)
    assert count_missing(parrot.teacher, parrot.options(), parrot.environment, hashes, PLAIN) == 0
    assert count_missing(parrot.teacher, parrot.options(), parrot.environment, hashes, Features()) == 12


def test_the_key_depends_on_teacher_settings_texts_and_their_order() -> None:
    keys = [
        prepared_key({"name": "a"}, TEXTS, PLAIN),
        prepared_key({"name": "b"}, TEXTS, PLAIN),
        prepared_key({"name": "a"}, TEXTS, Features()),
        prepared_key({"name": "a"}, TEXTS[:-1], PLAIN),
        prepared_key({"name": "a"}, TEXTS[::-1], PLAIN),
    ]
    assert len(set(keys)) == 5
    assert prepared_key(identity_key({"name": "a"}), TEXTS, PLAIN) == keys[0]


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "words", "another"])
def test_a_damaged_prepared_file_is_refused_and_made_again(parrot: Parrot, damage: str) -> None:
    prepared, _ = made(parrot)
    whole = prepared.path.read_bytes()
    expected = load_prepared(prepared.path).copy()
    if damage == "another":
        save_file({"features": np.ones((2, 2), np.float32)}, prepared.path)
    else:
        flipped = bytearray(whole)
        flipped[-3] ^= 1
        content = {"cut": whole[:-10], "flipped": bytes(flipped), "emptied": b"", "words": b"some words about nothing"}[damage]
        prepared.path.write_bytes(content)
    with pytest.raises(UserError, match="Delete it and run again") as error:
        load_prepared(prepared.path)
    assert str(prepared.path) in str(error.value)
    assert "\n" not in str(error.value)
    made(parrot)
    np.testing.assert_array_equal(load_prepared(prepared.path), expected)


def test_preparing_without_the_vectors_says_how_many_are_missing(parrot: Parrot) -> None:
    made(parrot, texts=TEXTS[:5])
    identity = teacher_identity(parrot.teacher, parrot.options(), parrot.environment)
    with FeatureStore.of(parrot.environment) as store, pytest.raises(MissingVectors, match="lacks 7 of 12 vectors"):
        prepare(identity, TEXTS, PLAIN, store, parrot.environment.runs / "features")


def test_a_vector_damaged_in_the_store_is_replaced_on_the_way(parrot: Parrot) -> None:
    first, _ = made(parrot)
    expected = load_prepared(first.path).copy()
    first.path.unlink()
    damage_one(parrot.environment)
    made(parrot)
    np.testing.assert_array_equal(load_prepared(first.path), expected)


def damage_one(environment: Environment) -> None:
    connection = sqlite3.connect(environment.runs / "features.db")
    connection.execute("UPDATE vectors SET vector = zeroblob(24) WHERE input = ?", (input_hashes(TEXTS)[2],))
    connection.commit()
    connection.close()


@pytest.fixture
def carried(parrot: Parrot) -> Path:
    made(parrot)
    file = parrot.folder / "carried.safetensors"
    with FeatureStore.of(parrot.environment) as store:
        export_vectors(store, [entry.key for entry in store.entries()], file)
    return file


def test_exported_vectors_serve_on_another_machine_without_the_teacher(parrot: Parrot, carried: Path) -> None:
    elsewhere = Environment(runs=parrot.folder / "elsewhere")
    with FeatureStore.of(elsewhere) as store:
        (item,) = import_vectors(store, carried)
        assert (item.teacher, item.rows, item.width, item.new) == ("parrot", 12, 6, 12)
        assert import_vectors(store, carried)[0].new == 0
    calls = len(parrot.calls())
    there, report = represent(parrot.teacher, parrot.options(), elsewhere, TEXTS, PLAIN, progress=False)
    assert report is not None
    assert report.new == 0
    assert len(parrot.calls()) == calls
    np.testing.assert_array_equal(load_prepared(there.path), load_prepared(made(parrot)[0].path))


def change(file: Path, **changes: object) -> None:
    tensors, metadata = load_file(file), read_metadata(file)
    (key,) = [name for name in metadata if name != "format" and "." not in name]
    for part, act in changes.items():
        if part in ("vectors", "inputs"):
            tensors[f"{key}.{part}"] = np.ascontiguousarray(act(tensors[f"{key}.{part}"]))  # type: ignore[operator]
        else:
            name = {"identity": key, "digest": f"{key}.digest"}.get(part, part)
            metadata[name] = act(metadata[name])  # type: ignore[operator]
    save_file(tensors, file, metadata)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vectors": lambda v: v + 1}, "do not match their digest"),
        ({"vectors": lambda v: np.where(v == v[1, 0], np.nan, v)}, "is not finite"),
        ({"vectors": lambda v: v.astype(np.float64)}, "float64 [12, 6], not float32"),
        ({"vectors": lambda v: v[:5]}, "not uint8 [5, 32]"),
        ({"vectors": lambda v: v[:0]}, "float32 [0, 6], not"),
        ({"inputs": lambda i: i[:, :9]}, "the input hashes are uint8 [12, 9]"),
        ({"inputs": lambda i: i[::-1]}, "do not match their digest"),
        ({"identity": lambda text: text.replace("parrot", "peacock")}, "does not match its description"),
        ({"identity": lambda text: text[:-4]}, "does not match its description"),
        ({"format": lambda text: "another"}, "is not a file that `armada features export` wrote"),
    ],
)
def test_an_altered_file_is_refused_as_a_whole(parrot: Parrot, carried: Path, changes: dict, says: str) -> None:
    change(carried, **changes)
    with FeatureStore(parrot.folder / "new.db") as store:
        with pytest.raises(UserError) as error:
            import_vectors(store, carried)
        assert says in str(error.value)
        assert "\n" not in str(error.value)
        assert store.entries() == []


def test_a_file_cut_short_or_absent_is_one_line(parrot: Parrot, carried: Path) -> None:
    carried.write_bytes(carried.read_bytes()[:-100])
    with FeatureStore(parrot.folder / "new.db") as store:
        with pytest.raises(UserError, match=r"carried\.safetensors: is damaged"):
            import_vectors(store, carried)
        with pytest.raises(UserError, match="cannot be read"):
            import_vectors(store, carried.with_name("nowhere.safetensors"))


def armada(bird: Parrot, *words: str) -> int:
    return run(["features", *words, "--runs", str(bird.environment.runs)])


def test_list_shows_what_is_stored(parrot: Parrot, capsys: pytest.CaptureFixture[str]) -> None:
    assert armada(parrot, "list") == 0
    assert capsys.readouterr().out == ""
    made(parrot)
    assert armada(parrot, "list", "--json") == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert (record["teacher"], record["rows"], record["width"], record["bytes"]) == ("parrot", 12, 6, 288)
    assert armada(parrot, "list") == 0
    assert capsys.readouterr().out.split("\t")[:5] == ["parrot", record["identity"], "12", "6", "288 B"]


def test_verify_counts_damage_drops_it_and_says_so(parrot: Parrot, capsys: pytest.CaptureFixture[str]) -> None:
    prepared, _ = made(parrot)
    assert armada(parrot, "verify") == 0
    assert capsys.readouterr().out == "12 vectors and 1 prepared file checked, 0 damaged\n"
    damage_one(parrot.environment)
    prepared.path.write_bytes(prepared.path.read_bytes()[:-1])
    assert armada(parrot, "verify") == 1
    out = capsys.readouterr().out
    assert "1 of 12 vectors are damaged" in out
    assert "12 vectors and 1 prepared file checked, 2 damaged\n" in out
    assert armada(parrot, "verify") == 0
    _, report = made(parrot)
    assert report is not None
    assert report.new == 1


def test_prune_removes_a_teachers_vectors_and_the_files_made_of_them(
    parrot: Parrot, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared, _ = made(parrot)
    assert armada(parrot, "prune", "--teacher", "parrot", "--dry-run") == 0
    assert "Would remove 12 vectors (288 B) and 1 prepared file." in capsys.readouterr().out
    assert prepared.path.exists()
    assert armada(parrot, "prune", "--teacher", "parrot", "--yes") == 0
    assert "Removed 12 vectors (288 B) and 1 prepared file." in capsys.readouterr().out
    assert not prepared.path.exists()
    with FeatureStore.of(parrot.environment) as store:
        assert store.entries() == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "nothing was chosen"),
        (["--teacher", "parot"], "Did you mean 'parrot'?"),
        (["--identity", "ffff0000"], "no stored identities match 'ffff0000'"),
        (["--all"], "nobody is there to be asked"),
    ],
)
def test_prune_removes_nothing_that_was_not_clearly_meant(
    parrot: Parrot, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    made(parrot)
    assert armada(parrot, "prune", *words) == 2
    message = capsys.readouterr().err.strip()
    assert says in message
    assert "\n" not in message
    with FeatureStore.of(parrot.environment) as store:
        assert store.entries()[0].rows == 12


def test_prune_removes_what_text_teachers_gave(parrot: Parrot, capsys: pytest.CaptureFixture[str]) -> None:
    made(parrot)
    runs = Runs(parrot.environment.runs)
    for trial, rows in (("a" * 16, 1000), ("b" * 16, 10)):
        with runs.lock_outputs(trial) as folder:
            write_outputs(folder / "logits", rows, [torch.zeros(rows, 3)])
    assert armada(parrot, "prune", "--teacher", "parrot", "--dry-run") == 0
    assert "outputs" not in capsys.readouterr().out
    assert armada(parrot, "prune", "--outputs", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "outputs of trial aaaaaaaaaaaaaaaa: 12 kB" in out
    assert "Would remove outputs of 2 text teachers (13 kB)." in out
    assert len(runs.sizes_of_outputs()) == 2
    assert armada(parrot, "prune", "--outputs", "--yes") == 0
    assert "Removed outputs of 2 text teachers (13 kB)." in capsys.readouterr().out
    assert runs.sizes_of_outputs() == {}
    with FeatureStore.of(parrot.environment) as store:
        assert store.entries()[0].rows == 12
    assert armada(parrot, "prune", "--outputs", "--yes") == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_export_and_import_by_command(parrot: Parrot, capsys: pytest.CaptureFixture[str]) -> None:
    made(parrot)
    file = str(parrot.folder / "out.safetensors")
    assert armada(parrot, "export", file, "--teacher", "parrot") == 0
    assert armada(parrot, "prune", "--all", "--yes") == 0
    capsys.readouterr()
    assert armada(parrot, "import", file) == 0
    assert "12 vectors, 6 wide, 12 new" in capsys.readouterr().out
    assert armada(parrot, "export", file + "/below/a/file") == 2
    assert "cannot be written" in capsys.readouterr().err
