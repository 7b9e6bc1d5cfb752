"""The progress of a run: on a terminal a bar for the whole and a line for each worker, elsewhere plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from armada_cli.console import make_text_column, show_bars
from armada_cli.escaping import escape_line
from armada_cli.execution.pool import Event
from armada_cli.features.progress import duration

if TYPE_CHECKING:
    from rich.progress import Progress


class Display:
    """Plain lines on standard error: every trial that ends, with its score and the time that is left. A warning that many
    trials give is shown once; the report counts them."""

    def __init__(self, titles: Mapping[str, str], done: int) -> None:
        self.titles = {trial: escape_line(title) for trial, title in titles.items()}
        self.total, self.done = len(titles), done
        self.before = done
        self.start = time.monotonic()
        self.part: dict[str, float] = {}
        self.warned: set[str] = set()

    def tell(self, event: Event) -> None:
        """Take note of an event and show it."""
        if event.kind == "moved" and event.stage == "training":
            self.part[event.trial] = event.done / max(event.total, 1)
        if event.kind in ("finished", "failed"):
            self.part.pop(event.trial, None)
            self.done += 1
            self.line(self.ending(event))
        self.update(event)

    def ending(self, event: Event) -> str:
        title = self.titles.get(event.trial, event.trial)
        if event.kind == "failed":
            return f"{title}: failed: {escape_line(event.note)}"
        result: dict[str, Any] = event.result or {}
        metric = result.get("metric", "score")
        score = result.get("scores", {}).get(metric)
        lines = [f"{title}: {metric} {score:.1f}" if score is not None else f"{title}: done"]
        new = [warning for warning in result.get("warnings", []) if warning not in self.warned]
        self.warned.update(new)
        lines += [f"  warning: {escape_line(warning)}" for warning in new]
        return "\n".join(lines)

    def remaining(self) -> str:
        """Time left, by what has been done since the start; parts of running trials count."""
        progress = self.done - self.before + sum(self.part.values())
        if progress < 0.05:
            return ""
        seconds = (time.monotonic() - self.start) / progress * (self.total - self.before - progress)
        return f"about {duration(seconds)} left" if seconds > 0 else ""

    def line(self, text: str) -> None:
        left = self.remaining()
        print(f"[{self.done}/{self.total}] {text}" + (f" ({left})" if left else ""), file=sys.stderr, flush=True)

    def update(self, event: Event) -> None:
        """Nothing moves in plain lines."""


class LiveDisplay(Display):
    """The same with moving bars, through rich."""

    def __init__(self, titles: Mapping[str, str], done: int, progress: Progress) -> None:
        super().__init__(titles, done)
        self.progress = progress
        self.whole = self.progress.add_task("trials", total=self.total, completed=done, note="")
        self.bars: dict[int, Any] = {}

    def line(self, text: str) -> None:
        self.progress.console.print(text)

    def update(self, event: Event) -> None:
        self.progress.update(self.whole, completed=self.done + sum(self.part.values()), note=self.remaining())
        if event.worker < 0:
            return
        if event.worker not in self.bars:
            self.bars[event.worker] = self.progress.add_task("", total=None, note="")
        bar = self.bars[event.worker]
        title = self.titles.get(event.trial, event.trial)
        if event.kind == "started":
            self.progress.reset(bar, total=None, description=title, note="loading")
        elif event.kind == "moved":
            total = event.total if event.stage in ("training", "evaluation") else None
            note = escape_line(f"{event.stage} {event.note}")
            self.progress.update(bar, description=title, total=total, completed=event.done, note=note)
        else:
            self.progress.update(bar, description="", note="", completed=0, total=None)


@contextmanager
def show(titles: Mapping[str, str], done: int) -> Iterator[Display]:
    """The display that fits standard error."""
    if not sys.stderr.isatty():
        yield Display(titles, done)
        return
    from rich.progress import BarColumn, MofNCompleteColumn

    columns = (
        make_text_column("{task.description}", justify="left"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        make_text_column("{task.fields[note]}", style="dim"),
    )
    with show_bars(*columns, transient=True) as progress:
        yield LiveDisplay(titles, done, progress)
