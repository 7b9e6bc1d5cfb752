"""Independent random streams. Arms of one seed differ only in what they are meant to differ in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream(seed: int, name: str) -> int:
    """The seed of the stream `name` of a trial: a hash, so that neighbouring seeds and names share nothing."""
    return int.from_bytes(hashlib.sha256(f"armada {seed} {name}".encode()).digest()[:8], "big") >> 1


@contextmanager
def drawn_from(seed: int, name: str) -> Iterator[None]:
    """Inside, torch's global generator runs on the stream `name`; outside it is as before."""
    state = torch.get_rng_state()
    torch.manual_seed(stream(seed, name))
    try:
        yield
    finally:
        torch.set_rng_state(state)


def reseed(seed: int, name: str) -> None:
    """Put torch's generators (of all devices) on the stream `name`.

    The loop calls this at every step, so dropout depends on the step alone and a checkpoint needs no generator state.
    """
    torch.manual_seed(stream(seed, name))
