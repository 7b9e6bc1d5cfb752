"""The four SuperGLUE tasks of the paper (Tables 2 and 5): CB, COPA, BoolQ and WiC."""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_cli.corpora.tasks import HubOptions
from armada_task_superglue.options import CB, COPA, BoolQ, WiC


def _card(name: str, summary: str, target: str, options: type[HubOptions], kind: str = "classification") -> Component:
    return Component(
        name,
        summary,
        f"armada_task_superglue.task:{target}",
        options,
        provides={kind},
        # The paper's appendix C.
        defaults={"epochs": 10, "batch_size": 8, "max_length": 128},
        suggestions={"aligner_lr": 1e-3},
        light=True,
        reference="Paper, Tables 2 and 5",
    )


@hookimpl
def armada_tasks() -> list[Component]:
    return [
        _card("cb", "Does a speaker commit to a clause? Three classes (accuracy)", "Pair", CB),
        _card("copa", "Which of two sentences is the cause, or the effect? (accuracy)", "Copa", COPA, "multiple-choice"),
        _card("boolq", "Is the answer to a question about a passage yes or no? (accuracy)", "Pair", BoolQ),
        _card("wic", "Has a word the same meaning in two sentences? (accuracy)", "Wic", WiC),
    ]
