"""What a method is asked: it trains a toy student, in the loop that trains all students."""

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
from armada_cli.conformance.asking import Broken, asked, quoted, require
from armada_cli.conformance.needs import ask_for_needs, judge_asked, plan_toy
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
from armada_cli.conformance.subject import Subject, shared_questions
from armada_cli.contracts import TASK_KINDS, Method, Needs, Setup, Term, TokenTargets, TopTokens
from armada_cli.contracts.choice import asks
from armada_cli.errors import Interrupted
from armada_cli.execution.outputs import parse
from armada_cli.registry.choosing import as_choice, choose
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
            return self.card.load()(self.options, _note_roles(setup, noted))

    @functools.cached_property
    def asked_for(self) -> dict[str, set[str]]:
        """Kind of task -> the roles of finished trials that the method asked its setup for."""
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
        from accelerate import Accelerator

        rows = draw_rows(kind)
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
                host = Host(Accelerator(cpu=True), folder, stopping=count)
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


SUBJECT = MethodSubject
QUESTIONS = shared_questions()


@asked(QUESTIONS, "terms")
def check_terms(subject: MethodSubject) -> str:
    """A list of terms with names, one of them the task's own."""
    words = []
    for kind in subject.kinds:
        try:
            terms = subject.trained[kind].terms
        except Broken:
            raise
        except Exception as error:
            raise Broken(
                f"It cannot be trained on {kind}: {quoted(error)}; mend it, or leave {kind} out of the card's `provides`"
            ) from None
        names = [term.name for term in terms]
        require(len(set(names)) == len(names), f"Two of its terms on {kind} have one name ({', '.join(names)})")
        require(
            sum(term.task for term in terms) == 1,
            f"{sum(term.task for term in terms)} of its terms on {kind} are marked task=True; it must be one, the task's own, "
            "against which the others' pull is measured",
        )
        for term in terms:
            require(
                term.value.ndim == 0 and bool(torch.isfinite(term.value)),
                f"Its term {term.name!r} on {kind} is {term.value!r}, not one finite number",
            )
        words.append(f"{kind}: {', '.join(names)}")
    return "; ".join(words)


@asked(QUESTIONS, "learns")
def check_learns(subject: MethodSubject) -> str:
    """The student's own loss falls; the objective will do where the task's own term has no weight."""
    words = []
    for kind, trained in subject.trained.items():
        require(
            _falls(trained),
            f"On a toy of {kind} the student's loss goes from {trained.before:.3g} to {trained.after:.3g} in {STEPS} steps; "
            "the "
            "terms must depend on the student's output, and with the right sign",
        )
        words.append(f"{kind} {trained.before:.2g} to {trained.after:.2g}")
    return f"The student's loss falls in {STEPS} steps: {', '.join(words)}"


