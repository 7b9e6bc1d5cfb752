"""Writes docs/reference/*.md, a page for each contract, from the docstrings of the code: `python docs/reference.py`.

The code is read and not imported, so a page shows signatures and defaults as they are written there.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
WIDTH = 110
"""Signatures that are longer are written with one argument a line."""

SOURCES = (
    *(f"contracts/{name}" for name in ("component", "choice", "teacher", "task", "tokens", "student", "loss", "method")),
    *("content", "errors", "registry/choosing", "registry/hookspecs"),
)


@dataclass(frozen=True)
class Page:
    """What a page is made of: its opening words (Markdown), its example, and the names that it explains in their order."""

    title: str
    words: str
    names: tuple[str, ...]
    hook: str = ""


CARD = "Cards and options are explained in [component.md](component.md)."

PAGES = {
    "component": Page(
        "Component, options, errors",
        "What all plugins have in common: a card for each component, options that a recipe is checked against, and the errors "
        "that become one line. A plugin is a package with an entry point in the group `armada`, which names a module with "
        "a hook.",
        (
            "Component",
            "option",
            "Choice",
            "choose",
            "NoOptions",
            "Environment",
            "content_fingerprint",
            "UserError",
            "MissingPackage",
            "TrialFailed",
            "CONTRACT_VERSION",
            "KINDS",
        ),
    ),
    "teacher": Page("Teacher", CARD, ("Teacher", "TeacherInput", "Unanswered"), "armada_teachers"),
    "student": Page("Student", CARD, ("Student", "Problem", "StudentOutput", "TokenOutput", "Decoding"), "armada_students"),
    "task": Page("Task", CARD, ("Task", "Split", "limited_rows", "Decoding", "TASK_KINDS"), "armada_tasks"),
    "loss": Page("Loss", CARD, ("Loss",), "armada_losses"),
    "method": Page(
        "Method",
        CARD,
        (
            *("Method", "Needs", "Planned", "Model", "Term", "Batch", "Setup", "StudentOutput", "Problem"),
            *("TokenOutput", "TopTokens", "TokenTargets", "Decoding"),
        ),
        "armada_methods",
    ),
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """File name -> its text."""
    known = definitions()
    return {f"{name}.md": _page(name, page, known) for name, page in PAGES.items()}


def _page(name: str, page: Page, known: dict[str, Definition]) -> str:
    lines = [
        f"# {page.title}",
        "",
        "<!-- Written by docs/reference.py from the docstrings; change those, and run it. -->",
        "",
        " · ".join(item if item == name else f"[{item}]({item}.md)" for item in PAGES),
        "",
    ]
    if page.hook:
        hook = known[page.hook]
        words = f"{_one_line(hook.doc)} The hook is `{page.hook}()`, which returns a list of cards. {page.words}"
        lines += [*_wrap(words), ""]
    else:
        lines += [*_wrap(page.words), ""]
        lines += ["| hook | what its cards are |", "| --- | --- |"]
        lines += [f"| `{item}()` | {_one_line(known[item].doc).rstrip('.')} |" for item in known if item.startswith("armada_")]
        lines += [""]
    example = f"example_{name}"
    lines += [
        "## An example",
        "",
        f"The whole of a plugin, [examples/{example}.py](examples/{example}.py), with the entry point",
        "",
    ]
    lines += ["```toml", "[project.entry-points.armada]", f'{example.replace("_", "-")} = "{example}"', "```", ""]
    lines += ["```python", (FOLDER / "examples" / f"{example}.py").read_text(encoding="utf-8").rstrip("\n"), "```", ""]
    for item in page.names:
        lines += known[item].lines()
    return "\n".join(lines).rstrip("\n") + "\n"


# ------------------------------------------------------------------------------------------------------------- the code


@dataclass
class Definition:
    """A class, function or constant of the code, with its docstring."""

    name: str
    node: ast.stmt
    doc: str

    def lines(self) -> list[str]:
        """Its part of a page."""
        if isinstance(self.node, ast.ClassDef):
            return self._class_lines(self.node)
        code = _signature(self.node) if isinstance(self.node, ast.FunctionDef) else _code(self.node)
        return [f"## `{self.name}`", "", "```python", code, "```", "", *_document(self.doc)]

    def _class_lines(self, node: ast.ClassDef) -> list[str]:
        bases = [ast.unparse(base) for base in node.bases if ast.unparse(base) != "ABC"]
        head = f"class {self.name}({', '.join(bases)}):" if bases else f"class {self.name}:"
        decorators = [f"@{ast.unparse(item)}" for item in node.decorator_list]
        fields, members = [], []
        for statement, doc in _documented(node.body):
            if isinstance(statement, ast.AnnAssign) and not doc:
                fields.append(f"    {_code(statement)}")
            elif isinstance(statement, ast.AnnAssign):
                members.append((ast.unparse(statement.target), "", _code(statement), doc))
            elif isinstance(statement, ast.FunctionDef) and (statement.name == "__call__" or statement.name[0] != "_"):
                must = "abstractmethod" in {ast.unparse(item) for item in statement.decorator_list}
                members.append((statement.name, "required" if must else "", _signature(statement), doc))
            elif isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
                fields += textwrap.indent(_signature(statement), "    ").splitlines()
        lines = [
            f"## `{self.name}`",
            "",
            "```python",
            *decorators,
            *([head, *fields] if fields else [f"{head} ..."]),
            "```",
            "",
        ]
        lines += _document(self.doc)
        for name, note, code, doc in sorted(members, key=lambda member: not member[1]):
            lines += [f"### `{name}`" + (f" ({note})" if note else ""), "", "```python", code, "```", "", *_document(doc)]
        return lines


def definitions() -> dict[str, Definition]:
    """Everything at the top of the modules that the pages are about."""
    found = {}
    for source in SOURCES:
        tree = ast.parse((ROOT / "armada_cli" / f"{source}.py").read_text(encoding="utf-8"))
        for node, doc in _documented(tree.body):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                found[node.name] = Definition(node.name, node, doc)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found[node.targets[0].id] = Definition(node.targets[0].id, node, doc)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = Definition(node.target.id, node, doc)
    return found


def _documented(body: list[ast.stmt]) -> list[tuple[ast.stmt, str]]:
    """Statements with their docstrings; that of an assignment is the string behind it."""
    found = []
    for node, behind in zip(body, [*body[1:], None], strict=True):
        doc = ""
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            doc = ast.get_docstring(node) or ""
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(behind, ast.Expr):
            value = behind.value
            doc = inspect.cleandoc(value.value) if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""
        found.append((node, doc))
    return found


def _signature(node: ast.FunctionDef) -> str:
    """Decorators and head of a function, as the code has them; a long head with one argument a line."""
    decorators = "".join(f"@{ast.unparse(item)}\n" for item in node.decorator_list)
    answer = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    arguments = _arguments(node.args)
    head = f"def {node.name}({', '.join(arguments)}){answer}:"
    if len(head) > WIDTH:
        lines = "".join(f"    {item},\n" for item in arguments)
        head = f"def {node.name}(\n{lines}){answer}:"
    return f"{decorators}{head} ..."


def _arguments(arguments: ast.arguments) -> list[str]:
    """The arguments of a function, each as it is written."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*([None] * (len(positional) - len(arguments.defaults))), *arguments.defaults]
    found = [_argument(item, default) for item, default in zip(positional, defaults, strict=True)]
    if arguments.vararg:
        found.append(f"*{ast.unparse(arguments.vararg)}")
    elif arguments.kwonlyargs:
        found.append("*")
    found += [_argument(item, default) for item, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return [*found, *([f"**{ast.unparse(arguments.kwarg)}"] if arguments.kwarg else [])]


def _argument(item: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(item) + (f" = {_code(default)}" if default else "")


def _code(node: ast.AST) -> str:
    """Source text, with the quotation marks that the formatter would choose."""
    return re.sub(r"'([^'\"]*)'", r'"\1"', ast.unparse(node))


# ----------------------------------------------------------------------------------------------------- docstring -> page

_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Options class):$")
_NAMES = re.compile(r"^([A-Za-z_]\w*(?:, [A-Za-z_]\w*)*): ")


def _document(doc: str) -> list[str]:
    """A docstring as Markdown: sections become lists, two backticks one."""
    lines: list[str] = []
    entries: list[str] | None = None
    paragraph: list[str] = []

    def flush() -> None:
        if paragraph:
            lines.extend([*_wrap(_marked(" ".join(paragraph))), ""])
            paragraph.clear()

    def flush_entries() -> None:
        if entries:
            lines.extend([piece for entry in entries for piece in _wrap(_entry(entry), "  ")] + [""])

    for line in doc.splitlines():
        section = _SECTION.match(line)
        if section:
            flush()
            flush_entries()
            lines += [f"**{section[1]}**", ""]
            entries = []
        elif entries is not None and line.startswith("    "):
            text = line[4:]
            if text.startswith(" ") and entries:
                entries[-1] += " " + text.strip()
            else:
                entries.append(text)
        elif not line.strip():
            flush()
        else:
            if entries:
                flush_entries()
            entries = None
            paragraph.append(line.strip())
    flush()
    flush_entries()
    return lines


def _entry(text: str) -> str:
    names = _NAMES.match(text)
    if not names:
        return f"- {_marked(text)}"
    words = ", ".join(f"`{name}`" for name in names[1].split(", "))
    return f"- {words}: {_marked(text[names.end() :])}"


def _marked(text: str) -> str:
    return text.replace("``", "`")


def _one_line(text: str) -> str:
    return _marked(" ".join(text.split()))


def _wrap(text: str, hang: str = "") -> list[str]:
    return textwrap.wrap(text, 128, subsequent_indent=hang, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.exit(main())
