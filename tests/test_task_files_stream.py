"""Tables larger than the memory: which rows a limit keeps, and that the others are judged and not held."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from armada_task_files import survey as surveys
from armada_task_files import table as tables
from armada_task_files.options import FilesOptions
from armada_task_files.task import Files

from armada_cli import Environment, UserError


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def files(file: str, **options: Any) -> Files:
    return Files(FilesOptions(file=file, **options), Environment())


def rows_of(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Made-up rows; texts come back in other spellings and with other labels."""
    draw = random.Random(seed)
    texts = [f"boat {draw.randrange(count // 2)}" for _ in range(count)]
    return [(draw.choice([text, text.upper(), f" {text}"]), draw.choice("aaaabbc")) for text in texts]


def write(name: str, rows: list[tuple[str, Any]]) -> str:
    path = Path(name)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    elif path.suffix == ".parquet":
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
        parquet.write_table(pyarrow.table(columns), path, row_group_size=50)
    else:
        mark = "," if path.suffix == ".csv" else "\t"
        path.write_text(f"text{mark}label\n" + "".join(f"{text}{mark}{label}\n" for text, label in rows))
    return name


def held_out(rows: list[tuple[str, str]], share: float, seed: int) -> set[int]:
    """The rows kept back, as the words of `hold_out` say, with all of a table in memory."""
    members: dict[str, list[int]] = {}
    for row, (text, _) in enumerate(rows):
        members.setdefault(" ".join(text.casefold().split()), []).append(row)
    by_class: dict[str, list[str]] = {}
    for text, places in members.items():
        by_class.setdefault(rows[places[0]][1], []).append(text)
    left = Counter(label for _, label in rows)
    held: set[int] = set()
    for label in sorted(by_class, key=lambda label: -len(by_class[label])):
        texts = sorted(by_class[label], key=lambda text: hashlib.sha256(f"{seed}\0{text}".encode()).digest())
        count = min(round(share * len(texts)), len(texts) - 1)
        for text in texts[: max(count, 1) if not held and len(texts) > 1 else count]:
            after = left - Counter(rows[row][1] for row in members[text])
            if len(after) == len(left):
                left = after
                held.update(members[text])
    return held


@pytest.mark.parametrize(("share", "seed"), [(0.2, 0), (0.5, 1), (0.95, 2)])
@pytest.mark.parametrize("name", ["boats.csv", "boats.tsv", "boats.jsonl", "boats.parquet"])
def test_the_rows_kept_back_are_those_that_a_table_in_memory_would_keep_back(name, share, seed):
    rows = rows_of(300, seed)
    task = files(write(name, rows), validation_share=share, seed=seed)
    held = held_out(rows, share, seed)
    for split, wanted in (("train", False), ("validation", True)):
        there = [(texts[0], task.labels()[label]) for texts, label in zip(*columns(task.split(split))[:2], strict=True)]
        assert there == [row for place, row in enumerate(rows) if (place in held) == wanted]


def columns(split: Any) -> tuple[Any, Any, Any]:
    return split.texts, split.labels, split.teacher_inputs


@pytest.mark.parametrize("name", ["boats.csv", "boats.tsv", "boats.jsonl", "boats.parquet"])
@pytest.mark.parametrize("limit", [1, 7, 100, 10_000])
def test_a_limit_keeps_the_same_rows_as_a_sample_of_the_whole_split(name, limit):
    file = write(name, rows_of(300))
    validation = write(f"other-{name}", rows_of(120, seed=1))
    for task in (files(file), files(file, validation=validation)):
        for split in ("train", "validation"):
            assert columns(task.sample(split, limit)) == columns(task.split(split).limited(limit, split))


def test_the_classes_are_those_of_all_rows_whatever_the_limit():
    task = files(write("boats.csv", [*rows_of(300), ("a rare boat", "z"), ("a rarer boat", "z")]))
    assert len(task.sample("train", 1)) == 1
    assert task.labels() == ("a", "b", "c", "z")


@pytest.mark.parametrize("line", ["only one field", "boat 7,", ",a", "a boat,nan", "a b\udce9at,a"])
def test_a_bad_row_that_no_limit_chooses_is_told_all_the_same(line):
    path = Path(write("boats.csv", rows_of(300)))
    with path.open("ab") as stream:
        stream.write(line.encode(errors="surrogateescape") + b"\n")
    with pytest.raises(UserError, match=r"boats\.csv:302: "):
        files("boats.csv").sample("train", 2)


