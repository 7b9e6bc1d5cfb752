"""Trials side by side: worker processes that take one trial after the other.

On CPU each has one thread: two threads make a small student's trial only 1.3 times as fast, two trials on one thread each
make the run twice as fast, and one thread gives the same bits on every machine of a kind. Messages are JSON over pipes.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from armada_cli.console import guard_streams
from armada_cli.contracts import Environment
from armada_cli.contracts.component import as_plain

SECONDS_TO_STOP = 60.0
"""How long a worker may take to write its checkpoint after it was asked to stop."""


@dataclass
class Event:
    """What the pool tells the display: a trial started, moved, finished, failed, or its worker died."""

    kind: str
    trial: str
    worker: int
    stage: str = ""
    done: int = 0
    total: int = 0
    note: str = ""
    result: dict[str, Any] | None = None


@dataclass
class _Worker:
    number: int
    process: Any
    connection: Connection
    trial: str | None = None
    finished: bool = False


@dataclass
class Pool:
    """Runs specs in `workers` processes; a worker that dies fails its own trial and is replaced.

    Args:
        environment: handed to every worker.
        workers: how many at once.
        threads: CPU threads of each; None leaves torch's default (on a GPU).
    """

    environment: Environment
    workers: int
    threads: int | None = 1
    _running: list[_Worker] = field(default_factory=list)
    _count: int = 0

    def run(self, specs: Sequence[Mapping[str, Any]], done: Iterable[str], tell: Callable[[Event], None]) -> dict[str, str]:
        """Work through `specs`. A spec waits for those it depends on.

        Args:
            done: ids of trials that are finished already.
            tell: called with every event.

        Returns:
            id -> reason, of the trials that failed.
        """
        waiting = list(specs)
        finished, failed = set(done), dict[str, str]()
        try:
            while waiting or any(worker.trial for worker in self._running):
                for spec in [spec for spec in waiting if set(spec["depends"].values()) & set(failed)]:
                    waiting.remove(spec)
                    failed[spec["id"]] = "a trial it depends on failed"
                    tell(Event("failed", spec["id"], -1, note=failed[spec["id"]]))
                self._hand_out(waiting, finished, tell)
                for event in self._events():
                    if event.kind == "finished":
                        finished.add(event.trial)
                    elif event.kind == "failed":
                        failed[event.trial] = event.note
                    tell(event)
                stuck = waiting and not any(worker.trial for worker in self._running) and not self._ready(waiting, finished)
                if stuck and not any(set(spec["depends"].values()) & set(failed) for spec in waiting):
                    for spec in waiting:
                        failed.setdefault(spec["id"], "a trial it depends on is not part of this run")
                    break
        except BaseException:
            self.stop()
            raise
        self.stop()
        return failed

    def _ready(self, waiting: Sequence[Mapping[str, Any]], finished: set[str]) -> list[Mapping[str, Any]]:
        return [spec for spec in waiting if set(spec["depends"].values()) <= finished]

    def _hand_out(self, waiting: list[Mapping[str, Any]], finished: set[str], tell: Callable[[Event], None]) -> None:
        for spec in self._ready(waiting, finished):
            idle = next((worker for worker in self._running if worker.trial is None), None)
            if idle is None:
                if len(self._running) >= self.workers:
                    return
                idle = self._start()
            try:
                idle.connection.send_bytes(json.dumps(dict(spec)).encode())
            except OSError:  # it died while it had nothing to do; another one takes its place
                idle.process.join(5)
                self._running.remove(idle)
                return
            waiting.remove(spec)
            idle.trial = spec["id"]
            tell(Event("started", spec["id"], idle.number))

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        settings = {key: as_plain(value) for key, value in dataclasses.asdict(self.environment).items()}
        self._count += 1
        taken = {worker.number for worker in self._running}
        number = next(i for i in range(self.workers) if i not in taken)
        process = context.Process(target=serve, args=(theirs, settings, os.getpid()), daemon=True, name=f"armada-{number}")
        with worker_variables(self.threads), _without_interrupts():
            process.start()
        theirs.close()
        worker = _Worker(number, process, ours)
        self._running.append(worker)
        return worker

    def _events(self) -> list[Event]:
        """What has come in within a tenth of a second; a worker that died counts as its trial's failure."""
        events = []
        handles = {worker.connection: worker for worker in self._running}
        for connection in multiprocessing.connection.wait(list(handles), timeout=0.1):
            worker = handles[connection]  # type: ignore[index]
            try:
                message = json.loads(worker.connection.recv_bytes())
            except (EOFError, OSError):
                worker.process.join(5)
                self._running.remove(worker)
                if worker.trial is not None:
                    events.append(Event("failed", worker.trial, worker.number, note=_death(worker.process.exitcode)))
                continue
            event = Event(worker=worker.number, **message)
            if event.kind in ("finished", "failed"):
                worker.trial = None
            events.append(event)
        return events

    def stop(self) -> None:
        """Ask every worker to stop behind a checkpoint; kill those that do not."""
        for worker in self._running:
            if worker.process.is_alive():
                worker.process.terminate()
        deadline = time.monotonic() + SECONDS_TO_STOP
        for worker in self._running:
            # Its progress must be read while it writes its checkpoint, or it would block on a full pipe.
            while worker.process.is_alive() and time.monotonic() < deadline:
                try:
                    if worker.connection.poll(0.05):
                        worker.connection.recv_bytes()
                except (EOFError, OSError):
                    worker.process.join(0.05)
            if worker.process.is_alive():
                worker.process.kill()
            worker.process.join(5)
            worker.connection.close()
        self._running.clear()


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        advice = "; the machine may have run out of memory, try fewer --workers" if name == "SIGKILL" else ""
        return f"its worker was ended by {name}{advice}"
    return f"its worker ended with exit status {code}"


MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(4 << 30), "MALLOC_TRIM_THRESHOLD_": str(16 << 30), "MALLOC_TOP_PAD_": str(256 << 20)}
"""Has glibc keep the tensors' memory: giving it back after every step costs 13,000 page faults a step, a tenth of the time."""


@contextmanager
def worker_variables(threads: int | None) -> Iterator[None]:
    """Sets what a child reads when it starts: the thread count for torch, and glibc's allocator settings."""
    wanted = dict(MALLOC)
    if threads is not None:
        wanted |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    old = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Holds Ctrl-C back while a child is made. The child inherits that, and so never dies of it with a traceback while it
    is still importing; here what was pressed arrives at the end."""
    resource_tracker.ensure_running()  # its first start would let signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def environment_from(settings: Mapping[str, Any]) -> Environment:
    """An `Environment` that crossed a pipe."""
    data = settings["data"]
    return Environment(**{**settings, "runs": Path(settings["runs"]), "data": Path(data) if data else None})


def serve(connection: Connection, settings: Mapping[str, Any], parent: int) -> None:
    """A worker's life: receive a spec, run it, send what happens; until the pipe closes."""
    _die_with(parent)
    guard_streams()  # what the parent set for its own streams, a new process does not inherit
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides and sends SIGTERM
    asked = False

    def ask(*_: object) -> None:
        nonlocal asked
        asked = True

    signal.signal(signal.SIGTERM, ask)
    environment = environment_from(settings)
    from armada_cli.errors import Interrupted
    from armada_cli.execution.trial import failure_line, run_trial
    from armada_cli.runs import Runs

    while not asked:
        if not connection.poll(0.2):
            continue
        try:
            spec = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        trial, last = spec["id"], 0.0

        def progress(stage: str, done: int, total: int, note: str, trial: str = trial) -> None:
            nonlocal last
            if done == total or time.monotonic() - last > 0.25:
                last = time.monotonic()
                _send(connection, {"kind": "moved", "trial": trial, "stage": stage, "done": done, "total": total, "note": note})

        try:
            result = run_trial(spec, environment, progress, lambda: asked)
            _send(connection, {"kind": "finished", "trial": trial, "result": result})
        except Interrupted:
            return
        except (Exception, SystemExit) as error:
            _send(
                connection, {"kind": "failed", "trial": trial, "note": failure_line(error, Runs(environment.runs).trial(trial))}
            )


def _send(connection: Connection, message: Mapping[str, Any]) -> None:
    try:
        connection.send_bytes(json.dumps(message).encode())
    except (BrokenPipeError, OSError):
        os._exit(1)  # the parent is gone; whatever was written is complete


def _die_with(parent: int) -> None:
    """Have the kernel end this process when its parent dies (Linux); elsewhere the closed pipe does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
