"""Templates -> files -> a folder that appears at once or not at all.

The templates lie in ``templates/KIND`` (and, for all kinds, ``templates/common``) in the tree they become. Each name ends in
``.txt``, so that no tool takes a template for code; ``package`` and ``name`` in a path, and ``$word`` in a text, stand for the
forms of the plugin's name.
"""

from __future__ import annotations

import os
import string
import tempfile
from collections.abc import Mapping
from pathlib import Path

import armada_cli
from armada_cli.contracts import CONTRACT_VERSION
from armada_cli.errors import UserError
from armada_cli.files import remove
from armada_cli.scaffold.names import Names

TEMPLATES = Path(__file__).parent / "templates"

DEPENDENCIES = {
    "teacher": ("numpy",),
    "student": ("torch", "transformers"),
    "task": (),
    "loss": ("torch",),
    "method": ("torch",),
}
"""Kind -> what the code as written imports beside armada."""


def render(names: Names) -> dict[str, str]:
    """The project's files: path within its folder -> text."""
    needs = (f"armada-cli>={armada_cli.__version__}", *DEPENDENCIES[names.kind])
    words = {
        "kind": names.kind,
        "name": names.name,
        "module": names.module,
        "distribution": names.distribution,
        "package": names.package,
        "Class": names.cls,
        "Options": names.options,
        "contract": str(CONTRACT_VERSION),
        "dependencies": ", ".join(f'"{item}"' for item in needs),
    }
    files = {}
    for folder in (TEMPLATES / "common", TEMPLATES / names.kind):
        for template in sorted(folder.rglob("*.txt")):
            path = _place(template.relative_to(folder), names)
            files[path] = string.Template(template.read_text(encoding="utf-8")).substitute(words)
    return dict(sorted(files.items()))


def _place(template: Path, names: Names) -> str:
    """The path that a template's file has in the project."""
    *folders, file = template.with_suffix("").parts  # without .txt
    renamed = {"package": names.package, "github": ".github"}
    file = {"gitignore": ".gitignore", "name.yaml": f"{names.name}.yaml", "test_name.py": f"test_{names.module}.py"}.get(
        file, file
    )
    return "/".join([*(renamed.get(folder, folder) for folder in folders), file])


def write_project(names: Names, parent: Path) -> Path:
    """Write the project into a new folder below `parent`, which is made when it is not there.

    Raises:
        UserError: the folder exists, or cannot be written.
    """
    target = parent / names.distribution
    if target.exists() or target.is_symlink():
        raise UserError(f"{target} is there already", "Choose another name or --output, or remove it first")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{names.distribution}.", dir=parent))
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{parent} is not a folder", "Name a folder with --output") from None
    except OSError as error:
        raise _refused(parent, error) from error
    try:
        _write(render(names), temporary)
        temporary.chmod(0o755)  # mkdtemp makes a private one
        os.rename(temporary, target)
    except OSError as error:
        raise _refused(target, error) from error
    finally:
        remove(temporary, parent)
    return target


def _refused(path: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {path}: {error.strerror or error}", "Name another folder with --output")


def _write(files: Mapping[str, str], folder: Path) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