def _falls(trained: Trained) -> bool:
    """Whether a training brought something: a method may have a stage that learns no labels."""
    if trained.after < 0.8 * trained.before:
        return True
    without_labels = not any(term.task and term.weight for term in trained.terms)
    tenth = max(1, len(trained.losses) // 10)
    return without_labels and sum(trained.losses[-tenth:]) < 0.8 * sum(trained.losses[:tenth])


@asked(QUESTIONS, "same numbers")
def check_same(subject: MethodSubject) -> str:
    """One seed, one course."""
    for kind in subject.kinds:
        first, second = subject.trained[kind].losses, subject.train(kind).losses
        at = next((step for step, pair in enumerate(zip(first, second, strict=True)) if pair[0] != pair[1]), None)
        if at is not None:
            raise Broken(
                f"On {kind} two trainings of one seed part at step {at + 1} ({first[at]:.8g} and {second[at]:.8g}); draw "
                "random "
                "numbers from a generator seeded with setup.stream('a name'), or with the seed and batch.step"
            )
    return "Two trainings of one seed have the same loss at every step, to the bit"


@asked(QUESTIONS, "resumes")
def check_resumes(subject: MethodSubject) -> str:
    """A training that was interrupted goes on to the same numbers."""
    kind = subject.kinds[0]
    whole = subject.trained[kind].losses
    parts = subject.train(kind, folder=subject.folder / "trial", stop=STOP).losses
    at = next((step for step, pair in enumerate(zip(whole, parts, strict=True)) if pair[0] != pair[1]), None)
    if at is not None:
        raise Broken(
            f"Interrupted after step {STOP} and resumed, its loss at step {at + 1} is {parts[at]:.8g} instead of "
            f"{whole[at]:.8g}; "
            "what it trains belongs into student_modules() or own_modules(), its optimizers into optimizers(), and what it "
            "counts must come from batch.step"
        )
    return f"Interrupted after step {STOP} of {STEPS} and resumed, it goes on to the same numbers"


@asked(QUESTIONS, "teacher")
def check_teacher(subject: MethodSubject) -> str:
    """`needs_teacher` says the truth."""
    kind = subject.kinds[0]
    rows = draw_rows(kind)
    if subject.needs_teacher and not subject.reads_features:
        needs = ask_for_needs(subject.options, plan_toy(kind, True))
        others = [choose("method", item.method) if isinstance(item.method, str) else item.method for item in needs.values()]
        require(
            any(other.needs_teacher for other in others),
            "It says needs_teacher = True and reads_features = False, and no trial that it depends on reads a teacher's "
            "vectors; say needs_teacher = False",
        )
        return "It has a teacher for the trials that it depends on"
    if subject.needs_teacher:
        other = subject.train(kind, features=draw_features(rows.labels, seed=1) * 2)
        require(
            other.losses != subject.trained[kind].losses,
            "It says needs_teacher = True, and another teacher's vectors change nothing; say False, or use batch.features",
        )
        return "It needs a teacher, and what the teacher gives matters"
    return "It needs no teacher, and trains without one"


@asked(QUESTIONS, "modules")
def check_modules(subject: MethodSubject) -> str:
    """Whatever it brings is trained, or frozen on purpose; so is the student."""
    words: set[str] = set()
    for kind, trained in subject.trained.items():
        require(
            trained.student_moved,
            f"On {kind} no weight of the student moves; its terms reach the student through output.logits, pooled or loss",
        )
        still = [name for name, moved in trained.moved.items() if moved is False]
        require(
            not still,
            f"On {kind} its module {', '.join(map(repr, still))} is never trained in {STEPS} steps; a student module needs a "
            "term "
            "that depends on it, an own module a step in after_step(). Freeze it with requires_grad_(False) if it is to stay",
        )
        words |= trained.moved.keys()
    return f"Trained: the student{''.join(f', {name}' for name in sorted(words))}"


@asked(QUESTIONS, "any student")
def check_decoder(subject: MethodSubject) -> str:
    """A student without a pooler of its own will do."""
    kind = subject.kinds[0]
    _ = subject.first
    try:
        trained = subject.train(kind, own_pooler=False)
    except Exception as error:
        raise Broken(
            f"With a student that has no pooler of its own (a decoder) it raises {quoted(error)}; setup.own_pooler says "
            "which "
            "student it has, and the method adds the missing layer"
        ) from None
    require(
        trained.after < trained.before or _falls(trained),
        f"With a student that has no pooler of its own (a decoder) the loss goes from {trained.before:.3g} to "
        f"{trained.after:.3g}",
    )
    return "It trains a student without a pooler of its own as well"


@asked(QUESTIONS, "dependencies")
def check_dependencies(subject: MethodSubject) -> str:
    """The trials it needs can be planned, are the same each time, and are the ones it asks for."""
    words: dict[str, Needs] = {}
    for kind in subject.kinds:
        needs = ask_for_needs(subject.options, plan_toy(kind, subject.needs_teacher))
        if kind in subject.trained:
            judge_asked(type(subject.trained[kind].method), needs, subject.asked_for[kind], kind)
        words |= needs
    return f"Needs {', '.join(words)}" if words else "It needs no other trial"


asked(QUESTIONS, "training split")(hooks.check_training_split)
asked(QUESTIONS, "before forward")(hooks.check_before_forward)
asked(QUESTIONS, "inference modules")(hooks.check_inference_modules)
asked(QUESTIONS, "representations")(hooks.check_representations)
asked(QUESTIONS, "advice")(hooks.check_advice)


@asked(QUESTIONS, "identity")
def check_identity(subject: MethodSubject) -> str:
    subject.check_identity_is_data()
    quiet = [item.name for item in dataclasses.fields(subject.options) if not item.metadata.get("identity", True)]
    require(
        not quiet,
        f"Option {', '.join(map(repr, quiet))} is declared with identity=False; everything about a method changes what is "
        "trained, and an old trial would pass for a new one",
    )
    return "Every option is in it"


@asked(QUESTIONS, "pickling")
def check_pickling(subject: MethodSubject) -> str:
    return subject.check_pickling()


def _tokens(model: RowModel, asked: TopTokens, rows: Tensor) -> TokenTargets:
    """What a finished toy says to the tokens of some rows' responses."""
    with torch.no_grad():
        said = model(rows, tokens=True).tokens
    if said is None:
        raise ValueError("cached_tokens() is for generation: the rows of other tasks have no responses")
    return TokenTargets(*keep_top(said.logits, asked), said.labels)


def _note_roles(setup: Setup, noted: set[str]) -> Setup:
    """The setup, writing down which finished trials it is asked for."""

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
        cached=noting(setup.cached),
        cached_tokens=noting(setup.cached_tokens),
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
            found = ask(*arguments)
            if not isinstance(found, list) or not all(isinstance(item, Term) for item in found):
                raise Broken(f"terms() returns {_short(found)}; it must be a list of armada_cli.Term")
            self.names |= {item.name for item in found}
            if not self.first:
                self.first = [dataclasses.replace(term, value=_detached(term.value)) for term in found]
            return found

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


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
