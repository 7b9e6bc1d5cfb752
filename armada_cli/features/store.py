"""Where teacher vectors live: one SQLite file, keyed by (teacher identity, input hash), safe to kill at any moment.

Nothing here imports numpy until a vector is read or written: `armada check` counts what is missing through `count_missing`.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import Environment, TeacherInput, canonical
from armada_cli.errors import UserError
from armada_cli.features.database import Database, transaction
from armada_cli.features.identity import identity_key, input_hashes, read_identity

if TYPE_CHECKING:
    import numpy as np

KEYS_PER_QUERY = 500


class WidthMismatch(UserError):
    """A teacher's vectors have one width for ever; these have another."""


@dataclass(frozen=True)
class StoredTeacher:
    """What is stored for one teacher identity.

    Attributes:
        key: fingerprint of the identity; teacher: its name; identity: all of it.
        rows: vectors stored; width: numbers in each, None before the first.
        size: bytes of the vectors; updated: seconds since the epoch of the last batch.
        makers: the distributions with their versions that computed them.
        sound: whether the description is the one that the key was made of. Vectors are found by their key alone, so a damaged
            description costs none of them; `identity` is empty then.
    """

    key: str
    teacher: str
    identity: Mapping[str, Any]
    rows: int
    width: int | None
    size: int
    updated: float
    makers: tuple[str, ...] = ()
    sound: bool = True


