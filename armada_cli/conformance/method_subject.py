"""A method that trains a toy student, in the loop that trains all students, and what is seen of it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from armada_cli.conformance import hooks
from armada_cli.conformance.asking import Broken, brief
from armada_cli.conformance.problems import (
    FEATURES,
    HIDDEN,
    ToyStudent,
    Unscored,
    draw_features,
    draw_rows,
    problem_of,
    toy_model,
)
from armada_cli.conformance.subject import Subject
from armada_cli.contracts import TASK_KINDS, Method, Setup, Term, TokenTargets, TopTokens
from armada_cli.contracts.choice import asks
from armada_cli.errors import Interrupted
from armada_cli.execution.assemble import make_accelerator
from armada_cli.execution.outputs import parse
from armada_cli.registry.choosing import as_choice
from armada_cli.settings import Train
from armada_cli.training.evaluation import Scoring
from armada_cli.training.host import Host
from armada_cli.training.loop import Loop
from armada_cli.training.model import RowModel
from armada_cli.training.objective import task_loss
from armada_cli.training.schedule import learning_rate
from armada_cli.training.seeds import stream
from armada_cli.training.tokens import keep_top

TRAIN = Train(epochs=10, batch_size=8, lr=2e-2, weight_decay=0.0, warmup=0.0, max_length=8, precision="float32")


STEPS = 30


STOP = 14
"""The step behind which a training is interrupted."""


@dataclass
class Trained:
    """A finished training.

    Attributes:
        losses: the objective at every step; terms: those of the first step.
        before, after: the student's own loss on all rows.
        moved: name of a declared module -> whether any of its trainable parameters moved; None when it has none.
        names: of all terms there were at any step; learner: the student with its rows; features: h_t of the rows.
    """

    method: Method
    learner: RowModel
    features: Tensor | None
    losses: list[float]
    terms: list[Term]
    before: float
    after: float
    moved: dict[str, bool | None] = field(default_factory=dict)
    student_moved: bool = False
    names: set[str] = field(default_factory=set)


class _Written(Loop):
    """The loop, writing down what it saw."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.losses: list[float] = []

    def _step(self, step: int, rows: list[int]) -> float:
        loss = super()._step(step, rows)
        self.losses.append(loss)
        return loss


