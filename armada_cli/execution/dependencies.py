"""What a trial has of the trials it depends on: their finished students, what these give for its rows, and their answers."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from armada_cli.contracts import Problem, Split, Student, TopTokens, fingerprint
from armada_cli.digests import DamagedDigests, differences, read_digests
from armada_cli.errors import TrialFailed, UserError
from armada_cli.execution.assemble import Parts, problem_of
from armada_cli.execution.outputs import Asked, keep_outputs, parse
from armada_cli.execution.token_outputs import StoredTokens, TokenBlock, keep_tokens
from armada_cli.features import controls
from armada_cli.files import read_json
from armada_cli.reading import parse_json
from armada_cli.runs import ANSWERS, EPOCHS, EVALUATED, INFERENCE, SPEC, STUDENT, Runs
from armada_cli.settings import Train
from armada_cli.targets import NONE, Scale, read_rest
from armada_cli.training.cost import FINISHED, Cost
from armada_cli.training.model import RowModel, encode, unit_of
from armada_cli.training.seeds import stream
from armada_cli.training.tokens import keep_top, require_one_vocabulary

START = "start"
"""The role of the trial whose student a training begins with."""

LAYOUTS = {"multiple-choice": "choices", "generation": "prompts"}
"""Kind of task -> how its texts are laid out, where that is not one text or a pair."""

BLOCK = 32
"""Rows of one batch of outputs that are kept: a function of nothing else, as sums of other batches have other last bits."""

TOKEN_BLOCK = 4
"""The same of distributions over a vocabulary, which are as wide as it is."""


class Dependencies:
    """The finished trials of a trial.

    Args:
        parts: of the dependent trial.
        runs: the folder of all.
        device: where models go.
        progress: called with (stage, done, total, note).
        cost: where the rows that a finished student reads in the training are counted.
    """

    def __init__(
        self,
        parts: Parts,
        runs: Runs,
        device: torch.device,
        progress: Callable[[str, int, int, str], None] = lambda *_: None,
        cost: Cost | None = None,
    ) -> None:
        self.cost = cost or Cost()
        self.parts, self.runs, self.device, self.progress = parts, runs, device, progress
        self.roles: Mapping[str, str] = parts.spec["depends"]
        self.control: str = parts.spec["control"]
        self._finished: dict[tuple[str, int | None], RowModel] = {}

    @property
    def _seed_of_control(self) -> int:
        return stream(self.parts.spec["seed"], f"{self.control} text teacher")

    # --------------------------------------------------------------------------------------------------- its students

    def load(self, trial: str, problem: Problem | None = None, epoch: int | None = None) -> tuple[Student, nn.Module, Path]:
        """The exported student of a finished trial, its model, ready to be asked, and its folder.

        Args:
            problem: what it is asked for; its own task's if None.
        """
        folder = self._folder(trial, epoch)
        spec = self._spec(trial)
        student = self.parts.make_student(spec["build"]["student"])
        if (folder / INFERENCE).exists():
            raise TrialFailed(
                f"the method of trial {trial} trained modules that its student needs for its answers ({INFERENCE}): "
                "no other trial can be built on it"
            )
        # Its weights are held as they were when it was scored itself, whatever the precision of this trial.
        asked = dataclasses.replace(problem or self._problem(trial), precision=Train(**spec["train"]).precision)
        model = student.build(asked, weights=folder).to(self.device)
        return student, model.eval(), folder

    def finished(self, role: str, epoch: int | None, split: Split, attentions: bool, scale: Scale) -> RowModel:
        """The frozen student of a role, for the rows of `split`."""
        if (role, epoch) not in self._finished:
            trial = self._trained(role)
            problem = dataclasses.replace(self._problem(trial), attentions=attentions)
            self._require_layout(role, problem)
            student, model, folder = self.load(trial, problem, epoch)
            unit = unit_of(read_rest(folder), scale) if problem.kind == "regression" else NONE
            precision = Train(**self._spec(trial)["train"]).precision
            rows = functools.partial(encode, student, problem, split)
            model.requires_grad_(False)
            finished = RowModel(
                student, model, rows, self.device, precision, unit, functools.partial(self.cost.count, FINISHED)
            )
            if self.control == "shuffled":
                finished.source = controls.exchange(len(split), self._seed_of_control).tolist()
            elif self.control != "none":
                raise ValueError(f"a model that is asked live cannot answer with {self.control}")
            self._finished[role, epoch] = finished
        return self._finished[role, epoch]

    def begin(self, role: str, student: Student, problem: Problem, scale: Scale | None = None) -> tuple[nn.Module, Scale]:
        """A model for `problem` with the weights of a role's finished student, and what its answers still have to be multiplied
        by, and then added to; torch's generator is seeded for its head.

        Args:
            scale: of a regression's targets, for a caller who can rescale answers: the model keeps its head and gives
                standardised targets. Without it a regression's head is new, since an export answers in the user's unit.
        """
        trial = self._trained(role)
        other, folder = self._problem(trial), self._folder(trial)
        new_head = (other.kind, other.labels) != (problem.kind, problem.labels)
        if problem.kind != "regression" or new_head:
            return student.build(problem, weights=folder, new_head=new_head), NONE
        model = student.build(problem, weights=folder, new_head=scale is None)
        return model, NONE if scale is None else student.fold(model, unit_of(read_rest(folder), scale))

    # ---------------------------------------------------------------------------------------------------- its outputs

    def epochs(self, role: str) -> int:
        """Epochs that the student of a role was trained."""
        return Train(**self._spec(self._trained(role))["train"]).epochs

    @torch.no_grad()
    def layers(self, role: str, split: Split) -> int:
        """Layers of the student of a role: what its options say, else what it shows of one row of `split`."""
        trial = self._trained(role)
        problem = self._problem(trial)
        options = self.parts.make_student(self._spec(trial)["build"]["student"]).options
        if known := (options.size() if hasattr(options, "size") else {}).get("layers"):
            return int(known)
        self._require_layout(role, problem)
        student, model, _ = self.load(trial, problem)
        rows = student.pad(student.encode(split.texts[:1], problem))
        states = student.forward(model, {name: value.to(self.device) for name, value in rows.items()}, hidden_states=True)
        return len(states.hidden_states or ("",)) - 1

    def outputs(self, role: str, what: str, split: Split, scale: Scale, epoch: int | None = None) -> Tensor:
        """See `Setup.cached`."""
        asked = parse(what)
        trial = self._trained(role)
        problem = self._problem(trial)
        self._require_layout(role, problem)
        of_epoch = [] if epoch is None else [epoch]
        key = fingerprint([list(map(list, split.texts)), problem.max_length, dataclasses.asdict(asked), *of_epoch])
        with self.runs.lock_outputs(trial) as folder:  # several trials may build on it, side by side
            compute = functools.partial(self._compute, trial, asked, problem, split, epoch)
            values = keep_outputs(folder / key, len(split), compute, asked.precision)
        values = scale.standardise(values) if asked.part == "logits" and problem.kind == "regression" else values
        if self.control == "none":
            return values
        return torch.from_numpy(controls.take_away(values.numpy(), self.control, self._seed_of_control))

    @torch.no_grad()
    def _compute(self, trial: str, asked: Asked, problem: Problem, split: Split, epoch: int | None) -> Iterator[Tensor]:
        student, model, folder = self.load(trial, problem, epoch)
        rest = read_rest(folder) if asked.part == "logits" else NONE
        encoded = encode(student, problem, split)
        for start in range(0, len(split), BLOCK):
            rows = encoded.rows[start : start + BLOCK]
            inputs = {name: value.to(self.device) for name, value in student.pad(rows).items()}
            output = student.forward(model, inputs, hidden_states=asked.hidden_states)
            self.progress("outputs of a finished student", min(start + BLOCK, len(split)), len(split), "rows")
            yield rest.restore(asked.of(output, inputs.get("attention_mask")).float().cpu())

    def token_outputs(self, role: str, asked: TopTokens, split: Split, student: Student) -> StoredTokens:
        """See `Setup.cached_tokens`.

        Args:
            student: which is trained; the other's tokens must be its own.
        """
        trial = self._trained(role)
        problem = self._problem(trial)
        self._require_layout(role, problem)
        require_one_vocabulary(student, self.parts.make_student(self._spec(trial)["build"]["student"]), role)
        key = fingerprint([list(map(list, split.texts)), problem.max_length, dataclasses.asdict(asked)])
        with self.runs.lock_outputs(trial) as folder:
            stored = keep_tokens(folder / key, len(split), asked, self._compute_tokens(trial, asked, problem, split))
        if self.control != "none":
            stored.source = self._exchange(len(split))
        return stored

    def _exchange(self, rows: int) -> list[int]:
        """For each row the one whose texts or tokens it is given under the control ``shuffled``."""
        if self.control != "shuffled":
            raise UserError(f"texts and tokens of a teacher have no control {self.control}", "Say `control: shuffled`")
        return controls.exchange(rows, self._seed_of_control).tolist()

    @torch.no_grad()
    def _compute_tokens(self, trial: str, asked: TopTokens, problem: Problem, split: Split) -> Iterator[TokenBlock]:
        student, model, _ = self.load(trial, problem)
        encoded = encode(student, problem, split)
        for start in range(0, len(split), TOKEN_BLOCK):
            rows = encoded.rows[start : start + TOKEN_BLOCK]
            inputs = {name: value.to(self.device) for name, value in student.pad(rows).items()}
            said = student.forward(model, inputs, tokens=True).tokens
            if said is None:
                raise TrialFailed(f"student {type(student).__name__} gives no StudentOutput.tokens, which are asked for")
            ids, values = keep_top(said.logits, asked)
            self.progress("tokens of a finished student", min(start + TOKEN_BLOCK, len(split)), len(split), "rows")
            counts = said.rows.cpu().bincount(minlength=len(rows))
            yield TokenBlock(ids.cpu(), values.cpu(), said.labels.cpu(), counts)

    def answers(self, rows: int) -> dict[str, list[str]]:
        """Role -> what the student of an answering trial said to the training prompts, of the first evaluation seed."""
        return {
            role: self._answers(trial, rows) for role, trial in self.roles.items() if self._spec(trial).get("split") == "train"
        }

    def _answers(self, trial: str, rows: int) -> list[str]:
        path = self.runs.trial(trial) / ANSWERS
        self._require_sound(trial)
        try:
            records = [parse_json(line) for line in path.read_bytes().splitlines() if line.strip()]
            first = records[0]["seed"]
            said = {record["row"]: record["answer"] for record in records if record["seed"] == first}
            answers = [said[row] for row in range(rows)]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise TrialFailed(f"{path} does not have an answer to each of the {rows} training prompts") from error
        return answers if self.control == "none" else [answers[row] for row in self._exchange(rows)]

    # ---------------------------------------------------------------------------------------------------------- pieces

    def _trained(self, role: str) -> str:
        """The trial that trained the student of a role; an evaluation's or an answering trial's is another one."""
        try:
            trial = self.roles[role]
        except KeyError:
            known = ", ".join(map(repr, self.roles)) or "none"
            raise ValueError(f"this trial depends on no trial under the role {role!r}; its roles are: {known}") from None
        return self._spec(trial)["depends"].get(EVALUATED, trial)

    def _spec(self, trial: str) -> Mapping[str, Any]:
        spec = read_json(self.runs.trial(trial) / SPEC)
        if not isinstance(spec, Mapping):
            raise TrialFailed(f"trial {trial}, which it builds on, has lost its {SPEC}; the same command makes it again")
        return spec

    def _problem(self, trial: str) -> Problem:
        """What the student of a trial was built for, with this trial's longest input."""
        build, own = self._spec(trial)["build"]["task"], self.parts.spec["build"]["task"]
        same = all(build.get(name) == own.get(name) for name in ("distribution", "name", "file", "class", "options"))
        task = self.parts.task if same else self.parts.make_task(build)
        return problem_of(task, self.parts.train)

    def _require_layout(self, role: str, problem: Problem) -> None:
        kinds = problem.kind, self.parts.task.kind
        if LAYOUTS.get(kinds[0]) != LAYOUTS.get(kinds[1]):
            raise ValueError(f"the student of role {role!r} was trained on {kinds[0]} and cannot read the rows of {kinds[1]}")

    def _require_sound(self, trial: str) -> None:
        if damage := self.runs.damage(trial):
            lost = self.runs.trial(trial) / damage
            raise TrialFailed(f"the trial that it builds on has lost its student ({lost}); the same command makes it again")

    def _folder(self, trial: str, epoch: int | None = None) -> Path:
        """The folder of a sound export."""
        self._require_sound(trial)
        if epoch is None:
            return self.runs.trial(trial) / STUDENT
        folder = self.runs.trial(trial)
        try:
            digests = read_digests(folder) or {}
        except DamagedDigests:
            digests = {}
        if next(differences(folder, digests, (f"{EPOCHS}/{epoch}",)), None):
            kept = sorted(path.name for path in (folder / EPOCHS).glob("[0-9]*"))
            raise ValueError(f"trial {trial} keeps no student of epoch {epoch}; it has {', '.join(kept) or 'none'}")
        return folder / EPOCHS / str(epoch)
