"""Evaluation by generation: every prompt answered in batches of similar length, for one or several seeds, or the likelihoods of
given candidates compared.

Each prompt has a random stream of its own, so an answer depends neither on its neighbours nor on what was answered before.
That is also what makes an interrupted evaluation resumable: answers are noted as they come, and batches that are noted whole
are not asked again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from armada_cli.contracts import Decoding, Split, Student, Task
from armada_cli.errors import Interrupted
from armada_cli.files import disk_error, write_atomic
from armada_cli.reading import parse_json
from armada_cli.training.seeds import stream

Progress = Callable[[str, int, int, str], None]


@dataclass
class Evaluation:
    """What an evaluation gives.

    Attributes:
        scores: metric -> mean over the evaluation seeds.
        by_seed: evaluation seed -> scores; empty for likelihoods.
        answers: evaluation seed -> one answer a row, in the split's order.
        rows: each row's own score of the task's main metric, the mean over the evaluation seeds; None where the metric is no
            mean over rows.
    """

    scores: dict[str, float]
    by_seed: dict[int, dict[str, float]] = field(default_factory=dict)
    answers: dict[int, list[str]] = field(default_factory=dict)
    rows: list[float] | None = None

    def record(self, split: Split) -> list[dict[str, Any]]:
        """One record a row and seed, for ``answers.jsonl``."""
        return [
            {"row": row, "seed": seed, "prompt": split.texts[row][0], "answer": answer, "label": split.labels[row]}
            for seed, answers in self.answers.items()
            for row, answer in enumerate(answers)
        ]


def evaluate(
    student: Student,
    model: nn.Module,
    task: Task,
    split: Split,
    *,
    decoding: Decoding | None = None,
    batch_size: int,
    accelerator: Accelerator,
    notes: Path | None = None,
    progress: Progress = lambda *_: None,
    stopping: Callable[[], bool] = lambda: False,
) -> Evaluation:
    """Ask a student all questions of a split and score what it says.

    Args:
        decoding: how the prompts are answered in the place of what the task says; the answers are then not scored.
        batch_size: prompts answered side by side in one process.
        notes: file in which answers are kept while they come; removed by whoever has stored the result. None keeps none.
        stopping: asked after every batch.

    Raises:
        Interrupted: `stopping` said so.
        UserError: the student cannot generate, or the notes cannot be written.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad():  # in the precision of the student's weights, whatever it was trained in
            if decoding is None and task.decoding is None:
                return _by_likelihood(student, model, task, split, batch_size, accelerator, progress, stopping)
            how = decoding or task.decoding
            assert how is not None
            answers = _answers(student, model, split, how, batch_size, accelerator, notes, progress, stopping)
    finally:
        model.train(training)
    return Evaluation({}, {}, answers) if decoding is not None else _scored(task, split, answers)


def batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Row numbers, longest first: rows of one batch need little padding, and what is too long for memory shows at once."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _answers(
    student: Student,
    model: nn.Module,
    split: Split,
    decoding: Decoding,
    batch_size: int,
    accelerator: Accelerator,
    notes: Path | None,
    progress: Progress,
    stopping: Callable[[], bool],
) -> dict[int, list[str]]:
    """Seed -> the answers to all prompts, in the split's order."""
    prompts = [texts[0] for texts in split.texts]
    total, done = len(prompts) * len(decoding.seeds), 0
    answers: dict[int, list[str]] = {}
    with _notebook(notes, accelerator) as book:
        for seed in decoding.seeds:
            known = book.known(seed)
            mine: dict[int, str] = {}
            for number, batch in enumerate(batches([len(prompt) for prompt in prompts], batch_size)):
                if number % accelerator.num_processes != accelerator.process_index:
                    continue
                # The batches are the same as ever: sums of another batch have other last bits, and a tie could turn.
                if all(row in known for row in batch):
                    mine.update((row, known[row]) for row in batch)
                    done += len(batch)
                    continue
                streams = [stream(seed, f"answer {row}") for row in batch]
                said = student.generate(model, [prompts[row] for row in batch], decoding, streams)
                mine.update(zip(batch, said, strict=True))
                book.write(seed, batch, said)
                done += len(batch) * accelerator.num_processes
                progress("evaluation", min(done, total), total, "answers")
                if stopping():
                    raise Interrupted
            answers[seed] = _gathered(mine, len(prompts), accelerator)
    return answers


def _scored(task: Task, split: Split, answers: dict[int, list[str]]) -> Evaluation:
    by_seed = {seed: {k: float(v) for k, v in task.score(said, split.labels).items()} for seed, said in answers.items()}
    names = next(iter(by_seed.values()))
    scores = {name: math.fsum(item[name] for item in by_seed.values()) / len(by_seed) for name in names}
    return Evaluation(scores, by_seed, answers, _score_rows(task, split, list(answers.values()), scores))