class MethodSubject(Subject):
    """A method, trained on toys as often as a check likes."""

    @property
    def kinds(self) -> list[str]:
        """The kinds of task that the card says it trains; all when it names none."""
        named = [kind for kind in TASK_KINDS if kind in self.card.provides]
        return named or list(TASK_KINDS)

    @property
    def needs_teacher(self) -> bool:
        return asks(self.options, "needs_teacher")

    @property
    def reads_features(self) -> bool:
        """Whether its own trial reads a teacher's vectors."""
        return self.needs_teacher and asks(self.options, "reads_features", True)

    @property
    def features_at_inference(self) -> bool:
        """Whether its student reads them when it answers, too."""
        return self.reads_features and asks(self.options, "features_at_inference")

    def setup(self, learner: RowModel, features: Tensor | None, seed: int = 0) -> Setup:
        """What a method is built from beside a toy student; every other model it may ask for is a toy too."""
        assert isinstance(learner.student, ToyStudent)
        problem = learner.student.problem
        kind, rows = problem.kind, learner.encoded

        def fresh(choice: Any, name: str, start: str | None = None) -> RowModel:
            return toy_model(kind, stream(seed, name), learner.student.own_pooler)

        @functools.cache
        def finished(role: str, epoch: int | None = None) -> RowModel:
            model = toy_model(kind, stream(epoch or 0, role), learner.student.own_pooler)
            model.module.eval().requires_grad_(False)
            return model

        return Setup(
            problem=problem,
            hidden=HIDDEN,
            feature_width=None if features is None else FEATURES,
            features=features,
            labels=rows.labels,
            seed=seed,
            train=TRAIN,
            losses=_loss,
            stream=lambda name: stream(seed, name),
            steps=STEPS,
            learning_rate=lambda step: learning_rate(TRAIN, STEPS, step),
            own_pooler=learner.student.own_pooler,
            student=learner,
            finished=finished,
            fresh=fresh,
            layers=lambda role: len(finished(role)([0], hidden_states=True).hidden_states or ()) - 1,
            epochs=lambda role: TRAIN.epochs,
            cached=lambda role, what, epoch=None: (
                _outputs(kind, role) if what == "logits" else _states(finished(role, epoch), what)
            ),
            cached_tokens=lambda role, asked: functools.partial(_tokens, finished(role), asked),
        )

    def make(self, options: Any = None, **changes: Any) -> Any:
        kind = self.kinds[0]
        features = draw_features(draw_rows(kind).labels) if self.reads_features else None
        return self.made(self.setup(toy_model(kind, stream(0, "student head")), features))

    def made(self, setup: Setup) -> Method:
        noted = self.asked_for.setdefault(setup.problem.kind, set())
        with self.at_work():
            return self.card.load()(self.options, _note_roles(setup, noted, self.read.setdefault(setup.problem.kind, set())))

    @functools.cached_property
    def asked_for(self) -> dict[str, set[str]]:
        """Kind of task -> the roles of finished trials that the method asked its setup for."""
        return {}

    @functools.cached_property
    def read(self) -> dict[str, set[tuple[str, str | TopTokens]]]:
        """Kind of task -> what the method asked to be kept: a role, and ``logits``, ``mean``, .. or `TopTokens`."""
        return {}

    def train(
        self,
        kind: str,
        *,
        features: Tensor | None = None,
        seed: int = 0,
        own_pooler: bool = True,
        folder: Path | None = None,
        stop: int | None = None,
    ) -> Trained:
        """Train a toy student to the end, or to a step and on from its checkpoint."""
        rows = draw_rows(kind)
        # As a trial's, whatever precision this process trained in before: accelerate keeps that of the first.
        accelerator = make_accelerator(TRAIN, dataclasses.replace(self.environment, device="cpu"))
        if features is None and self.reads_features:
            features = draw_features(rows.labels)
        losses: list[float] = []
        if folder is not None:
            folder.mkdir(parents=True)
        for part in range(1 if stop is None else 2):
            learner = toy_model(kind, stream(seed, "student head"), own_pooler)
            model = learner.module
            method = self.made(self.setup(learner, features, seed))
            begun = _weights({"student": model, **_modules(method)})
            before = _own_loss(method, learner, features)
            terms = _Terms(method)
            hooks.LeavesBatch(method)
            done = 0

            def count(last: int | None = stop if part == 0 else None) -> bool:
                nonlocal done
                done += 1
                return done == last

            with self.at_work():
                scoring = Scoring(Unscored(None, self.environment))
                host = Host(accelerator, folder, stopping=count)
                loop = _Written(learner, method, scoring, features, TRAIN, seed, host)
                try:
                    loop.run()
                except Interrupted:
                    losses += loop.losses
                    continue
            losses += loop.losses
        ended = {"student": model, **_modules(method)}
        moved = {name: _moved(begun[name], module) for name, module in ended.items()}
        after, student_moved = _own_loss(method, learner, features), bool(moved.pop("student"))
        return Trained(
            method, learner, features, losses, terms.first, before, after, moved, student_moved=student_moved, names=terms.names
        )

    @functools.cached_property
    def trained(self) -> dict[str, Trained]:
        """One training for each kind of task."""
        _ = self.first  # what cannot be made cannot train
        return {kind: self.train(kind) for kind in self.kinds}


def _tokens(model: RowModel, asked: TopTokens, rows: Tensor) -> TokenTargets:
    """What a finished toy says to the tokens of some rows' responses."""
    with torch.no_grad():
        said = model(rows, tokens=True).tokens
    if said is None:
        raise ValueError("cached_tokens() is for generation: the rows of other tasks have no responses")
    return TokenTargets(*keep_top(said.logits, asked), said.labels)


