"""The instruction sets of the paper (Tables 11 and 12) in the form of MiniLLM: Dolly to train on, five to evaluate."""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_task_instructions.options import UNI, Dolly, InstructionOptions, SelfInst, SuperNatural, Vicuna


def _card(name: str, summary: str, options: type[InstructionOptions]) -> Component:
    return Component(
        name,
        summary,
        "armada_task_instructions.task:Instructions",
        options,
        provides={"generation"},
        # Epochs and batch of the paper's appendix C; 512 tokens as in MiniLLM.
        defaults={"epochs": 3, "batch_size": 4, "max_length": 512, "evaluate": "end"},
        suggestions={"aligner_lr": 1e-3},
        light=True,
        reference="Paper, Tables 11 and 12; Gu et al. 2024, MiniLLM",
    )


@hookimpl
def armada_tasks() -> list[Component]:
    return [
        _card("dolly", "Instructions written by people; trains and evaluates (ROUGE-L)", Dolly),
        _card("self-inst", "Instructions for users' everyday tasks. After dolly (ROUGE-L)", SelfInst),
        _card("vicuna", "Eighty questions with long answers. After dolly (ROUGE-L)", Vicuna),
        _card("sni", "Super-NaturalInstructions, answers of over ten tokens. After dolly (ROUGE-L)", SuperNatural),
        _card("uni", "Unnatural Instructions, 2000 answers of over ten tokens. After dolly (ROUGE-L)", UNI),
    ]
