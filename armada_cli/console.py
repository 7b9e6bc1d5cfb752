"""The way to a terminal or a log: standard streams that show control characters as text, and rich without markup.

`print`, `click.echo`, warnings, tracebacks and log handlers write to the guarded streams, so that who calls them need not think
of it. Only rich writes past them, since its colours and bars are control characters; `make_console` escapes each piece of text.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from armada_cli.encoding import never_fail_to_encode
from armada_cli.escaping import dump_json, escape_for_terminal, escape_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TextColumn


class GuardedStream:
    """A text stream that escapes what is written to it.

    It has no ``buffer``: bytes would get past it, and click, which distrusts ASCII, would write UTF-8 to it.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @property
    def rich_proxied_file(self) -> Any:
        """rich asks for this name, and writes its colours there."""
        return self._stream

    def write(self, text: str | bytes) -> int:
        """Bytes are for click's completion scripts, which must keep their line ends on Windows."""
        if isinstance(text, bytes) and text:  # click asks with no bytes whether this is a binary stream
            return self._write_bytes(text)
        if isinstance(text, str):
            drawn = _drawn_by_tqdm(text)
            text = text[:drawn] + escape_for_terminal(text[drawn:])
        self._stream.write(text)
        return len(text)

    def _write_bytes(self, content: bytes) -> int:
        text = escape_for_terminal(content.decode("utf-8", "surrogateescape"))
        self._stream.flush()
        if hasattr(self._stream, "buffer"):
            self._stream.buffer.write(text.encode("utf-8"))
        else:
            self._stream.write(text)
        return len(content)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name in ("buffer", "detach", "_stream"):
            raise AttributeError(name)
        return getattr(self._stream, name)


def _drawn_by_tqdm(text: str) -> int:
    """How much of the beginning are the movements of a library's bar (`tqdm`): back to the line's begin, or up."""
    if text[:1] not in ("\r", "\x1b"):
        return 0
    writer = sys._getframe(2).f_globals.get("__name__", "")
    if writer.partition(".")[0] != "tqdm":
        return 0
    return len(text) if not text.replace("\x1b[A", "") else int(text[0] == "\r")


def guard_streams() -> None:
    """Guard standard output and standard error for the rest of this process, whatever encoding they have."""
    never_fail_to_encode()
    sys.stdout, sys.stderr = _guarded(sys.stdout), _guarded(sys.stderr)


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """The same, within this context alone."""
    with contextlib.redirect_stdout(_guarded(sys.stdout)), contextlib.redirect_stderr(_guarded(sys.stderr)):
        yield


def _guarded(stream: Any) -> Any:
    """None where there is no stream (`pythonw`)."""
    return stream if stream is None or isinstance(stream, GuardedStream) else GuardedStream(stream)


def make_console(stream: Any = None, *, width: int | None = None, soft_wrap: bool = False) -> Console:
    """The one maker of rich consoles: what it is given is text, never markup, and holds no control characters.

    Args:
        stream: where it writes; standard output if not given. It stays this stream while rich redirects the standard ones.
        width: columns; the terminal's if not given.
    """
    stream = sys.stdout if stream is None else stream
    while (inner := getattr(stream, "rich_proxied_file", None)) is not None:
        stream = inner
    return _console_class()(file=stream, width=width, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)


@functools.cache
def _console_class() -> type[Console]:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class GuardedConsole(Console):
        """Escapes every piece of text that is not rich's own control code."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(escape_for_terminal(segment.text), segment.style)

    return GuardedConsole


def make_text_column(template: str, **settings: Any) -> TextColumn:
    """A column of a progress bar: `template` is ours (``{task.description}``), what it is filled with is not markup."""
    from rich.progress import TextColumn

    return TextColumn(template, markup=False, **settings)


@contextlib.contextmanager
def show_bars(*columns: Any, transient: bool = False) -> Iterator[Progress]:
    """Moving bars on standard error, as long as the context lasts; what is printed meanwhile stands above them."""
    from rich.progress import Progress

    # rich shows what is printed meanwhile with the colours and links that it holds: it is guarded before rich gets it
    with Progress(*columns, console=make_console(sys.stderr), transient=transient) as progress, guarded_streams():
        yield progress


def shorten_count(value: int) -> str:
    """A number with three digits, as a paper writes one of parameters."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return str(value)


def print_line(text: str, *, error: bool = False) -> None:
    """One line on standard output or standard error, whatever line ends the names and messages in it hold."""
    print(escape_line(text), file=sys.stderr if error else sys.stdout, flush=True)


def output_json(value: Any, indent: int | None = None) -> str:
    """JSON for standard output, in its encoding: what that lacks is a ``\\u`` escape."""
    return dump_json(value, indent=indent, encoding=getattr(sys.stdout, "encoding", None))


def print_json(value: Any, indent: int = 2) -> None:
    """Print `output_json`."""
    print(output_json(value, indent))
