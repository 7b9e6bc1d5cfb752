"""Complete, atomic checkpoints: what is loaded continues bit for bit (on CPU). Tensors are safetensors, the rest is JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from armada_cli.digests import DamagedDigests, differences, read_digests, write_digests
from armada_cli.errors import UserError
from armada_cli.files import remove, telling_disk_errors
from armada_cli.reading import load_json

TENSORS, SETTINGS = "state.safetensors", "state.json"
STATE = ("module/", "gradient/", "optimizer/")
"""How the names of a state's tensors begin; what is kept beside them has others."""


@dataclass
class State:
    """What a training is made of. Generators are missing on purpose: every step seeds its own (see `seeds`)."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name. Modules' pending gradients are state too: orthogonal maps gather them over steps."""
        tensors: dict[str, Tensor] = {}
        for name, module in self.modules.items():
            for key, value in module_state(module).items():
                tensors[f"module/{name}/{key}"] = value
            for key, parameter in module.named_parameters():
                if parameter.grad is not None:
                    tensors[f"gradient/{name}/{key}"] = parameter.grad
        for name, optimizer in self.optimizers.items():
            for index, slots in optimizer.state_dict()["state"].items():
                for slot, value in slots.items():
                    tensors[f"optimizer/{name}/{index}/{slot}"] = value if isinstance(value, Tensor) else torch.tensor(value)
        return tensors

    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """The scalar settings of every optimizer's groups."""
        return {
            name: [{key: value for key, value in group.items() if _is_plain(value)} for group in item.param_groups]
            for name, item in self.optimizers.items()
        }

    def require_fit(self, tensors: Mapping[str, Tensor], groups: Mapping[str, list[dict[str, Any]]]) -> None:
        """Compare before anything is loaded: what fails half-way would train on from a mixture.

        Raises:
            ValueError: these are not the tensors and groups of such a state.
        """
        for name, module in self.modules.items():
            prefix = f"module/{name}/"
            shapes = {key[len(prefix) :]: value.shape for key, value in tensors.items() if key.startswith(prefix)}
            if shapes != {key: value.shape for key, value in module_state(module).items()}:
                raise ValueError(f"checkpoint of {name!r} has other tensors than the module")
        for name, optimizer in self.optimizers.items():
            current = optimizer.state_dict()["param_groups"]
            count = sum(len(group["params"]) for group in current)
            if len(groups.get(name, ())) != len(current):
                raise ValueError(f"checkpoint of optimizer {name!r} has other groups")
            for key in tensors:
                if key.startswith(prefix := f"optimizer/{name}/"):
                    index, _, slot = key[len(prefix) :].partition("/")
                    if not slot or not index.isdecimal() or int(index) >= count:
                        raise ValueError(f"checkpoint of optimizer {name!r} is of other parameters")

    def load(self, tensors: Mapping[str, Tensor], groups: Mapping[str, list[dict[str, Any]]]) -> None:
        for name, module in self.modules.items():
            prefix = f"module/{name}/"
            values = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            own = module_state(module)
            with torch.no_grad():
                for key, value in values.items():
                    own[key].copy_(value)
            for key, parameter in module.named_parameters():
                gradient = tensors.get(f"gradient/{name}/{key}")
                parameter.grad = None if gradient is None else gradient.to(parameter.device)
        for name, optimizer in self.optimizers.items():
            prefix = f"optimizer/{name}/"
            states: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith(prefix):
                    index, slot = key[len(prefix) :].split("/")
                    states.setdefault(int(index), {})[slot] = value
            current = optimizer.state_dict()["param_groups"]
            merged = [{**group, **saved} for group, saved in zip(current, groups[name], strict=True)]
            optimizer.load_state_dict({"state": states, "param_groups": merged})


def module_state(module: nn.Module) -> dict[str, Tensor]:
    """A module's trained parameters and persistent buffers; a tied parameter stands once.

    What is frozen is left out: a language model under LoRA loads it from where it came from, a fixed projection is drawn
    again from its seed, and a checkpoint of an 8B model stays a few megabytes.
    """
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key, value in module.state_dict(keep_vars=True).items():
        frozen = isinstance(value, nn.Parameter) and not value.requires_grad
        if id(value) not in seen and not frozen:
            seen.add(id(value))
            tensors[key] = value
    return tensors


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str, type(None)))


def save(folder: Path, step: int, state: State, extra: Mapping[str, Any], more: Mapping[str, Tensor] | None = None) -> None:
    """Write ``folder/step-<step>`` by rename, then drop the older ones. `extra` is plain JSON, `more` are tensors beside the
    state's.

    Raises:
        UserError: the disk is full or cannot be written; the older checkpoint is still there.
    """
    target, temporary = folder / f"step-{step}", folder / f".step-{step}.new"
    try:
        with telling_disk_errors(folder):
            remove(temporary, folder)
            temporary.mkdir(parents=True)
            tensors = state.tensors() | dict(more or {})
            save_file({key: value.detach().contiguous() for key, value in tensors.items()}, temporary / TENSORS)
            document = {"step": step, "groups": state.groups(), "extra": extra}
            (temporary / SETTINGS).write_text(json.dumps(document), encoding="utf-8")
            write_digests(temporary, (TENSORS, SETTINGS))
            if target.exists():
                remove(target, folder, must=True)
            os.replace(temporary, target)
    except UserError:
        remove(temporary, folder)
        raise
    for old in folder.iterdir():
        if old != target:
            remove(old, folder)


def load(folder: Path, state: State) -> tuple[int, dict[str, Any], dict[str, Tensor]] | None:
    """The newest sound checkpoint: its step, `extra` and `more`; None when there is none. A damaged one is passed over, and
    leaves `state` as it is."""
    for path in reversed(checkpoints(folder)):
        if damage(path):
            continue
        try:
            document = load_json(path / SETTINGS)
            tensors = load_file(path / TENSORS)
            step, groups, extra = _parts(document)
            state.require_fit(tensors, groups)
        except (OSError, ValueError, KeyError, SafetensorError):
            continue
        state.load(tensors, groups)
        return step, extra, {key: value for key, value in tensors.items() if not key.startswith(STATE)}
    return None


def checkpoints(folder: Path) -> list[Path]:
    """The folders of whole checkpoints, by step."""
    paths = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(paths, key=lambda path: int(path.name.removeprefix("step-")))


def damage(checkpoint: Path) -> str | None:
    """What differs from what was saved; None when nothing does, or when nothing is known of it (an earlier version's)."""
    try:
        digests = read_digests(checkpoint)
    except DamagedDigests as error:
        return str(error)
    return None if digests is None else next(differences(checkpoint, digests), None)


def _parts(document: Any) -> tuple[int, dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """Step, groups and `extra` of a checkpoint's settings.

    Raises:
        ValueError: they are something else.
    """
    if not isinstance(document, dict):
        raise ValueError("a checkpoint's settings are a mapping")
    step, groups, extra = (document.get(name) for name in ("step", "groups", "extra"))
    if not isinstance(step, int) or not isinstance(groups, dict) or not isinstance(extra, dict):
        raise ValueError("a checkpoint has a step, groups and more")
    if not all(isinstance(part, list) and all(isinstance(group, dict) for group in part) for part in groups.values()):
        raise ValueError("an optimizer's groups are a list of mappings")
    return step, groups, extra
