"""Genres of films: multi-label classification of plots, with the posters for a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from armada_cli import Split, UserError, content_fingerprint
from armada_cli.corpora.tasks import MeasuredTask, require_split
from armada_task_mmimdb import films
from armada_task_mmimdb.films import AGAIN
from armada_task_mmimdb.options import HOW


class MMIMDb(MeasuredTask):
    """Plot -> student, poster (a `pathlib.Path`) -> teacher, 23 genres. Micro and macro F1 (the paper's Table 9), and the two
    others of the data set's authors."""

    kind = "multilabel"

    def split(self, name: str) -> Split:
        """``train``, or as ``validation`` the one that the option `split` names, dev by default; labels are 23 zeros and ones.

        Raises:
            UserError: no folder, or a film that cannot be used, with the file's name.
        """
        require_split(name)
        options = self.options
        folder = options.folder(self.environment)
        fault = options.fault(self.environment)
        if folder is None or fault:
            raise UserError(f"mm-imdb: {fault}", HOW)
        part = "train" if name == "train" else options.split
        if options.hdf5 is not None:
            # By content: another file's posters must not be taken for this one's.
            mark = content_fingerprint(Path(options.hdf5)).rpartition(":")[2][:16]
            posters = self.environment.runs / "posters" / f"mm-imdb-{mark}"
            listed = films.read_hdf5(Path(options.hdf5), folder, part, posters)
        else:
            listed = films.read_split(folder, part)
            self._note_overlap(folder)
        self._note_unknown(listed, name)
        texts = [(self._plot(film.plots),) for film in listed]
        return Split(texts, [film.genres for film in listed], [film.poster for film in listed])

    def _note_unknown(self, read: Sequence[films.Film], name: str) -> None:
        unknown = [film.unknown[0] for film in read if film.unknown]
        if unknown:
            self._note(
                f"mm-imdb: {len(unknown)} of {len(read)} films of {name} have a genre that the release does not know, such as "
                f"{unknown[0]!r}, which is passed over. {AGAIN}"
            )

    def _note_overlap(self, folder: Path) -> None:
        training = set(films.identifiers(folder, "train"))
        both = [film for film in films.identifiers(folder, self.options.split) if film in training]
        if both:
            self._note(
                f"{folder / 'split.json'}: {len(both)} films of {self.options.split!r} are in 'train' too (the first is "
                f"{both[0]!r}), so scores will flatter. {AGAIN}"
            )

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)

    def labels(self) -> tuple[str, ...]:
        """The genres, most frequent first."""
        return films.GENRES

    def _plot(self, plots: Sequence[str]) -> str:
        if self.options.plot == "all":
            return " ".join(plots)
        return plots[0] if self.options.plot == "first" else max(plots, key=len)
