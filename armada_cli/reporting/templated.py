"""A document as Markdown, LaTeX or a page of HTML, through the templates in `templates/`.

Whatever a template prints goes through the escaping of its format, so that a template cannot forget it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from armada_cli.escaping import escape_for_latex, escape_for_markdown
from armada_cli.reporting.curves import make_charts
from armada_cli.reporting.document import Document
from armada_cli.reporting.forest import make_forests
from armada_cli.reporting.tables import CORNER


def render_markdown(document: Document) -> str:
    """The report as Markdown; the best mean of a column is bold."""
    return _render("report.md", document, escape_for_markdown)


def render_latex(document: Document) -> str:
    """One booktabs table each (``\\usepackage{booktabs}``); the best mean of a column is bold."""
    # Braces are LaTeX's own.
    marks: dict[str, Any] = {
        "variable_start_string": "<<",
        "variable_end_string": ">>",
        "comment_start_string": "<#",
        "comment_end_string": "#>",
    }
    return _render("report.tex", document, escape_for_latex, block_start_string="<%", block_end_string="%>", **marks)


def render_page(document: Document) -> str:
    """The report as one page of HTML that loads nothing: verdicts first, then intervals, curves, and all tables folded away."""
    verdicts = document.verdicts
    more = {
        "forests": [forest for group in document.groups if verdicts for forest in make_forests(group, verdicts)],
        "charts": [chart for group in document.groups for chart in make_charts(group)],
    }
    return _render("report.html", document, lambda value: value, more=more, autoescape=True)


def _render(
    template: str,
    document: Document,
    escape: Callable[[Any], Any],
    *,
    more: Mapping[str, Any] | None = None,
    **marks: Any,
) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("armada_cli.reporting"),
        finalize=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **marks,
    )
    return (
        environment.get_template(f"{template}.j2").render(document=document, corner=CORNER, **(more or {})).rstrip("\n") + "\n"
    )
