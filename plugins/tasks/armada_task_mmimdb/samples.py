"""Films of our own in the released layout, for `--smoke`."""

from __future__ import annotations

import json
from pathlib import Path

from armada_cli.models.tiny import SENTENCES, once
from armada_task_mmimdb.films import GENRES

SIZES = {"train": 16, "dev": 4, "test": 4}


def write(folder: Path) -> Path:
    """Write split.json and 24 films, each genre among the trained ones, with posters of two colours. Returns `folder`."""
    return once(folder, _write)


def _write(folder: Path) -> None:
    (folder / "dataset").mkdir(exist_ok=True)
    splits: dict[str, list[str]] = {}
    number = 0
    for name, count in SIZES.items():
        splits[name] = [_film(folder / "dataset", number + place) for place in range(count)]
        number += count
    (folder / "split.json").write_text(json.dumps(splits), encoding="utf-8")


def _film(folder: Path, number: int) -> str:
    from PIL import Image

    identifier = f"{number + 1:07d}"
    begun, apart = (
        (SENTENCES[number % 16], 5) if number < 16 else (f"{SENTENCES[(number + 5) % 16]} {SENTENCES[number % 16]}", 6)
    )
    # Sixteen sentences for more films than that: those held out join others, so that no plot is read twice.
    plots = [begun, f"{SENTENCES[(number + 3) % 16]} {SENTENCES[(number + 3 + apart) % 16]}"]
    genres = [GENRES[(2 * number + step) % len(GENRES)] for step in range(2)] + ["News"] * (number % 5 == 0)
    record = {"plot": plots, "genres": genres, "title": f"Film {number + 1}"}
    (folder / f"{identifier}.json").write_text(json.dumps(record), encoding="utf-8")
    poster = Image.new("RGB", (40, 64), (10 * number, 255 - 10 * number, 90))
    poster.paste((255 - 10 * number, 40, 10 * number), (0, 0, 40, 8 + number))
    poster.save(folder / f"{identifier}.jpeg")
    return identifier