def test_a_table_that_changes_between_its_two_readings_is_told():
    write("boats.csv", rows_of(300))
    task = files("boats.csv")
    task.labels()
    write("boats.csv", rows_of(200))
    with pytest.raises(UserError, match=r"boats.csv: changed while it was read. Leave the file alone"):
        task.split("train")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "shift_jis", "iso2022_jp"]
)
def test_characters_may_lie_across_the_pieces_that_are_decoded(encoding, monkeypatch):
    text = {"cp1252": "Größe", "shift_jis": "船は白い", "iso2022_jp": "船は白い"}.get(encoding, "Größe 船 🚢")
    table = f"text,label\n{text} one,a\n{text} two,b\n{text} three,a\n"
    Path("boats.csv").write_bytes(table.encode(encoding))
    for size in range(1, 20):
        monkeypatch.setattr(tables, "HEAD", size)
        task = tables.FileTable("boats.csv", ("text", "label"), tables.Format(encoding))
        assert [cells for _, cells in task.rows(task.faults())] == [
            (f"{text} one", "a"),
            (f"{text} two", "b"),
            (f"{text} three", "a"),
        ]


def test_utf_16_without_a_mark_is_read_where_it_is_named():
    Path("boats.csv").write_bytes("text,label\nGröße,a\nboat,b\nship,a\n".encode(f"utf-16-{sys.byteorder[0]}e"))
    assert sorted(files("boats.csv", encoding="utf-16").labels()) == ["a", "b"]


@pytest.mark.parametrize("size", [*range(2, 40), 1 << 20])
def test_a_quote_behind_a_space_is_seen_wherever_a_piece_ends(size, monkeypatch):
    Path("boats.csv").write_bytes(b'text,label\r\nthe first, a\r\nthe second, "a, b"\r\n')
    monkeypatch.setattr(tables, "HEAD", size)
    table = tables.FileTable("boats.csv", ("text", "label"), tables.Format())
    assert [cells for _, cells in table.rows(table.faults())] == [("the first", "a"), ("the second", "a, b")]


def test_a_nul_and_a_byte_of_another_encoding_keep_their_lines_across_pieces(monkeypatch):
    monkeypatch.setattr(tables, "HEAD", 5)
    Path("boats.csv").write_bytes(b"text,label\nboat,a\nsh\0ip,b\n")
    with pytest.raises(UserError, match=r"boats\.csv:3: a NUL character"):
        tables.FileTable("boats.csv", ("text", "label"), tables.Format())
    Path("boats.csv").write_bytes("text,label\nboat,a\nship,b\n".encode("utf-16-le")[:-1])
    with pytest.raises(UserError, match=r"boats\.csv:3: the bytes are not utf-16-le"):
        tables.FileTable("boats.csv", ("text", "label"), tables.Format("utf-16-le"))


def test_no_room_for_temporary_files_is_one_line():
    write("boats.csv", rows_of(300))
    table = tables.FileTable("boats.csv", ("text", "label"), tables.Format())

    def look_over() -> None:
        with surveys.scratch() as connection:
            connection.execute("PRAGMA max_page_count = 2")
            surveys.Survey(table, FilesOptions("boats.csv"), connection, "training")

    with pytest.raises(UserError, match="no room for temporary files while a table is read"):
        look_over()


@pytest.mark.parametrize("cell", ['["a", "b"]', "['a', 'b']"])
def test_a_list_in_a_cell_is_read_once_however_many_rows_have_it(cell, monkeypatch):
    import armada_task_files.targets as targets

    calls: list[str] = []
    whole = targets.parse_list
    monkeypatch.setattr(targets, "parse_list", lambda text: calls.append(text) or whole(text))
    rows = [{"text": f"boat {row}", "label": cell if row % 2 else '["c"]'} for row in range(100)]
    Path("boats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert files("boats.jsonl", target="multilabel").labels() == ("a", "b", "c")
    assert sorted(calls) == sorted([cell, '["c"]'])


MEASURE = """
import resource, sys
from armada_task_files.options import FilesOptions
from armada_task_files.task import Files
from armada_cli import Environment
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert len(Files(FilesOptions(sys.argv[1]), Environment()).sample("train", 64)) == 64
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no module resource")
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_limit_bounds_the_memory(suffix):
    """A table of 12 MB; held whole, it took 70 MB."""
    texts = ["boat " * 120 + str(row) for row in range(20_000)]
    name = write(f"boats.{suffix}", [(text, "ab"[row % 2]) for row, text in enumerate(texts)])
    done = subprocess.run([sys.executable, "-c", MEASURE, name], capture_output=True, text=True, check=True)
    grown = int(done.stdout) // (1 << 10 if sys.platform == "darwin" else 1)
    assert grown < (90_000 if suffix == "parquet" else 15_000), f"{grown} KiB"
