"""Figures of the training loop: `python benchmarks/training.py [step] [trainer] [workers]`.

Every figure is a ratio within this run: what is compared takes turns, on the same rows and threads, in float32. The student
is minilm-offline, the rows are CoLA's where ``ARMADA_DATA`` (or ../shared/data) has them, otherwise made-up sentences of
CoLA's lengths. Training on CPU uses one thread, as a trial does.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from armada_cli import Environment, Problem, Setup, Split
from armada_cli.execution.pool import MALLOC
from armada_cli.methods.armada import ArmadaOptions
from armada_cli.registry import catalog
from armada_cli.settings import Train
from armada_cli.training.batching import epoch_batches, steps_per_epoch
from armada_cli.training.evaluation import Scoring
from armada_cli.training.host import Host
from armada_cli.training.loop import Loop
from armada_cli.training.model import Encoded, RowModel, encode
from armada_cli.training.projection import OrthogonalMap
from armada_cli.training.schedule import learning_rate
from armada_cli.training.seeds import stream

ROWS, BATCH = 960, 32
TRAIN = Train(epochs=1, batch_size=BATCH, lr=1e-4, precision="float32", evaluate="end")
PROBLEM = Problem("classification", 2, ("unacceptable", "acceptable"))


def environment() -> Environment:
    data = Path(os.environ.get("ARMADA_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    return Environment(data=data if data.is_dir() else None, offline=True)


def sentences() -> Split:
    """CoLA's training rows, or sentences of random words with about its lengths."""
    place = environment()
    if place.data is not None and (place.data / "nyu-mll/glue/cola/train.jsonl").is_file():
        registered = catalog.current().find("task", "cola")
        return registered.component.load()(registered.component.options(), place).split("train").limited(ROWS)
    draw = random.Random(0)
    words = ["the", "a", "boat", "garden", "letter", "sings", "opened", "quickly", "under", "every", "singer", "wrote"]
    texts = [(" ".join(draw.choices(words, k=max(3, round(draw.gauss(8, 3))))) + ".",) for _ in range(ROWS)]
    return Split(texts, [draw.randrange(2) for _ in texts], [text for (text,) in texts])


def student() -> Any:
    registered = catalog.current().find("student", "minilm-offline")
    return registered.component.load()(registered.component.options(), environment())


