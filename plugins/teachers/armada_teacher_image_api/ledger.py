"""What was asked for, what was delivered, and what failed: on the disk before anything else happens.

A folder for each source of pictures (endpoint, model, size):

    source.json       what the source is
    calls.db          every call, counted before it is sent; what failed
    pictures/ab/...   each picture as it came, named by the SHA-256 of its prompt
    unread/...        answers that were paid for and hold no picture that could be read, as they came
    failures.jsonl    the texts that have no picture, with the reason

A call is written to `calls.db` in a transaction that also checks the budget, and only then sent: whatever dies, no more than
`max_calls` are ever made. The row says which token (``Idempotency-Key``) the call carries. While it is not
known what became of a call, every further call for its text carries the same token, in this process and in any other. A
picture is a file that appears by rename, after its bytes are on the disk. Several threads and several processes may share a
ledger.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from armada_cli import UserError
from armada_cli.files import replacing

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows: two processes may then ask for the same text
    fcntl = None  # type: ignore[assignment]

SCHEMA = """
CREATE TABLE IF NOT EXISTS budget (id INTEGER PRIMARY KEY CHECK (id = 1), used INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    input BLOB NOT NULL,
    sent REAL NOT NULL,
    fate TEXT,
    round INTEGER
);
CREATE INDEX IF NOT EXISTS calls_of_input ON calls (input);
CREATE TABLE IF NOT EXISTS addresses (input BLOB PRIMARY KEY, url TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS unread (input BLOB PRIMARY KEY, file TEXT NOT NULL, asked TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS failures (
    input BLOB PRIMARY KEY,
    prompt TEXT NOT NULL,
    reason TEXT NOT NULL,
    refused INTEGER NOT NULL,
    updated REAL NOT NULL
);
INSERT OR IGNORE INTO budget VALUES (1, 0);
"""

KINDS = ((b"\x89PNG", ".png"), (b"\xff\xd8", ".jpg"), (b"RIFF", ".webp"), (b"GIF8", ".gif"), (b"", ".picture"))
"""How a picture's content begins, and the end of its file's name."""

ANSWERED = frozenset({"answered", "address", "useless", "replayed"})
"""Fates that tell what became of every call with the same token: the service gave the answer that belongs to the token."""

FAILURES = 2
"""Failures (a 500) after which a text gets a new token when no call with the old one is in doubt. The first may have struck
after the picture was charged; a service that repeats what it noted for a token repeats the second."""

BUSY_SECONDS = 60.0
POLL_SECONDS = 0.05


class BudgetSpent(Exception):
    """`max_calls` have been made."""


def key_of(prompt: str) -> bytes:
    """What a prompt is known by, 32 bytes."""
    return hashlib.sha256(prompt.encode()).digest()


class Ledger:
    """The ledger in a folder; made when it is not there.

    Raises:
        UserError: in every method, when the disk is full, or a file damaged or not to be written.
    """

    def __init__(self, folder: Path, source: Mapping[str, str]) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._claims: int | None = None
        with self._explained():
            (folder / "pictures").mkdir(parents=True, exist_ok=True)
            if not (folder / "source.json").exists():
                self._replace(folder / "source.json", json.dumps(dict(source), indent=1).encode() + b"\n")
            self._connection = sqlite3.connect(
                folder / "calls.db", timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._journal()
            self._connection.execute("PRAGMA synchronous = FULL")
            for statement in SCHEMA.strip().split(";\n"):
                self._connection.execute(statement)
            self._add_rounds()
            if fcntl is not None:
                self._claims = os.open(folder / "claims", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def _journal(self) -> None:
        """Switch to write-ahead mode; the switch does not wait for another process that is switching."""
        for attempt in range(100):
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or attempt == 99:
                    raise
                time.sleep(POLL_SECONDS)

    def _add_rounds(self) -> None:
        """Give the calls of a ledger that an older version wrote the number of their token."""
        columns = [row[1] for row in self._connection.execute("PRAGMA table_info(calls)")]
        if "round" in columns:
            return
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            if "round" not in [row[1] for row in self._connection.execute("PRAGMA table_info(calls)")]:
                self._connection.execute("ALTER TABLE calls ADD COLUMN round INTEGER")
                self._connection.execute(
                    "UPDATE calls SET round = (SELECT count(*) FROM calls before WHERE before.input = calls.input "
                    "AND before.number < calls.number AND before.fate IN ('failed', 'address'))"
                )
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        with self._lock:
            self._connection.close()
            if self._claims is not None:
                os.close(self._claims)
                self._claims = None

    @property
    def failures_file(self) -> Path:
        return self.folder / "failures.jsonl"

    # --------------------------------------------------------------------------------------------------- calls

    def reserve(self, key: bytes, limit: int | None) -> tuple[int, str]:
        """Count a call that is about to be made.

        Returns:
            its number, and a token for the service: while it is not known what became of a call, the next one for the same
            text has the same token, whatever the calls in between were answered, and a service that knows
            ``Idempotency-Key`` charges once.

        Raises:
            BudgetSpent: `limit` calls have been made.
        """
        with self._transaction() as connection:
            used = connection.execute("SELECT used FROM budget").fetchone()[0]
            if limit is not None and used >= limit:
                raise BudgetSpent
            connection.execute("UPDATE budget SET used = used + 1")
            round_ = self._round(key)
            row = (key, time.time(), round_)
            number = connection.execute("INSERT INTO calls (input, sent, round) VALUES (?, ?, ?)", row).lastrowid
        assert number is not None
        return number, hashlib.sha256(str(self.folder.name).encode() + key + b"%d" % round_).hexdigest()

    def _round(self, key: bytes) -> int:
        """The number of the token that the next call for a prompt carries."""
        query = "SELECT round, fate FROM calls WHERE input = ?1 AND round = (SELECT max(round) FROM calls WHERE input = ?1)"
        rows = self._connection.execute(query, (key,)).fetchall()
        if not rows:
            return 0
        fates = [fate for _, fate in rows]
        if not ANSWERED.isdisjoint(fates):
            return int(rows[0][0]) + 1
        in_doubt = any(fate is None or fate == "unknown" for fate in fates)
        return int(rows[0][0]) + (not in_doubt and fates.count("failed") >= FAILURES)

    def settle(self, number: int, fate: str) -> None:
        """Note what became of a call.

        Args:
            fate: ``answered``; ``address`` (where the picture can be fetched); ``useless`` (a whole answer without a picture
                that can be read); ``replayed`` (the service repeated a failure that it had noted for the token);
                ``failed`` (an error of the service); ``declined`` (turned away before anything was done); ``unknown`` (it may
                have been made and lost); ``unsent`` (it never left, and is not counted). A call without a fate was
                under way when its process ended.
        """
        with self._transaction() as connection:
            connection.execute("UPDATE calls SET fate = ? WHERE number = ?", (fate, number))
            if fate == "unsent":
                connection.execute("UPDATE budget SET used = used - 1")

    def used(self) -> int:
        """Calls made so far."""
        with self._lock, self._explained():
            return int(self._connection.execute("SELECT used FROM budget").fetchone()[0])

    def has_answers(self) -> bool:
        """Whether any picture has ever come."""
        with self._lock, self._explained():
            query = "SELECT 1 FROM calls WHERE fate IN ('answered', 'address') LIMIT 1"
            return self._connection.execute(query).fetchone() is not None

    # ------------------------------------------------------------------------------------------------ pictures

    def picture(self, key: bytes) -> Path | None:
        """The file of a prompt's picture, None when there is none yet."""
        name = key.hex()
        for _, suffix in KINDS:
            path = self.folder / "pictures" / name[:2] / f"{name}{suffix}"
            if path.exists():
                return path
        return None

    def keep(self, key: bytes, content: bytes, number: int | None = None) -> None:
        """Put a picture on the disk, there for good when this returns. `number` is the call that brought it."""
        name = key.hex()
        suffix = next(suffix for start, suffix in KINDS if content.startswith(start))
        path = self.folder / "pictures" / name[:2] / f"{name}{suffix}"
        with self._explained():
            path.parent.mkdir(exist_ok=True)
            self._replace(path, content)
        with self._transaction() as connection:
            connection.execute("DELETE FROM failures WHERE input = ?", (key,))
            connection.execute("DELETE FROM addresses WHERE input = ?", (key,))
            connection.execute("DELETE FROM unread WHERE input = ?", (key,))
            if number is not None:
                connection.execute("UPDATE calls SET fate = 'answered' WHERE number = ?", (number,))

    def keep_unread(self, key: bytes, content: bytes, suffix: str, asked: str, *, wait: bool) -> Path:
        """Keep an answer that was paid for and could not be read.

        Args:
            suffix: the end of the file's name.
            asked: what was asked for; see `unread`.
            wait: asking again the same way would bring the same: `unread` hands it over until `asked` is another.
        """
        digest = hashlib.sha256(content).hexdigest()[:8]
        path = self.folder / "unread" / f"{key.hex()}-{digest}{suffix}"
        with self._explained():
            path.parent.mkdir(exist_ok=True)
            self._replace(path, content)
        if wait:
            with self._transaction() as connection:
                connection.execute("INSERT OR REPLACE INTO unread VALUES (?, ?, ?)", (key, path.name, asked))
        return path

    def unread(self, key: bytes) -> tuple[Path, str] | None:
        """The answer that waits to be read, and what was asked for; None when there is none, or its file was deleted."""
        with self._lock, self._explained():
            row = self._connection.execute("SELECT file, asked FROM unread WHERE input = ?", (key,)).fetchone()
        path = self.folder / "unread" / Path(row[0]).name if row else None
        return (path, row[1]) if path is not None and path.is_file() else None

    def address(self, key: bytes) -> str | None:
        """Where a picture that was paid for can be fetched."""
        with self._lock, self._explained():
            row = self._connection.execute("SELECT url FROM addresses WHERE input = ?", (key,)).fetchone()
        return row[0] if row else None

    def keep_address(self, key: bytes, number: int, url: str) -> None:
        """Note where a call's picture can be fetched."""
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO addresses VALUES (?, ?)", (key, url))
            connection.execute("UPDATE calls SET fate = 'address' WHERE number = ?", (number,))

    def drop_address(self, key: bytes) -> None:
        """There is nothing at the address any more."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM addresses WHERE input = ?", (key,))

    # ------------------------------------------------------------------------------------------------ failures

    def fail(self, key: bytes, prompt: str, reason: str, *, refused: bool) -> None:
        """Note why a prompt has no picture."""
        with self._transaction() as connection:
            row = (key, prompt, reason, int(refused), time.time())
            connection.execute("INSERT OR REPLACE INTO failures VALUES (?, ?, ?, ?, ?)", row)

    def was_refused(self, key: bytes) -> bool:
        """Whether the service refused this prompt for its content, the last time it was asked."""
        with self._lock, self._explained():
            row = self._connection.execute("SELECT refused FROM failures WHERE input = ?", (key,)).fetchone()
        return bool(row and row[0])

    def write_failures(self) -> None:
        """Bring the list of failures up to date: a line of JSON for each text without a picture."""
        with self._lock, self._explained():
            query = (
                "SELECT f.prompt, f.reason, f.updated, (SELECT count(*) FROM calls c WHERE c.input = f.input) FROM failures f"
            )
            rows = self._connection.execute(query + " ORDER BY f.updated").fetchall()
            if not rows:
                self.failures_file.unlink(missing_ok=True)
                return
            lines = []
            for prompt, reason, updated, calls in rows:
                when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(updated))
                line = {"prompt": prompt, "reason": reason, "calls": calls, "time": when}
                lines.append(json.dumps(line, ensure_ascii=False) + "\n")
            self._replace(self.failures_file, "".join(lines).encode())

    # -------------------------------------------------------------------------------------------------- claims

    @contextlib.contextmanager
    def claim(self, key: bytes, stop: threading.Event) -> Iterator[bool]:
        """Be the only process that asks for this prompt; False when `stop` was set before the others were done with it. The
        kernel gives a claim back when its process dies."""
        if fcntl is None or self._claims is None:
            yield True
            return
        place = int.from_bytes(key[:7], "little")
        while True:
            try:
                fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
                break
            except (BlockingIOError, PermissionError):
                if stop.wait(POLL_SECONDS):
                    yield False
                    return
            except OSError:  # a file system without locks
                yield True
                return
        try:
            yield True
        finally:
            fcntl.lockf(self._claims, fcntl.LOCK_UN, 1, place)

    # --------------------------------------------------------------------------------------------------- disk

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            hint = "Free some space or mend the permissions, then run again; pictures that have come are kept"
            raise UserError(f"teacher image-api: {self.folder / 'calls.db'}: {error}", hint) from None
        except OSError as error:
            hint = "Free some space, or name another runs folder"
            raise UserError(f"teacher image-api: {self.folder}: cannot be written ({error.strerror})", hint) from None

    def _replace(self, path: Path, content: bytes) -> None:
        """Write a file that is whole or not there, on the disk when this returns."""
        with replacing(path) as stream:
            stream.write(content)
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
