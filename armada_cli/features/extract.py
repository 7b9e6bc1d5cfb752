"""Ask a teacher for the vectors that the store does not have, batch by batch, each batch durable before the next begins."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from armada_cli.console import print_line
from armada_cli.contracts import Component, Environment, Teacher, TeacherInput, Unanswered
from armada_cli.errors import UserError, name_error, one_line
from armada_cli.features.claims import Claims
from armada_cli.features.identity import identity_key, input_hash, input_hashes, maker, teacher_identity
from armada_cli.features.progress import Progress, show_progress
from armada_cli.features.store import FeatureStore

if TYPE_CHECKING:
    import numpy as np

    from armada_cli.registry.registered import Registered

RETRIES = 3
"""Times a batch is tried when the connection to a teacher behind an API fails or times out."""

POLL_SECONDS = 0.2

READ_BYTES = 4 << 20
"""Vectors read at once while looking for damaged ones: 1024 that are 1024 wide, 4 of a video's."""


@dataclass(frozen=True)
class ExtractionReport:
    """What an extraction did.

    Attributes:
        key: the teacher identity's key in the store.
        inputs: different inputs asked for; new: vectors this process computed and stored; reused: vectors that were there.
        damaged: stored vectors that failed their checksum and were computed again.
        seconds: wall time, teacher's construction included; 0 when nothing was missing.
    """

    key: str
    inputs: int
    new: int
    reused: int
    damaged: int
    seconds: float


def extract(
    teacher: Component | Registered,
    options: Any,
    environment: Environment,
    inputs: Sequence[TeacherInput],
    store: FeatureStore,
    *,
    progress: bool = True,
) -> ExtractionReport:
    """Make the store hold a vector for every input. When it does already, the teacher is not even imported.

    Each different input is represented once. Inputs are ordered by length, so that a batch's rows cost alike. Several
    processes may do this at once on one store: each claims what it computes (`Claims`), and returns when all is there. Under
    `accelerate launch` or `torchrun` (``RANK``, ``WORLD_SIZE``) each process begins at its own share. What a batch consists of
    does not depend on who computes it or when, since a network may round one text differently beside other texts.

    Args:
        teacher: its card, or the card with the plugin it came from (which error messages then name).
        inputs: texts or media paths, repeated ones allowed.
        progress: show rate and remaining time on standard error.

    Raises:
        UserError: the teacher cannot be made, fails, or returns anything but finite float32 [n, width] of constant width;
            the message names teacher, plugin and input. What was stored before stays. Inputs that a teacher leaves
            `Unanswered` are named after all others are stored.
        KeyboardInterrupt: Ctrl-C; what was stored before stays, and a line says how much.
    """
    component = teacher if isinstance(teacher, Component) else teacher.component
    origin = "" if isinstance(teacher, Component) else f" (plugin {teacher.distribution} {teacher.version})"
    identity = teacher_identity(teacher, options, environment)
    key = identity_key(identity)

    values: dict[bytes, TeacherInput] = {}
    for item, value in zip(input_hashes(inputs), inputs, strict=True):
        values.setdefault(item, value)
    store.describe(identity)
    absent = set(store.missing(key, values))
    present = [item for item in values if item not in absent]
    damaged = remove_damaged(store, key, present)
    absent.update(damaged)
    if not absent:
        return ExtractionReport(key, len(values), 0, len(values), 0, 0.0)

    start = time.perf_counter()
    # By length, and those of one length by hash: the same order in every process.
    items = sorted(values, key=lambda item: (_size(values[item]), item))
    call = _Caller(component, origin, options, environment, store.width(key))
    claims = Claims(store.path, key)
    new = 0
    try:
        with show_progress(f"{component.name}: representing", len(absent), enabled=progress) as bar:
            batches = deque(_share_first(_batches(items, absent, call.batch_size())))
            while batches:
                place = next((place for place, batch in enumerate(batches) if claims.take(batch)), None)
                if place is None:  # everything left is in the hands of other processes
                    time.sleep(POLL_SECONDS)
                    remaining = set(store.missing(key, [item for batch in batches for item in batch]))
                    bar.advance(sum(len(batch) for batch in batches) - len(remaining), computed=0)
                    batches = deque(left for batch in batches if (left := [item for item in batch if item in remaining]))
                    continue
                batches.rotate(-place)  # what others are working on goes to the end: it will be there when we come to it
                batch = batches.popleft()
                try:
                    # Another process may have stored some of these between our counting and our claim.
                    mine = store.missing(key, batch)
                    if mine:
                        vectors, answered = call([values[item] for item in mine])
                        require_unchanged(teacher, options, environment, key, {item: values[item] for item in mine})
                        if vectors is not None:
                            new += store.put(identity, [mine[row] for row in answered], vectors, [maker(teacher)])
                finally:
                    claims.release()
                bar.advance(len(batch), computed=len(mine))
    except KeyboardInterrupt:
        print(
            f"armada: stopped; {len(values) - len(store.missing(key, values))} of {len(values)} representations of teacher "
            f"{component.name!r} are kept, the same command goes on from there",
            file=sys.stderr,
        )
        raise
    finally:
        claims.close()
        call.close()
    if call.unanswered:
        raise call.incomplete(len(values))
    return ExtractionReport(key, len(values), new, len(values) - new, len(damaged), time.perf_counter() - start)


