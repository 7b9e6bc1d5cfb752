"""What a task is asked."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from armada_cli.conformance.asking import Broken, NotAsked, asked, brief, quoted, require
from armada_cli.conformance.subject import Subject, shared_questions
from armada_cli.conformance.variations import varied
from armada_cli.contracts import TASK_KINDS, Split, canonical
from armada_cli.recipe.values import misfit
from armada_cli.registry.catalog import current
from armada_cli.settings import Train

LIMIT = 5_000
"""Rows of a split that are looked at, at most."""


class TaskSubject(Subject):
    """A task with its splits."""

    @functools.cached_property
    def splits(self) -> dict[str, Split]:
        """What the task has: both splits, or validation alone for one that is evaluated on another task's student."""
        return self.read(self.first)

    def read(self, task: Any) -> dict[str, Split]:
        elsewhere = hasattr(self.options, "trained_on") and self.options.trained_on() is not None
        with self.at_work():
            return {name: task.split(name) for name in (("validation",) if elsewhere else ("train", "validation"))}

    @property
    def kind_of_task(self) -> str:
        return str(self.first.kind)

    @functools.cached_property
    def perfect(self) -> Any:
        """Outputs that answer the validation split as its labels do.

        Raises:
            NotAsked: the labels do not say what a right answer looks like.
        """
        labels, kind = self.splits["validation"].labels, self.kind_of_task
        if kind == "regression":
            return np.asarray(labels, np.float32)[:, None]
        if kind == "multilabel":
            return np.asarray(labels, np.float32) * 8 - 4
        if kind == "generation" and self.first.decoding is not None:
            answers = [label if isinstance(label, str) else _first_text(label) for label in labels]
            if any(answer is None for answer in answers):
                raise NotAsked("Its labels do not spell out an answer, so none can be given that is right")
            return answers
        if kind == "masked":
            raise NotAsked("Its score is no share of what is right")
        width = len(self.first.labels())
        if kind in ("generation", "multiple-choice"):
            width = max(len(row) - 1 for row in self.splits["validation"].texts)
        outputs = np.full((len(labels), width), -4.0, np.float32)
        outputs[np.arange(len(labels)), np.asarray(labels, int)] = 4.0
        return outputs


SUBJECT = TaskSubject
QUESTIONS = shared_questions()


@asked(QUESTIONS, "kind")
def check_kind(subject: TaskSubject) -> str:
    """Card, options and class agree on the task's kind."""
    own, said = subject.kind_of_task, subject.card.kind(subject.options)
    require(own in TASK_KINDS, f"Its kind is {own!r}; the kinds are {', '.join(TASK_KINDS)}")
    require(
        own == said,
        f"The class says its kind is {own!r}, the card or the options' kind() say {said!r}; a recipe is checked against the "
        "latter",
    )
    names = list(subject.first.labels())
    if own not in ("generation", "masked"):
        require(
            bool(names) and all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names),
            f"labels() gives {names!r}; it must be the classes' names, all different, none empty (for regression one name)",
        )
    if own == "regression":
        require(len(names) == 1, f"labels() gives {len(names)} names; a regression has one, the target's")
    return f"{own}, {len(names)} labels" if names else own


@asked(QUESTIONS, "rows")
def check_rows(subject: TaskSubject) -> str:
    """Columns of one length, texts that are not empty, teacher's inputs that a teacher can be shown."""
    counts = []
    for name, split in subject.splits.items():
        n = len(split.texts)
        require(n > 0, f"The {name} split has no rows")
        require(
            n == len(split.labels) == len(split.teacher_inputs),
            f"The {name} split has {n} texts, {len(split.labels)} labels and {len(split.teacher_inputs)} teacher inputs; they "
            "are columns of one length",
        )
        generates, compares = subject.kind_of_task == "generation", subject.first.decoding is None
        for row in range(min(n, LIMIT)):
            texts, shown = split.texts[row], split.teacher_inputs[row]
            require(
                isinstance(texts, tuple) and len(texts) > 0 and all(isinstance(text, str) for text in texts),
                f"Row {row} of {name} has {type(texts).__name__} {brief(texts)} as its texts; they are a tuple of strings, "
                "(a,) for one",
            )
            require(
                all(text.strip() for text in texts),
                f"Row {row} of {name} has an empty text; leave such rows out, or say with UserError which line is wrong",
            )
            if generates and name == "train":
                require(len(texts) == 2, f"Row {row} of train has {len(texts)} texts; a row to train on is (prompt, response)")
            if subject.kind_of_task == "multiple-choice" or (generates and compares and name == "validation"):
                require(
                    len(texts) >= 3, f"Row {row} of {name} has {len(texts) - 1} choices; there are at least two to choose from"
                )
            require(
                (isinstance(shown, str) and bool(shown.strip())) or (isinstance(shown, Path) and shown.is_file()),
                f"Row {row} of {name} shows the teacher {brief(shown)}; it must be a text that is not empty, or the path of "
                "a file",
            )
        counts.append(f"{n} {name}")
    return f"{' and '.join(counts)} rows"


