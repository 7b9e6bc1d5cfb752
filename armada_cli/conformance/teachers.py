"""What a teacher is asked."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armada_cli.conformance.asking import Broken, NotAsked, asked, quoted, require
from armada_cli.conformance.elsewhere import represent_elsewhere
from armada_cli.conformance.inputs import AWKWARD, TEXTS, awkward_pictures, draw_pictures
from armada_cli.conformance.subject import Subject, shared_questions, single_line
from armada_cli.conformance.variations import varied
from armada_cli.contracts import Unanswered, canonical
from armada_cli.errors import UserError

TOLERANCE = 1e-3
"""Vectors count as equal when they differ by at most this share of their largest number: sums of another batch have other last
bits, and twenty steps of diffusion make them larger."""


class TeacherSubject(Subject):
    """A teacher, and what it is shown: texts, or pictures when it says by a UserError that it takes no text."""

    def represent(self, teacher: Any, inputs: Sequence[Any]) -> Any:
        with self.at_work():
            return teacher.represent(list(inputs))

    @functools.cached_property
    def inputs(self) -> list[Any]:
        """Five inputs of the sort that it takes."""
        teacher = self.first
        try:
            self.represent(teacher, TEXTS[:1])
            return list(TEXTS)
        except UserError as refusal:
            pictures = draw_pictures(self.folder / "pictures")
            try:
                self.represent(teacher, pictures[:1])
            except Exception:
                raise refusal from None
            return pictures

    @property
    def shows_pictures(self) -> bool:
        return isinstance(self.inputs[0], Path)

    @functools.cached_property
    def vectors(self) -> np.ndarray:
        """The inputs' vectors [5, width], as the first instance has them."""
        vectors = self.represent(self.first, self.inputs)
        if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or len(vectors) != len(self.inputs):
            raise NotAsked("It gives no vectors to compare, see above")
        return vectors.copy()


SUBJECT = TeacherSubject
QUESTIONS = shared_questions()


@asked(QUESTIONS, "shape")
def check_shape(subject: TeacherSubject) -> str:
    """[n, width] for any n, always of one width."""
    widths = {}
    for count in (1, 2, 5, 12):
        inputs = (subject.inputs * 3)[:count]
        vectors = subject.represent(subject.first, inputs)
        require(
            isinstance(vectors, np.ndarray),
            f"represent() returns {type(vectors).__name__}, not a numpy array; return np.ndarray float32 [n, width], when the "
            "work is done",
        )
        require(
            vectors.ndim == 2 and len(vectors) == count and vectors.shape[1] > 0,
            f"represent() returns shape {list(vectors.shape)} for {count} inputs; it must be [{count}, width], a row an input, "
            "whatever their number",
        )
        widths[count] = vectors.shape[1]
    require(
        len(set(widths.values())) == 1,
        f"Its width changes with the number of inputs ({widths}); a teacher has one width",
    )
    alone = {subject.represent(subject.first, [item]).shape[1] for item in subject.inputs}
    require(len(alone) == 1, f"Its width changes with the input ({sorted(alone)}); pad or pool to one width")
    what = "pictures" if subject.shows_pictures else "texts"
    return f"[n, {widths[1]}] for 1, 2, 5 and 12 {what}"


@asked(QUESTIONS, "dtype")
def check_dtype(subject: TeacherSubject) -> str:
    dtype = subject.vectors.dtype
    require(dtype == np.float32, f"represent() returns {dtype}, not float32; end with .astype(np.float32)")
    return "float32"


@asked(QUESTIONS, "finite")
def check_finite(subject: TeacherSubject) -> str:
    bad = [row for row in range(len(subject.inputs)) if not np.isfinite(subject.vectors[row].astype(np.float64)).all()]
    if bad:
        raise Broken(
            f"The vector of {_quote(subject.inputs[bad[0]])} holds NaN or infinity; look for a division by zero, or for "
            "numbers too large for the dtype"
        )
    same = len(np.unique(subject.vectors, axis=0)) == 1
    require(not same, "Five different inputs have one and the same vector; it tells a student nothing")
    return f"Numbers from {subject.vectors.min():.3g} to {subject.vectors.max():.3g}"


