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

from armada_cli.files import disk_error, remove
from armada_cli.reading import load_json


@dataclass
class State:
    """What a training is made of. Generators are missing on purpose: every step seeds its own (see `seeds`)."""

    modules: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name. Modules' pending gradients are state too: orthogonal maps gather them over steps."""
        found: dict[str, Tensor] = {}
        for name, module in self.modules.items():
            for key, value in module_state(module).items():
                found[f"module/{name}/{key}"] = value
            for key, parameter in module.named_parameters():
                if parameter.grad is not None:
                    found[f"gradient/{name}/{key}"] = parameter.grad
        for name, optimizer in self.optimizers.items():
            for index, slots in optimizer.state_dict()["state"].items():
                for slot, value in slots.items():
                    found[f"optimizer/{name}/{index}/{slot}"] = value if isinstance(value, Tensor) else torch.tensor(value)
        return found

    def groups(self) -> dict[str, list[dict[str, Any]]]:
        """The scalar settings of every optimizer's groups."""
        return {
            name: [{key: value for key, value in group.items() if _is_plain(value)} for group in item.param_groups]
            for name, item in self.optimizers.items()
        }

    def load(self, tensors: Mapping[str, Tensor], groups: Mapping[str, list[dict[str, Any]]]) -> None:
        for name, module in self.modules.items():
            prefix = f"module/{name}/"
            values = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            own = module_state(module)
            if set(values) != set(own):
                raise ValueError(f"checkpoint of {name!r} has other tensors than the module")
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
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key, value in module.state_dict(keep_vars=True).items():
        frozen = isinstance(value, nn.Parameter) and not value.requires_grad
        if id(value) not in seen and not frozen:
            seen.add(id(value))
            found[key] = value
    return found


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str, type(None)))


def save(folder: Path, step: int, state: State, extra: Mapping[str, Any], best: Mapping[str, Tensor] | None = None) -> None:
    """Write ``folder/step-<step>`` by rename, then drop the older ones. `extra` is plain JSON; `best` the tensors of the
    best epoch so far.

    Raises:
        UserError: the disk is full or cannot be written; the older checkpoint is still there.
    """
    target, temporary = folder / f"step-{step}", folder / f".step-{step}.new"
    try:
        remove(temporary, folder)
        temporary.mkdir(parents=True)
        tensors = state.tensors() | {f"best/{key}": value for key, value in (best or {}).items()}
        save_file({key: value.detach().contiguous() for key, value in tensors.items()}, temporary / "state.safetensors")
        document = {"step": step, "groups": state.groups(), "extra": extra}
        (temporary / "state.json").write_text(json.dumps(document), encoding="utf-8")
        if target.exists():
            remove(target, folder, must=True)
        os.replace(temporary, target)
    except OSError as error:
        remove(temporary, folder)
        raise disk_error(folder, error) from error
    except SafetensorError as error:
        remove(temporary, folder)
        raise disk_error(folder, OSError(None, str(error))) from error
    for old in folder.iterdir():
        if old != target:
            remove(old, folder)


def load(folder: Path, state: State) -> tuple[int, dict[str, Any], dict[str, Tensor]] | None:
    """The newest readable checkpoint: its step, `extra` and `best`; None when there is none. A damaged one is passed over."""
    if not folder.is_dir():
        return None
    steps = [int(path.name.removeprefix("step-")) for path in folder.glob("step-*") if path.name[5:].isdigit()]
    for step in sorted(steps, reverse=True):
        path = folder / f"step-{step}"
        try:
            document = load_json(path / "state.json")
            tensors = load_file(path / "state.safetensors")
            state.load(tensors, document["groups"])
        except (OSError, ValueError, KeyError, SafetensorError):
            continue
        best = {key.removeprefix("best/"): value for key, value in tensors.items() if key.startswith("best/")}
        return step, document["extra"], best
    return None
