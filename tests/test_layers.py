"""No module imports anything that lies above it."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "armada_cli"

LAYERS = [
    {
        *("contracts", "registry", "models", "errors", "credentials", "files", "reading", "settings", "content"),
        *("direction", "digests", "devices", "encoding", "escaping", "console", "launch", "targets", "run_names"),
        *("run_record", "held_out", "predictions", "training_log", "__init__"),
    },
    {"losses"},
    {"training", "features", "evaluation", "corpora"},
    {"methods"},
    {"builtins", "scaffold", "ensemble", "plan", "recipe", "runs", "execution", "reporting", "conformance"},
    {"commands", "main", "entry", "__main__"},
]
"""From the bottom up, by the first name below `armada_cli`."""

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))
PUBLIC = {
    "armada_cli",
    "armada_cli.corpora",
    "armada_cli.models",
    "armada_cli.models.architectures",
    "armada_cli.credentials",
    "armada_cli.corpora.json_files",
    "armada_cli.corpora.prompts",
    "armada_cli.corpora.rows",
    "armada_cli.corpora.tasks",
    "armada_cli.devices",
    "armada_cli.files",
    "armada_cli.held_out",
    "armada_cli.models.hub",
    "armada_cli.models.packaged",
    "armada_cli.models.pictures",
    "armada_cli.models.pretrained",
    "armada_cli.reading",
    "armada_cli.models.special_tokens",
    "armada_cli.targets",
    "armada_cli.models.tiny",
    "armada_cli.models.vocabulary",
    "armada_cli.models.weights",
    "armada_cli.evaluation",
    "armada_cli.evaluation.metrics",
    "armada_cli.training.objective",
}
"""What a plugin may import: `armada_cli` itself and its public modules."""


def imports(path: Path) -> set[str]:
    """Absolute names of the modules a file imports anywhere, inside functions and for type checking too."""
    found: set[str] = set()
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def part(module: str) -> str | None:
    """``armada_cli.training.loop`` -> ``training``; None for what is not of the package (or a name in its __init__)."""
    names = module.split(".")
    return names[1] if names[0] == "armada_cli" and len(names) > 1 and names[1] in LEVEL else None


def test_every_module_has_its_layer() -> None:
    found = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert found <= LEVEL.keys(), "name the layer of a new part in LAYERS"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_nothing_above_it(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    above = {module for module in imports(path) if (name := part(module)) and LEVEL[name] > LEVEL[own]}
    assert above == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "reporting").rglob("*.py")), ids=lambda path: path.name)
def test_reporting_reads_run_folders_and_never_training_code(path: Path) -> None:
    assert {name for module in imports(path) if (name := part(module))} <= {
        "reporting",
        "errors",
        "files",
        "reading",
        "digests",
        "direction",
        "run_names",
        "escaping",
        "console",
        "run_record",
        "predictions",
        "training_log",
    }


PLUGINS = sorted(path for path in (ROOT / "plugins").rglob("*.py"))


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: str(path.relative_to(ROOT / "plugins")))
def test_a_plugin_imports_only_public_names_and_no_other_plugin(path: Path) -> None:
    own = path.relative_to(ROOT / "plugins").parts[1]
    import armada_cli

    allowed = PUBLIC | {f"armada_cli.{name}" for name in armada_cli.__all__}
    for module in imports(path):
        top = module.split(".")[0]
        if top == "armada_cli":
            assert module in allowed or module.rpartition(".")[0] in PUBLIC - {"armada_cli"}, module
        elif top.startswith("armada_"):
            assert top == own, module


def name_of(path: Path) -> str:
    return ".".join(("armada_cli", *path.relative_to(PACKAGE).with_suffix("").parts))


def imported_modules(path: Path) -> set[str]:
    """The package's own modules that a file imports anywhere but for type checking, itself left out."""
    names = {name_of(item) for item in MODULES}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    seen: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                possible = (f"{node.module}.{alias.name}", node.module, f"{node.module}.__init__")
                seen |= {next((name for name in possible if name in names), "")}
    return seen - {name_of(path), ""}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        ".".join(("armada_cli", *path.relative_to(PACKAGE).with_suffix("").parts)): imported_modules(path) for path in MODULES
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_no_constructor_takes_more_than_seven_arguments() -> None:
    """Records (dataclasses) name what they are given; a class that does something is given a few things."""
    long = []
    for path in [*MODULES, *PLUGINS]:
        for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                count = len(item.args.posonlyargs) + len(item.args.args) + len(item.args.kwonlyargs) - 1
                long += [f"{path.relative_to(ROOT)}:{item.lineno} takes {count}"] * (count > 7)
    assert long == []
