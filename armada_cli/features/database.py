"""The database file of the store: opened, made, recognised, and its errors put into words.

Why SQLite in WAL mode with ``synchronous=FULL``: a batch is one transaction, and FULL forces the log to the disk before the
commit returns, so "reported done" means done even if the machine loses power. A commit costs a few milliseconds, a batch of
a teacher seconds. Readers never wait for a writer, and two writers wait for each other (`BUSY_SECONDS`). WAL needs a file
system with shared memory: a local disk, not a network mount.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from armada_cli.errors import UserError

APPLICATION_ID = 0x41524D44
"""In the header of the database file, so that a foreign SQLite file is recognised and left alone."""

FORMAT = 1
BUSY_SECONDS = 60.0

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


class Database:
    """One SQLite file. Open it, use it from one thread, close it (or use it in a ``with``).

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

    def __enter__(self) -> Self:
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
            with transaction(connection):
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


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # the first error is the one to show
                connection.execute("ROLLBACK")
        raise


def _decode(text: bytes) -> str:
    """A damaged text is still one; sqlite3 would fail on the whole query."""
    return text.decode("utf-8", "replace")