def require_unchanged(
    teacher: Component | Registered, options: Any, environment: Environment, key: str, inputs: Mapping[bytes, TeacherInput]
) -> None:
    """Compare what a batch of vectors was made of with what they are about to be stored under.

    Args:
        key: the teacher's identity when the extraction began; inputs: a batch, by its hashes at that time.

    Raises:
        UserError: the files that the teacher was made of, or a media file that it was shown, are others now.
    """
    hint = "Nothing of this batch was stored; run the same command again"
    if identity_key(teacher_identity(teacher, options, environment)) != key:
        raise UserError(f"the files of teacher {teacher.name!r} changed while it was asked", hint)
    for item, value in inputs.items():
        if isinstance(value, Path) and input_hash(value) != item:
            raise UserError(f"{value} changed while teacher {teacher.name!r} was shown it", hint)


def remove_damaged(store: FeatureStore, key: str, hashes: Sequence[bytes]) -> set[bytes]:
    """Read vectors a part at a time, so that damaged ones are dropped. Returns the inputs that have no vector any more."""
    gone: set[bytes] = set()
    rows = max(1, min(4096, READ_BYTES // (4 * (store.width(key) or 1))))
    for start in range(0, len(hashes), rows):
        part = hashes[start : start + rows]
        _, sound = store.get(key, part)
        if not sound.all():
            gone.update(item for item, ok in zip(part, sound, strict=True) if not ok)
    return gone


def _size(value: TeacherInput) -> int:
    if isinstance(value, Path):
        return value.stat().st_size
    return len(value)


def _batches(items: Sequence[bytes], absent: Set[bytes], size: int) -> list[list[bytes]]:
    """What to ask the teacher for, batch by batch. All inputs are cut into batches, and what is stored already is left out. A
    batch of which some vectors are stored (they came with another selection of rows) shares its calls with others like it.
    """
    whole: list[list[bytes]] = []
    rest: list[bytes] = []
    for start in range(0, len(items), size):
        batch = items[start : start + size]
        missing = [item for item in batch if item in absent]
        if len(missing) == len(batch):
            whole.append(missing)
        else:
            rest += missing
    return whole + [rest[start : start + size] for start in range(0, len(rest), size)]


def _share_first(batches: list[list[bytes]]) -> list[list[bytes]]:
    """The batches from this process's share on, then the shares of the others (which will mostly be done by then)."""
    try:
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except (KeyError, ValueError):
        return batches
    if not 0 <= rank < world:
        return batches
    start = rank * len(batches) // world
    return batches[start:] + batches[:start]


class _Caller:
    """A teacher behind checks: made on the first call, everything it returns validated, every failure one line."""

    def __init__(self, component: Component, origin: str, options: Any, environment: Environment, width: int | None) -> None:
        self.component = component
        self.origin = origin
        self.options = options
        self.environment = environment
        self.width = width
        self.unanswered: list[tuple[TeacherInput, str]] = []
        self.listed = ""
        self._teacher: Teacher | None = None

    @property
    def place(self) -> str:
        return f"teacher {self.component.name!r}{self.origin}"

    def teacher(self) -> Teacher:
        if self._teacher is None:
            self._teacher = self._guard("cannot be made", self._make)
        return self._teacher

    def _make(self) -> Teacher:
        made = self.component.load()(self.options, self.environment)
        if not callable(getattr(made, "represent", None)):
            raise TypeError(f"{self.component.target} has no method 'represent'")
        return made

    def batch_size(self) -> int:
        size = getattr(self.teacher(), "batch_size", Teacher.batch_size)
        if not isinstance(size, int) or size < 1:
            raise UserError(f"{self.place} has batch_size {size!r}", "It must be a whole number of at least 1")
        return size

    def _guard(self, what: str, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except (UserError, MemoryError):
            raise
        except (Exception, SystemExit) as error:
            raise UserError(
                f"{self.place} {what}: {name_error(error)}", "This is the plugin's own error; report it there"
            ) from error

    def __call__(self, inputs: list[TeacherInput]) -> tuple[np.ndarray | None, list[int]]:
        """inputs: n -> float32 [m, width], checked, and the m rows they belong to: all n, but for those the teacher gave up
        on, which are noted in `unanswered`."""
        teacher = self.teacher()
        rows = list(range(len(inputs)))
        try:
            result = self._try(teacher, inputs)
        except Unanswered as gap:
            self.unanswered += [(inputs[row], reason) for row, reason in gap.reasons.items()]
            self.listed = gap.listed
            rows = [row for row in rows if row not in gap.reasons]
            if not rows:
                return None, []
            result = gap.vectors if gap.vectors is None else gap.vectors[rows]
        except (UserError, MemoryError):
            raise
        except (Exception, SystemExit) as error:
            raise self._failure(teacher, inputs, error) from error
        return self._check(result, [inputs[row] for row in rows]), rows

    def incomplete(self, total: int) -> UserError:
        """What to say at the end when some inputs have no vector."""
        value, reason = self.unanswered[0]
        listed = f"; all are listed in {self.listed}" if self.listed else ""
        return UserError(
            f"{self.place} has no vector for {len(self.unanswered)} of {total} inputs. The first is {quote(value)}: "
            f"{reason}{listed}",
            "All others are kept, and a further run asks for these alone",
        )

    def _try(self, teacher: Teacher, inputs: list[TeacherInput]) -> Any:
        for attempt in range(1, RETRIES + 1):
            try:
                return teacher.represent(inputs)
            except (ConnectionError, TimeoutError):
                if attempt == RETRIES:
                    raise
                time.sleep(2.0**attempt)
        raise AssertionError("unreachable")

    def _failure(self, teacher: Teacher, inputs: list[TeacherInput], error: BaseException) -> UserError:
        """Find which input the teacher fails on, by asking for each alone."""
        culprit = f"a batch of {len(inputs)}, the first of which is {quote(inputs[0])}"
        if isinstance(error, (ConnectionError, TimeoutError)):
            hint = "Every finished batch is kept; run again to go on"
            return UserError(f"{self.place} cannot be reached: {name_error(error)}", hint)
        for value in inputs:
            try:
                teacher.represent([value])
            except (Exception, SystemExit) as single:
                culprit, error = quote(value), single
                break
        hint = "This is the plugin's own error; every finished batch is kept"
        return UserError(f"{self.place} fails on {culprit}: {name_error(error)}", hint)

    def _check(self, result: Any, inputs: list[TeacherInput]) -> np.ndarray:
        import numpy as np

        hint = "The teacher breaks its contract: float32 [inputs, width], finite; nothing of this batch was stored"
        first = f"for the batch that begins with {quote(inputs[0])}"
        if not isinstance(result, np.ndarray):
            raise UserError(f"{self.place} returned {type(result).__name__}, not a numpy array, {first}", hint)
        if result.ndim != 2 or len(result) != len(inputs) or result.shape[1] == 0:
            raise UserError(f"{self.place} returned shape {list(result.shape)} for {len(inputs)} inputs, {first}", hint)
        if result.dtype != np.float32:
            raise UserError(f"{self.place} returned {result.dtype}, not float32, {first}", hint)
        if self.width is not None and result.shape[1] != self.width:
            raise UserError(f"{self.place} returned width {result.shape[1]}, before it was {self.width}, {first}", hint)
        finite = np.isfinite(result).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise UserError(
                f"{self.place} returned a vector that is not finite (NaN or infinity) for {quote(inputs[row])}", hint
            )
        self.width = int(result.shape[1])
        return result

    def close(self) -> None:
        if self._teacher is not None and callable(getattr(self._teacher, "close", None)):
            try:
                self._teacher.close()
            except Exception as error:  # the vectors are safe; a failure to tidy up must not hide that
                print_line(f"armada: {self.place} did not close: {name_error(error)}", error=True)


def quote(value: TeacherInput) -> str:
    """An input as an error message shows it: one line, at most 60 characters."""
    return repr(one_line(value, 60))


__all__ = ["ExtractionReport", "Progress", "extract", "quote", "remove_damaged"]
