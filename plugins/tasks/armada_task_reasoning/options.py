"""What distinguishes the reasoning tasks: where their rows are, how they are asked and which published column each one is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from armada_cli import Choice, Environment, choose, content_fingerprint, option
from armada_cli.corpora.prompts import PROMPT, PROMPT_WITH_INPUT
from armada_cli.corpora.rows import fetched, source
from armada_cli.corpora.tasks import HubOptions

RELEASE = "https://github.com/AGI-Edgerunners/LLM-Adapters"


@dataclass(frozen=True)
class LocalRows:
    """Local files of a task's rows, in the order they are read, and whether they are in the original data set's columns."""

    paths: tuple[Path, ...]
    original: bool = False


@dataclass(frozen=True)
class ReasoningOptions(HubOptions):
    """What all ten share. Rows are looked for in this order: `file`, the mirror's ``llm-adapters/NAME``, the mirror's copy of
    the original data set, the hub's.

    Attributes:
        mirror_name: the folder below ``llm-adapters``; released_file: the same rows in LLM-Adapters' repository.
        dataset, config, splits: the original data set on the hub, and its splits that are read one after the other; empty
            where there is none.
        form: the function of `forms` that turns an original row into LLM-Adapters' form; empty where the hub has that already.
        learned_from: the task whose student is evaluated; empty for a training set.
    """

    file: str | None = option(
        None,
        "The rows, as LLM-Adapters' own JSON file or a file in its form; wins over mirrors",
        path=True,
        identity=False,
    )
    scoring: str = option(
        "generation",
        "Let the student write and find the answer in it, or compare the likelihoods of the choices",
        choices=("generation", "likelihood"),
        evaluation=True,
    )
    extraction: str = option(
        "mended",
        "How an answer is found in what was written: LLM-Adapters' rules with their accidents mended, or as released",
        choices=("mended", "released"),
        evaluation=True,
    )
    max_new_tokens: int = option(32, "Tokens of an answer at most", minimum=1, evaluation=True)
    # LLM-Adapters names temperature 0.1, top_p 0.75 and top_k 40 as well, but never turns sampling on: what it does is a beam
    # search, and so do we.
    beams: int = option(4, "Beams; 1 is greedy and about four times as fast", minimum=1, evaluation=True)
    sample: bool = option(False, "Draw the answer's tokens", evaluation=True)
    temperature: float = option(0.1, "With sample: the temperature", above=0, evaluation=True)
    top_p: float = option(
        0.75, "With sample: draw from the likeliest tokens of this total probability", above=0, maximum=1, evaluation=True
    )
    top_k: int = option(40, "With sample: draw from so many tokens; 0 is all", minimum=0, evaluation=True)

    group: ClassVar[str] = "reasoning"
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "answered")
    fields: ClassVar[tuple[str, ...]] = ("instruction",)
    classes: ClassVar[tuple[str, ...]] = ()
    dataset: ClassVar[str] = ""
    splits: ClassVar[tuple[str, ...]] = ("test",)
    mirror_name: ClassVar[str]
    released_file: ClassVar[str]
    form: ClassVar[str] = ""
    learned_from: ClassVar[str] = ""

    @property
    def mirror_split(self) -> str:
        """The file of the mirror: evaluation sets have a test split and nothing else."""
        return "test" if self.learned_from else "train"

    def trained_on(self) -> Choice | None:
        """The task that the evaluated student is trained on; None for a training set. A mirror of this task's own is handed
        on where it has the training rows."""
        if not self.learned_from:
            return None
        if self.path and source(Environment(data=Path(self.path)), f"llm-adapters/{self.learned_from}", None, "train"):
            return choose("task", self.learned_from, path=self.path)
        return choose("task", self.learned_from)

    def local_rows(self, environment: Environment) -> LocalRows | None:
        """The local files, or None where the hub has to be asked."""
        if self.file is not None:
            return LocalRows((Path(self.file),))
        place = self.mirror(environment)
        path = source(place, f"llm-adapters/{self.mirror_name}", None, self.mirror_split)
        if path is not None:
            return LocalRows((path,))
        if self.dataset:
            paths = [source(place, self.dataset, self.config, split) for split in self.splits]
            whole = tuple(path for path in paths if path is not None)
            if len(whole) == len(paths):
                return LocalRows(whole, original=bool(self.form))
        return None

    def problems(self, environment: Environment) -> Iterable[str]:
        """What is wrong with these options, for `armada check`."""
        if self.path is not None and not Path(self.path).is_dir():
            yield f"path: no folder {self.path!r}; it must hold llm-adapters/{self.mirror_name}/{self.mirror_split}.jsonl"
        elif self.file is not None and not Path(self.file).is_file():
            yield f"file: no file {self.file!r}; download {self.released_file} of {RELEASE}"
        if self.sample and self.beams > 1:
            yield f"sample: not together with beams: {self.beams}; set beams: 1"

    def identity(self, environment: Environment) -> dict[str, Any]:
        """Contents of the local files, or the hub's names."""
        local = self.local_rows(environment)
        if local is not None:
            return {"data": [content_fingerprint(path) for path in local.paths]}
        names: dict[str, Any] = {
            "hub": self.dataset,
            "config": self.config,
            "splits": list(self.splits),
            "revision": self.revision,
        }
        return {"data": names}

    def downloads(self, environment: Environment) -> Iterable[str]:
        """The original data set, when there is neither a file nor a mirror nor the hub's cache; or what has to be fetched by
        hand, since the hub does not have it."""
        if self.local_rows(environment) is not None:
            return
        if not self.dataset:
            yield f"{self.released_file} of {RELEASE} (not on the hub: fetch it by hand and name it with `file`)"
        elif not fetched(self.dataset, self.config):
            yield f"dataset {self.dataset}" + (f" ({self.config})" if self.config else "") + f": {', '.join(self.splits)}"

    def prompts(self) -> dict[str, str]:
        """What is asked, in training and in evaluation."""
        return {"without input": PROMPT, "with input": PROMPT_WITH_INPUT, "response in training": self.response}

    response: ClassVar[str] = "the correct answer is {answer}"

    def smoke(self, folder: Path) -> Self:
        """This task on a few questions of our own, with short answers and two beams at most."""
        from armada_task_reasoning import samples

        root = samples.write(Path(folder) / "mirror", self.mirror_name, self.mirror_split)
        short = min(self.max_new_tokens, 12)
        return replace(self, path=str(root), file=None, max_new_tokens=short, beams=min(self.beams, 2))


