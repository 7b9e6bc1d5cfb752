"""How several processes of one training meet, and what they tell each other beside the gradients."""

from __future__ import annotations

import os
import socket
import sys
import time
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed, nn

from armada_cli.errors import UserError, one_line
from armada_cli.launch import Launch

SECONDS_TO_MEET = 120.0
"""How long a process waits for the others; ``ARMADA_MEET_SECONDS`` is another time, for a cluster that starts slowly."""


def processes() -> int:
    """How many processes train together; 1 outside of `accelerate launch`."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def meet(launch: Launch, device: str) -> None:
    """Wait for the other processes that a launcher started, and form torch's process group with them.

    torch itself waits in C++, where no signal is heard, and for half an hour. Here the wait has short steps: Ctrl-C and
    a batch system's notice end it, and so does `SECONDS_TO_MEET`.

    Args:
        device: of this process, as `devices.pick_trial_device` gives it; GPUs of CUDA's kind talk by NCCL, the rest by gloo.

    Raises:
        UserError: the others did not come, or their address cannot be used.
    """
    if processes() > 1:
        return
    seconds = _seconds_to_meet()
    wait = _Wait(launch, seconds)
    # torchrun's agent serves the address itself; without one the first process does.
    serves = launch.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    while not serves and not _answers(launch):
        wait.step(f"nobody answers at {launch.address}:{launch.port}")
    try:
        store = distributed.TCPStore(
            "localhost" if serves else launch.address,
            launch.port,
            is_master=serves,
            timeout=timedelta(seconds=wait.left()),
            wait_for_workers=False,
        )
        name = f"armada/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        store.set(f"{name}/{launch.rank}", "here")
        others = [f"{name}/{rank}" for rank in range(launch.world)]
        while not store.check(others):
            missing = sum(not store.check([other]) for other in others)
            wait.step(f"{missing} of {launch.world} processes did not come to {launch.address}:{launch.port}")
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        distributed.init_process_group(
            "nccl" if device.startswith("cuda") else "gloo",
            store=distributed.PrefixStore(name, store),
            rank=launch.rank,
            world_size=launch.world,
        )
    except RuntimeError as error:  # torch's own errors of the network are kinds of it
        raise UserError(
            f"{launch.address}:{launch.port} cannot be used to meet {launch.world} processes ({one_line(error, 160)})", ALONE
        ) from error


ALONE = "For a run of one process: unset WORLD_SIZE"


class _Wait:
    """Counts the seconds of a wait, says once that it waits, and ends it with what is missing."""

    def __init__(self, launch: Launch, seconds: float) -> None:
        self.launch, self.seconds = launch, seconds
        self.start, self.told = time.monotonic(), False

    def left(self) -> float:
        return max(1.0, self.seconds - (time.monotonic() - self.start))

    def step(self, missing: str) -> None:
        """Sleep a little, or raise UserError when the time is over."""
        waited = time.monotonic() - self.start
        if waited > self.seconds:
            raise UserError(f"WORLD_SIZE={self.launch.world}, and after {self.seconds:g} s {missing}", ALONE)
        if waited > 3 and not self.told:
            self.told = True
            print(
                f"armada: process {self.launch.rank} waits for {self.seconds:g} s at most: {missing}. {ALONE}",
                file=sys.stderr,
                flush=True,
            )
        time.sleep(0.1)


def _seconds_to_meet() -> float:
    text = os.environ.get("ARMADA_MEET_SECONDS", "")
    try:
        seconds = float(text) if text else SECONDS_TO_MEET
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e6:
        raise UserError(f"ARMADA_MEET_SECONDS={text} is no number of seconds", "Write one, as 600")
    return seconds


def _answers(launch: Launch) -> bool:
    try:
        socket.create_connection((launch.address, launch.port), timeout=1).close()
    except OSError:
        return False
    return True


def average_gradients(module: nn.Module) -> None:
    """The mean over processes of the gradients that a module's parameters hold; the same ones in each process."""
    if processes() == 1:
        return
    for parameter in module.parameters():
        if parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= processes()


def this_process() -> int:
    """The number of this process among those that train together, from 0."""
    return distributed.get_rank() if processes() > 1 else 0


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, [n, ...] -> [processes n, ...], in the same order in each.

    A loss over a whole batch that is no mean over its rows (a distance of centroids) is not the mean of what its parts give.
    It is computed on gathered rows, alike in every process. The loop averages the processes' gradients, each of which knows its
    own rows alone, so what flows back is multiplied by their number: the average is the gradient of the whole batch.

    Every process must call this with as many rows.
    """
    return rows if processes() == 1 else _Gather.apply(rows)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count, ctx.own = len(rows), distributed.get_rank()
        parts = [torch.empty_like(rows) for _ in range(processes())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        return gradient[ctx.own * ctx.count : (ctx.own + 1) * ctx.count] * processes()
