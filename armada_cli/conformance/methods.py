"""What a method is asked: it trains a toy student, in the loop that trains all students."""

from __future__ import annotations

import dataclasses

import torch

from armada_cli.conformance import hooks
from armada_cli.conformance.asking import Broken, asked, quoted, require
from armada_cli.conformance.method_subject import STEPS, STOP, MethodSubject, Trained
from armada_cli.conformance.needs import ask_for_needs, judge_asked, judge_read, plan_toy
from armada_cli.conformance.problems import (
    draw_features,
    draw_rows,
)
from armada_cli.conformance.subject import shared_questions
from armada_cli.contracts import Needs
from armada_cli.registry.choosing import choose

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
            judge_read(subject.options, plan_toy(kind, subject.needs_teacher), subject.read[kind])
        words |= needs
    return f"Needs {', '.join(words)}" if words else "It needs no other trial"


asked(QUESTIONS, "training split")(hooks.check_training_split)
asked(QUESTIONS, "before forward")(hooks.check_before_forward)
asked(QUESTIONS, "inference modules")(hooks.check_inference_modules)
asked(QUESTIONS, "kept modules")(hooks.check_kept_modules)
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