@dataclass(frozen=True)
class CommonsenseOptions(ReasoningOptions):
    """A multiple-choice set."""

    learned_from: ClassVar[str] = "commonsense"


@dataclass(frozen=True)
class MathOptions(ReasoningOptions):
    """An arithmetic set: the student reasons before it answers."""

    max_new_tokens: int = option(256, "Tokens of an answer at most", minimum=1, evaluation=True)

    learned_from: ClassVar[str] = "math"
    response: ClassVar[str] = "{output}"


@dataclass(frozen=True)
class ArithmeticOptions(MathOptions):
    """Word problems without choices."""

    def problems(self, environment: Environment) -> Iterable[str]:
        """See `ReasoningOptions.problems`."""
        yield from super().problems(environment)
        if self.scoring == "likelihood":
            yield "scoring: there are no choices whose likelihoods could be compared; use generation"


@dataclass(frozen=True)
class Commonsense(ReasoningOptions):
    """LLM-Adapters' commonsense instructions: the 170k rows of eight training sets."""

    held_out: int = option(120, "Rows kept from training, the same ones always, and evaluated instead", minimum=1)

    dataset: ClassVar[str] = "zwhe99/commonsense_170k"
    splits: ClassVar[tuple[str, ...]] = ("train",)
    mirror_name: ClassVar[str] = "commonsense"
    released_file: ClassVar[str] = "ft-training_set/commonsense_170k.json"
    official: ClassVar[tuple[int, int, int] | None] = (170_300, 120, 120)
    siblings: ClassVar[tuple[str, ...]] = ("hellaswag", "winogrande", "ARC-Challenge", "ARC-Easy", "openbookqa")

    def smoke(self, folder: Path) -> Self:
        """See `ReasoningOptions.smoke`."""
        return replace(super().smoke(folder), held_out=4)


@dataclass(frozen=True)
class Math(ArithmeticOptions):
    """LLM-Adapters' arithmetic instructions with their reasoning (math_10k)."""

    held_out: int = option(120, "Rows kept from training, the same ones always, and evaluated instead", minimum=1)

    learned_from: ClassVar[str] = ""
    splits: ClassVar[tuple[str, ...]] = ("train",)
    mirror_name: ClassVar[str] = "math"
    released_file: ClassVar[str] = "ft-training_set/math_10k.json"
    official: ClassVar[tuple[int, int, int] | None] = (9_799, 120, 200)
    siblings: ClassVar[tuple[str, ...]] = ("MultiArith", "SingleEq", "AQuA")

    def smoke(self, folder: Path) -> Self:
        """See `ReasoningOptions.smoke`."""
        return replace(super().smoke(folder), held_out=4)