def _score_rows(task: Task, split: Split, outputs: Sequence[Any], scores: dict[str, float]) -> list[float] | None:
    """Each row scored by itself, the mean over several outputs of all rows; None where their mean is not the task's score.

    Args:
        outputs: what `Task.score` takes, of each evaluation seed.
    """
    try:
        rows = [
            math.fsum(float(task.score(said[row : row + 1], [label])[task.metric]) for said in outputs) / len(outputs)
            for row, label in enumerate(split.labels)
        ]
    except Exception:  # a plugin's metric may need several rows
        return None
    alike = math.isclose(math.fsum(rows) / len(rows), scores[task.metric], rel_tol=1e-9, abs_tol=1e-6)
    return rows if alike else None


def _by_likelihood(
    student: Student,
    model: nn.Module,
    task: Task,
    split: Split,
    batch_size: int,
    accelerator: Accelerator,
    progress: Progress,
    stopping: Callable[[], bool],
) -> Evaluation:
    mine: dict[int, list[float]] = {}
    parts = batches([len(texts[0]) + max(map(len, texts[1:])) for texts in split.texts], batch_size)
    for number, rows in enumerate(parts):
        if number % accelerator.num_processes != accelerator.process_index:
            continue
        mine.update(zip(rows, student.likelihoods(model, [split.texts[row] for row in rows]), strict=True))
        progress("evaluation", number + 1, len(parts), "likelihoods")
        if stopping():
            raise Interrupted
    values = _gathered(mine, len(split), accelerator)
    outputs = torch.full((len(values), max(map(len, values))), -math.inf)
    for row, value in enumerate(values):
        outputs[row, : len(value)] = torch.tensor(value)
    scores = {name: float(value) for name, value in task.score(outputs.numpy(), split.labels).items()}
    return Evaluation(scores, rows=_score_rows(task, split, [outputs.numpy()], scores))


def _gathered(mine: dict[int, Any], total: int, accelerator: Accelerator) -> list[Any]:
    """One value a row from what each process has."""
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        mine = dict(gather_object(list(mine.items())))
    return [mine[row] for row in range(total)]


class _Notebook:
    """Answers in the order they came, one JSON object a line with a digest of its own. What a crash cut off, or what is no
    longer as it was written, is asked again, and so is all that lies behind it."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known: dict[int, dict[int, str]] = {}
        if path is None or not path.is_file():
            return
        notes, _ = read_notes(path)
        for note in notes:
            self._known.setdefault(note["seed"], {})[note["row"]] = note["answer"]
        write_atomic(path, "".join(json.dumps(note) + "\n" for note in notes))

    def known(self, seed: int) -> dict[int, str]:
        return self._known.get(seed, {})

    def write(self, seed: int, rows: Sequence[int], answers: Sequence[str]) -> None:
        if self.path is None:
            return
        lines = [json.dumps(_note(seed, row, said)) + "\n" for row, said in zip(rows, answers, strict=True)]
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write("".join(lines))
        except OSError as error:
            raise disk_error(self.path, error) from error


def read_notes(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The notes of an unfinished evaluation up to the first that is damaged, and whether that was the end of the file.

    Raises:
        OSError: it cannot be read.
    """
    notes: list[dict[str, Any]] = []
    for line in path.read_bytes().split(b"\n"):
        try:
            note = parse_json(line)
        except ValueError:
            return notes, not line
        if not _is_note(note):
            return notes, False
        notes.append(note)
    return notes, True


def _note(seed: int, row: int, answer: str) -> dict[str, Any]:
    digest = hashlib.sha256(json.dumps([seed, row, answer]).encode()).hexdigest()[:16]
    return {"seed": seed, "row": row, "answer": answer, "digest": digest}


def _is_note(value: Any) -> bool:
    """Whether it is what `_note` made; an earlier version's have no digest."""
    if not isinstance(value, dict) or not {"seed", "row", "answer"} <= set(value) or not isinstance(value["answer"], str):
        return False
    whole = _note(value["seed"], value["row"], value["answer"])
    return value == whole or (set(value) < set(whole) and type(value["seed"]) is type(value["row"]) is int)


@contextmanager
def _notebook(path: Path | None, accelerator: Accelerator) -> Iterator[_Notebook]:
    # Several processes would need to agree on what each has; there an interrupted evaluation begins again.
    yield _Notebook(path if accelerator.num_processes == 1 else None)


def save_answers(path: Path, evaluation: Evaluation, split: Split) -> None:
    """Write what was asked and answered, one JSON object a row and evaluation seed; nothing for likelihoods."""
    records = evaluation.record(split)
    if records:
        write_atomic(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
