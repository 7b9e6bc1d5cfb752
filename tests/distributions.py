"""Small distributions for tests: a module and its metadata in a folder on the path, as an installer would leave them."""

from __future__ import annotations

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
