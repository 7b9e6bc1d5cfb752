"""A small LLaMA trained from scratch on the texts of a data mirror, so that generation can be tried where no hub is at hand.

    python benchmarks/small_llama.py DATA FOLDER [--tokens 2000000] [--threads 1]

It learns a tokenizer (BPE, 2048 pieces) and a language model of about 1M parameters from the *training* rows of commonsense,
math, dolly and boolq below DATA, and saves both into FOLDER for the student `decoder`. About five minutes for two million
tokens on one core. It writes English of a kind and knows nothing: scores of it compare runs, and stand beside no published
number.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("data", type=Path)
arguments.add_argument("folder", type=Path)
arguments.add_argument("--tokens", type=int, default=2_000_000)
arguments.add_argument("--threads", type=int, default=1)
given = arguments.parse_args()
os.environ["OMP_NUM_THREADS"] = str(given.threads)

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SOURCES = {
    "llm-adapters/commonsense/train.jsonl": ("instruction", "output"),
    "llm-adapters/math/train.jsonl": ("instruction", "output"),
    "MiniLLM/dolly/train.jsonl": ("prompt", "output"),
    "aps/super_glue/boolq/train.jsonl": ("passage", "question"),
}
LENGTH, BATCH, RATE = 256, 16, 2e-3


def texts() -> list[str]:
    found = []
    for name, fields in SOURCES.items():
        # Not `splitlines`: some texts hold the line separators of Unicode.
        for line in (given.data / name).read_text(encoding="utf-8").strip().split("\n"):
            row = json.loads(line)
            found.append("\n".join(str(row[field]) for field in fields))
    return found


def learn_tokenizer(corpus: list[str]) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=2048, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", core.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def main() -> None:
    torch.manual_seed(0)
    corpus = texts()
    tokenizer = learn_tokenizer(corpus)
    stream = [token for row in tokenizer(corpus)["input_ids"] for token in [*row, tokenizer.eos_token_id]]
    rows = torch.tensor(stream[: len(stream) // LENGTH * LENGTH]).view(-1, LENGTH)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    steps = given.tokens // (LENGTH * BATCH)
    print(f"{len(stream)} tokens of text, {sum(p.numel() for p in model.parameters())} parameters, {steps} steps", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    order = torch.Generator().manual_seed(0)
    start, recent = time.perf_counter(), []
    for step in range(steps):
        batch = rows[torch.randint(len(rows), (BATCH,), generator=order)]
        rate = RATE * min(1.0, (step + 1) / 50) * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        recent = [*recent[-49:], loss.item()]
        if step % 50 == 49:
            print(f"step {step + 1}: loss {sum(recent) / len(recent):.3f}, {time.perf_counter() - start:.0f} s", flush=True)
    model.save_pretrained(given.folder)
    tokenizer.save_pretrained(given.folder)


if __name__ == "__main__":
    main()
