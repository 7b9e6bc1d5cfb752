"""Data are judged before anything starts: `armada check`, `armada run` and `armada run --smoke` say the same of every bad file,
with exit status 2, and nothing is trained, represented or written before."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from distributions import write_distribution
from running import Ended, armada, plugins_changed, train

CASES = Path(__file__).resolve().parents[2] / "shared" / "cases"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Verdicts are kept in the user's cache; a test has one of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "armada"


def ask(recipe: Path, runs: Path, *more: str) -> dict[str, Ended]:
    """What the three say of a recipe."""
    return {
        "check": armada("check", recipe, "--runs", runs, *more),
        "run": train(recipe, runs, *more),
        "smoke": train(recipe, runs, "--smoke", *more),
    }


def complaints(found: Mapping[str, Ended], runs: Path) -> list[str]:
    """The lines that all of them end with, after exit status 2 and before anything was made."""
    said = {}
    for verb, ended in found.items():
        assert ended.status == 2, f"{verb}: {ended.out}{ended.err}"
        assert "Traceback" not in ended.err
        assert ended.out == ""
        said[verb] = ended.err.strip().splitlines()
    assert said["check"] == said["run"] == said["smoke"]
    assert not list(runs.rglob("trials/*/*")), "a trial was begun"
    assert not list(runs.rglob("features.db")), "a teacher was asked"
    return said["check"]


HEAD = "text,label\n"
VEHICLES = ["ferry", "tram", "train", "bus", "coach"]
ROWS = "".join(f"the {word} was late,{label}\n" for word, label in zip(VEHICLES, "ababa", strict=True))
NUMBERS = "".join(f"the {word} was late,{label}\n" for label, word in enumerate(VEHICLES))
EQUAL = ROWS.replace(",b", ",3").replace(",a", ",3")

BAD_TABLES: dict[str, tuple[str, bytes, str, str]] = {
    # name -> file, content, further options, what is said
    "no byte": ("a.csv", b"", "", "the file is empty"),
    "no row": ("a.csv", HEAD.encode(), "", "no row under the header"),
    "no column": ("a.csv", ROWS.encode(), "", "no column"),
    "one class": ("a.csv", (HEAD + ROWS.replace(",b", ",a")).encode(), "", "one class only"),
    "a class a row": ("a.csv", (HEAD + NUMBERS).encode(), "", "another class in each"),
    "an empty text": ("a.csv", (HEAD + ROWS + ",a\n").encode(), "", "a.csv:7: column 'text' is empty"),
    "an empty label": ("a.csv", (HEAD + ROWS + "the end,\n").encode(), "", "a.csv:7: column 'label' is empty"),
    "a field too many": ("a.csv", (HEAD + ROWS + "the end,a,b\n").encode(), "", "a.csv:7"),
    "an open quote": ("a.csv", (HEAD + ROWS + '"the end,a\n').encode(), "", "a.csv"),
    "bytes of no text": ("a.csv", (HEAD + ROWS).encode() + b"caf\xe9,a\n", "", "0xe9"),
    "utf-16": ("a.csv", (HEAD + ROWS).encode("utf-16"), "", "utf-16"),
    "words for numbers": ("a.csv", (HEAD + ROWS).encode(), ", target: regression", "not a number"),
    "a number that is none": ("a.csv", (HEAD + NUMBERS + "the end,nan\n").encode(), ", target: regression", "not a finite"),
    "one number": (
        "a.csv",
        (HEAD + EQUAL).encode(),
        ", target: regression",
        "3 in all 5",
    ),
    "one text": ("a.csv", (HEAD + "one,a\none,b\n" * 3).encode(), "", "too few to keep some back"),
    "no label at all": ("a.csv", (HEAD + "one,\ntwo,\n").encode(), ", target: multilabel", "no label in any row"),
    "equal label sets": ("a.csv", (HEAD + "one,a;b\ntwo,b;a\n").encode(), ", target: multilabel", "same labels in all"),
    "a comma at the end": ("a.jsonl", b'{"text": "a", "label": "x"},\n{"text": "b", "label": "y"},\n', "", "a.jsonl:1"),
    "a line that is a list": ("a.jsonl", b'{"text": "a", "label": "x"}\n["b", "y"]\n', "", "a.jsonl:2"),
    "a cut line": ("a.jsonl", b'{"text": "a", "label": "x"}\n{"text": "b", "la', "", "a.jsonl:2"),
    "a key that is lacking": ("a.jsonl", b'{"text": "a", "label": "x"}\n{"text": "b"}\n', "", "a.jsonl:2"),
    "a text that is a number": ("a.jsonl", b'{"text": "a", "label": "x"}\n{"text": 3, "label": "y"}\n', "", "not a text"),
    "no parquet": ("a.parquet", b"text,label\n", "", "not a Parquet file"),
    "cut parquet": ("a.parquet", b"PAR1" + bytes(50), "", "a.parquet"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_told_before_anything_starts(recipe, tmp_path, case):
    name, content, options, said = BAD_TABLES[case]
    if name.endswith(".parquet") and case != "no parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    path = recipe(tasks=f"[{{name: files, file: {tmp_path / name}{options}}}]", methods="[undistilled]")
    lines = complaints(ask(path, tmp_path / "runs"), tmp_path / "runs")
    assert len([line for line in lines if line != "1 problem"]) == 1
    assert said in lines[0]


def test_a_bad_validation_table_is_told_as_well(recipe, tmp_path, table):
    (tmp_path / "other.csv").write_text("text,label\na new view,superb\n", encoding="utf-8")
    path = recipe(
        tasks=f"[{{name: files, file: {table['train']}, validation: {tmp_path / 'other.csv'}}}]", methods="[undistilled]"
    )
    (line,) = complaints(ask(path, tmp_path / "runs"), tmp_path / "runs")
    assert "other.csv:2" in line
    assert "'superb', a label that training never has" in line


def test_the_problems_of_all_tasks_are_listed_together(recipe, tmp_path, table):
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text(f"text,label\na,{name}\nb,{name}\n", encoding="utf-8")
    tasks = ", ".join(
        f"{{name: files, as: {name}, file: {place}}}"
        for name, place in (
            ("good", table["train"]),
            ("one", tmp_path / "one.csv"),
            ("two", tmp_path / "two.csv"),
        )
    )
    lines = complaints(ask(recipe(tasks=f"[{tasks}]"), tmp_path / "runs"), tmp_path / "runs")
    assert len(lines) == 3
    assert ["one.csv" in lines[0], "two.csv" in lines[1], lines[2]] == [True, True, "2 problems"]


def test_a_limit_that_leaves_one_target_is_told(recipe, tmp_path):
    rows = "".join(f"text {number},{number // 39}\n" for number in range(40))
    (tmp_path / "a.csv").write_text(HEAD + rows, encoding="utf-8")
    path = recipe(
        tasks=f"[{{name: files, file: {tmp_path / 'a.csv'}, target: regression, limit: {{train: 3}}}}]", methods="[undistilled]"
    )
    (line,) = complaints(ask(path, tmp_path / "runs"), tmp_path / "runs")
    assert line == (
        "armada: task files: all 3 training rows have the target 0: there is nothing to predict. Add rows, raise the limit, or "
        "name another column"
    )


BAD_MIRRORS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a hidden label": (lambda row: row | {"label": -1}, "the label is -1"),
    "a label that is no class": (lambda row: row | {"label": 2}, "not a class number from 0 to 1"),
    "a label that is a word": (lambda row: row | {"label": "yes"}, "not a class number"),
    "no text": (lambda row: row | {"sentence": None}, "holds None, not a text"),
    "no column": (lambda row: {"label": row["label"]}, "no column 'sentence'"),
    "a list": (lambda row: [row], "a JSON list, not an object"),
}


@pytest.mark.parametrize("case", BAD_MIRRORS)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_bad_row_of_a_mirror_is_told_before_anything_starts(recipe, tmp_path, case, split):
    change, said = BAD_MIRRORS[case]
    folder = tmp_path / "data" / "nyu-mll" / "glue" / "cola"
    folder.mkdir(parents=True)
    for name in ("train", "validation"):
        rows: list[Any] = [{"sentence": f"Row {number} of {name}.", "label": number % 2} for number in range(6)]
        if name == split:
            rows[4] = change(rows[4])
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = recipe(tasks="[cola]", methods="[undistilled]")
    (line,) = complaints(ask(path, tmp_path / "runs", "--data", str(tmp_path / "data")), tmp_path / "runs")
    assert f"{split}.jsonl:5" in line
    assert said in line


BAD_FILMS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no poster": (lambda folder: (folder / "dataset" / "000001.jpeg").unlink(), "000001.jpeg: no such poster"),
    "no record": (lambda folder: (folder / "dataset" / "000001.json").unlink(), "000001.json: no such file"),
    "a damaged record": (lambda folder: (folder / "dataset" / "000001.json").write_text("{"), "000001.json: no JSON"),
    "no plot": (
        lambda folder: (folder / "dataset" / "000001.json").write_text('{"plot": [" "], "genres": ["Drama"]}'),
        "000001.json: the plot is empty",
    ),
    "no split": (lambda folder: (folder / "split.json").write_text("{}"), "no list of films under"),
}


@pytest.mark.parametrize("case", BAD_FILMS)
def test_a_bad_film_is_told_before_anything_starts(recipe, tmp_path, case):
    damage, said = BAD_FILMS[case]
    folder = tmp_path / "films"
    (folder / "dataset").mkdir(parents=True)
    names = {"train": ["000001", "000002"], "dev": ["000003"], "test": ["000003"]}
    (folder / "split.json").write_text(json.dumps(names))
    for name in ("000001", "000002", "000003"):
        (folder / "dataset" / f"{name}.json").write_text(json.dumps({"plot": [f"Film {name}."], "genres": ["Drama"]}))
        (folder / "dataset" / f"{name}.jpeg").write_bytes(b"not looked at")
    damage(folder)
    path = recipe(tasks=f"[{{name: mm-imdb, path: {folder}}}]", methods="[undistilled]")
    lines = complaints(ask(path, tmp_path / "runs"), tmp_path / "runs")
    assert said in lines[0]


# ------------------------------------------------------------------------------------------------------------- teachers


def vectors_without(folder: Path, vectors: Path) -> tuple[Path, Path]:
    """A copy of the vectors and their texts, to be damaged."""
    place = folder / "copy.npy"
    shutil.copy(vectors, place)
    shutil.copy(vectors.with_suffix(".txt"), place.with_suffix(".txt"))
    return place, place.with_suffix(".txt")


def drop_a_text(path: Path, ids: Path) -> None:
    lines = ids.read_text(encoding="utf-8").splitlines()
    ids.write_text("\n".join(["another text", *lines[1:]]) + "\n", encoding="utf-8")


BAD_VECTORS: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "a text without a vector": (drop_a_text, "has no vector for 1 of 96 texts"),
    "texts too few": (lambda path, ids: ids.write_text("one\n", encoding="utf-8"), "1 texts for the"),
    "no vectors": (lambda path, ids: path.write_bytes(b"noise"), "cannot be read as vectors"),
    "cut vectors": (lambda path, ids: path.write_bytes(path.read_bytes()[:-100]), "cannot be read as vectors"),
    "texts of no encoding": (lambda path, ids: ids.write_bytes(b"caf\xe9\n"), "not UTF-8"),
}


@pytest.mark.parametrize("case", BAD_VECTORS)
def test_vectors_that_lack_a_text_are_told_before_anything_starts(recipe, tmp_path, vectors, case):
    damage, said = BAD_VECTORS[case]
    place, ids = vectors_without(tmp_path, vectors)
    damage(place, ids)
    path = recipe(teacher=f"{{name: precomputed, path: {place}, ids: {ids}}}")
    lines = complaints(ask(path, tmp_path / "runs"), tmp_path / "runs")
    assert said in lines[0]


# ------------------------------------------------------------------------------------------------------ what is remembered


def test_notes_of_a_table_are_in_the_plan(recipe, tmp_path, table):
    path = recipe(tasks=f"[{{name: files, file: {table['train']}, validation: {tmp_path / 'same.csv'}}}]")
    shutil.copy(table["train"], tmp_path / "same.csv")
    first, second = (armada("check", path, "--runs", tmp_path / "runs") for _ in range(2))
    assert first.status == 0
    assert any(line.startswith("note           ") and "scores will flatter" in line for line in first.out.splitlines())
    assert second.out == first.out


@pytest.mark.parametrize("damage", [b"", b"{}", b"noise", None])
def test_a_damaged_verdict_is_judged_again(recipe, tmp_path, cache, damage):
    path = recipe()
    first = armada("check", path, "--runs", tmp_path / "runs")
    kept = list((cache / "judged").iterdir())
    assert {file.suffix for file in kept} == {".json", ".inputs"}
    for file in kept:
        if damage is None:
            file.unlink()
        else:
            file.write_bytes(damage)
    assert armada("check", path, "--runs", tmp_path / "runs") == first


def test_a_verdict_is_of_one_content_alone(recipe, tmp_path):
    file = tmp_path / "a.csv"
    path = recipe(tasks=f"[{{name: files, file: {file}}}]", methods="[undistilled]")
    file.write_text(HEAD + ROWS, encoding="utf-8")
    assert armada("check", path, "--runs", tmp_path / "runs").status == 0
    file.write_text(HEAD + ROWS.replace(",b", ",a"), encoding="utf-8")
    assert armada("check", path, "--runs", tmp_path / "runs").status == 2
    file.write_text(HEAD + ROWS, encoding="utf-8")
    assert armada("check", path, "--runs", tmp_path / "runs").status == 0


def test_the_second_check_reads_no_rows_and_imports_nothing_heavy(recipe, tmp_path, vectors):
    """Not even the task's own module; a Parquet table is what would bring numpy."""
    pq = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    texts = vectors.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    table = pyarrow.table({"text": texts[:20], "label": [number % 2 for number in range(20)]})
    pq.write_table(table, tmp_path / "a.parquet")
    path = recipe(tasks=f"[{{name: files, file: {tmp_path / 'a.parquet'}}}]")
    assert armada("check", path, "--runs", tmp_path / "runs").status == 0
    script = (
        "import sys\nfrom armada_cli.main import run\n"
        f"status = run(['check', {str(path)!r}, '--runs', {str(tmp_path / 'runs')!r}])\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'pandas', 'pyarrow', 'armada_task_files.task'}\n"
        "print('heavy:', status, sorted(set(sys.modules) & heavy), file=sys.stderr)\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert found.stderr.splitlines()[-1] == "heavy: 0 []", found.stderr
    assert "16 of 16" in found.stdout


# ----------------------------------------------------------------------------------------------------------- other tasks

ODD = """
    from dataclasses import dataclass
    from armada_cli import Component, hookimpl, option

    @dataclass(frozen=True)
    class Way:
        way: str = option("raise", "How it fails")

    @hookimpl
    def armada_tasks():
        return [Component("odd", "Fails as told", "armada_odd_parts:Odd", Way, {"classification"})]
"""
ODD_PARTS = """
    from armada_cli import Split, Task

    class Odd(Task):
        def split(self, name):
            way = self.options.way
            if way == "raise":
                raise KeyError("no\\nsuch row")
            labels = {"number": [0, 5, 1, 7], "length": [0, 1]}.get(way, [0, 1, 0, 1])
            texts = [] if way == "empty" else [("a",), ("b",), ("c",), ("d",)]
            return Split(texts, labels if texts else [], ["a"] * len(texts))

        def labels(self):
            return ("no", "yes")

        def score(self, outputs, labels):
            return {"accuracy": 0.0}

        metric = "accuracy"
"""


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("raise", "task odd (plugin armada-odd 1.0) cannot read its train rows: KeyError: 'no\\nsuch row'"),
        ("number", "task odd: row 2 of its train split has the label 5, not a class number from 0 to 1"),
        ("length", "its train split has 4 texts, 2 labels and 4 inputs for a teacher"),
        ("empty", "task odd: the training split has no rows. Raise its limit or check the data"),
    ],
)
def test_what_a_task_of_anybodys_hands_over_is_judged(recipe, tmp_path, monkeypatch, way, said):
    modules = {"armada_odd": ODD, "armada_odd_parts": ODD_PARTS}
    monkeypatch.syspath_prepend(write_distribution(tmp_path / "site", "armada-odd", modules, {"odd": "armada_odd"}))
    with plugins_changed():
        path = recipe(tasks=f"[{{name: odd, way: {way}}}]", methods="[undistilled]")
        lines = complaints(ask(path, tmp_path / "runs"), tmp_path / "runs")
    assert said in lines[0]


