"""What distinguishes the instruction sets, and how answers to them are drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

from armada_cli import Choice, Environment, choose, option
from armada_cli.corpora.prompts import PROMPT, PROMPT_WITH_INPUT
from armada_cli.corpora.rows import is_file_name, source, write_rows
from armada_cli.corpora.tasks import HubOptions

TRAINING = "dolly"
"""The task whose student all five evaluate."""


@dataclass(frozen=True)
class InstructionOptions(HubOptions):
    """What all five share. Defaults of the sampling are those of MiniLLM's evaluation.

    Attributes:
        trains: whether the set has training rows of its own.
    """

    split: str = option("test", "The split that is evaluated, as the hub or the mirror's file calls it", evaluation=True)
    seeds: tuple[int, ...] = option(
        (10, 20, 30, 40, 50), "One evaluation with each of these; the score is their mean", evaluation=True
    )
    max_new_tokens: int = option(256, "Tokens of an answer at most", minimum=1, evaluation=True)
    max_prompt_tokens: int = option(256, "A longer prompt loses its beginning", minimum=8, evaluation=True)
    sample: bool = option(
        True, "Draw each token; false: the likeliest one, and one evaluation instead of one for each seed", evaluation=True
    )
    temperature: float = option(1.0, "With sample: the temperature", above=0, evaluation=True)
    top_p: float = option(
        1.0, "With sample: draw from the likeliest tokens of this total probability", above=0, maximum=1, evaluation=True
    )
    top_k: int = option(0, "With sample: draw from so many tokens; 0 is all", minimum=0, evaluation=True)

    group: ClassVar[str] = "instructions"
    metrics: ClassVar[tuple[str, ...]] = ("rouge_l", "exact_match")
    fields: ClassVar[tuple[str, ...]] = ("instruction", "input", "output")
    classes: ClassVar[tuple[str, ...]] = ()
    trains: ClassVar[bool] = False

    def split_name(self, name: str) -> str:
        """What the hub calls ``train`` or ``validation``."""
        return self.split if name == "validation" else name

    def sources(self, environment: Environment) -> dict[str, Path | None]:
        """See `HubOptions.sources`; a set without training rows has one split."""
        sources = super().sources(environment)
        return sources if self.trains else {"validation": sources["validation"]}

    def problems(self, environment: Environment) -> Iterable[str]:
        """What is wrong with these options, for `armada check`."""
        if not is_file_name(self.split):
            yield f"split: {self.split!r} is no name of a split; write it as the hub does, as in test"
            return
        if self.path is not None and not Path(self.path).is_dir():
            yield f"path: no folder {self.path!r}; it must hold {self.dataset}/{self.split}.jsonl"
        if not self.seeds:
            yield "seeds: there is none; give at least one"
        elif len(set(self.seeds)) < len(self.seeds):
            yield "seeds: one is given twice; an evaluation with the same seed would say the same again"
        if self.trains and self.split == "train":
            yield "split: it is the training split; evaluate another one"

    def trained_on(self) -> Choice | None:
        """The task that the evaluated student is trained on; None for that task itself. A mirror of this task's own is handed
        on where it has the training rows."""
        if self.trains:
            return None
        if self.path and source(Environment(data=Path(self.path)), Dolly.dataset, None, "train"):
            return choose("task", TRAINING, path=self.path)
        return choose("task", TRAINING)

    def prompts(self) -> dict[str, str]:
        """What is asked, in training and in evaluation."""
        return {"without input": PROMPT, "with input": PROMPT_WITH_INPUT, "response in training": "{output}"}

    def smoke(self, folder: Path) -> Self:
        """This task on a few instructions of our own, with short answers and one seed."""
        from armada_task_instructions import samples

        root = Path(folder) / "mirror"
        if self.trains:
            write_rows(root, self.dataset, None, "train", samples.table(16))
        write_rows(root, self.dataset, None, self.split, samples.table(4, skip=16))
        return replace(self, path=str(root), seeds=self.seeds[:1], max_new_tokens=min(self.max_new_tokens, 12))


@dataclass(frozen=True)
class Dolly(InstructionOptions):
    """databricks-dolly-15k as MiniLLM divides it; evaluated on the 500 test rows, as in the paper."""

    dataset: ClassVar[str] = "MiniLLM/dolly"
    published: ClassVar[str] = "Dolly"
    trains: ClassVar[bool] = True
    official: ClassVar[tuple[int, int, int] | None] = (12_500, 500, 250)


@dataclass(frozen=True)
class SelfInst(InstructionOptions):
    """Self-Instruct's instructions for users."""

    dataset: ClassVar[str] = "MiniLLM/self-inst"
    published: ClassVar[str] = "SelfInst"
    official: ClassVar[tuple[int, int, int] | None] = (0, 242, 200)


@dataclass(frozen=True)
class Vicuna(InstructionOptions):
    """Vicuna's questions."""

    dataset: ClassVar[str] = "MiniLLM/Vicuna"
    published: ClassVar[str] = "Vicuna"
    official: ClassVar[tuple[int, int, int] | None] = (0, 80, 80)


@dataclass(frozen=True)
class LongAnswers(InstructionOptions):
    """A set of which only rows with long answers are evaluated."""

    longer_than: int = option(
        10, "Only rows whose first reference has more tokens (words and marks); 0 where the rows are chosen already", minimum=0
    )


@dataclass(frozen=True)
class SuperNatural(LongAnswers):
    """The test tasks of Super-NaturalInstructions."""

    dataset: ClassVar[str] = "MiniLLM/sinst"
    published: ClassVar[str] = "SNI"
    official: ClassVar[tuple[int, int, int] | None] = (0, 1_600, 250)


@dataclass(frozen=True)
class UNI(LongAnswers):
    """Unnatural Instructions, of the long answers the first."""

    first: int = option(2000, "How many of these rows are evaluated; 0 is all", minimum=0)

    dataset: ClassVar[str] = "MiniLLM/uinst"
    published: ClassVar[str] = "UNI"
    official: ClassVar[tuple[int, int, int] | None] = (0, 2_000, 120)