def _note_roles(setup: Setup, noted: set[str], read: set[tuple[str, str | TopTokens]]) -> Setup:
    """The setup, writing down which finished trials it is asked for, and what is to be kept of them."""

    def keeping(give: Callable[..., Any]) -> Callable[..., Any]:
        def ask(role: str, what: str | TopTokens, *arguments: Any, **more: Any) -> Any:
            noted.add(role)
            read.add((role, what if isinstance(what, TopTokens) else what.partition(":")[0]))
            return give(role, what, *arguments, **more)

        return ask

    def noting(give: Callable[..., Any]) -> Callable[..., Any]:
        def ask(role: str, *arguments: Any, **more: Any) -> Any:
            noted.add(role)
            return give(role, *arguments, **more)

        return ask

    def fresh(choice: Any, name: str, start: str | None = None) -> Any:
        noted.update([start] if start else [])
        return setup.fresh(choice, name, start)

    return dataclasses.replace(
        setup,
        cached=keeping(setup.cached),
        cached_tokens=keeping(setup.cached_tokens),
        finished=noting(setup.finished),
        layers=noting(setup.layers),
        epochs=noting(setup.epochs),
        fresh=fresh,
    )


class _Terms:
    """Notes the terms of the first step, by standing before the method's own `terms`."""

    def __init__(self, method: Method) -> None:
        self.first: list[Term] = []
        self.names: set[str] = set()
        ask = method.terms

        def terms(*arguments: Any) -> Any:
            terms_of_step = ask(*arguments)
            if not isinstance(terms_of_step, list) or not all(isinstance(item, Term) for item in terms_of_step):
                raise Broken(f"terms() returns {brief(terms_of_step)}; it must be a list of armada_cli.Term")
            self.names |= {item.name for item in terms_of_step}
            if not self.first:
                self.first = [dataclasses.replace(term, value=_detached(term.value)) for term in terms_of_step]
            return terms_of_step

        method.terms = terms  # type: ignore[assignment,method-assign]


def _detached(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else torch.tensor(float(value))


def _modules(method: Method) -> dict[str, Any]:
    return {**method.student_modules(), **method.own_modules()}


def _weights(modules: Mapping[str, Any]) -> dict[str, list[Tensor]]:
    return {name: [weight.detach().clone() for weight in module.parameters()] for name, module in modules.items()}


def _moved(before: list[Tensor], module: Any) -> bool | None:
    pairs = [(old, new) for old, new in zip(before, module.parameters(), strict=True) if new.requires_grad]
    return any(not torch.equal(old, new) for old, new in pairs) if pairs else None


@torch.no_grad()
def _own_loss(method: Method, learner: RowModel, features: Tensor | None) -> float:
    """The student's supervised loss on all rows; modules inside of it are told of them."""
    rows = learner.encoded
    if method.inference_modules():
        method.before_forward(hooks.make_batch(learner, features, range(len(rows.rows))))
    output = learner.student.forward(learner.module, learner.student.pad(rows.rows))
    if output.loss is not None:
        return float(output.loss)
    assert isinstance(learner.student, ToyStudent)
    return float(task_loss(learner.student.problem.kind, output.logits, rows.labels))


def _outputs(kind: str, role: str) -> Tensor:
    """What a text teacher would say on the toy's rows: the labels, not quite sure of itself."""
    labels = draw_rows(kind).labels
    if kind == "regression":
        return labels[:, None] * 0.9
    if kind == "multilabel":
        return labels * 4 - 2
    return torch.nn.functional.one_hot(labels.long(), problem_of(kind).outputs).float() * 4


@torch.no_grad()
def _states(model: RowModel, what: str) -> Tensor:
    """What `Setup.cached` gives of a toy, but for the logits."""
    asked, rows = parse(what), range(len(model.encoded.rows))
    return asked.of(model(rows, hidden_states=asked.hidden_states), model.inputs(rows)["attention_mask"]).float()


def _loss(choice: Any) -> Any:
    """A loss that an option names, or one by its name."""
    loss = as_choice("loss", choice)
    return loss.registered.component.load()(loss.options)