class FeatureStore(Database):
    """The store in one file. Open it, use it from one thread, close it (or use it in a ``with``).

    Args:
        path: the database file; made on the first write, with its folder.
        frozen: only read it, wherever it lies.

    Raises:
        UserError: in every method, when the file is damaged, foreign, locked for over a minute, or the disk is full or
            read-only: one line that names the file.
    """

    @classmethod
    def of(cls, environment: Environment) -> FeatureStore:
        """The store of a runs folder, ``<runs>/features.db``."""
        return cls(environment.runs / "features.db")

    # -------------------------------------------------------------------------------------------------- counting

    def _teacher(self, connection: sqlite3.Connection, key: str) -> tuple[int, int | None] | None:
        """An identity's number, and the width of its vectors; None for the width where there are none."""
        row = connection.execute("SELECT id, width FROM identities WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        number, width = row
        first = connection.execute("SELECT length(vector) FROM vectors WHERE teacher = ? LIMIT 1", (number,)).fetchone()
        if first is None:
            return number, None
        if not isinstance(width, int) or first[0] != 4 * width:
            # Either this row is damaged or the noted width; what most rows have is right, or the others would be lost with it.
            query = "SELECT length(vector) FROM vectors WHERE teacher = ? GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
            usual = connection.execute(query, (number,)).fetchone()[0]
            width = usual // 4 if isinstance(usual, int) and usual > 0 and usual % 4 == 0 else width
        return number, width if isinstance(width, int) and width > 0 else None

    def missing(self, key: str, hashes: Iterable[bytes]) -> list[bytes]:
        """Those of the input hashes that have no vector, each once, in the order they first appear."""
        wanted = list(dict.fromkeys(hashes))
        with self._use() as connection:
            if connection is None or (teacher := self._teacher(connection, key)) is None:
                return wanted
            present: set[bytes] = set()
            for part in _parts(sorted(wanted), KEYS_PER_QUERY):
                query = f"SELECT input FROM vectors WHERE teacher = ? AND input IN ({_marks(part)})"
                present.update(row[0] for row in connection.execute(query, (teacher[0], *part)))
        return [item for item in wanted if item not in present]

    def count_missing(self, key: str, inputs: Iterable[TeacherInput]) -> int:
        """How many different inputs the teacher would still have to be asked for. Imports nothing heavy."""
        return len(self.missing(key, input_hashes(inputs)))

    def width(self, key: str) -> int | None:
        """Width of this identity's vectors, None when there are none."""
        with self._use() as connection:
            teacher = self._teacher(connection, key) if connection is not None else None
            return teacher[1] if teacher else None

    def identity(self, key: str) -> dict[str, Any] | None:
        """The whole identity that a key stands for; None when the store does not know it, or its description is damaged."""
        with self._use() as connection:
            if connection is None:
                return None
            row = connection.execute("SELECT identity FROM identities WHERE key = ?", (key,)).fetchone()
            return read_identity(row[0], key) if row else None

    def describe(self, identity: Mapping[str, Any]) -> None:
        """Write the description of an identity again where the stored one is damaged."""
        key = identity_key(identity)
        with self._use() as connection:
            if connection is None or self.read_only or self._teacher(connection, key) is None or self.identity(key) is not None:
                return
            words = (str(identity.get("name", "?")), canonical(dict(identity)), key)
            with transaction(connection):
                connection.execute("UPDATE identities SET teacher = ?, identity = ? WHERE key = ?", words)

    def entries(self) -> list[StoredTeacher]:
        """What the store holds, by teacher and date."""
        with self._use() as connection:
            if connection is None:
                return []
            rows = connection.execute(
                "SELECT i.key, i.teacher, i.identity, count(v.id), i.width, coalesce(sum(length(v.vector)), 0), i.updated "
                "FROM identities i LEFT JOIN vectors v ON v.teacher = i.id GROUP BY i.id ORDER BY i.teacher, i.updated"
            ).fetchall()
        return [self._entry(*row) for row in rows]

    def _entry(self, key: Any, teacher: Any, text: Any, count: int, width: Any, size: int, updated: Any) -> StoredTeacher:
        """A row of the table, each of whose columns may be damaged."""
        identity = read_identity(text, key) if isinstance(key, str) else None
        whole = identity is not None and teacher == str(identity.get("name", "?"))
        moment = updated if isinstance(updated, float) and 0 <= updated < 1e11 else 0.0
        return StoredTeacher(
            str(key),
            str(teacher),
            identity or {},
            count,
            width if isinstance(width, int) else None,
            size,
            moment,
            self.makers(key),
            whole,
        )

    def makers(self, key: str) -> tuple[str, ...]:
        """Which versions of which distributions computed this identity's vectors, as `put` was told."""
        with self._use() as connection:
            if connection is None or not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'makers'").fetchone():
                return ()
            query = "SELECT maker FROM makers m JOIN identities i ON i.id = m.teacher WHERE i.key = ? ORDER BY maker"
            return tuple(row[0] for row in connection.execute(query, (key,)) if isinstance(row[0], str))

    def hashes(self, key: str) -> list[bytes]:
        """The inputs that have a vector, in a fixed order."""
        with self._use() as connection:
            teacher = self._teacher(connection, key) if connection is not None else None
            if connection is None or teacher is None:
                return []
            query = "SELECT input FROM vectors WHERE teacher = ? ORDER BY input"
            return [row[0] for row in connection.execute(query, (teacher[0],)) if isinstance(row[0], bytes)]

    # -------------------------------------------------------------------------------------------------- writing

    def put(self, identity: Mapping[str, Any], hashes: Sequence[bytes], vectors: np.ndarray, makers: Iterable[str] = ()) -> int:
        """Store one batch in one transaction, on the disk when this returns. An input that is there already keeps its vector.

        Args:
            identity: the teacher's whole identity.
            hashes: n input hashes; vectors: float32 [n, width], finite.
            makers: which distributions, in which versions, computed them.

        Returns:
            The number of new rows.

        Raises:
            WidthMismatch: this identity's vectors have another width.
        """
        import numpy as np

        if vectors.ndim != 2 or len(vectors) != len(hashes):
            raise ValueError(f"{len(hashes)} hashes for vectors of shape {vectors.shape}")
        width = int(vectors.shape[1])
        key = identity_key(identity)
        rows = np.ascontiguousarray(vectors, dtype="<f4")
        with self._use(write=True) as connection:
            assert connection is not None
            with transaction(connection):
                name = str(identity.get("name", "?"))
                connection.execute(
                    "INSERT OR IGNORE INTO identities (key, teacher, identity, width, updated) VALUES (?, ?, ?, NULL, 0)",
                    (key, name, canonical(dict(identity))),
                )
                teacher = self._teacher(connection, key)
                assert teacher is not None
                number, known = teacher
                if known is not None and known != width:
                    raise WidthMismatch(
                        f"teacher {name!r} gives vectors {width} wide, its stored ones are {known} wide",
                        f"If the teacher changed, raise its card's revision, or run: armada features prune --identity {key}",
                    )
                before = connection.total_changes
                connection.executemany(
                    "INSERT OR IGNORE INTO vectors (teacher, input, vector, checksum) VALUES (?, ?, ?, ?)",
                    (
                        (number, item, blob, checksum(item, blob))
                        for item, blob in zip(hashes, (row.tobytes() for row in rows), strict=True)
                    ),
                )
                new = connection.total_changes - before
                if new:
                    rows_of_makers = ((number, item) for item in makers if item)
                    connection.executemany("INSERT OR IGNORE INTO makers (teacher, maker) VALUES (?, ?)", rows_of_makers)
                connection.execute("UPDATE identities SET width = ?, updated = ? WHERE id = ?", (width, time.time(), number))
        return new

    def remove(self, key: str, hashes: Iterable[bytes] | None = None) -> int:
        """Forget the given inputs of a teacher, or all of them and the teacher itself. Returns the number of rows removed."""
        with self._use() as connection:
            if connection is None or (teacher := self._teacher(connection, key)) is None:
                return 0
            with transaction(connection):
                before = connection.total_changes
                if hashes is None:
                    connection.execute("DELETE FROM vectors WHERE teacher = ?", (teacher[0],))
                    removed = connection.total_changes - before
                    connection.execute("DELETE FROM makers WHERE teacher = ?", (teacher[0],))
                    connection.execute("DELETE FROM identities WHERE id = ?", (teacher[0],))
                else:
                    for part in _parts(list(hashes), KEYS_PER_QUERY):
                        query = f"DELETE FROM vectors WHERE teacher = ? AND input IN ({_marks(part)})"
                        connection.execute(query, (teacher[0], *part))
                    removed = connection.total_changes - before
        return removed

    def compact(self) -> None:
        """Give the space of removed rows back to the disk."""
        with self._use() as connection:
            if connection is not None:
                connection.execute("VACUUM")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # -------------------------------------------------------------------------------------------------- reading

    def get(self, key: str, hashes: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors by input hash; repeated hashes are allowed. A damaged row is removed and counts as missing.

        Returns:
            vectors float32 [n, width], NaN where missing, and stored bool [n], both in the order of `hashes`. The width is
            0 when the store has nothing of this teacher.
        """
        import numpy as np

        with self._use() as connection:
            teacher = self._teacher(connection, key) if connection is not None else None
            if connection is None or teacher is None or teacher[1] is None:
                return np.zeros((len(hashes), 0), np.float32), np.zeros(len(hashes), bool)
            number, width = teacher[0], teacher[1]
            slots: dict[bytes, int] = {}
            inverse = [slots.setdefault(item, len(slots)) for item in hashes]
            unique = np.empty((len(slots), width), np.float32)
            present = np.zeros(len(slots), bool)
            damaged: list[bytes] = []
            for rows in self._rows(connection, number, slots):
                targets: list[int] = []
                blobs: list[bytes] = []
                for item, blob, check in rows:
                    if (slot := slots.get(item)) is None:
                        continue
                    if sound(item, blob, check, width):
                        targets.append(slot)
                        blobs.append(blob)
                    else:
                        damaged.append(item)
                if blobs:
                    unique[targets] = np.frombuffer(b"".join(blobs), "<f4").reshape(len(blobs), width)
                    present[targets] = True
            unique[~present] = np.nan
            vectors, stored = (unique, present) if len(slots) == len(hashes) else (unique[inverse], present[inverse])
        if damaged and not self.read_only:
            self.remove(key, damaged)
        return vectors, stored

    def _rows(self, connection: sqlite3.Connection, teacher: int, wanted: Mapping[bytes, int]) -> Iterator[list[tuple]]:
        """Rows (input, vector, checksum) that include all the wanted ones, in parts. When most of the file is wanted, it
        is read from front to back: half the time of looking each row up."""
        last = connection.execute("SELECT max(id) FROM vectors").fetchone()[0] or 0
        if 2 * len(wanted) > last:
            cursor = connection.execute("SELECT input, vector, checksum FROM vectors NOT INDEXED WHERE teacher = ?", (teacher,))
            while rows := cursor.fetchmany(KEYS_PER_QUERY):
                yield rows
            return
        for part in _parts(sorted(wanted), KEYS_PER_QUERY):
            query = f"SELECT input, vector, checksum FROM vectors WHERE teacher = ? AND input IN ({_marks(part)})"
            yield connection.execute(query, (teacher, *part)).fetchall()

    def verify(self, key: str) -> tuple[int, list[bytes]]:
        """Check every row of a teacher. Returns how many are sound, and the inputs of the damaged ones (left in place)."""
        damaged: list[bytes] = []
        good = 0
        with self._use() as connection:
            teacher = self._teacher(connection, key) if connection is not None else None
            if connection is None or teacher is None:
                return 0, []
            number, width = teacher
            for item, blob, check in connection.execute(
                "SELECT input, vector, checksum FROM vectors WHERE teacher = ?", (number,)
            ):
                if width is not None and sound(item, blob, check, width):
                    good += 1
                else:
                    damaged.append(item)
        return good, damaged


def checksum(item: bytes, blob: bytes) -> bytes:
    """Eight bytes of BLAKE2b over the vector, keyed by its input: a vector that ends up beside another input is damage too."""
    return hashlib.blake2b(blob, digest_size=8, key=item).digest()


def sound(item: Any, blob: Any, check: Any, width: int) -> bool:
    """Whether a row is what was written. A damaged file can hold any type in any column."""
    try:
        return len(blob) == 4 * width and checksum(item, blob) == check
    except (TypeError, ValueError):
        return False


def _parts(items: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _marks(items: Sequence[bytes]) -> str:
    return ",".join("?" * len(items))
