"""Small distributions for tests: a module and its metadata in a folder on the path, as an installer would leave them; or real
wheels, and a fresh environment that they are installed into."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from textwrap import dedent

KITCHEN = '''
    """Components of every kind, with options of every type."""
    from __future__ import annotations

    from dataclasses import dataclass, field
    from typing import Any, ClassVar, Literal

    from armada_cli import Component, NoOptions, UserError, hookimpl, option


    @dataclass(frozen=True)
    class OvenOptions:
        heat: int = option(180, "Degrees", minimum=50, maximum=300)
        fan: bool = option(False, "Circulate the air")
        salt: float = option(0.5, "Grams per portion", above=0, below=10)
        herb: str = option("thyme", "What goes on top", choices=("thyme", "sage", "rosemary"))
        size: Literal["small", "large"] = option("small", "Of the tray")
        racks: tuple[int, ...] = option((1,), "Which racks are used", minimum=0)
        notes: dict[str, str] | None = option(None, "Free words by topic")
        timer: int | None = option(None, "Minutes; null: until done")
        sauce: Any = option("plain", "Any value")
        cookbook: str | None = option(None, "A file", path=True)

        def problems(self, environment):
            if self.fan and self.heat > 250:
                yield "heat is too high for the fan; lower it to 250"
            if self.sauce == "motor-oil":
                yield "nobody eats 'motor-oil'"


    @dataclass(frozen=True)
    class FileOptions:
        file: str = option(help="The rows", path=True)
        kind_: str = option("classification", "What is predicted", choices=("classification", "generation"))

        def kind(self):
            return self.kind_


    @dataclass(frozen=True)
    class TaughtOptions:
        needs_teacher: ClassVar[bool] = True
        beta: float = option(1.0, "Weight", minimum=0)
        manifold: Any = option("flat", "The loss")


    @dataclass(frozen=True)
    class FussyOptions:
        mood: str = option("good", "Its mood")

        def __post_init__(self):
            if self.mood == "bad":
                raise RuntimeError("not today")


    def card(name, options=NoOptions, provides=(), **more):
        return Component(name, f"The {name}", "kitchen_parts:Part", options, frozenset(provides), **more)


    @hookimpl
    def armada_students():
        oven = card("oven", OvenOptions, ["encoder"])
        return [card("reader", provides=["encoder"]), card("talker", provides=["decoder"]), oven]


    @hookimpl
    def armada_teachers():
        return [card("bell", OvenOptions, ["audio"], requires=("armada-cli", "no-such-package==9.9"), reference="A cook book")]


    @hookimpl
    def armada_tasks():
        return [
            card("sorting", provides=["classification"]),
            card("storytelling", provides=["generation"]),
            card("rows", FileOptions, ["classification"]),
        ]


    @hookimpl
    def armada_losses():
        return [card("flat", provides=["manifold"])]


    @hookimpl
    def armada_methods():
        return [
            card("alone", provides=["classification"], defaults={"lr": 1e-3}),
            card("taught", TaughtOptions, ["classification", "generation"]),
            card("fussy", FussyOptions, ["classification"]),
        ]
'''


def write_distribution(
    folder: Path, name: str, modules: dict[str, str], entry_points: dict[str, str], *, version: str = "1.0"
) -> Path:
    """Leave a distribution in `folder`, which then belongs on the path.

    Args:
        modules: module name -> source; entry_points: name -> module, in the group ``armada``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(dedent(source), encoding="utf-8")
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    lines = "".join(f"{key} = {value}\n" for key, value in entry_points.items())
    (info / "entry_points.txt").write_text(f"[armada]\n{lines}", encoding="utf-8")
    return folder


def write_kitchen(folder: Path) -> Path:
    """The distribution ``armada-kitchen`` with `KITCHEN`'s components."""
    return write_distribution(folder, "armada-kitchen", {"armada_kitchen": KITCHEN}, {"kitchen": "armada_kitchen"})


# -------------------------------------------------------------------------------------------- wheels and where they go


def write_wheel(
    folder: Path, name: str, modules: dict[str, str], entry_points: dict[str, str], *, version: str = "1.0"
) -> Path:
    """Build a wheel of some modules; the arguments are those of `write_distribution`. A wheel of plain modules is a zip file
    with three files of metadata, which takes no build tool and no time."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    points = "".join(f"{key} = {value}\n" for key, value in entry_points.items())
    files = {
        **{f"{module}.py": dedent(source) for module, source in modules.items()},
        f"{stem}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: armada-cli\n",
        f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{stem}.dist-info/entry_points.txt": f"[armada]\n{points}",
    }
    record = "".join(f"{path},{_digest(text)},{len(text.encode())}\n" for path, text in files.items())
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in {**files, f"{stem}.dist-info/RECORD": f"{record}{stem}.dist-info/RECORD,,\n"}.items():
            archive.writestr(path, text)
    return wheel


def _digest(text: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


class FreshEnvironment:
    """A new virtual environment that wheels are installed into and removed from by pip, without a network.

    Behind its own, empty site folder its path goes on with the packages of the environment that runs the tests: armada and what
    it depends on need not be installed again. (``--system-site-packages`` would show the packages of the interpreter that the
    tests' own environment was made of, and not those of the tests' environment.)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        (site,) = (folder / "lib").glob("python*/site-packages")
        here = Path(__file__).resolve().parent
        rest = [path for path in sys.path if path and Path(path).is_dir() and Path(path).resolve() != here]
        (site / "behind.pth").write_text("\n".join(rest) + "\n", encoding="utf-8")

    def install(self, *wheels: Path) -> None:
        """Install wheels; another version of a distribution takes the place of the one that is there."""
        self._pip("install", "--no-deps", "--no-index", "--no-compile", *map(str, wheels))

    def uninstall(self, *names: str) -> None:
        self._pip("uninstall", "--yes", *names)

    def _pip(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    def armada(self, folder: Path, *arguments: str | Path, **environment: str) -> tuple[int, str, str]:
        """Run the command in `folder`; exit status, standard output, standard error."""
        keep = {key: value for key, value in os.environ.items() if not key.startswith(("ARMADA_", "COLUMNS", "PYTHONPATH"))}
        found = subprocess.run(
            [self.python, "-m", "armada_cli.main", *map(str, arguments)],
            cwd=folder,
            env={**keep, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return found.returncode, found.stdout, found.stderr
