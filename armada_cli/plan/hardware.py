"""What a plan must know of the machine: where trials run, and in which precision they are fastest."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

from armada_cli.contracts import Environment


def device_kind(environment: Environment) -> str:
    """``cuda``, ``mps`` or ``cpu``: where trials run. Looks at the machine, not at torch."""
    if environment.device != "auto":
        return environment.device.split(":")[0]
    return "cuda" if Path("/dev/nvidiactl").exists() else "cpu"


@functools.cache
def multiplies_bf16(environment: Environment) -> bool:
    """Whether bf16 products are faster than float32 here. A processor without bf16 instructions emulates them, hundreds of
    times slower; the flags tell."""
    kind = device_kind(environment)
    if kind != "cpu":
        return kind == "cuda"
    if platform.machine() in ("x86_64", "AMD64"):
        try:
            flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        return "avx512_bf16" in flags or "amx_bf16" in flags
    return False
