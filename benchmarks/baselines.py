"""Figures of the baselines: `python benchmarks/baselines.py`.

Training `kd` here, with the teacher's logits kept, against the distillers of TextBrewer, whose package is installed into a
temporary folder: the online one as its examples feed it (every row padded to 128 tokens), the online one on batches padded to
their longest row, and the caching one on the same batches of like length that this loop has. Teacher mpnet-offline (12 layers,
768 wide), student minilm-offline; the same loss, optimizer, precision and clipping. The two losses of a first batch are
compared before anything is timed.

Every figure is a ratio within this run: what is compared takes turns on the same rows and one thread, in float32. The rows are
CoLA's where ``ARMADA_DATA`` (or ../shared/data) has them, otherwise made-up sentences of CoLA's lengths.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional
from training import BATCH, PROBLEM, TRAIN, alternate, environment, ratios, sentences, student

from armada_cli import Setup, Split
from armada_cli.execution.pool import MALLOC
from armada_cli.methods.kd import KD, KDOptions
from armada_cli.registry import catalog
from armada_cli.training.batching import epoch_batches, steps_per_epoch
from armada_cli.training.evaluation import Scoring
from armada_cli.training.host import Host
from armada_cli.training.loop import Loop
from armada_cli.training.model import Encoded, RowModel, encode
from armada_cli.training.optimizer import adamw
from armada_cli.training.seeds import stream

PACKAGE = "textbrewer==0.2.1.post1"
PADDED = 128
ALPHA, TEMPERATURE = 0.5, 4.0
ONLINE_TARGET, CACHED_TARGET = 8.0, 1.0


def teacher() -> Any:
    registered = catalog.current().find("student", "mpnet-offline")
    return registered.component.load()(registered.component.options(), environment())


def build(made: Any) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = made.build(PROBLEM)
    return model


class Ours:
    """Our loop with `kd` and kept logits."""

    def __init__(self, rows: Split, logits: Tensor) -> None:
        made = student()
        self.model, self.encoded = build(made), encode(made, PROBLEM, rows)
        setup = Setup(
            problem=PROBLEM,
            hidden=384,
            feature_width=None,
            features=None,
            labels=self.encoded.labels,
            seed=0,
            train=TRAIN,
            losses=lambda choice: None,  # type: ignore[arg-type, return-value]
            stream=lambda name: stream(0, name),
            steps=steps_per_epoch(len(rows), BATCH),
            learning_rate=lambda step: TRAIN.lr,
            cached=lambda role, what: logits,
        )
        accelerator = Accelerator(cpu=True)
        learner = RowModel(made, self.model, self.encoded, accelerator.device)
        self.method = KD(KDOptions(alpha=ALPHA, temperature=TEMPERATURE), setup)
        nothing = Scoring(None, Encoded([], [], torch.empty(0), []))  # type: ignore[arg-type]
        self.loop = Loop(learner, self.method, nothing, None, TRAIN, 0, Host(accelerator))
        self.batches = epoch_batches(self.encoded.lengths, BATCH, 0, 0)
        self.step = 0
        torch.set_num_threads(1)

    def rate(self, steps: int) -> float:
        """Samples a second of the next steps."""
        self.model.train()
        start, rows = time.perf_counter(), 0
        for _ in range(steps):
            batch = self.batches[self.step % len(self.batches)]
            self.loop._step(self.step % self.loop.steps, batch)
            self.step, rows = self.step + 1, rows + len(batch)
        return rows / (time.perf_counter() - start)


class Theirs:
    """One of TextBrewer's distillers on given batches of rows.

    Args:
        length: tokens that every row is padded to; None pads a batch to its longest row.
        cached: the logits of all batches are computed before the first step, in memory.
    """

    def __init__(
        self, rows: Split, batches: list[list[int]], *, length: int | None, cached: bool, taught_by: nn.Module
    ) -> None:
        from textbrewer import BasicDistiller, DistillationConfig, GeneralDistiller, TrainingConfig

        self.readers = {"teacher": teacher(), "student": student()}
        self.encoded = {name: encode(reader, PROBLEM, rows) for name, reader in self.readers.items()}
        self.length = length
        self.model = build(self.readers["student"])
        config = DistillationConfig(
            temperature=TEMPERATURE,
            hard_label_weight=1 - ALPHA,
            kd_loss_type="ce",
            kd_loss_weight=ALPHA * TEMPERATURE**2,  # it does not scale by the squared temperature itself
            is_caching_logits=cached,
        )
        kind = BasicDistiller if cached else GeneralDistiller
        self.folder = tempfile.TemporaryDirectory()
        place = self.folder.name
        train = TrainingConfig(gradient_accumulation_steps=1, ckpt_frequency=1, log_dir=place, output_dir=place, device="cpu")
        self.distiller = kind(train, config, taught_by.eval(), self.model, _adapt, _adapt)
        self.optimizer = adamw(list(self.model.parameters()), TRAIN.lr, TRAIN.weight_decay)
        self.batches = [self._inputs(batch) for batch in batches]
        self.rows = [len(batch) for batch in batches]
        self.step = 0
        if cached:
            for batch in self.batches:  # its own `cache_logits` gives teacher and student one and the same input
                with torch.no_grad():
                    self.distiller.logits_cache.append([batch, [taught_by(**batch["teacher"]).logits]])

    def _inputs(self, rows: list[int]) -> dict[str, dict[str, Tensor]]:
        made = {}
        for name, reader in self.readers.items():
            inputs = reader.pad([self.encoded[name].rows[row] for row in rows])
            if self.length is not None:
                room = self.length - inputs["input_ids"].shape[1]
                fill = {"input_ids": reader.tokenizer.pad_token_id}
                inputs = {key: functional.pad(value, (0, room), value=fill.get(key, 0)) for key, value in inputs.items()}
            made[name] = {**inputs, "labels": self.encoded[name].labels[torch.tensor(rows)]}
        return made

    def rate(self, steps: int) -> float:
        """Samples a second of the next steps; what its `train` does at each, without writing logs and checkpoints."""
        self.model.train()
        start, rows = time.perf_counter(), 0
        for _ in range(steps):
            place = self.step % len(self.batches)
            held = self.distiller.logits_cache[place] if self.distiller.d_config.is_caching_logits else self.batches[place]
            loss, _ = self.distiller.train_on_batch(held, {})
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), TRAIN.clip)
            self.optimizer.step()
            self.optimizer.zero_grad()
            float(loss.detach())
            self.step, rows = self.step + 1, rows + self.rows[place]
        return rows / (time.perf_counter() - start)


def _adapt(batch: dict[str, Tensor], output: Any) -> dict[str, Any]:
    # TextBrewer takes the labels' loss from the model itself.
    return {"logits": output.logits, "losses": [output.loss]}


@torch.no_grad()
def teachers_logits(rows: Split, model: nn.Module) -> Tensor:
    made = teacher()
    encoded = encode(made, PROBLEM, rows)
    model.eval()
    blocks = [made.pad(encoded.rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
    return torch.cat([model(**block).logits for block in blocks])


def compare_losses(ours: Ours, theirs: Theirs, logits: Tensor) -> None:
    """Both objectives on one batch, without dropout: they differ by the teacher's entropy, which no parameter moves."""
    rows = ours.batches[0]
    ours.model.eval()
    theirs.model.load_state_dict(ours.model.state_dict())
    theirs.model.eval()
    with torch.no_grad():
        inputs = ours.loop.student.pad([ours.encoded.rows[row] for row in rows])
        z_s, labels, z_t = ours.model(**inputs).logits, ours.encoded.labels[rows], logits[rows]
        loss, _ = theirs.distiller.train_on_batch(theirs.distiller.logits_cache[0], {})
        p_t = (z_t / TEMPERATURE).softmax(-1)
        soft = -(p_t * (z_s / TEMPERATURE).log_softmax(-1)).sum(-1).mean() * TEMPERATURE**2
        expected = (1 - ALPHA) * functional.cross_entropy(z_s, labels) + ALPHA * soft
    print(f"textbrewer: its loss on a first batch {float(loss):.6f}, ours with the teacher's entropy {float(expected):.6f}")
    if abs(float(loss) - float(expected)) > 1e-4:
        raise SystemExit("the two do not train the same objective")


