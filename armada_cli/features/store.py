"""Where teacher vectors live: one SQLite file, keyed by (teacher identity, input hash), safe to kill at any moment.

Why SQLite in WAL mode with ``synchronous=FULL``: a batch is one transaction, and FULL forces the log to the disk before the
commit returns, so "reported done" means done even if the machine loses power. A commit costs a few milliseconds, a batch of
a teacher seconds. Readers never wait for a writer, and two writers wait for each other (`BUSY_SECONDS`). WAL needs a file
system with shared memory: a local disk, not a network mount.

Nothing here imports numpy until a vector is read or written: `armada check` counts what is missing through `count_missing`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import Component, Environment, TeacherInput, canonical, fingerprint
from armada_cli.errors import UserError
from armada_cli.reading import open_file, parse_json

if TYPE_CHECKING:
    import numpy as np

    from armada_cli.registry.registered import Registered

APPLICATION_ID = 0x41524D44
"""In the header of the database file, so that a foreign SQLite file is recognised and left alone."""

FORMAT = 1
BUSY_SECONDS = 60.0
KEYS_PER_QUERY = 500

SCHEMA = """
CREATE TABLE identities (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    teacher TEXT NOT NULL,
    identity TEXT NOT NULL,
    width INTEGER,
    updated REAL NOT NULL
);
CREATE TABLE vectors (
    id INTEGER PRIMARY KEY,
    teacher INTEGER NOT NULL REFERENCES identities(id),
    input BLOB NOT NULL,
    vector BLOB NOT NULL,
    checksum BLOB NOT NULL,
    UNIQUE (teacher, input)
);
"""

MAKERS = "CREATE TABLE IF NOT EXISTS makers (teacher INTEGER NOT NULL, maker TEXT NOT NULL, UNIQUE (teacher, maker))"
"""Not in the schema, so that a store from before it is still read."""


class WidthMismatch(UserError):
    """A teacher's vectors have one width for ever; these have another."""


@dataclass(frozen=True)
class Entry:
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


def maker(teacher: Component | Registered) -> str:
    """Who computes a teacher's vectors, ``distribution version``; empty for a card whose plugin is not known."""
    return "" if isinstance(teacher, Component) else f"{teacher.distribution} {teacher.version}"


def write_makers(makers: Iterable[str]) -> str:
    """Makers as a file's metadata has them."""
    return json.dumps(list(makers))


def read_makers(text: str | None) -> tuple[str, ...]:
    """What `write_makers` wrote; none where there is nothing, or nothing that it wrote."""
    try:
        found = parse_json(text or "[]")
    except ValueError:
        return ()
    return tuple(item for item in found if isinstance(item, str)) if isinstance(found, list) else ()


def teacher_identity(teacher: Component | Registered, options: Any, environment: Environment) -> dict[str, Any]:
    """Everything that can change a vector: the card's own identity, and the distribution that ships it when it is known,
    since two distributions may bring teachers of one name."""
    if isinstance(teacher, Component):
        return teacher.identity(options, environment)
    return {**teacher.component.identity(options, environment), "distribution": teacher.distribution}


