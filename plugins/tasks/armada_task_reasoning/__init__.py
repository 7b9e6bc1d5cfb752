"""The reasoning tasks of the paper (Table 4): two training sets in the form of LLM-Adapters, eight sets of questions."""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_task_reasoning.options import (
    AQuA,
    ARCChallenge,
    ARCEasy,
    Commonsense,
    Hellaswag,
    Math,
    MultiArith,
    OpenBookQA,
    ReasoningOptions,
    SingleEq,
    Winogrande,
)


def _card(name: str, summary: str, options: type[ReasoningOptions]) -> Component:
    return Component(
        name,
        summary,
        "armada_task_reasoning.task:Reasoning",
        options,
        provides={"generation"},
        # The paper's appendix C; the aligner's rate of its SuperGLUE tasks.
        defaults={"epochs": 3, "batch_size": 4, "max_length": 256, "evaluate": "end"},
        suggestions={"aligner_lr": 1e-3},
        light=True,
        reference="Paper, Table 4; Hu et al. 2023, LLM-Adapters",
    )


@hookimpl
def armada_tasks() -> list[Component]:
    return [
        _card("commonsense", "Commonsense instructions to train on, 120 rows held out (accuracy)", Commonsense),
        _card("math", "Arithmetic instructions to train on, 120 rows held out (accuracy)", Math),
        _card("hellaswag", "Which of four endings follows? After commonsense (accuracy)", Hellaswag),
        _card("winogrande", "Which of two fills the blank? After commonsense (accuracy)", Winogrande),
        _card("arc-challenge", "School science, the hard questions. After commonsense (accuracy)", ARCChallenge),
        _card("arc-easy", "School science, the easy questions. After commonsense (accuracy)", ARCEasy),
        _card("openbookqa", "Elementary science with a fact to find. After commonsense (accuracy)", OpenBookQA),
        _card("multiarith", "Word problems of several steps. After math (accuracy)", MultiArith),
        _card("singleeq", "Word problems of one equation. After math (accuracy)", SingleEq),
        _card("aqua", "Algebra with five choices. After math (accuracy)", AQuA),
    ]