@asked(QUESTIONS, "labels")
def check_labels(subject: TaskSubject) -> str:
    """Every label is one of those there are."""
    kind, names = subject.kind_of_task, list(subject.first.labels())
    seen: set[int] = set()
    for name, split in subject.splits.items():
        for row, label in enumerate(split.labels[:LIMIT]):
            place = f"Row {row} of {name} has the label {brief(label)}"
            if kind == "classification":
                require(_whole(label) and 0 <= label < len(names), f"{place}; the classes are numbered 0 to {len(names) - 1}")
                seen.add(int(label))
            elif kind == "multiple-choice":
                last = len(split.texts[row]) - 2
                require(_whole(label) and 0 <= label <= last, f"{place}; its choices are numbered 0 to {last}")
            elif kind == "regression":
                require(
                    isinstance(label, (int, float)) and math.isfinite(label),
                    f"{place}; a regression's labels are finite numbers",
                )
            elif kind == "multilabel":
                require(
                    len(label) == len(names) and all(value in (0, 1) for value in label),
                    f"{place}; it must have a 0 or a 1 for each of the {len(names)} labels",
                )
    if kind == "classification" and "train" in subject.splits:
        never = [names[number] for number in range(len(names)) if number not in seen]
        require(not never or len(subject.splits["train"]) > LIMIT, f"No row has the label {', '.join(never)}")
    return f"All in range of {len(names)}" if names else "Whatever score() compares answers with"


@asked(QUESTIONS, "disjoint splits")
def check_disjoint(subject: TaskSubject) -> str:
    """No text is both trained on and evaluated."""
    if "train" not in subject.splits:
        raise NotAsked("It is evaluated on students of another task, and has no rows to train on")
    generates = subject.kind_of_task == "generation"
    train, validation = (
        [texts[:1] if generates else texts for texts in subject.splits[name].texts] for name in ("train", "validation")
    )
    both = _common(train, validation)
    require(
        not both,
        f"{len(both)} of {len(validation)} validation texts are in the training split as well, the first is "
        f"{brief(both[0] if both else '')}; a score on them says nothing",
    )
    return f"None of {len(validation)} validation texts is among {len(train)} for training"


