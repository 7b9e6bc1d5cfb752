"""A plan from start to end: features once per text, trials once each, then the report. Every stage may be run again."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING, Any

from armada_cli.console import print_line
from armada_cli.contracts import Environment
from armada_cli.errors import UserError
from armada_cli.execution import display
from armada_cli.execution.judgement import judge
from armada_cli.execution.ownership import note_origin, require_own_folder
from armada_cli.execution.pool import Event, Pool
from armada_cli.execution.provenance import describe, provenance
from armada_cli.execution.unchanged import require_unchanged_choice
from armada_cli.files import write_atomic, write_json
from armada_cli.launch import read_launch
from armada_cli.plan.hardware import device_kind
from armada_cli.plan.trials import FeatureJob, Plan, Trial
from armada_cli.run_record import RunRecord, read_record
from armada_cli.runs import RESULT, Runs

if TYPE_CHECKING:
    from armada_cli.features.prepare import Prepared


@dataclass
class Conduct:
    """One run of a recipe.

    Args:
        plan: its trials; environment: where.
        workers: processes side by side; 0 runs the trials in this process (as under `accelerate launch`).
        command: the command line, for the record; smoke: whether its numbers mean nothing.
    """

    plan: Plan
    environment: Environment
    workers: int
    command: str = ""
    smoke: bool = False
    status: dict[str, tuple[str, str]] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self) -> None:
        self.runs = Runs(self.environment.runs)
        self.folder = self.runs.run(self.plan.recipe.name)
        self.record = RunRecord(self.folder)

    @property
    def leads(self) -> bool:
        """Whether this process writes and prints: the only one, or the first of several."""
        return read_launch().leads

    def run(self) -> dict[str, str]:
        """Do everything that is not done. Returns id -> reason of the trials that failed.

        Raises:
            UserError: the run's folder is another recipe's; said before anything starts.
            MissingPackage: something is not installed; said before anything starts.
            UserError: something is wrong with the data; said before anything starts.
            UserError, KeyboardInterrupt: what is finished is kept, and the same command goes on from there.
        """
        if not self.smoke:  # whose root has been emptied
            require_own_folder(self.plan.recipe, self.runs)
        self._require_all()
        for trial in self.plan.everything:
            self._note_result(trial)
        todo = self._unfinished()
        judge(self.plan, self.environment, todo, fetch=True)
        self.runs.make()
        if self.leads:
            self.runs.sweep_unfinished(self.plan.recipe.name)
            note_origin(self.plan.recipe, self.runs)
            write_atomic(self.folder / "recipe.yaml", self.plan.recipe.text)
            write_json(self.folder / "resolved.json", dict(self.plan.recipe.resolved))
            begun = {trial.id for trial in todo}
            for trial in self.plan.everything:
                self.runs.sweep(trial.id, finished=trial.id not in begun)
        failed: dict[str, str] = {}
        if todo:
            if self.leads:
                self.record.begin(self._whole_record())
            self._prepare()
            try:
                with self._stage("features"):
                    specs = self._with_features(todo)
                with self._stage("trials"):
                    failed = self._trials(specs)
            finally:
                self._end_record()
        elif not self._recorded_before():
            self._end_record()
        return failed

    def _unfinished(self) -> list[Trial]:
        """The trials that have to be run, in the order they can be: those of the recipe without a result, and what they depend
        on, where it has no result or its student is no longer what was written."""
        everything = {trial.id: trial for trial in self.plan.everything}
        only_needed = {trial.id for trial in self.plan.dependencies}
        asked = [trial.id for trial in everything.values() if trial.id not in only_needed and not self._is_done(trial)]
        todo: set[str] = set()
        seen = set(asked)
        # An evaluation needs its training, and that perhaps a text teacher's.
        while asked:
            trial = everything[asked.pop()]
            if self._is_done(trial):
                damage = self.runs.damage(trial.id, trial.keep)
                if damage is None:
                    continue
                del self.status[trial.id]
                self._say_again(trial, damage)
            todo.add(trial.id)
            asked += [needed for needed in set(trial.depends.values()) - seen if needed in everything]
            seen |= set(trial.depends.values())
        return [trial for trial in everything.values() if trial.id in todo]

    def _is_done(self, trial: Trial) -> bool:
        return self.status.get(trial.id, ("", ""))[0] == "done"

    # -------------------------------------------------------------------------------------------------------- stages

    def _require_all(self) -> None:
        for choice in self.plan.choices:
            component = choice.registered.component
            if component.missing_packages():
                raise component.missing_error(f"{choice.registered.kind} {component.name}")
            downloads = list(choice.options.downloads(self.environment)) if hasattr(choice.options, "downloads") else []
            if downloads and self.environment.offline:
                raise UserError(
                    f"{choice.registered.kind} {component.name} needs {downloads[0]}, and downloads are off (HF_HUB_OFFLINE)",
                    "Fetch it where there is a connection (from the hub: `hf download NAME`), or name a local copy",
                )
            if downloads and hasattr(choice.options, "problems_before_fetching"):
                for problem in choice.options.problems_before_fetching(self.environment):
                    what, _, hint = problem.partition("; ")
                    raise UserError(f"{choice.registered.kind} {component.name}: {what}", hint)

    def _prepare(self) -> None:
        """Here and not in the workers, where nobody would see a bar, and each would wait for the others."""
        for choice in self.plan.choices:
            if hasattr(choice.options, "prepare"):
                choice.options.prepare(self.environment)

    def _with_features(self, todo: list[Trial]) -> list[dict[str, Any]]:
        """The specs of `todo`, with the keys of the prepared features of those that need them."""
        made: dict[str, Prepared] = {}
        notes: dict[str, str | None] = {}
        specs = []
        for trial in todo:
            spec = trial.spec()
            for job in trial.jobs:
                if job.key not in made:
                    made[job.key] = self._represent(job, None if job.fitted is None else made[job.fitted.key])
                    note = made[job.key].note(job.teacher.registered)
                    if note and self.leads and note not in notes.values():
                        print_line(f"armada: {note}", error=True)
                    notes[job.key] = note
            if trial.features is not None:
                spec["features"] = [made[job.key].key for job in trial.features.each]
                spec["notes"] = list(dict.fromkeys(note for job in trial.jobs if (note := notes[job.key])))
                if trial.features.apart:
                    spec["parts"] = [made[job.key].width for job in trial.features.each]
            if trial.seen is not None:
                spec["seen"] = [made[job.key].key for job in trial.seen.each]
            if trial.selected is not None:
                spec["selected"] = [made[job.key].key for job in trial.selected.each]
            specs.append(spec)
        return specs

    def _represent(self, job: FeatureJob, fitted: Prepared | None) -> Prepared:
        """h_t of one job, made or found; of the rows and the teacher that were planned.

        Args:
            fitted: for rows that are not trained on, the training rows' features.
        """
        from armada_cli.features.prepare import prepared_key, represent

        split = job.split(self.environment)
        # Before a teacher is asked: it may cost money, and no trial could use its answers.
        require_unchanged_choice("task", job.task, self.plan.identity(job.task, self.environment), self.environment)
        teacher, inputs = job.teacher, split.teacher_inputs
        prepared, _ = represent(teacher.registered, teacher.options, self.environment, inputs, job.features, fitted=fitted)
        if prepared.key != prepared_key(job.identity_key, inputs, job.features, fitted.key if fitted else None):
            raise UserError(f"the files of teacher {teacher.title} changed while the recipe ran", "Run the recipe again")
        return prepared

    def _trials(self, specs: list[dict[str, Any]]) -> dict[str, str]:
        titles = {spec["id"]: spec["title"] for spec in specs}
        with display.show(titles, 0) if self.leads else _silent(titles) as shown:
            shown.warned.update(note for spec in specs for note in spec.get("notes", ()))  # said with the features

            def tell(event: Event) -> None:
                shown.tell(event)
                if event.kind in ("finished", "failed"):
                    self.status[event.trial] = ("done", "") if event.kind == "finished" else ("failed", event.note)
                    if event.result:
                        self.metrics[event.trial] = event.result["metric"]
                    if self.leads:
                        self.record.change(event.trial, *self.status[event.trial], self.metrics.get(event.trial, ""))

            if self.workers == 0:
                return self._here(specs, tell)
            done = [trial_id for trial_id, (state, _) in self.status.items() if state == "done"]
            threads = 1 if device_kind(self.environment) == "cpu" else None
            return Pool(self.environment, self.workers, threads).run(specs, done, tell)

    def _here(self, specs: list[dict[str, Any]], tell: Any) -> dict[str, str]:
        """The trials one after the other in this process, or in all processes of `accelerate launch` together."""
        from armada_cli.errors import Interrupted
        from armada_cli.execution.trial import failure_line, run_trial

        failed: dict[str, str] = {}
        for spec in specs:
            trial = spec["id"]
            tell(Event("started", trial, 0))

            def progress(stage: str, done: int, total: int, note: str, trial: str = trial) -> None:
                tell(Event("moved", trial, 0, stage, done, total, note))

            if set(spec["depends"].values()) & set(failed):
                failed[trial] = "a trial it depends on failed"
                tell(Event("failed", trial, 0, note=failed[trial]))
                continue
            try:
                with _interruptions() as stopping:
                    result = run_trial(spec, self.environment, progress, stopping)
                tell(Event("finished", trial, 0, result=result))
            except Interrupted:
                raise KeyboardInterrupt from None
            except Exception as error:
                failed[trial] = failure_line(error, self.runs.trial(trial))
                tell(Event("failed", trial, 0, note=failed[trial]))
        return failed

    # -------------------------------------------------------------------------------------------------------- record

    def _note_result(self, trial: Trial) -> None:
        result = self.runs.result(trial.id, scored=trial.evaluate)
        if result is not None:
            self.status[trial.id] = ("done", "")
            self.metrics[trial.id] = result["metric"]
        elif (self.runs.trial(trial.id) / RESULT).exists():
            self._say_again(trial, f"{RESULT} is damaged")

    def _say_again(self, trial: Trial, why: str) -> None:
        if self.leads:
            print_line(f"armada: trial {trial.id} is made again: its {why}", error=True)

    def _trial_states(self) -> Iterator[tuple[str, str]]:
        for trial in self.plan.trials:
            yield self.status.get(trial.id, ("pending", ""))

    def _recorded_before(self) -> bool:
        """Whether ``run.json`` tells of these very trials, all done: then its times and versions are those of the work."""
        try:
            former = read_record(self.folder)
        except (OSError, ValueError):
            return False
        if not isinstance(former, dict) or not former.get("finished"):
            return False
        names = ("recipe", "title", "summary", "select_on", "trials", "dependencies")
        return {name: former.get(name) for name in names} == {name: self._description().get(name) for name in names}

    def _description(self) -> dict[str, Any]:
        recipe = self.plan.recipe
        return {
            "recipe": recipe.name,
            "title": recipe.title,
            "summary": recipe.summary,
            **({} if recipe.select_on is None else {"select_on": dataclasses.asdict(recipe.select_on)}),
            "trials": describe(self.plan.trials, self.status, self.metrics),
            "dependencies": describe(self.plan.dependencies, self.status, self.metrics),
        }

    def _end_record(self) -> None:
        if self.leads:
            self.record.end(self._whole_record())

    def _whole_record(self) -> dict[str, Any]:
        """What the report reads."""
        finished = all(state == "done" for state, _ in self._trial_states())
        return {
            **self._description(),
            "started": self.started,
            "finished": datetime.now(UTC).isoformat(timespec="seconds") if finished else None,
            "smoke": self.smoke,
            "command": self.command,
            "provenance": {**self._provenance(), "stages": self.stages},
        }

    def _provenance(self) -> Mapping[str, Any]:
        if not hasattr(self, "_known"):
            self._known = provenance(self.plan)
        return self._known

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), _cpu_seconds()
        try:
            yield
        finally:
            self.stages.append({"stage": name, "wall": time.perf_counter() - wall, "cpu": _cpu_seconds() - cpu})


@contextmanager
def _interruptions() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C was pressed, so that a training ends behind a checkpoint. Pressed again, it ends at once.

    Several processes of one training must stop at the same step, or wait for each other for ever: there it ends at once.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            signal.default_int_handler(number, frame)
        asked = True

    alone = not read_launch().several and threading.current_thread() is threading.main_thread()
    if not alone or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: False
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked:  # too late for the training to notice
        raise KeyboardInterrupt


def _cpu_seconds() -> float:
    """Processor time of this process and of the workers it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@contextmanager
def _silent(titles: Mapping[str, str]) -> Iterator[display.Display]:
    class Silent(display.Display):
        def line(self, text: str) -> None:
            """Only the first process speaks."""

    yield Silent(titles, 0)
