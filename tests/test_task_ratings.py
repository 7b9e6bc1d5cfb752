"""The rated sentences: how the archive is read, what is learnt, and how documents are held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from armada_task_ratings import archive, samples
from armada_task_ratings.archive import Sentence
from armada_task_ratings.options import RatingsOptions
from armada_task_ratings.task import Ratings, divide
from running import armada

from armada_cli import Environment, UserError

REAL = RatingsOptions().file()
fetched = pytest.mark.skipif(not REAL.is_file(), reason=f"{archive.ARCHIVE} is not in the cache: see docs/offline.md")


@pytest.fixture
def options(tmp_path: Path) -> RatingsOptions:
    return RatingsOptions().smoke(tmp_path)


@pytest.mark.parametrize("source", archive.SOURCES)
def test_ratings_are_a_regression_and_signs_two_classes(options: RatingsOptions, source: str) -> None:
    ratings = Ratings(replace(options, source=source), Environment())
    signs = Ratings(replace(options, source=source, labels="sign"), Environment())
    assert (ratings.kind, ratings.metric, signs.kind, signs.metric) == ("regression", "pearson", "classification", "accuracy")
    for name in ("train", "validation"):
        assert set(ratings.split(name).labels) <= {1.0, 2.0, 3.0, -1.0, -2.0, -3.0}
        assert set(signs.split(name).labels) == {0, 1}
        assert all("&amp;" not in text and " & " in text for text in ratings.split(name).teacher_inputs)
    assert sum(len(ratings.split(name)) for name in ("train", "validation")) == 48


def test_no_document_is_on_both_sides_and_the_seed_decides_which_are_held_out() -> None:
    rows = [Sentence(str(n // 5), 1.0, f"sentence {n}") for n in range(500)]
    sides = divide(rows, 0.2, seed=0)
    held = {row.document for row in sides["validation"]}
    assert not held & {row.document for row in sides["train"]}
    assert 10 <= len(held) <= 30
    assert held != {row.document for row in divide(rows, 0.2, seed=1)["validation"]}
    assert divide(rows[::-1], 0.2, seed=0) == sides


def test_a_text_of_the_validation_rows_is_in_no_training_row() -> None:
    rows = [Sentence(str(n), 1.0, "the same" if n % 2 else f"sentence {n}") for n in range(100)]
    sides = divide(rows, 0.3, seed=0)
    assert not {row.text for row in sides["train"]} & {row.text for row in sides["validation"]}


def test_a_sentence_nearer_to_0_than_the_margin_has_no_sign(options: RatingsOptions) -> None:
    task = Ratings(replace(options, labels="sign", margin=2.5), Environment())
    assert sum(len(task.split(name)) for name in ("train", "validation")) == 16


def test_a_missing_archive_names_the_command(tmp_path: Path) -> None:
    (line,) = RatingsOptions(archive=str(tmp_path / "no.tar.gz")).problems(Environment())
    assert f"pip download --no-deps --no-binary :all: vaderSentiment==3.3.2 -d {tmp_path}" in line


def test_an_archive_that_nobody_named_is_still_to_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place, options = tmp_path / "armada" / "sources", RatingsOptions()
    assert list(options.problems(Environment())) == []
    (line,) = options.downloads(Environment())
    assert f"pip download --no-deps --no-binary :all: vaderSentiment==3.3.2 -d {place}" in line
    with pytest.raises(UserError, match=r"cannot be read .*pip download .*vaderSentiment==3\.3\.2"):
        Ratings(options, Environment()).split("train")
    place.mkdir(parents=True)
    (place / archive.ARCHIVE).write_bytes(b"there")
    assert list(options.downloads(Environment())) == []


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_run_without_the_archive_stops_with_the_command_that_fetches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    changes = ("--set", "tasks=[ratings-offline]", "--set", "methods=[undistilled]", "--set", "teacher=null")
    assert "to download    vaderSentiment-3.3.2.tar.gz" in armada("check", "quickstart", "--runs", tmp_path, *changes).out
    stopped = armada("run", "quickstart", "--runs", tmp_path, *changes)
    assert stopped.status == 2
    assert "pip download --no-deps --no-binary :all: vaderSentiment==3.3.2 -d " in stopped.complaint


@pytest.mark.parametrize("content", [b"", b"no archive", samples.pack({"a": b"b"}), samples.pack({f"v/{archive.INNER}": b"x"})])
def test_another_or_damaged_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not the known release"):
        Ratings(RatingsOptions(archive=str(path)), Environment()).split("train")
    with pytest.raises(UserError, match="cannot be read"):
        Ratings(RatingsOptions(archive=str(path), sha256=samples.digest(path)), Environment()).split("train")


@fetched
@pytest.mark.parametrize(("source", "rows"), [("tweets", 4200), ("films", 10605), ("products", 3708), ("news", 5190)])
def test_the_real_archive_has_the_documented_rows(source: str, rows: int) -> None:
    assert len(archive.read(REAL, archive.SHA256, source, "")) == rows