@asked(QUESTIONS, "same rows")
def check_stable(subject: TaskSubject) -> str:
    """The same rows in the same order, every time and from every instance; limits draw the same sample."""
    again = subject.read(subject.make())
    for name, split in subject.splits.items():
        for words, other in (("when it is asked again", subject.first.split(name)), ("from a new instance", again[name])):
            require(
                _columns(split) == _columns(other),
                f"The {name} split has other rows {words}; sort what has no order, and seed what is drawn from an option",
            )
        few = max(1, len(split) // 2)
        require(
            _columns(split.limited(few, name)) == _columns(again[name].limited(few, name)),
            f"{few} rows of {name} are another sample each time; give back a plain armada_cli.Split",
        )
        require(
            _columns(split.limited(few, name)) == _columns(subject.first.sample(name, few)),
            f"sample({name!r}, {few}) has other rows than split({name!r}).limited({few}, {name!r}); use limited_rows",
        )
    return "The same, from two instances, whole and limited"


@asked(QUESTIONS, "perfect score")
def check_perfect(subject: TaskSubject) -> str:
    """Right answers score 100, others less."""
    task, labels = subject.first, subject.splits["validation"].labels
    with subject.at_work():
        scores = task.score(subject.perfect, labels)
    require(
        isinstance(scores, dict) and task.metric in scores,
        f"score() gives {brief(scores)}, in which there is no {task.metric!r}, its main metric; the names must agree",
    )
    for name, value in scores.items():
        require(
            isinstance(value, (int, float, np.floating)) and math.isfinite(value),
            f"score() gives {name} = {value!r}; it must be a finite number",
        )
    best = float(scores[task.metric])
    require(
        abs(best - 100) <= 1e-3,
        f"Answers that are the labels themselves score {best:g} {task.metric}, not 100; scores are in percent",
    )
    worse = _wrong(subject.perfect, labels)
    if worse is None:
        return f"100 {task.metric}; all labels are alike, so no wrong answer was tried"
    with subject.at_work():
        lower = float(task.score(worse, labels)[task.metric])
    require(
        lower < best, f"Wrong answers score {lower:g} {task.metric}, as much as right ones; score() looks at something else"
    )
    return f"Right answers 100, wrong ones {lower:.3g} {task.metric}"


@asked(QUESTIONS, "suggestions")
def check_suggestions(subject: TaskSubject) -> str:
    """The card suggests options of methods, and no training setting."""
    suggested = dict(subject.card.suggestions)
    settings = [name for name in suggested if name in {item.name for item in dataclasses.fields(Train)}]
    require(
        not settings,
        f"Its card suggests {', '.join(settings)}, which no method has as an option: a training setting belongs in the card's "
        "`defaults`",
    )
    empty = [name for name, value in suggested.items() if value is None]
    require(not empty, f"Its card suggests null for {', '.join(empty)}, which is what such an option is already; leave it out")
    try:
        canonical(suggested)
    except (TypeError, ValueError) as error:
        raise Broken(f"What its card suggests is no plain value: {quoted(error)}; use texts, numbers and lists") from None
    for method in current().components("method"):
        for item in dataclasses.fields(method.component.options):
            if item.name in suggested and item.default is None:
                reason = misfit(method.component.options, item.name, suggested[item.name])
                require(not reason, f"Its card suggests {item.name}: {suggested[item.name]!r}; for {method.name} {reason}")
    return f"For methods that leave them open: {', '.join(suggested)}" if suggested else "None"


@asked(QUESTIONS, "identity")
def check_identity(subject: TaskSubject) -> str:
    """Options that leave the identity as it is leave the rows as they are."""
    subject.check_identity_is_data()
    own, tried = subject.identity(subject.options), []
    rows = {name: _columns(split) for name, split in subject.splits.items()}
    for name, options in varied(subject.options, subject.environment):
        if subject.identity(options) != own:
            continue
        try:
            other = {key: _columns(split) for key, split in subject.read(subject.make(options)).items()}
        except Exception:  # this value cannot be had here
            continue
        require(
            other == rows,
            f"Option {name!r} changes the rows ({getattr(subject.options, name)!r} against {getattr(options, name)!r}) and not "
            "the identity: old results would pass for new ones. Remove identity=False from it",
        )
        tried.append(name)
    return f"Rows stay the same under other values of {', '.join(dict.fromkeys(tried))}" if tried else "Every option is in it"


@asked(QUESTIONS, "pickling")
def check_pickling(subject: TaskSubject) -> str:
    return subject.check_pickling()


def _columns(split: Split) -> tuple[list[Any], list[Any], list[Any]]:
    # What is drawn or shuffled anew differs whether or not numpy's or Python's own types hold it.
    return [tuple(row) for row in split.texts], [_plain(label) for label in split.labels], list(split.teacher_inputs)


def _plain(label: Any) -> Any:
    return label.tolist() if hasattr(label, "tolist") else label


def _common(first: Sequence[tuple[str, ...]], second: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    known = set(first)
    return [row for row in second if row in known]


def _whole(label: Any) -> bool:
    return isinstance(label, (int, np.integer)) and not isinstance(label, bool)


def _first_text(label: Any) -> str | None:
    if isinstance(label, (list, tuple)) and label and isinstance(label[0], str):
        return str(label[0])
    return str(label) if isinstance(label, (int, float)) and not isinstance(label, bool) else None


def _wrong(perfect: Any, labels: Sequence[Any]) -> Any:
    """The right answers given to other rows, so that as many as possible are wrong; None when all labels are one."""
    plain = [_plain(label) for label in labels]
    best, most = 0, 0
    for shift in range(1, len(plain)):
        wrong = sum(plain[row] != plain[row - shift] for row in range(len(plain)))
        if wrong > most:
            best, most = shift, wrong
    if not most:
        return None
    order = [(row - best) % len(plain) for row in range(len(plain))]
    return [perfect[row] for row in order] if isinstance(perfect, list) else perfect[order]