@dataclass(frozen=True)
class Hellaswag(CommonsenseOptions):
    """HellaSwag: its validation split, as in LLM-Adapters."""

    dataset: ClassVar[str] = "Rowan/hellaswag"
    splits: ClassVar[tuple[str, ...]] = ("validation",)
    mirror_name: ClassVar[str] = "hellaswag"
    released_file: ClassVar[str] = "dataset/hellaswag/test.json"
    form: ClassVar[str] = "ending"
    published: ClassVar[str] = "Hellaswag"
    official: ClassVar[tuple[int, int, int] | None] = (0, 10_042, 200)


@dataclass(frozen=True)
class Winogrande(CommonsenseOptions):
    """WinoGrande: its validation split, as in LLM-Adapters."""

    dataset: ClassVar[str] = "allenai/winogrande"
    # The validation split is the same in each of its configurations.
    config: ClassVar[str | None] = "winogrande_xl"
    splits: ClassVar[tuple[str, ...]] = ("validation",)
    mirror_name: ClassVar[str] = "winogrande"
    released_file: ClassVar[str] = "dataset/winogrande/test.json"
    form: ClassVar[str] = "blank"
    published: ClassVar[str] = "Winogrande"
    official: ClassVar[tuple[int, int, int] | None] = (0, 1_267, 100)


@dataclass(frozen=True)
class ARCChallenge(CommonsenseOptions):
    """ARC, the questions that retrieval and co-occurrence get wrong."""

    dataset: ClassVar[str] = "allenai/ai2_arc"
    config: ClassVar[str | None] = "ARC-Challenge"
    mirror_name: ClassVar[str] = "ARC-Challenge"
    released_file: ClassVar[str] = "dataset/ARC-Challenge/test.json"
    form: ClassVar[str] = "question"
    published: ClassVar[str] = "ARC-c"
    official: ClassVar[tuple[int, int, int] | None] = (0, 1_172, 130)


@dataclass(frozen=True)
class ARCEasy(CommonsenseOptions):
    """ARC, the other questions."""

    dataset: ClassVar[str] = "allenai/ai2_arc"
    config: ClassVar[str | None] = "ARC-Easy"
    mirror_name: ClassVar[str] = "ARC-Easy"
    released_file: ClassVar[str] = "dataset/ARC-Easy/test.json"
    form: ClassVar[str] = "question"
    published: ClassVar[str] = "ARC-e"
    official: ClassVar[tuple[int, int, int] | None] = (0, 2_376, 120)


@dataclass(frozen=True)
class OpenBookQA(CommonsenseOptions):
    """OpenBookQA, without its book."""

    dataset: ClassVar[str] = "allenai/openbookqa"
    config: ClassVar[str | None] = "main"
    mirror_name: ClassVar[str] = "openbookqa"
    released_file: ClassVar[str] = "dataset/openbookqa/test.json"
    form: ClassVar[str] = "stem"
    published: ClassVar[str] = "OpenBookQA"
    official: ClassVar[tuple[int, int, int] | None] = (0, 500, 105)


@dataclass(frozen=True)
class MultiArith(ArithmeticOptions):
    """MultiArith: all 600 problems, as in LLM-Adapters; the hub has them in two splits."""

    dataset: ClassVar[str] = "ChilleD/MultiArith"
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    mirror_name: ClassVar[str] = "MultiArith"
    released_file: ClassVar[str] = "dataset/MultiArith/test.json"
    form: ClassVar[str] = "sum_problem"
    published: ClassVar[str] = "MultiArith"
    official: ClassVar[tuple[int, int, int] | None] = (0, 600, 80)


@dataclass(frozen=True)
class SingleEq(ArithmeticOptions):
    """SingleEq, which the hub does not have."""

    mirror_name: ClassVar[str] = "SingleEq"
    released_file: ClassVar[str] = "dataset/SingleEq/test.json"
    published: ClassVar[str] = "SingleEq"
    official: ClassVar[tuple[int, int, int] | None] = (0, 508, 80)


@dataclass(frozen=True)
class AQuA(MathOptions):
    """AQuA-RAT's test split."""

    dataset: ClassVar[str] = "deepmind/aqua_rat"
    config: ClassVar[str | None] = "raw"
    mirror_name: ClassVar[str] = "AQuA"
    released_file: ClassVar[str] = "dataset/AQuA/test.json"
    form: ClassVar[str] = "algebra"
    published: ClassVar[str] = "AQuA"
    official: ClassVar[tuple[int, int, int] | None] = (0, 254, 130)
