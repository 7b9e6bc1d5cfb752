"""A card with options of every sort: a teacher that counts the words of a list."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from armada_cli import Component, Teacher, hookimpl, option


@dataclass(frozen=True)
class TallyOptions:
    words: str = option(help="A file with one word a line", path=True)  # required; its content is part of the identity
    unit: str = option("count", "What is counted", choices=("count", "share"))
    least: int = option(1, "Words with fewer letters are left out", minimum=1, maximum=20)
    batch: int = option(64, "Texts at once", minimum=1, identity=False)  # no vector depends on it

    def problems(self, environment):
        if not Path(self.words).is_file():
            yield f"words: there is no file {self.words}; name a text file with one word a line"

    def smoke(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "words.txt").write_text("the\nsea\nsnow\n", encoding="utf-8")
        return dataclasses.replace(self, words=str(folder / "words.txt"), least=1)


class Tally(Teacher):
    def __init__(self, options, environment):
        super().__init__(options, environment)
        self.batch_size = options.batch
        words = Path(options.words).read_text(encoding="utf-8").split()
        self.words = [word for word in words if len(word) >= options.least]

    def represent(self, inputs):
        """inputs: n texts -> float32 [n, words]."""
        import numpy as np

        counts = np.zeros((len(inputs), len(self.words)), np.float32)
        for row, text in enumerate(inputs):
            counts[row] = [text.lower().split().count(word) for word in self.words]
        return counts / np.maximum(counts.sum(1, keepdims=True), 1) if self.options.unit == "share" else counts


@hookimpl
def armada_teachers():
    return [Component("tally", "How often the words of a list occur", "example_component:Tally", TallyOptions, {"text"})]