# --------------------------------------------------------------------------------------------------------- public cases

OPTIONS = {
    "multihot.jsonl": "target: multilabel, label: tags",
    "multihot_bools.jsonl": "target: multilabel, label: tags",
    "lists_in_cells.csv": "target: multilabel, label: tags",
    "pipe_separated.csv": "target: multilabel, label: tags",
    "years.csv": "target: regression, label: target",
}


@pytest.mark.skipif(not CASES.is_dir(), reason="the folder shared/cases is not beside the checkout")
@pytest.mark.parametrize("name", sorted(path.name for path in CASES.glob("*.*") if path.suffix in (".csv", ".jsonl")))
def test_check_says_of_a_case_what_run_says(recipe, tmp_path, name):
    file = Path(shutil.copy(CASES / name, tmp_path / name))
    options = f", {OPTIONS[name]}" if name in OPTIONS else ""
    path = recipe(
        tasks=f"[{{name: files, file: {file}{options}}}]",
        methods="[undistilled]",
        train="{epochs: 1, batch_size: 16, max_length: 16}",
        limit="{train: 16, validation: 16}",
    )
    check = armada("check", path, "--runs", tmp_path / "runs")
    run = train(path, tmp_path / "runs")
    assert check.status == run.status, f"{check.err}{run.err}"
    if check.status:
        assert check.err == run.err
        assert not list((tmp_path / "runs").rglob("trials/*/*"))
