"""The pieces of a trial, made from its spec: task, rows, student, features, losses, device."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor

from armada_cli.contracts import Environment, Loss, Method, Problem, Registered, Split, Student, Task
from armada_cli.devices import pick_trial_device
from armada_cli.errors import TrialFailed, UserError
from armada_cli.execution.judgement import require_rows
from armada_cli.features.prepare import load_prepared
from armada_cli.held_out import SELECTION, split_of, take_part
from armada_cli.launch import Launch, read_launch, settle_environment
from armada_cli.registry.choosing import as_choice
from armada_cli.registry.restore import restore
from armada_cli.runs import Runs
from armada_cli.settings import Train
from armada_cli.training.processes import processes
from armada_cli.training.seeds import stream


class Parts:
    """What a spec names, made when it is asked for.

    Args:
        spec: of the trial; environment: where it runs.
    """

    def __init__(self, spec: Mapping[str, Any], environment: Environment) -> None:
        self.spec, self.environment = spec, environment
        self.train = Train(**spec["train"])
        self._splits: dict[str, Split] = {}

    @functools.cached_property
    def task(self) -> Task:
        return self.make_task(self.spec["build"]["task"])

    @functools.cached_property
    def method(self) -> tuple[Registered, Any]:
        """The method's registration and its options."""
        return restore("method", self.spec["build"]["method"], self.environment)

    @functools.cached_property
    def method_class(self) -> type[Method]:
        return load(self.method[0])

    def make_task(self, build: Mapping[str, Any]) -> Task:
        registered, options = restore("task", build, self.environment)
        return make(registered, options, self.environment)

    def make_student(self, build: Mapping[str, Any]) -> Student:
        registered, options = restore("student", build, self.environment)
        return make(registered, options, self.environment)

    def read_split(self, name: str) -> Split:
        """The rows of a split that the spec's limit leaves; of the training split those that are trained on, or those that are
        held out (`SELECTION`)."""
        source = split_of(name)
        if source not in self._splits:
            self._splits[source] = self.task.sample(source, self.spec["limit"].get(source))
            require_rows(self.spec["build"]["task"]["name"], source, len(self._splits[source]))
        return take_part(self._splits[source], name, self.spec.get("held_out"))

    def read_features(self, rows: int) -> Tensor | None:
        """h_t [rows, 128] of the training split after the control that the recipe asks for; an ensemble's members stand side by
        side."""
        if self.spec["features"] is None:
            return None
        return self._shown(self._join(self.spec["features"], rows, "training"), "teacher")

    def read_seen(self, rows: int, name: str = "validation") -> Tensor | None:
        """h_t [rows, 128] of the validation split or the held-out rows, as `read_features`, for a student that reads them when
        it answers. Under the control shuffled a row has another such row's; noise has the moments of the training rows'."""
        keys = self.spec.get("selected" if name == SELECTION else "seen")
        if keys is None:
            return None
        return self._shown(self._join(keys, rows, name), f"teacher of {name}", self._join(self.spec["features"]))

    def _join(self, keys: Sequence[str], rows: int | None = None, split: str = "") -> np.ndarray:
        folder = Runs(self.environment.runs).features
        parts = []
        for key in keys:
            part = load_prepared(folder / f"{key}.safetensors")
            if rows is not None and len(part) != rows:
                raise UserError(
                    f"the features in {key}.safetensors have {len(part)} rows, the {split} split has {rows}",
                    "Remove the file; it is made again",
                )
            parts.append(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _shown(self, features: np.ndarray, name: str, like: np.ndarray | None = None) -> Tensor:
        from armada_cli.features import controls

        control = self.spec["control"]
        shown = controls.take_away(features, control, stream(self.spec["seed"], f"{control} {name}"), like)
        return torch.from_numpy(shown.copy())

    def make_loss(self, choice: Any) -> Loss:
        """A loss, by its choice, its name, or a mapping with its options."""
        chosen = as_choice("loss", choice)
        return make(chosen.registered, chosen.options)


def load(registered: Registered) -> Any:
    """A component's class.

    Raises:
        TrialFailed: whatever the import of the plugin's own code raises, with its name.
    """
    try:
        return registered.component.load()
    except (UserError, TrialFailed):
        raise
    except Exception as error:
        raise _cannot_be_made(registered, error) from error


def make(registered: Registered, *arguments: Any) -> Any:
    """A component's class, imported and called.

    Raises:
        TrialFailed: whatever the plugin's own code raises, with its name.
    """
    made = load(registered)
    try:
        return made(*arguments)
    except (UserError, TrialFailed):
        raise
    except Exception as error:
        raise _cannot_be_made(registered, error) from error


def _cannot_be_made(registered: Registered, error: Exception) -> TrialFailed:
    text = " ".join(str(error).split())[:200]
    return TrialFailed(
        f"{registered.kind} {registered.name!r} (plugin {registered.distribution} {registered.version}) cannot be made: "
        f"{type(error).__name__}: {text}"
    )


def problem_of(task: Task, train: Train, *, attentions: bool = False) -> Problem:
    """What a student must know of a task."""
    labels = () if task.kind in ("generation", "masked") else tuple(task.labels())
    outputs = 1 if task.kind == "regression" else len(labels)
    return Problem(task.kind, outputs, labels, train.max_length, train.precision, attentions)


def count_parameters(model: torch.nn.Module, method: Method) -> dict[str, Any]:
    """Parameters of the student, how many of them are trained, of the extra heads that are thrown away, of the method's modules
    that the student keeps for its answers, and of each module of the method's own."""
    student = list(model.parameters())
    kept = {p for module in method.inference_modules().values() for p in module.parameters()}

    def count(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters() if p not in kept)

    return {
        "student": sum(p.numel() for p in student),
        "trained": sum(p.numel() for p in student if p.requires_grad),
        "heads": sum(map(count, method.student_modules().values())),
        **({"inference": sum(p.numel() for p in kept)} if kept else {}),
        "own": {role: count(module) for role, module in method.own_modules().items()},
    }


def make_accelerator(train: Train, environment: Environment) -> Accelerator:
    """Device, precision and processes. On CPU a trial has one thread, so that its bits do not depend on the core count.

    accelerate takes the device from a variable alone, and several processes from what a launcher left in the shell; so the
    environment is settled around its making. Several processes are those that have met (`training.processes.meet`).
    """
    precision = "bf16" if train.precision == "bf16" else "no"
    launch = read_launch() if processes() > 1 else Launch()
    device = torch.device(pick_trial_device(environment, launch))
    state = PartialState._shared_state
    if state and (state.get("device") != device or AcceleratorState._shared_state.get("_mixed_precision") != precision):
        # It is the process's own and final otherwise; the next trial may want another.
        AcceleratorState._reset_state(reset_partial_state=True)
    with settle_environment(ACCELERATE_TORCH_DEVICE=str(device)):
        accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=precision)
    if device.type == "cpu":
        torch.set_num_threads(1)
    elif device.type == "cuda":
        torch.cuda.set_device(device)  # what says "cuda" alone means this one
    return accelerator
