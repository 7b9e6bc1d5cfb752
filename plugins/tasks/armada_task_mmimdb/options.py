"""Where the films are, which of their plots is read and which split is evaluated."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from armada_cli import Environment, content_fingerprint, option
from armada_cli.corpora.tasks import MeasuredOptions

FOLDER = "mm-imdb"
"""The folder of the data mirror."""

RELEASE = "http://lisi1.unal.edu.co/mmimdb/"
HOW = f"unpack mmimdb.tar.gz of {RELEASE} and name its folder with `path`"


@dataclass(frozen=True)
class MMIMDbOptions(MeasuredOptions):
    """Options of `mm-imdb`."""

    path: str | None = option(
        None,
        "The released folder: split.json, dataset/ID.json, dataset/ID.jpeg; without it the mirror's mm-imdb",
        path=True,
        identity=False,
    )
    hdf5: str | None = option(
        None, "The released features file: its split, genres and small posters in place of split.json and the JPEGs", path=True
    )
    split: str = option(
        "dev",
        "The split that is evaluated: dev, the validation split as in all other tasks, or test (the paper does not say which)",
        choices=("dev", "test"),
    )
    # The authors of the data set take the longest.
    plot: str = option("longest", "Which of a film's plots the student reads", choices=("longest", "first", "all"))

    metrics: ClassVar[tuple[str, ...]] = ("micro_f1", "macro_f1", "weighted_f1", "samples_f1")
    published: ClassVar[str] = "MM-IMDb"
    group: ClassVar[str] = "multimodal"

    def folder(self, environment: Environment) -> Path | None:
        """The folder of the films, there or not; None when none is named and there is no mirror."""
        if self.path is not None:
            return Path(self.path)
        return environment.data / FOLDER if environment.data is not None else None

    def fault(self, environment: Environment) -> str:
        """What is missing of the released folder; empty when nothing is."""
        folder = self.folder(environment)
        if folder is None:
            return "no folder is named, and there is no data mirror"
        if not (folder / "dataset").is_dir():
            return f"{folder} holds no folder dataset"
        if self.hdf5 is None and not (folder / "split.json").is_file():
            return f"{folder} holds no split.json"
        return ""

    def problems(self, environment: Environment) -> Iterable[str]:
        """What is wrong with these options, for `armada check`."""
        if self.path is not None and (fault := self.fault(environment)):
            yield f"path: {fault}; {HOW}"
        if self.hdf5 is not None:
            if not Path(self.hdf5).is_file():
                yield f"hdf5: no file {self.hdf5!r}; download multimodal_imdb.hdf5 of {RELEASE}"
            if importlib.util.find_spec("h5py") is None:
                yield "hdf5: the package h5py is not installed; pip install 'armada-cli[hdf5]'"

    def downloads(self, environment: Environment) -> Iterable[str]:
        """The release, when no folder is named and the mirror does not have it: it has to be fetched by hand."""
        if self.path is None and self.fault(environment):
            yield f"mmimdb.tar.gz of {RELEASE} (8 GB, not on the hub: unpack it and name its folder with `path`)"

    def identity(self, environment: Environment) -> dict[str, Any]:
        """The content of the split and of every film's files. They are read once; see `armada_cli.content_fingerprint`."""
        folder = self.folder(environment)
        if folder is None:
            return {"data": None}
        split = None if self.hdf5 is not None else content_fingerprint(folder / "split.json")
        return {"data": {"split": split, "films": content_fingerprint(folder / "dataset")}}

    def rows(self) -> dict[str, int]:
        """The published sizes."""
        return {"train": 15_552, "validation": 7_799 if self.split == "test" else 2_608, "tokens": 128}

    def smoke(self, folder: Path) -> Self:
        """This task on a few films of our own."""
        from armada_task_mmimdb import samples

        return replace(self, path=str(samples.write(Path(folder) / FOLDER)), hdf5=None)
