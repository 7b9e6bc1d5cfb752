"""Reading films: the released folder, or the released features file."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armada_cli import MissingPackage, UserError
from armada_cli.corpora.json_files import read_text
from armada_cli.files import replacing
from armada_cli.reading import check_file, open_file, parse_json

GENRES = (
    "Drama", "Comedy", "Romance", "Thriller", "Crime", "Action", "Adventure", "Horror", "Documentary", "Mystery", "Sci-Fi",
    "Fantasy", "Family", "Biography", "War", "History", "Music", "Animation", "Musical", "Western", "Sport", "Short",
    "Film-Noir",
)  # fmt: skip
"""The 23 most frequent genres, most frequent first."""

DROPPED = ("News", "Adult", "Talk-Show", "Reality-TV")
"""Genres of the release that are not predicted."""

MEANS = (103.939, 116.779, 123.68)
"""What the release has subtracted from the blue, green and red of its pictures."""

AGAIN = "Unpack the release again"

IDENTIFIER = re.compile(r"[\w-]+", re.ASCII)
PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")
"""What files of pictures begin with: JPEG, PNG, GIF, WebP, BMP, TIFF."""


@dataclass(frozen=True)
class Film:
    """One film: its plots, which of `GENRES` it has (0 or 1 each), its poster, and names of genres that the release does not
    have."""

    plots: tuple[str, ...]
    genres: tuple[int, ...]
    poster: Path
    unknown: tuple[str, ...] = ()


def read_split(folder: Path, name: str) -> list[Film]:
    """The films of one split of the released folder, in its order.

    Raises:
        UserError: a file is missing or damaged, or lacks plot or genres; with the file's name.
    """
    films = []
    for identifier in identifiers(folder, name):
        record = _record(folder / "dataset" / f"{identifier}.json")
        poster = folder / "dataset" / f"{identifier}.jpeg"
        _check_poster(poster)
        films.append(Film(_plots(record), _genres(record), poster, _unknown(record)))
    return films


def identifiers(folder: Path, name: str) -> list[str]:
    """The films of one split of split.json, in its order.

    Raises:
        UserError: the file is damaged, or names a film twice or in a way that no file is called.
    """
    path = folder / "split.json"
    splits = _json(path)
    names = splits.get(name) if isinstance(splits, dict) else None
    if not isinstance(names, list) or not names:
        raise UserError(f"{path}: no list of films under {name!r}", AGAIN)
    places: dict[str, int] = {}
    for place, identifier in enumerate(names, start=1):
        if not isinstance(identifier, str) or not IDENTIFIER.fullmatch(identifier):
            raise UserError(f"{path}: film {place} of {name!r} is {identifier!r:.60}, not a number as a text", AGAIN)
        if places.setdefault(identifier, place) != place:
            raise UserError(f"{path}: films {places[identifier]} and {place} of {name!r} are both {identifier!r}", AGAIN)
    return names


def _check_poster(path: Path) -> None:
    try:
        with open_file(path) as file:
            head = file.read(8)
    except FileNotFoundError:
        raise UserError(f"{path}: no such poster", AGAIN) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})", "Check the file and its permissions") from None
    if not head.startswith(PICTURES):
        raise UserError(f"{path}: {'not a picture' if head else 'the poster is empty'}", AGAIN)


def read_hdf5(path: Path, folder: Path, name: str, posters: Path) -> list[Film]:
    """The films of one split of the features file. It has plots as numbers of words only, so these are read from
    ``folder/dataset/ID.json``; its posters, 160 x 256, are written as PNG below `posters`, once.

    Raises:
        UserError: the file is not the released one, or a plot is missing.
        MissingPackage: h5py is not installed.
    """
    try:
        import h5py
    except ImportError:
        raise MissingPackage("mm-imdb", ["h5py"], "hdf5") from None
    other = "Name the released multimodal_imdb.hdf5"
    try:
        check_file(path)
        with h5py.File(path, "r") as file:
            names = parse_json(file["genres"].attrs["target_names"])
            start, stop = _bounds(file.attrs["split"], name)
            flags = file["genres"][start:stop]
            identifiers = [value.decode("ascii") for value in file["imdb_ids"][start:stop]]
            for identifier in identifiers:
                if not IDENTIFIER.fullmatch(identifier):  # it is a part of the names of files, read and written
                    raise UserError(f"{path}: a film of {name!r} is {identifier!r:.60}, not a number as a text", other)
            paths = [_poster(posters, identifier, file["images"], start + row) for row, identifier in enumerate(identifiers)]
    except OSError as error:
        raise UserError(f"{path}: cannot be read as HDF5 ({error})", other) from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: not the released features file ({type(error).__name__}: {reason})", other) from None
    if sorted(names) != sorted(GENRES):
        raise UserError(f"{path}: its genres are {', '.join(names)}", other)
    order = [names.index(genre) for genre in GENRES]
    films = []
    for identifier, row, poster in zip(identifiers, flags, paths, strict=True):
        record = _record(folder / "dataset" / f"{identifier}.json")
        films.append(Film(_plots(record), tuple(int(row[column]) for column in order), poster, _unknown(record)))
    return films


def _bounds(table: Any, name: str) -> tuple[int, int]:
    """First row and the row after the last of a split in the table that the fuel library writes."""
    for row in table:
        if row["split"].decode() == name and row["source"].decode() == "genres":
            return int(row["start"]), int(row["stop"])
    raise KeyError(f"split {name}")


def _poster(folder: Path, identifier: str, images: Any, row: int) -> Path:
    import numpy as np
    from PIL import Image

    path = folder / f"{identifier}.png"
    if path.is_file():
        return path
    planes = np.asarray(images[row], dtype=np.float64) + np.asarray(MEANS)[:, None, None]
    pixels = planes[::-1].transpose(1, 2, 0).round().clip(0, 255).astype(np.uint8)
    try:
        with replacing(path) as stream:
            Image.fromarray(pixels).save(stream, format="PNG", compress_level=1)
    except OSError as error:
        raise UserError(
            f"{path}: the poster cannot be written ({error.strerror})", "Free some space or name other --runs"
        ) from None
    return path


def _record(path: Path) -> dict[str, Any]:
    record = _json(path)
    if not isinstance(record, dict):
        raise UserError(f"{path}: no JSON object", AGAIN)
    plots, genres = record.get("plot"), record.get("genres")
    # Some releases on the web hold a single plot as a plain text.
    record["plot"] = [plots] if isinstance(plots, str) else plots
    for key, values in (("plot", record["plot"]), ("genres", genres)):
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise UserError(f"{path}: no {key} in it", AGAIN)
    if not any(_visible(plot) for plot in record["plot"]):
        raise UserError(f"{path}: the plot is empty", AGAIN)
    if any("\ud800" <= character <= "\udfff" for plot in record["plot"] for character in plot):
        raise UserError(f"{path}: the plot has half a character", AGAIN)
    record["genres"] = [genre for genre in genres or () if _key(genre)]
    if not record["genres"]:
        raise UserError(f"{path}: the film has no genre", AGAIN)
    if len(_unknown(record)) == len(record["genres"]):
        raise UserError(f"{path}: {record['genres'][0]!r} is no genre of the release", AGAIN)
    return record


def _plots(record: dict[str, Any]) -> tuple[str, ...]:
    return tuple(" ".join(plot.split()) for plot in record["plot"] if _visible(plot))


def _genres(record: dict[str, Any]) -> tuple[int, ...]:
    known = {_key(genre) for genre in record["genres"]}
    return tuple(int(_key(genre) in known) for genre in GENRES)


def _unknown(record: dict[str, Any]) -> tuple[str, ...]:
    known = {_key(genre) for genre in (*GENRES, *DROPPED)}
    return tuple(genre for genre in record["genres"] if _key(genre) not in known)


def _key(genre: str) -> str:
    """Its letters and digits: copies of the release write Sci-Fi as sci-fi, Sci Fi or with another hyphen."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", genre).casefold()))


def _visible(text: str) -> bool:
    """Whether there is something to read in it."""
    return any(unicodedata.category(character)[0] not in "CZ" for character in text)


def _json(path: Path) -> Any:
    if not path.exists():
        raise UserError(f"{path}: no such file", AGAIN)
    try:
        return parse_json(read_text(path, AGAIN, ", or unpack the release again"))
    except ValueError:
        raise UserError(f"{path}: no JSON", AGAIN) from None