def measure_textbrewer() -> None:
    with installed(PACKAGE):
        rows = sentences()
        taught_by = build(teacher())
        logits = teachers_logits(rows, taught_by)
        ours = Ours(rows, logits)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
        random_batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        padded = Theirs(rows, random_batches, length=PADDED, cached=False, taught_by=taught_by)
        dynamic = Theirs(rows, random_batches, length=None, cached=False, taught_by=taught_by)
        cached = Theirs(rows, ours.batches, length=None, cached=True, taught_by=taught_by)
        compare_losses(ours, cached, logits)
        figures = alternate(
            {
                "ours": lambda: ours.rate(10),
                "cached": lambda: cached.rate(10),
                "dynamic": lambda: dynamic.rate(3),
                "padded": lambda: padded.rate(1),
            },
            5,
        )
    for name, values in figures.items():
        print(f"textbrewer: {name} {statistics.median(values):.1f} samples/s")
    targets = {
        "padded": f"to reach: {ONLINE_TARGET}",
        "dynamic": "for comparison",
        "cached": f"to reach: {CACHED_TARGET}",
    }
    for name, target in targets.items():
        low, middle, high = ratios(figures["ours"], figures[name])
        print(f"textbrewer: kd with kept logits / its {name} distiller {middle:.2f} ({low:.2f} .. {high:.2f}) ({target})")


@contextlib.contextmanager
def installed(package: str) -> Iterator[None]:
    """A package that is no dependency of ours, with what it imports, in a folder that is removed again."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--target", folder]
        subprocess.run([*command, "--no-deps", package], check=True)
        subprocess.run([*command, "tensorboard"], check=True)
        sys.path.append(folder)  # behind our own packages, so that it brings only what is not here
        with contextlib.redirect_stderr(io.StringIO()):
            import textbrewer  # noqa: F401
        yield


if __name__ == "__main__":
    if "ARMADA_BENCHMARK_CHILD" not in os.environ:  # glibc reads how to keep memory when a process starts, as a worker's does
        os.environ.update(MALLOC, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", ARMADA_BENCHMARK_CHILD="1")
        os.execv(sys.executable, [sys.executable, *sys.argv])
    measure_textbrewer()
