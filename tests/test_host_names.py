"""The host knows no option, term, module or answer of a method by its name: what works for armada works for a plugin's method.

The names are gathered from the built-in methods, and looked for in the strings, attributes and keyword arguments of the host.
Docstrings and comments are for people, and may speak of what they like.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import armada_cli
from armada_cli.contracts import Component, NoOptions
from armada_cli.methods import CARDS

PACKAGE = Path(armada_cli.__file__).parent
MADE_OF = {"methods", "losses", "training", "features", "evaluation", "models", "corpora", "builtins.py", "ensemble.py"}
"""What is no host: components, and what they are made of."""

LOOP = [PACKAGE / "training" / name for name in ("loop.py", "evaluation.py", "scales.py", "checkpoint.py", "pull.py")]
"""The parts of the training that every method goes through."""

HOST = [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] not in MADE_OF] + LOOP

TOLD = {
    "reporting/published.py": "captions and rows of published tables",
    "reporting/earlier.py": "names in the files of earlier versions, translated into today's",
}
"""Files that may know names of methods, with the reason."""

OWN_WORDS = {
    "task": "a kind of component; also the one term that every method marks",
    "teacher": "a kind of component",
    "output": "what a student gives, and where a command writes",
    "hidden": "the width of a student: `Setup.hidden`, and what an estimate asks its `size()`",
    "noise": "a control of the host's own (`MethodFeatures`)",
    "manifold": "what a loss provides, a word of the contract (`Component.provides`)",
    "reduction": "how features were reduced, of `Prepared`",
    "normalize": "of Python's unicodedata",
    "labels": "of a task, a split and a batch",
    "layers": "of a student",
    "order": "of rows, of columns, of names",
    "distance": "what a manifold loss is",
    "heads": "of attention (`StudentOutput.attentions`), of a table, and the modules trained with a student",
    "map": "a kind of YAML node",
    "attention": "of a student",
    "width": "of vectors (`Setup.feature_width`), and of a terminal",
    "form": "of a text",
    "loss": "a kind of component; what a step gives",
    "texts": "what a student reads: `Split.texts`",
    "sample": "rows of a task (`Task.sample`), and how an answer is made (`Decoding`)",
    "max_new_tokens": "of `Decoding`",
    "top_k": "of `Decoding`",
    "temperature": "of a distribution that is drawn from or kept (`Decoding`, `TopTokens`)",
}
"""Names of methods' options, terms or modules that the host has a meaning of its own for."""

EVERYDAY = {*OWN_WORDS, "pooling", "projection"}
"""Words that may stand in a sentence of the host."""


def names_of_methods() -> set[str]:
    """Options from the cards; terms, modules and roles from the source of the methods and of the heads they share."""
    names = {item.name for card in CARDS for item in dataclasses.fields(card.options)}
    for path in [*sorted((PACKAGE / "methods").glob("*.py")), PACKAGE / "training" / "aligner.py"]:
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Term":
                    names |= set(strings(node.args[0]))
                parts = {"own_modules", "student_modules", "own_outputs", "trained_with_student"}
                if isinstance(node, ast.Dict) and function.name in parts:
                    names |= {name for key in node.keys if key is not None for name in strings(key)}
    return names


def strings(node: ast.AST) -> Iterator[str]:
    """The string constants below a node."""
    for item in ast.walk(node):
        if isinstance(item, ast.Constant) and isinstance(item.value, str):
            yield item.value


def words(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of each string, attribute and keyword argument."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.value.lineno, node.arg


NAMES = names_of_methods()


def known(text: str) -> list[str]:
    """What is said of methods in Python source, as ``line: name``."""
    found = []
    for line, word in words(ast.parse(text)):
        if word in NAMES:
            found += [f"{line}: {word}"] * (word not in OWN_WORDS)
        else:
            found += [f"{line}: {part} in {word[:60]!r}" for part in re.findall(r"\w+", word) if part in NAMES - EVERYDAY]
    return found


def test_the_names_are_those_of_every_kind() -> None:
    assert {"beta", "aligner_lr", "soft labels", "auxiliary task", "P_s", "O_aux_s", "aligner auxiliary"} <= NAMES
    assert OWN_WORDS.keys() <= NAMES, "an exception that nothing needs"


@pytest.mark.parametrize(
    "source",
    [
        'rate = train["aligner_lr"]',
        "rate = options.beta",
        'weight = getattr(options, "gamma", 1.0)',
        "Train(aligner_epochs=1)",
        'hint = "Try a lower lr or beta"',
        'scores = own_outputs["aligner auxiliary"]',
    ],
)
def test_a_name_is_noticed_wherever_it_stands(source: str) -> None:
    assert known(source)


@pytest.mark.parametrize("path", HOST, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_host_knows_no_option_term_or_module_of_a_method(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    found = known(path.read_text(encoding="utf-8"))
    if name in TOLD:
        assert found, "an exception that nothing needs"
    else:
        assert found == []


def test_methods_are_listed_without_importing_anything_heavy() -> None:
    script = (
        "import sys, armada_cli.methods; print(sorted({'torch', 'numpy', 'transformers', 'accelerate'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_card_options_and_class_of_a_method_lie_in_one_file(card: Component) -> None:
    module = card.target.partition(":")[0]
    assert card.options is NoOptions or card.options.__module__ == module
    assert any(value is card for value in vars(sys.modules[module]).values())
