"""What is asked about the parts of a method that it may leave out: another training split, what it does before a forward pass,
modules that the student keeps, representations, and advice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from armada_cli.conformance.asking import Broken, NotAsked, quoted, require
from armada_cli.conformance.needs import ask_for_needs, plan_toy
from armada_cli.contracts import Batch, Method, Split
from armada_cli.models.tiny import SENTENCES
from armada_cli.predictions import PREDICTIONS
from armada_cli.runs import HEADS, INFERENCE
from armada_cli.training.model import RowModel

if TYPE_CHECKING:
    from armada_cli.conformance.method_subject import MethodSubject

RESERVED = {Path(name).stem for name in (HEADS, INFERENCE, PREDICTIONS)}
"""Names of files that a trial has anyway."""

ROWS = 8
"""Rows of a batch that is shown to a trained method."""


def is_own(method: type[Method], name: str) -> bool:
    """Whether a method has its own, in place of what the contract does."""
    return getattr(method, name) is not getattr(Method, name)


class LeavesBatch:
    """Stands before a method's `before_forward` and watches that the batch stays as it is, and is answered by nothing."""

    def __init__(self, method: Method) -> None:
        if not is_own(type(method), "before_forward"):
            return
        ask = method.before_forward

        def before_forward(batch: Batch) -> None:
            before = _copies(batch)
            answer: object = ask(batch)
            changed = sorted(name for name, value in _copies(batch).items() if not _same(before.get(name), value))
            require(
                not changed and _copies(batch).keys() == before.keys(),
                f"before_forward() changes {', '.join(changed) or 'the inputs'} of the batch, which the student is about to "
                "read; work on copies, and act inside the student through hooks on setup.student.module",
            )
            require(answer is None, f"before_forward() returns {type(answer).__name__}, and nobody looks at it")

        method.before_forward = before_forward  # type: ignore[method-assign]


def _copies(batch: Batch) -> dict[str, Any]:
    values = {item.name: getattr(batch, item.name) for item in fields(batch)}
    inputs = values.pop("inputs")
    values |= {f"inputs[{name!r}]": value for name, value in inputs.items()}
    return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in values.items()}


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    return bool(first == second) and not (isinstance(first, Tensor) or isinstance(second, Tensor))


def make_batch(learner: RowModel, features: Tensor | None, rows: range, evaluated: bool = False) -> Batch:
    """The first rows of a toy as a batch, of a training or of an evaluation."""
    index, inputs = torch.tensor(list(rows)), learner.inputs(rows)
    h_t = None if features is None else features[index]
    step, split = (-1, "validation") if evaluated else (0, "train")
    mask = inputs.get("attention_mask")
    return Batch(index, learner.encoded.labels[index], h_t, step, mask=mask, inputs=inputs, split=split)


def check_before_forward(subject: MethodSubject) -> str:
    """It leaves the batch as it is, and does without features where none can be had."""
    _ = subject.first
    for kind, trained in subject.trained.items():  # a training that changed a batch has ended with a sentence
        method = trained.method
        if not is_own(type(method), "before_forward"):
            raise NotAsked("It does nothing before a forward pass")
        if not method.inference_modules():
            continue
        try:
            shown = trained.features if subject.features_at_inference else None
            method.before_forward(make_batch(trained.learner, shown, range(ROWS), evaluated=True))
        except Broken:
            raise
        except Exception as error:
            raise Broken(
                f"In an evaluation on {kind} its before_forward() raises {quoted(error)}; there the batch has no "
                "features unless the options say features_at_inference, its step is -1 and its split 'validation'"
            ) from None
    return "It leaves the batch as it is"


def check_inference_modules(subject: MethodSubject) -> str:
    """What is exported beside the student is trained and kept in checkpoints."""
    names: set[str] = set()
    for kind, trained in subject.trained.items():
        method = trained.method
        modules = method.inference_modules()
        require(
            isinstance(modules, Mapping) and all(isinstance(module, nn.Module) for module in modules.values()),
            "inference_modules() must return a dictionary: name -> torch module",
        )
        kept = {*_weights(method.student_modules().values()), *_weights(method.own_modules().values())}
        for name, module in modules.items():
            lost = [weight for weight in _weights([module]) if weight not in kept]
            require(
                not lost,
                f"On {kind} its inference module {name!r} has {len(lost)} weights that neither student_modules() nor "
                "own_modules() has: nobody trains them, and no checkpoint has them. Hand the module out there too",
            )
        names |= set(modules)
    return f"Exported beside the student: {', '.join(sorted(names))}" if names else "The student needs none of its modules"


def check_kept_modules(subject: MethodSubject) -> str:
    """What is kept for analyses is a module that is trained, under a name that a file may have."""
    names: set[str] = set()
    for kind, trained in subject.trained.items():
        method = trained.method
        modules = method.kept_modules()
        known = list({**method.student_modules(), **method.own_modules()}.values())
        require(
            isinstance(modules, Mapping) and all(any(module is item for item in known) for module in modules.values()),
            f"On {kind} kept_modules() names another module than student_modules() and own_modules() hand out; a "
            "checkpoint has theirs alone",
        )
        for name in modules:
            require(
                re.fullmatch(r"\w[\w -]*", name) is not None and name not in RESERVED,
                f"On {kind} kept_modules() has the name {name!r}, which is to be a file's; take letters, digits, spaces, _ "
                f"and -, and none of {', '.join(sorted(RESERVED))}",
            )
        names |= set(modules)
    return f"Kept beside the student: {', '.join(sorted(names))}" if names else "None of its modules is kept"


