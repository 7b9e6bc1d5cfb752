"""The digests that stand for files in an identity: of every byte, computed once, and never one of other bytes."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from armada_cli import Component, Environment, UserError, content, content_fingerprint, option

MIB = 1 << 20


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "armada" / "hashes"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read, in order."""
    names = []
    real = content._hash

    def watched(path: Path) -> tuple[str, content.Mark, bool]:
        names.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(content, "_hash", watched)
    return names


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as left alone for long: a test cannot set a file's ctime back."""
    monkeypatch.setattr(content, "SETTLED", -(10**12))


def write(path: Path, size: int = 2 * MIB, byte: bytes = b"a") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(byte * size)
    return path


def edit(path: Path, place: int) -> None:
    """Change one byte and nothing that a listing shows: neither the size nor the time of the last change."""
    status = path.stat()
    with path.open("r+b") as stream:
        stream.seek(place)
        stream.write(b"#")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("size", [0, 1, 5_000, 2 * MIB])
def test_a_file_is_known_by_the_sha256_of_its_bytes(tmp_path, size):
    assert content_fingerprint(write(tmp_path / "a", size)) == "sha256:" + hashlib.sha256(b"a" * size).hexdigest()


@dataclass(frozen=True)
class WithFile:
    file: str = option(help="A file", path=True)


def test_one_byte_in_the_middle_of_a_large_file_is_another_identity(tmp_path, settled):
    file = tmp_path / "large.csv"
    with file.open("wb") as stream:
        stream.truncate(65 * MIB)
    card = Component("large", "A file", "somewhere:Else", WithFile)

    def identity() -> object:
        return card.identity(WithFile(str(file)), Environment())

    before = identity()
    assert identity() == before
    edit(file, 33 * MIB)
    assert identity() != before


def test_a_large_file_is_hashed_once(tmp_path, hashed, settled):
    file = write(tmp_path / "a")
    first = content_fingerprint(file)
    assert content_fingerprint(file) == content_fingerprint(tmp_path / "." / "a") == first
    assert hashed == ["a"]


def test_a_file_that_was_just_written_is_hashed_again(tmp_path, hashed):
    """A second change within a tick of the clock would leave size and times as they are."""
    file = write(tmp_path / "a")
    content_fingerprint(file)
    content_fingerprint(file)
    assert hashed == ["a", "a"]


@pytest.mark.parametrize("place", [0, MIB, 2 * MIB - 1])
def test_an_edit_that_hides_behind_size_and_mtime_is_seen(tmp_path, settled, place):
    file = write(tmp_path / "a")
    before = content_fingerprint(file)
    edit(file, place)
    assert content_fingerprint(file) != before


def test_another_file_in_the_same_place_is_seen(tmp_path, settled):
    file, other = write(tmp_path / "a"), write(tmp_path / "b", byte=b"b")
    status = file.stat()
    content_fingerprint(file)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(other, file)
    assert content_fingerprint(file).endswith(hashlib.sha256(b"b" * 2 * MIB).hexdigest())


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 1}', b"[" * 5_000])
def test_a_damaged_memory_is_hashed_again_and_mended(tmp_path, cache, hashed, settled, damage):
    file = write(tmp_path / "a")
    first = content_fingerprint(file)
    (memory,) = cache.iterdir()
    memory.write_bytes(damage)
    assert content_fingerprint(file) == first
    assert content_fingerprint(file) == first
    assert hashed == ["a", "a"]


@pytest.mark.parametrize("entry", [None, 3, [], [1, 2, 3], "text", [0, 0, 0, 0, 0, None]])
def test_a_damaged_entry_is_hashed_again(tmp_path, cache, settled, entry):
    file = write(tmp_path / "a")
    first = content_fingerprint(file)
    (memory,) = cache.iterdir()
    stored = json.loads(memory.read_text(encoding="utf-8"))
    if isinstance(entry, list) and len(entry) == 6:
        entry = [*stored["files"][""][:5], None]
    memory.write_text(json.dumps({**stored, "files": {"": entry}}), encoding="utf-8")
    assert content_fingerprint(file) == first


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path, monkeypatch, hashed, settled):
    monkeypatch.setenv("XDG_CACHE_HOME", str(write(tmp_path / "no-folder", 3)))
    file = write(tmp_path / "a")
    assert content_fingerprint(file) == content_fingerprint(file)
    assert hashed == ["a", "a"]


def test_many_at_once_agree(tmp_path, cache, settled):
    file = write(tmp_path / "a")
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: content_fingerprint(file), range(32)))
    assert found == {"sha256:" + hashlib.sha256(b"a" * 2 * MIB).hexdigest()}
    assert len(list(cache.iterdir())) == 1


# -------------------------------------------------------------------------------------------------------------- folders


def test_a_folder_is_known_by_names_and_contents(tmp_path):
    folder = tmp_path / "model"
    write(folder / "config.json", 10)
    write(folder / "part" / "weights", 20)
    found = {content_fingerprint(folder)}
    write(folder / ".cache" / "lock", 5)
    write(folder / ".hidden", 5)
    assert {content_fingerprint(folder)} == found, "what begins with a point is not content"
    edit(folder / "part" / "weights", 3)
    found.add(content_fingerprint(folder))
    (folder / "part" / "weights").rename(folder / "part" / "weight")
    found.add(content_fingerprint(folder))
    (folder / "config.json").unlink()
    found.add(content_fingerprint(folder))
    assert len(found) == 4


def test_of_a_large_folder_only_what_changed_is_read_again(tmp_path, hashed, settled):
    folder = tmp_path / "films"
    for number in range(5):
        write(folder / f"{number}.jpeg", MIB // 2)
    first = content_fingerprint(folder)
    assert content_fingerprint(folder) == first
    assert hashed == [f"{number}.jpeg" for number in range(5)]
    edit(folder / "3.jpeg", 7)
    assert content_fingerprint(folder) != first
    assert hashed[5:] == ["3.jpeg"]


def test_a_linked_folder_counts_and_a_circle_of_links_ends(tmp_path):
    folder, elsewhere = tmp_path / "mirror", tmp_path / "disk"
    write(folder / "a", 3)
    write(elsewhere / "rows", 3)
    (folder / "data").symlink_to(elsewhere, target_is_directory=True)
    (folder / "round").symlink_to(folder, target_is_directory=True)
    (folder / "nowhere").symlink_to(tmp_path / "gone")
    before = content_fingerprint(folder)
    edit(elsewhere / "rows", 1)
    assert content_fingerprint(folder) != before


def test_what_is_not_there_is_known_by_its_name(tmp_path):
    assert content_fingerprint(tmp_path / "gone.csv") == "missing:gone.csv"


def test_a_file_that_cannot_be_read_is_one_line(tmp_path, monkeypatch):
    file = write(tmp_path / "a", 3)

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(content, "_hash", refuse)
    with pytest.raises(UserError, match=r"a: cannot be read \(Permission denied\)\. Check the file and its permissions"):
        content_fingerprint(file)