@asked(QUESTIONS, "batch size")
def check_batch_size(subject: TeacherSubject) -> str:
    size = getattr(subject.first, "batch_size", None)
    require(
        isinstance(size, int) and not isinstance(size, bool) and size >= 1,
        f"batch_size is {size!r}; it is how many inputs the host hands over at once, a whole number of at least 1",
    )
    return str(size)


@asked(QUESTIONS, "work is done")
def check_done(subject: TeacherSubject) -> str:
    """What was returned is not touched again: the host stores it, and counts it as done."""
    vectors = subject.represent(subject.first, subject.inputs)
    before = np.array(vectors, copy=True)
    subject.represent(subject.first, subject.inputs[::-1])
    require(
        np.array_equal(before, vectors, equal_nan=True),
        "An array that represent() returned changes during the next call; return a copy, not a buffer that is used again",
    )
    return "What was returned stays as it is"


@asked(QUESTIONS, "determinism")
def check_determinism(subject: TeacherSubject) -> str:
    """Two instances with the same options, the same inputs: the same bits."""
    first, second = subject.vectors, np.asarray(subject.represent(subject.make(), subject.inputs))
    if first.shape != second.shape or not np.array_equal(first, second, equal_nan=True):
        far = _distance(first, second)
        raise Broken(
            f"Two instances with the same options give different vectors (by {far:.2g} of the largest number); seed every "
            "source of chance from an option `seed` and the input alone, and do not use hash() or the time"
        )
    return "Two instances agree to the bit"


@asked(QUESTIONS, "another process")
def check_another_process(subject: TeacherSubject) -> str:
    """A run that is resumed, or that has several processes, puts vectors of different processes side by side."""
    environment = subject.elsewhere()
    try:
        other, identity = represent_elsewhere(
            subject.card, subject.options, environment, subject.inputs, subject.folder / "elsewhere.npy"
        )
    except LookupError as reason:
        raise NotAsked(f"{reason}, so no other process can make it") from None
    except ValueError as error:
        raise Broken(f"In a process of its own it stops with: {error}") from None
    far = _distance(subject.vectors, other)
    require(
        far <= TOLERANCE,
        f"Another process has other vectors (by {far:.2g} of the largest number); they may depend on hash(), on the order of a "
        "set, or on what ran before: take hashlib for a number from a text, and sorted() for a set",
    )
    own = getattr(subject.options, "identity", None)
    require(
        own is None or canonical(own(environment)) == identity,
        "Another process has another identity, so a run that is resumed would not find its vectors; its values may come from "
        "hash() or from the order of a set",
    )
    return f"A process of its own agrees to {TOLERANCE:g}"


@asked(QUESTIONS, "threads")
def check_threads(subject: TeacherSubject) -> str:
    """Vectors of one and of two threads agree."""
    other = np.asarray(subject.represent(subject.make(threads=2), subject.inputs))
    far = _distance(subject.vectors, other)
    require(
        far <= TOLERANCE,
        f"Two threads give other vectors than one (by {far:.2g} of the largest number); a vector may depend on its input, the "
        "options and the seed alone",
    )
    return f"One and two threads agree to {TOLERANCE:g}"


@asked(QUESTIONS, "batch independence")
def check_batch(subject: TeacherSubject) -> str:
    """Alone, in a batch, in another order, and twice in one batch: one vector."""
    teacher, inputs, together = subject.first, subject.inputs, subject.vectors
    advice = "seed by the input and not by its place, mask the padding, and normalise rows and never the batch"
    alone = np.concatenate([subject.represent(teacher, [item]) for item in inputs])
    worst = 0.0
    for words, other in (
        ("alone than in a batch", alone),
        ("in another order", subject.represent(teacher, inputs[::-1])[::-1]),
        ("beside a copy of itself", subject.represent(teacher, [item for item in inputs for _ in range(2)])[1::2]),
    ):
        far = _distance(together, np.asarray(other))
        require(
            far <= TOLERANCE,
            f"An input has another vector {words} (by {far:.2g} of the largest number, {TOLERANCE:g} is allowed); {advice}",
        )
        worst = max(worst, far)
    return f"Alone, in a batch and in another order: equal to {max(worst, 1e-9):.0e} ({TOLERANCE:g} is allowed)"


