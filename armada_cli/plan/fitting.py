"""Whether the parts of a trial go together, as far as that can be told before anything is loaded: what could be refused when
the trial starts is refused when it is planned."""

from __future__ import annotations

from collections.abc import Iterable

from armada_cli.contracts import LIVE, Choice, Needs, Planned, TopTokens
from armada_cli.errors import UserError
from armada_cli.models.given import refuse_head


def check(method: Choice, trial: Planned) -> None:
    """Raises UserError: the options of a method refuse the trial, with the place of the method."""
    if not hasattr(method.options, "check"):
        return
    try:
        method.options.check(trial)
    except UserError as error:
        raise UserError(f"{method.place}: {error.what}", error.hint) from error


def require_control(method: Choice, trial: Planned, wanted: Iterable[Needs]) -> None:
    """Raises UserError: what the method is given of its text teachers cannot be taken away by the control that was chosen.

    Vectors can be dealt to other rows or drawn as noise, and so can kept logits and states. Texts and distributions over a
    vocabulary can be dealt alone; so can the answers of a model that is asked live, but for those at the tokens of a response,
    which stand in no other row.
    """
    control = method.features.get("control", "none")
    if control == "none":
        return
    reads = method.options.reads(trial) if hasattr(method.options, "reads") else {}
    asked = {what for parts in reads.values() for what in parts}
    of_tokens = any(isinstance(what, TopTokens) for what in asked) or any(needs.answers for needs in wanted)
    place = f"{method.place}: method {method.name!r}"
    if LIVE in asked and trial.kind == "generation":
        what = f"{place} asks its teacher live at the tokens of each response, and has no control there"
        raise UserError(what, "Let the teacher's tokens be kept (`top_k`), or remove `features:`")
    if control != "shuffled" and (of_tokens or LIVE in asked):
        learned = "texts and tokens of its teacher" if of_tokens else "what its teacher says live"
        raise UserError(
            f"{place} learns {learned} on {trial.task.name!r}, which have no control {control!r}", "Say `control: shuffled`"
        )


def require_given_unused(method: Choice, wanted: Iterable[Needs]) -> None:
    """Raises UserError: an option names a model that is to be taken as it is, and the method trains it itself."""
    asked = [needs.student for needs in wanted]
    asked += [part for needs in wanted if isinstance(needs.method, Choice) for part in needs.method.everything()]
    for name, part in method.parts():
        if part.given and part not in asked:
            what = f"{method.place}: method {method.name!r} trains its {name} itself, so it cannot be one `from` a folder"
            raise UserError(what, "Write `model:` for `from:`")


def require_given(needs: Needs, task: Choice, place: str) -> None:
    """Raises UserError: a model cannot be taken as it is for what is wanted of it."""
    options, how = needs.student.options, needs.method if isinstance(needs.method, str) else needs.method.name
    if how != "undistilled":
        raise UserError(
            f"{place}, trained by {how!r}, and one `from` a folder is trained by nobody", "Write `model:` for `from:`"
        )
    if needs.epochs:
        raise UserError(
            f"{place} as it was after each epoch, and one `from` a folder has no epochs", "Write `model:` for `from:`"
        )
    kind = task.registered.component.kind(task.options)
    if reason := refuse_head(options.model, getattr(options, "revision", None), kind):
        what, _, hint = reason.partition("; ")
        raise UserError(f"{place}: {what}", hint.capitalize())


def require_one_vocabulary(student: Choice, other: Choice, place: str) -> None:
    """Raises UserError: the tokenizer files of the two are here and differ. Those that are not are compared in the trial."""
    known = [choice.options.vocabulary() if hasattr(choice.options, "vocabulary") else None for choice in (student, other)]
    if None not in known and known[0] != known[1]:
        raise UserError(
            f"{place} to say something to each token of the student's, and {student.title} and {other.title} have different "
            "vocabularies",
            "Take two models of one family, or a method that needs the texts alone",
        )
