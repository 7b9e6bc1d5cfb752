"""Answers in batches against one prompt after the other: `python benchmarks/generation.py [rounds]`.

Both sides have the same model, prompts, numbers of tokens and one thread, in float32, with a key-value cache, decoding
greedily. One side is transformers' `generate` called prompt by prompt, the other the student's `generate` on batches of
similar length, as an evaluation makes them. They take turns, and their answers are compared to the letter. The model is a
LLaMA of random weights (no network), wide enough that reading its weights is what a token costs.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from armada_cli import Decoding, Environment, Problem, Student
from armada_cli.evaluation.generation import batches
from armada_cli.models import hub, tiny
from armada_cli.registry import catalog

PROMPTS, NEW, BATCH, LORA = 64, 48, 32, 8
TARGET = 3.0


def checkpoint(folder: Path) -> None:
    """A LLaMA of 19M parameters; its weights are spread enough that no two tokens are nearly as likely."""
    config = LlamaConfig(
        vocab_size=tiny.save_bytes_tokenizer(folder),
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        initializer_range=0.1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    with hub.quiet():
        LlamaForCausalLM(config).save_pretrained(folder)


def prompts() -> list[str]:
    """From a few words to three sentences; a letter is a token here, so these are the lengths of instructions."""
    draw = random.Random(0)
    return [" ".join(draw.choices(tiny.SENTENCES, k=draw.randint(1, 3)))[draw.randint(0, 30) :] for _ in range(PROMPTS)]


def one_by_one(student: Any, model: Any, texts: list[str]) -> list[str]:
    """What a user of transformers writes."""
    tokenizer, found = student.reader.tokenizer, []
    for text in texts:
        tokens = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            answer = model.generate(
                input_ids=tokens["input_ids"],
                attention_mask=tokens["attention_mask"],
                max_new_tokens=NEW,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
        found.append(tokenizer.decode(answer[0, tokens["input_ids"].shape[1] :], skip_special_tokens=True))
    return found


def in_batches(student: Student, model: Any, texts: list[str]) -> list[str]:
    """The student's own way, with the batches that an evaluation makes."""
    found = [""] * len(texts)
    for rows in batches([len(text) for text in texts], BATCH):
        answers = student.generate(model, [texts[row] for row in rows], Decoding(max_new_tokens=NEW), rows)
        for row, answer in zip(rows, answers, strict=True):
            found[row] = answer
    return found


def timed(work: Callable[..., list[str]], *arguments: Any) -> tuple[float, list[str]]:
    start = time.perf_counter()
    found = work(*arguments)
    return time.perf_counter() - start, found


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint(Path(temporary))
        card = catalog.current().find("student", "decoder").component
        student = card.load()(card.options(model=temporary, lora=LORA), Environment(offline=True))
        model = student.build(Problem("generation", 0, ())).eval()
    texts = prompts()
    lengths = [len(student.reader.prompt(text, 1024)) for text in texts]
    parameters = sum(item.numel() for item in model.parameters()) / 1e6
    print(f"LLaMA, {parameters:.1f}M parameters with LoRA of rank {LORA}, float32, 1 thread")
    print(f"{PROMPTS} prompts of {min(lengths)} to {max(lengths)} tokens, {NEW} new tokens, batches of {BATCH}, greedy")
    one_by_one(student, model, texts[:2])
    in_batches(student, model, texts[:2])
    ratios = []
    for number in range(rounds):
        slow, alone = timed(one_by_one, student, model, texts)
        fast, together = timed(in_batches, student, model, texts)
        different = sum(one != other for one, other in zip(alone, together, strict=True))
        if different or len(set(alone)) < PROMPTS // 2:
            sys.exit(f"{different} of {PROMPTS} answers differ ({len(set(alone))} distinct ones)")
        ratios.append(slow / fast)
        print(
            f"round {number + 1}: one by one {PROMPTS / slow:6.2f} samples/s, in batches {PROMPTS / fast:6.2f} samples/s, "
            f"{slow / fast:.2f} x, answers identical"
        )
    median = statistics.median(ratios)
    print(f"median {median:.2f} x (target {TARGET:g} x)")
    if median < TARGET:
        sys.exit(1)


if __name__ == "__main__":
    main()
