"""A document as Markdown or LaTeX, through the templates in `templates/`.

Whatever a template prints goes through the escaping of its format, so that a template cannot forget it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from armada_cli.escaping import escape_for_latex, escape_for_markdown
from armada_cli.reporting.document import Document
from armada_cli.reporting.tables import CORNER


def render_markdown(document: Document) -> str:
    """The report as Markdown; the best mean of a column is bold."""
    return _render("report.md", document, escape_for_markdown)


def render_latex(document: Document) -> str:
    """One booktabs table each (``\\usepackage{booktabs}``); the best mean of a column is bold."""
    # Braces are LaTeX's own.
    marks = {
        "variable_start_string": "<<",
        "variable_end_string": ">>",
        "comment_start_string": "<#",
        "comment_end_string": "#>",
    }
    return _render("report.tex", document, escape_for_latex, block_start_string="<%", block_end_string="%>", **marks)


def _render(template: str, document: Document, escape: Callable[[object], str], **marks: Any) -> str:
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
    return environment.get_template(f"{template}.j2").render(document=document, corner=CORNER).rstrip("\n") + "\n"