def base_student(folder: Path) -> Any:
    """An encoder of BERT-base's size with random weights, which cost what trained ones do, and with MiniLM's tokenizer."""
    from transformers import BertConfig, BertModel

    tokenizer = student().tokenizer
    BertModel(BertConfig(vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    registered = catalog.current().find("student", "encoder")
    return registered.component.load()(registered.component.options(model=str(folder)), environment())


class Training:
    """One loop that can be asked for single steps."""

    def __init__(self, method: str, rows: Split, make: Callable[[], Any] = student) -> None:
        made = make()
        torch.manual_seed(0)
        model = made.build(PROBLEM)
        encoded = encode(made, PROBLEM, rows)
        features = torch.randn(len(rows), 128) if method == "armada" else None
        steps = steps_per_epoch(len(rows), BATCH)
        found = catalog.current()
        setup = Setup(
            problem=PROBLEM,
            hidden=model.config.hidden_size,
            feature_width=128 if features is not None else None,
            features=features,
            labels=encoded.labels,
            seed=0,
            train=TRAIN,
            losses=_loss,
            stream=lambda name: stream(0, name),
            steps=steps,
            learning_rate=lambda step: learning_rate(TRAIN, steps, step),
        )
        registered = found.find("method", method)
        options = ArmadaOptions(manifold="elementwise") if method == "armada" else registered.component.options()
        accelerator = Accelerator(cpu=True)
        self.loop = Loop(
            RowModel(made, model, encoded, accelerator.device),
            registered.component.load()(options, setup),
            Scoring(None, Encoded([], [], torch.empty(0), [])),  # type: ignore[arg-type]
            features,
            TRAIN,
            0,
            Host(accelerator),
        )
        torch.set_num_threads(1)
        model.train()
        self.batches = epoch_batches(encoded.lengths, BATCH, 0, 0)
        self.step = 0

    def steps(self, count: int) -> float:
        """Seconds of the next `count` steps."""
        start = time.perf_counter()
        for _ in range(count):
            self.loop._step(self.step, self.batches[self.step % len(self.batches)])
            self.step += 1
        return time.perf_counter() - start


def _loss(choice: Any) -> Any:
    return choice.registered.component.load()(choice.options)


def alternate(actions: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Each action in turn, `repeats` times after one round that does not count: name -> its figures."""
    found: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(repeats + 1):
        for name, action in actions.items():
            value = action()
            if number:
                found[name].append(value)
    return found


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """Smallest, median and largest ratio, pair by pair."""
    values = sorted(a / b for a, b in zip(above, below, strict=True))
    return values[0], statistics.median(values), values[-1]


def measure_step() -> None:
    """An ARMADA step against a plain step: MiniLM, and a student of BERT-base's size."""
    rows = sentences()
    with tempfile.TemporaryDirectory() as folder:
        sizes: dict[str, tuple[Callable[[], Any], float, int]] = {
            "MiniLM": (student, 1.10, 8),
            "BERT-base": (lambda: base_student(Path(folder)), 1.05, 2),
        }
        for name, (make, target, steps) in sizes.items():
            _measure_step(name, rows, make, target, steps)


def _measure_step(name: str, rows: Split, make: Callable[[], Any], target: float, steps: int) -> None:
    plain, armada = Training("undistilled", rows, make), Training("armada", rows, make)
    seconds = alternate({"plain": lambda: plain.steps(steps), "armada": lambda: armada.steps(steps)}, 15)
    low, middle, high = ratios(seconds["armada"], seconds["plain"])
    print(f"step: {name}: plain {1e3 * statistics.median(seconds['plain']) / steps:.0f} ms, batch {BATCH}, 1 thread")
    print(f"step: {name}: ARMADA / plain {middle:.3f} ({low:.3f} .. {high:.3f}) (to reach: {target:.2f}; the paper: 1.125)")
    maps = [m for item in armada.loop.own.values() for m in item.modules() if isinstance(m, OrthogonalMap)]
    print(f"step: {name}: largest deviation from orthogonality {max(item.defect() for item in maps):.1e} (to keep: 1e-4)")


def measure_trainer() -> None:
    """Plain fine-tuning in this loop against `transformers.Trainer`, padded to 128 and padded to the batch."""
    rows = sentences()
    ours = Training("undistilled", rows)
    runs = {
        "ours": lambda: 24 * BATCH / ours.steps(24),
        "dynamic": trainer(rows, padded=False, steps=12),
        "padded": trainer(rows, padded=True, steps=3),
    }
    found = alternate(runs, 5)
    for name in runs:
        print(f"trainer: {name} {statistics.median(found[name]):.1f} samples/s")
    for name, wanted in (("padded", 8.0), ("dynamic", 1.4)):
        low, middle, high = ratios(found["ours"], found[name])
        print(f"trainer: this loop / Trainer {name} {middle:.2f} ({low:.2f} .. {high:.2f}) (to reach: {wanted})")


def trainer(rows: Split, *, padded: bool, steps: int) -> Callable[[], float]:
    """A function that trains `steps` more steps with transformers' Trainer and returns its samples a second."""
    from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments
    from transformers.utils import logging

    logging.set_verbosity_error()
    made = student()
    encoded = made.tokenizer(
        [text for (text,) in rows.texts], truncation=True, max_length=128, padding="max_length" if padded else False
    )
    data = [{**{name: encoded[name][i] for name in encoded}, "labels": int(label)} for i, label in enumerate(rows.labels)]

    class Clock(TrainerCallback):
        """Times the steps alone, without the Trainer's own start."""

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 1:
                self.start = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.end = time.perf_counter()

    model = made.build(PROBLEM)

    def run() -> float:
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=BATCH,
                max_steps=steps + 1,
                learning_rate=1e-4,
                use_cpu=True,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            )
            collator = DataCollatorWithPadding(made.tokenizer)
            Trainer(model=model, args=arguments, train_dataset=data, data_collator=collator, callbacks=[clock]).train()
        torch.set_num_threads(1)
        return steps * BATCH / (clock.end - clock.start)

    return run


def measure_workers() -> None:
    """Four trials, two at once with one thread each, against one at a time with one thread, and with both."""
    import json
    import multiprocessing

    ours = {name: list[float]() for name in ("1 x 1", "1 x 2", "2 x 1")}
    context = multiprocessing.get_context("spawn")
    for _ in range(3):
        for name in ours:
            workers, threads = (int(part) for part in name.split(" x "))
            os.environ.update(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads), **MALLOC)
            barrier, queue = context.Barrier(workers), context.Queue()
            processes = [context.Process(target=_train, args=(threads, barrier, queue)) for _ in range(workers)]
            for process in processes:
                process.start()
            rates = [json.loads(queue.get()) for _ in processes]
            for process in processes:
                process.join()
            ours[name].append(sum(rates))
    for name, values in ours.items():
        print(f"workers: {name} thread(s): {statistics.median(values):.1f} samples/s in all")
    low, middle, high = ratios(ours["2 x 1"], ours["1 x 1"])
    print(f"workers: two side by side / one {middle:.2f} ({low:.2f} .. {high:.2f}) (to reach: 1.4)")
    print(f"workers: one trial on two threads / on one {ratios(ours['1 x 2'], ours['1 x 1'])[1]:.2f}")


def _train(threads: int, barrier: Any, queue: Any) -> None:
    import json

    training = Training("undistilled", sentences())
    torch.set_num_threads(threads)
    training.steps(3)
    barrier.wait()
    queue.put(json.dumps(24 * BATCH / training.steps(24)))


def names() -> Iterator[str]:
    yield from sys.argv[1:] or ("step", "trainer", "workers")


if __name__ == "__main__":
    for wanted in names():
        {"step": measure_step, "trainer": measure_trainer, "workers": measure_workers}[wanted]()
