"""Which device a teacher or a trial runs on: what ``--device`` says, checked against the machine. Torch is imported inside."""

from __future__ import annotations

import re

from armada_cli.contracts import Environment
from armada_cli.errors import UserError
from armada_cli.launch import Launch, read_launch

KNOWN = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


def check_device(device: str, *, here: bool = True) -> None:
    """Raises UserError: no device is called so, or (`here`) this machine has none such. Torch is asked for a GPU alone."""
    if not KNOWN.fullmatch(device):
        raise UserError(f"--device {device}: no device is called so", "Take auto, cpu, cuda, cuda:1 or mps")
    if device in ("auto", "cpu") or not here:
        return
    import torch

    if device == "mps":
        if not torch.backends.mps.is_available():
            raise UserError("--device mps: torch sees no Apple GPU here", "Take auto or cpu")
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        built = "" if torch.version.cuda or torch.version.hip else ", and this torch is built without CUDA"
        raise UserError(f"--device {device}: torch sees no GPU here{built}", "Take auto or cpu")
    number = int(device.partition(":")[2] or 0)
    if number >= count:
        last = f"the last is cuda:{count - 1}" if count > 1 else "the only one is cuda:0"
        raise UserError(f"--device {device}: there is no such GPU", f"They are counted from 0 and {last}")


def pick_device(environment: Environment) -> str:
    """The device of a teacher in this process: what was asked for, or the best there is; of several GPUs the one of its
    ``LOCAL_RANK``, which `accelerate launch` sets.

    Raises:
        UserError: there is no such device here.
    """
    import torch

    device = environment.device
    if device == "auto":
        mps = getattr(torch.backends, "mps", None)
        device = "cuda" if torch.cuda.is_available() else "mps" if mps is not None and mps.is_available() else "cpu"
    check_device(device)
    return _numbered(device, read_launch())


def pick_trial_device(environment: Environment, launch: Launch) -> str:
    """The device of a trial in this process: what was asked for; ``auto`` is a GPU of CUDA's kind where there is one.

    Raises:
        UserError: there is no such device here, or several processes cannot share it.
    """
    import torch

    device = environment.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    check_device(device)
    if launch.several and (device == "mps" or ":" in device):
        raise UserError(
            f"--device {device} is one GPU, and {launch.world} processes train together", "Take --device cuda: one GPU for each"
        )
    return _numbered(device, launch)


def _numbered(device: str, launch: Launch) -> str:
    """Bare ``cuda`` with the number of this process's GPU."""
    if device != "cuda":
        return device
    import torch

    return f"cuda:{launch.local % max(1, torch.cuda.device_count())}"
