"""What the real run will cost, before a GPU is booked: trainings, parameters, memory, teacher calls, tokens. Imports nothing
heavy.

Rows are counted where the data are on this machine, and are the published number elsewhere; tokens and teacher calls follow
from the same rows.

Memory is that of one trial: weights, gradients and Adam's two moments of what is trained (16 bytes a parameter), frozen
weights, and the activations that the backward pass needs, 34 bytes a layer, token and channel in half precision (Korthikanti
et al. 2022, section 4.1, without the attention matrices, which fused attention does not keep) and twice that in float32. It
is an estimate for booking a card, not a promise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from armada_cli.console import shorten_count
from armada_cli.contracts import Environment
from armada_cli.execution.extent import input_length, published_rows, training_rows
from armada_cli.execution.forecast import count_unseen
from armada_cli.execution.judgement import Verdict, judge
from armada_cli.held_out import SELECTION
from armada_cli.plan.trials import Plan, Trial
from armada_cli.runs import EVALUATED

TRAINED_BYTES = 16
ACTIVATION_BYTES = 34
"""A layer, token and channel, in half precision."""
OVERHEAD = 1 << 30
"""Bytes for the library itself, its workspaces and fragments of memory."""


def estimate(plan: Plan, environment: Environment) -> dict[str, Any]:
    """Plain data for `lines`.

    Raises:
        UserError: what `armada run` would raise of the data before it starts.
    """
    verdict = judge(plan, environment)
    trainings = [trial for trial in plan.everything if EVALUATED not in trial.depends and not trial.student.given]
    evaluations = [trial for trial in plan.everything if EVALUATED in trial.depends]
    students: dict[str, dict[str, Any]] = {}
    tokens = 0
    unknown = False
    for trial in trainings:
        rows, length = training_rows(trial, verdict), input_length(trial)
        if rows is None:
            unknown = True
        else:
            tokens += rows * length * int(trial.train["epochs"])
        entry = students.setdefault(trial.student.title, {"size": _size(trial), "memory": 0, "worst": None})
        if entry["size"] and (memory := peak_memory(entry["size"], trial)) > entry["memory"]:
            entry.update(memory=memory, worst=dict(trial.train))
    return {
        "trainings": len(trainings),
        "evaluations": len(evaluations),
        "students": students,
        "teachers": _teacher_calls(plan, environment, verdict),
        "tokens": tokens,
        "unknown": unknown,
    }


def _size(trial: Trial) -> Mapping[str, int]:
    options = trial.student.options
    return options.size() if hasattr(options, "size") else {}


def peak_memory(size: Mapping[str, int], trial: Trial) -> int:
    """Bytes that one trial needs at its peak; see the module's text."""
    half = trial.train["precision"] == "bf16"
    trained = size["trainable"]
    frozen = size["parameters"] - min(trained, size["parameters"])
    options = trial.student.options
    per_frozen = 0.55 if getattr(options, "quantise", "none") == "4bit" else 2 if half else 4
    batch = math.ceil(int(trial.train["batch_size"]) / int(trial.train["accumulation"]))
    choices = 2 if trial.task.registered.component.kind(trial.task.options) == "multiple-choice" else 1
    tokens = batch * choices * int(trial.train["max_length"])
    layers = 2 if getattr(options, "gradient_checkpointing", False) else size["layers"]
    activations = tokens * size["hidden"] * layers * ACTIVATION_BYTES * (1 if half else 2)
    if trial.task.registered.component.kind(trial.task.options) == "generation":
        activations += tokens * size["vocabulary"] * 4 * 3  # logits, their softmax and its gradient, in float32
    return int(trained * TRAINED_BYTES + frozen * per_frozen + activations + OVERHEAD)


def _teacher_calls(plan: Plan, environment: Environment, verdict: Verdict) -> dict[str, dict[str, int | None]]:
    """Teacher's title -> texts it will be asked for: where the data are at hand, the different ones that are not stored yet;
    None where neither the data nor their size is known."""
    teachers: dict[str, dict[str, int | None]] = {}
    for job in plan.feature_jobs.values():
        texts = count_unseen(job, environment, verdict.hashes)
        if texts is None:
            # those that are held out are among the training rows that were counted
            texts = 0 if job.rows == SELECTION else published_rows(job.task, job.limit, job.rows)
        entry = teachers.setdefault(job.teacher.title, {"texts": 0})
        entry["texts"] = None if texts is None or entry["texts"] is None else entry["texts"] + texts
    return teachers


def lines(figures: Mapping[str, Any]) -> list[str]:
    """The estimate for people."""
    trainings, evaluations = figures["trainings"], figures["evaluations"]
    head = f"{trainings} training{'s' * (trainings != 1)}"
    if evaluations:
        head += f", and {evaluations} further evaluation{'s' * (evaluations != 1)} of what they trained"
    out = [f"trials         {head}"]
    for title, student in figures["students"].items():
        size = student["size"]
        if not size:
            out.append(f"student        {title}: size unknown before its weights are here")
            continue
        trained = size["trainable"]
        what = "all trained" if trained >= size["parameters"] else f"{shorten_count(trained)} of them trained"
        train = student["worst"]
        batch = math.ceil(int(train["batch_size"]) / int(train["accumulation"]))
        memory = f"{student['memory'] / 1e9:.0f} GB"
        out.append(
            f"student        {title}: {shorten_count(size['parameters'])} parameters, {what}; about {memory} at the peak of "
            f"one trial ({train['precision']}, {batch} x {train['max_length']} tokens)"
        )
    for title, teacher in figures["teachers"].items():
        calls = "texts not counted before the data are there" if teacher["texts"] is None else f"{teacher['texts']:,} calls"
        out.append(f"teacher        {title}: {calls}")
    more = ", without tasks whose data are not there" if figures["unknown"] else ""
    out.append(f"tokens         about {shorten_count(figures['tokens'])} in training{more}")
    return out