def identity_key(identity: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that stand for an identity in the store, in file names and on the command line."""
    return fingerprint(dict(identity))


def read_identity(text: Any, key: str) -> dict[str, Any] | None:
    """The identity that a stored or imported text describes; None where it is damaged, or not the one that `key` stands for."""
    try:
        identity = parse_json(text)
        return identity if isinstance(identity, dict) and identity_key(identity) == key else None
    except (TypeError, ValueError):
        return None


def input_hash(value: TeacherInput) -> bytes:
    """SHA-256, 32 bytes: of a text's UTF-8, or of the content of a media file.

    Raises:
        UserError: the media file cannot be read, or the value is neither a text nor a path.
    """
    if isinstance(value, str):
        return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
    if isinstance(value, Path):
        digest = hashlib.sha256()
        try:
            with open_file(value) as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise UserError(
                f"{value}: cannot be read for the teacher ({error.strerror})", "Check the task's media paths"
            ) from None
        return digest.digest()
    raise UserError(
        f"a task hands its teacher {type(value).__name__} {value!r:.60}", "A teacher's input is a text or a pathlib.Path"
    )


def input_hashes(inputs: Iterable[TeacherInput]) -> list[bytes]:
    """One hash per input, in order; an input seen before is not hashed again."""
    known: dict[TeacherInput, bytes] = {}
    hashes = []
    for value in inputs:
        found = known.get(value) if isinstance(value, (str, Path)) else None
        if found is None:
            found = known[value] = input_hash(value)
        hashes.append(found)
    return hashes


class FeatureStore:
    """The store in one file. Open it, use it from one thread, close it (or use it in a ``with``).

    Args:
        path: the database file; made on the first write, with its folder.
        frozen: only read it, wherever it lies.

    Raises:
        UserError: in every method, when the file is damaged, foreign, locked for over a minute, or the disk is full or
            read-only: one line that names the file.
    """

    def __init__(self, path: Path, *, frozen: bool = False) -> None:
        self.path = Path(path)
        self.frozen = frozen
        self._connection: sqlite3.Connection | None = None
        self._process = os.getpid()
        self.read_only = False

    @classmethod
    def of(cls, environment: Environment) -> FeatureStore:
        """The store of a runs folder, ``<runs>/features.db``."""
        return cls(environment.runs / "features.db")

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file. A closed store opens again on its next use."""
        if self._connection is not None and self._process == os.getpid():
            self._connection.close()
        self._connection = None

    # -------------------------------------------------------------------------------------------------- opening

    def _open(self, *, write: bool) -> sqlite3.Connection | None:
        """The connection; None when there is no file and nothing is to be written."""
        if self._connection is not None and self._process != os.getpid():
            self._connection = None  # SQLite connections must not be carried over a fork
        if self._connection is None:
            self._process = os.getpid()
            if not write and (not self.path.exists() or self.is_empty_file()):
                return None
            if write:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = self._connect()
        return self._connection

    def is_empty_file(self) -> bool:
        """Whether the file is there and has no byte: a kill leaves it so before the first write, and a failing disk later."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size == 0

    def _connect(self) -> sqlite3.Connection:
        writable = os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)
        self.read_only = self.path.exists() and (self.frozen or not writable)
        if self.read_only:
            # Without a log beside it the file is all there is, and no lock can be (or need be) taken.
            mode = "mode=ro" if Path(f"{self.path}-wal").exists() else "immutable=1"
            connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?{mode}", uri=True, isolation_level=None)
        else:
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        connection.text_factory = _decode
        try:
            self._adopt(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _adopt(self, connection: sqlite3.Connection) -> None:
        """Check that the file is ours, or make it so."""
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables == 0 and not self.read_only:
            connection.execute("PRAGMA page_size = 16384")  # a vector of up to 4,000 numbers stays on one page
            self._journal(connection)
            with _transaction(connection):
                if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                    for statement in SCHEMA.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    connection.execute(f"PRAGMA user_version = {FORMAT}")
        if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise UserError(f"{self.path}: is a database, but not a feature store", "Move it away, or name another runs folder")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != FORMAT:
            raise UserError(f"{self.path}: feature store of format {version}, this armada reads {FORMAT}", "Upgrade armada-cli")
        if not self.read_only:
            self._journal(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(MAKERS)

    @staticmethod
    def _journal(connection: sqlite3.Connection) -> None:
        """Switch to WAL. The switch itself does not wait for another process that is switching, so it is tried again."""
        for attempt in range(50):
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or attempt == 49:
                    raise
                time.sleep(0.1)

    @contextlib.contextmanager
    def _use(self, *, write: bool = False) -> Iterator[sqlite3.Connection | None]:
        """The connection, with SQLite's errors turned into one line for the user."""
        try:
            yield self._open(write=write)
        except sqlite3.Error as error:
            raise self._explain(error) from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be made ({error.strerror})", "Name another runs folder") from None

    def _explain(self, error: sqlite3.Error) -> UserError:
        text = str(error).lower()
        place = f"feature store {self.path}"
        if "full" in text:
            return UserError(f"{place}: the disk is full", "Free some space and run again; every finished batch is kept")
        if "readonly" in text or "read-only" in text:
            return UserError(f"{place}: is read-only", "Make it writable, or name another runs folder")
        if "unable to open" in text:
            return UserError(
                f"{place}: cannot be opened or made here", "Check the folder's permissions, or name another runs folder"
            )
        if "locked" in text or "busy" in text:
            return UserError(
                f"{place}: another process has held it for over {BUSY_SECONDS:.0f} s", "Wait for it, then run again"
            )
        if "not a database" in text or "malformed" in text or "corrupt" in text:
            self.close()
            hint = "Move it away and run again: its vectors are computed anew"
            return UserError(f"{place}: is damaged ({error})", hint)
        return UserError(f"{place}: {error}", "Check the disk, then run again")

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
            with _transaction(connection):
                connection.execute("UPDATE identities SET teacher = ?, identity = ? WHERE key = ?", words)

    def entries(self) -> list[Entry]:
        """What the store holds, by teacher and date."""
        with self._use() as connection:
            if connection is None:
                return []
            rows = connection.execute(
                "SELECT i.key, i.teacher, i.identity, count(v.id), i.width, coalesce(sum(length(v.vector)), 0), i.updated "
                "FROM identities i LEFT JOIN vectors v ON v.teacher = i.id GROUP BY i.id ORDER BY i.teacher, i.updated"
            ).fetchall()
        return [self._entry(*row) for row in rows]

    def _entry(self, key: Any, teacher: Any, text: Any, count: int, width: Any, size: int, updated: Any) -> Entry:
        """A row of the table, each of whose columns may be damaged."""
        identity = read_identity(text, key) if isinstance(key, str) else None
        whole = identity is not None and teacher == str(identity.get("name", "?"))
        moment = updated if isinstance(updated, float) and 0 <= updated < 1e11 else 0.0
        return Entry(
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
            with _transaction(connection):
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
            with _transaction(connection):
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
            vectors float32 [n, width], NaN where missing, and found bool [n], both in the order of `hashes`. The width is
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
            vectors, found = (unique, present) if len(slots) == len(hashes) else (unique[inverse], present[inverse])
        if damaged and not self.read_only:
            self.remove(key, damaged)
        return vectors, found

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


def _decode(text: bytes) -> str:
    """A damaged text is still one; sqlite3 would fail on the whole query."""
    return text.decode("utf-8", "replace")


def checksum(item: bytes, blob: bytes) -> bytes:
    """Eight bytes of BLAKE2b over the vector, keyed by its input: a vector that ends up beside another input is damage too."""
    return hashlib.blake2b(blob, digest_size=8, key=item).digest()


def sound(item: Any, blob: Any, check: Any, width: int) -> bool:
    """Whether a row is what was written. A damaged file can hold any type in any column."""
    try:
        return len(blob) == 4 * width and checksum(item, blob) == check
    except (TypeError, ValueError):
        return False


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one to show
                connection.execute("ROLLBACK")
        raise


def _parts(items: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _marks(items: Sequence[bytes]) -> str:
    return ",".join("?" * len(items))
