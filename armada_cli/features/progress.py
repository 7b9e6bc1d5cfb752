"""A bar with rate and remaining time where standard error is a terminal, a plain line every few seconds where it is not."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

from armada_cli.console import make_text_column, show_bars
from armada_cli.escaping import escape_line
from armada_cli.launch import read_launch

LINE_SECONDS = 5.0


class Progress:
    """Counts what is done. This one shows nothing."""

    def advance(self, amount: int, computed: int) -> None:
        """`amount` inputs are done, of which this process `computed` some itself (only those tell the rate)."""


class Lines(Progress):
    """Progress for a log file: a line when `LINE_SECONDS` have passed, none for what is done sooner."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total = title, total
        self.done = self.computed = 0
        self.start = self.last = time.monotonic()

    def advance(self, amount: int, computed: int) -> None:
        self.done += amount
        self.computed += computed
        now = time.monotonic()
        if now - self.last >= LINE_SECONDS:
            self.last = now
            rate = self.computed / (now - self.start)
            rest = f", {duration((self.total - self.done) / rate)} left" if rate else ""
            print(f"{self.title} {self.done}/{self.total}, {rate:.1f}/s{rest}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def show_progress(title: str, total: int, *, enabled: bool = True) -> Iterator[Progress]:
    """Progress on standard error, shown by the first process alone when several share the work."""
    title = escape_line(title)
    if not enabled or not read_launch().leads:
        yield Progress()
    elif not sys.stderr.isatty():
        yield Lines(title, total)
    else:
        with _bar(title, total) as bar:
            yield bar


@contextlib.contextmanager
def _bar(title: str, total: int) -> Iterator[Progress]:
    from rich import progress as rich_progress

    columns = (
        make_text_column("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        make_text_column("{task.fields[rate]}"),
        make_text_column("{task.fields[rest]}"),
    )
    with show_bars(*columns) as display:
        task = display.add_task(title, total=total, rate="", rest="")

        class Bar(Progress):
            done = computed = 0
            start = time.monotonic()

            def advance(self, amount: int, computed: int) -> None:
                self.done += amount
                self.computed += computed
                rate = self.computed / max(time.monotonic() - self.start, 1e-9)
                rest = f"{duration((total - self.done) / rate)} left" if rate else ""
                display.update(task, completed=self.done, rate=f"{rate:.1f}/s", rest=rest)

        yield Bar()


def duration(seconds: float) -> str:
    """``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