@asked(QUESTIONS, "identity")
def check_identity(subject: TeacherSubject) -> str:
    """Options that leave the identity as it is leave the vectors as they are."""
    subject.check_identity_is_data()
    own = subject.identity(subject.options)
    tried: dict[str, int] = {}
    told: set[str] = set()
    for name, options in varied(subject.options, subject.environment):
        if subject.identity(options) != own:
            told.add(name)
            continue
        try:
            teacher = subject.make(options)
            other = subject.represent(teacher, subject.inputs)
        except Exception:  # this value cannot be had here: another model, a service that does not answer
            continue
        far = _distance(subject.vectors, np.asarray(other))
        if far > TOLERANCE:
            old, new = getattr(subject.options, name), getattr(options, name)
            raise Broken(
                f"Option {name!r} changes the vectors ({old!r} against {new!r}) and not the identity: a run would be served "
                "vectors of the other value. Remove identity=False from it"
            )
        tried[name] = tried.get(name, 0) + 1
    quiet = f"; vectors stay the same under other values of {', '.join(tried)}" if tried else ""
    return (f"Part of it: {', '.join(sorted(told))}" if told else "It has no option to tell apart") + quiet


@asked(QUESTIONS, "awkward inputs")
def check_awkward(subject: TeacherSubject) -> str:
    """Every text is a finite vector or a UserError of one line, never anything else."""
    if subject.shows_pictures:
        awkward: dict[str, Any] = dict(awkward_pictures(subject.folder / "awkward"))
    else:
        awkward = dict(AWKWARD)
    width = subject.vectors.shape[1]
    refused = []
    for what, value in awkward.items():
        advice = "give it a finite vector, or raise UserError(what, hint)"
        try:
            vector = np.asarray(subject.represent(subject.first, [value]))
        except Unanswered:
            refused.append(what)
            continue
        except UserError as error:
            require(single_line(error), f"For {what} its UserError has several lines; one says where, what and what to do")
            refused.append(what)
            continue
        except (Exception, SystemExit) as error:
            raise Broken(f"On {what} it raises {quoted(error)}; {advice}") from None
        require(vector.shape == (1, width), f"For {what} it returns shape {list(vector.shape)}, not [1, {width}]; {advice}")
        require(bool(np.isfinite(vector).all()), f"For {what} its vector holds NaN or infinity; {advice}")
    said = f"; it refuses {', '.join(refused)}" if refused else ""
    return f"{len(awkward) - len(refused)} of {len(awkward)} have finite vectors{said}"


@asked(QUESTIONS, "wrong input")
def check_wrong_input(subject: TeacherSubject) -> str:
    """A number is no input."""
    try:
        subject.represent(subject.first, [3])
    except (UserError, TypeError) as error:
        require(single_line(error), f"Given the number 3 its {type(error).__name__} has several lines; one is enough")
        return f"The number 3: {quoted(error)}"
    except Unanswered:
        return "The number 3 is left unanswered"
    except (Exception, SystemExit) as error:
        raise Broken(
            f"Given the number 3 it raises {quoted(error)}; check what it is given, and raise TypeError or UserError(what, "
            "hint)"
        ) from None
    raise Broken(
        "Given the number 3 it returns a vector; a wrong input that passes for a right one spoils a run in silence. Raise "
        "TypeError or UserError(what, hint) for what is neither a text nor a path"
    )


@asked(QUESTIONS, "pickling")
def check_pickling(subject: TeacherSubject) -> str:
    return subject.check_pickling()


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    """The largest difference, as a share of the largest number; infinite where shapes differ."""
    if first.shape != second.shape:
        return float("inf")
    a, b = first.astype(np.float64), second.astype(np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0 if np.array_equal(a, b, equal_nan=True) else float("inf")
    return float(np.abs(a - b).max() / max(np.abs(a).max(), np.abs(b).max(), 1e-30))


def _quote(value: Any) -> str:
    text = " ".join(str(value).split())
    return repr(text if len(text) <= 40 else text[:37] + "...")
