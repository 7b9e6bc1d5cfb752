"""The eight GLUE tasks of the paper (Tables 2, 3 and 5): CoLA, MRPC, RTE, STS-B, SST-2, MNLI, QNLI and QQP."""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_cli.corpora.tasks import HubOptions
from armada_task_glue.options import MNLI, MRPC, QNLI, QQP, RTE, SST2, STSB, CoLA

SMALL = "Paper, Tables 2 and 5"
LARGE = "Paper, Table 3"


def _card(name: str, summary: str, options: type[HubOptions], reference: str) -> Component:
    return Component(
        name,
        summary,
        "armada_task_glue.task:Glue",
        options,
        provides={"classification" if options.bounds is None else "regression"},
        # The paper's appendix C.
        defaults={"epochs": 10, "batch_size": 32, "max_length": 128},
        suggestions={"aligner_lr": 3e-3},
        light=True,
        reference=reference,
    )


@hookimpl
def armada_tasks() -> list[Component]:
    return [
        _card("cola", "Is a sentence acceptable English? (Mcc)", CoLA, SMALL),
        _card("mrpc", "Do two news sentences say the same? (accuracy)", MRPC, SMALL),
        _card("rte", "Does one sentence follow from the other? (accuracy)", RTE, SMALL),
        _card("stsb", "How similar are two sentences, 0 to 5? (Pearson)", STSB, SMALL),
        _card("sst2", "Is a film review's sentence positive? (accuracy)", SST2, LARGE),
        _card("mnli", "Entailment, neutral or contradiction, ten genres (accuracy)", MNLI, LARGE),
        _card("qnli", "Does a sentence hold the answer to a question? (accuracy)", QNLI, LARGE),
        _card("qqp", "Do two questions ask the same? (accuracy)", QQP, LARGE),
    ]