def _weights(modules: Iterable[nn.Module]) -> list[int]:
    return [id(weight) for module in modules for weight in module.parameters()]


def check_representations(subject: MethodSubject) -> str:
    """By name one finite row of numbers an example, the same each time."""
    shapes: dict[str, list[int]] = {}
    for kind, trained in subject.trained.items():
        method, learner = trained.method, trained.learner
        batch = make_batch(learner, trained.features, range(ROWS))
        with torch.no_grad():
            method.before_forward(batch)
            output = learner(batch.rows, hidden_states=method.hidden_states, attentions=method.attentions, tokens=method.tokens)
            first, second = (method.representations(batch, output) for _ in range(2))
        require(
            isinstance(first, Mapping) and all(isinstance(name, str) for name in first),
            f"representations() returns {type(first).__name__} on {kind}; it must be a dictionary: name -> tensor [n, d]",
        )
        for name, value in first.items():
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            require(
                isinstance(value, Tensor) and value.ndim == 2 and len(value) == ROWS,
                f"On {kind} its representation {name!r} of {ROWS} rows is {shape}; it must be a tensor [{ROWS}, d]",
            )
            require(bool(torch.isfinite(value).all()), f"On {kind} its representation {name!r} holds NaN or infinity")
            require(
                name in second and torch.equal(value, second[name]),
                f"On {kind} its representation {name!r} of the same rows is another one when it is asked again",
            )
            shapes[name] = list(value.shape)[1:]
    words = [f"{name} {shape[0]} wide" for name, shape in shapes.items()]
    return ", ".join(words) or "It shows nothing beside the student's own output"


def check_advice(subject: MethodSubject) -> str:
    """Words about terms that it has."""
    _ = subject.first
    terms = set().union(*(trained.names for trained in subject.trained.values()))
    named: dict[str, str] = {}
    for trained in subject.trained.values():
        advice = trained.method.advice()
        require(
            isinstance(advice, Mapping), f"advice() returns {type(advice).__name__}; it must be a dictionary: term -> words"
        )
        named |= advice
    strange = sorted(named.keys() - terms)
    require(
        not strange,
        f"Its advice is about {', '.join(map(repr, strange))}, and its terms are {', '.join(sorted(terms))}; nobody would "
        "read it",
    )
    for name, words in named.items():
        require(
            isinstance(words, str) and bool(words.strip()) and "\n" not in words,
            f"Its advice about {name!r} is {words!r}; it must be the end of a sentence, on one line",
        )
    return f"About {', '.join(sorted(named))}" if named else "None; a report would say: try a smaller weight"


def check_training_split(subject: MethodSubject) -> str:
    """Another training split is whole, the same each time, and leaves the task's own alone."""
    method = type(subject.first)
    if not is_own(method, "training"):
        raise NotAsked("It trains on the task's own split")
    counts = []
    for kind in subject.kinds:
        needs = ask_for_needs(subject.options, plan_toy(kind, subject.needs_teacher))
        given = _draw_split(kind)
        before = (list(given.texts), list(given.labels), list(given.teacher_inputs))
        answers = {role: [f"Answer {row}." for row in range(len(given))] for role, item in needs.items() if item.answers}
        with subject.at_work():
            first, second = (method.training(subject.options, given, answers) for _ in range(2))
        require(
            isinstance(first, Split), f"training() returns {type(first).__name__} on {kind}; it must be an armada_cli.Split"
        )
        sizes = [len(first.texts), len(first.labels), len(first.teacher_inputs)]
        require(
            len(set(sizes)) == 1 and sizes[0] > 0,
            f"On {kind} training() returns a split with {sizes[0]} texts, {sizes[1]} labels and {sizes[2]} teacher inputs; "
            "they are columns of one length",
        )
        require(
            not subject.needs_teacher or len(first) == len(given),
            f"On {kind} training() makes {len(first)} rows of {len(given)}, and the method reads a teacher's vectors, which "
            "belong to the rows",
        )
        require(
            (list(given.texts), list(given.labels), list(given.teacher_inputs)) == before,
            f"On {kind} training() changes the split it was given; make a new one",
        )
        require(
            list(first.texts) == list(second.texts) and list(first.labels) == list(second.labels),
            f"On {kind} training() makes another split of the same one each time; draw from a seed of the options",
        )
        counts.append(f"{kind} {len(first)} of {len(given)}")
    return f"Rows of another training split: {', '.join(counts)}"


LABELS: dict[str, Callable[[int], Any]] = {
    "regression": float,
    "multilabel": lambda row: (row % 2, 1, 0, 1 - row % 2),
    "multiple-choice": lambda row: row % 2,
    "classification": lambda row: row % 3,
}
"""Kind of task -> the label of a row."""


def _draw_split(kind: str) -> Split:
    texts: list[tuple[str, ...]] = [(text,) for text in SENTENCES[:ROWS]]
    if kind == "generation":
        texts = [(text, "Certainly.") for (text,) in texts]
    elif kind == "multiple-choice":
        texts = [(text, "Yes.", "No.") for (text,) in texts]
    label = LABELS.get(kind, lambda row: 0)
    return Split(texts, [label(row) for row in range(ROWS)], [row[0] for row in texts])
