"""Whether a launcher started this process as one of several, as its variables say. Imports nothing heavy.

`accelerate launch`, torchrun, MPI and batch systems leave variables behind in a shell, and accelerate acts on each of them: a
``LOCAL_RANK`` alone makes it wait for processes that nobody started. Here several processes are a decision: ``WORLD_SIZE`` over
1, this process's ``RANK``, and the address at which they meet. Anything less is one process, and what a launcher left is taken
out of the environment while the command runs, so that no library acts on it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

OURS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What tells several processes of each other; kept where there are several."""

PREFIXES = (
    *("ACCELERATE_", "FSDP_", "MEGATRON_LM_", "PARALLELISM_CONFIG_", "DEEPSPEED_"),  # accelerate's own switches
    *("PMI_", "PMIX_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_", "MPI_LOCAL"),  # Intel MPI and MPICH, Open MPI, MVAPICH
    "FORK_LAUNCHED",
)
"""Variables that accelerate or transformers act on and no trial wants: device, precision and processes are the recipe's and
the command line's part."""

SWITCHES = ("DEEPSPEED", "FSDP", "MEGATRON_LM", "SAGEMAKER", "PARALLELISM_CONFIG")
"""``ACCELERATE_USE_...``: other ways to train, which a user who asked for one of them must hear are not taken."""


@dataclass(frozen=True)
class Launch:
    """One process among `world`, numbered from 0; `local` is its number on this machine.

    Attributes:
        address, port: where they meet; empty and 0 for a process that is alone.
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    address: str = ""
    port: int = 0

    @property
    def several(self) -> bool:
        return self.world > 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and prints for all."""
        return self.rank == 0


def read_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """What the variables decide: several processes where all that they need is there, else one."""
    rank, world, port = (_number(environment, name) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    address = environment.get("MASTER_ADDR", "").strip()
    if world is None or world < 2 or rank is None or rank >= world or not address or not port or port > 65535:
        return Launch()
    local = _number(environment, "LOCAL_RANK")
    return Launch(rank, world, rank if local is None else local, address, port)


def describe_ignored(environment: Mapping[str, str] = os.environ) -> Iterable[str]:
    """A line for each thing that a launcher asked for and this run does not do."""
    world = _number(environment, "WORLD_SIZE")
    if world is not None and world > 1 and not read_launch(environment).several:
        lacking = next((name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not environment.get(name, "").strip()), "")
        reason = f"{lacking} is not set" if lacking else "RANK or MASTER_PORT does not fit it"
        yield f"WORLD_SIZE={world} in the environment, but {reason}; this run has one process"
    for switch in SWITCHES:
        name = f"ACCELERATE_USE_{switch}"
        if environment.get(name, "").lower() in ("1", "true", "yes", "on", "y", "t"):
            yield f"{name} in the environment is ignored; trials do not use it"


@contextmanager
def settle_environment(**extra: str) -> Iterator[Launch]:
    """Inside, the environment holds no launcher's variables but those of several processes; behind it, it is as before.

    Args:
        extra: variables that are set inside.
    """
    launch = read_launch()
    gone = [name for name in os.environ if name.startswith(PREFIXES) or (name in OURS and not launch.several)]
    before = {name: os.environ.get(name) for name in (*gone, *extra)}
    for name in gone:
        del os.environ[name]
    os.environ.update(extra)
    try:
        yield launch
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _number(environment: Mapping[str, str], name: str) -> int | None:
    """A whole number that is not negative; None for anything else."""
    text = environment.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
