"""The small modules that a method trained beside its student, kept in the trial's folder for later analyses:
`heads.safetensors`, and a file for each that belongs to the teacher's side."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from armada_cli.digests import DamagedDigests, differences, read_digests
from armada_cli.errors import UserError
from armada_cli.files import write_bytes_atomic
from armada_cli.predictions import PREDICTIONS
from armada_cli.runs import HEADS

if TYPE_CHECKING:
    from torch import Tensor

    from armada_cli.contracts import Method


def write_modules(folder: Path, method: Method) -> list[str]:
    """Write what `Method.kept_modules` names. Returns the files' names.

    Raises:
        UserError: the disk is full or cannot be written.
    """
    from safetensors.torch import save

    own = method.own_modules()
    files: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, module in method.kept_modules().items():
        heads = name not in own or name in method.student_side
        tensors = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
        if heads:
            files[HEADS] |= {f"{name}/{key}": value for key, value in tensors.items()}
        elif tensors:
            files[f"{name}.safetensors"] |= tensors
    for name, tensors in files.items():
        if tensors:
            write_bytes_atomic(folder / name, save(tensors))
    return [name for name, tensors in files.items() if tensors]


def list_modules(folder: Path) -> list[str]:
    """The files in a finished trial's folder that hold modules trained beside its student.

    Raises:
        UserError: one of them is damaged.
    """
    try:
        digests = read_digests(folder) or {}
        names = sorted(name for name in digests if name.endswith(".safetensors") and "/" not in name and name != PREDICTIONS)
        damage = next(differences(folder, digests, names), None)
    except DamagedDigests as error:
        damage = str(error)
    if damage is not None:
        raise UserError(f"{folder / damage}", "Remove the trial's result.json and run the recipe again: it is trained anew")
    return names
