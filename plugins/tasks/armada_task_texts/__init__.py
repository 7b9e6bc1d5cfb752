"""Texts without labels, for a pre-training that other students begin from."""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_task_texts.options import TextsOptions


@hookimpl
def armada_tasks() -> list[Component]:
    return [
        Component(
            "texts",
            "Texts of a file, a dataset or another task without labels, to be learned by telling masked words (perplexity)",
            "armada_task_texts.task:Texts",
            TextsOptions,
            provides={"masked"},
            light=True,
            reference="Devlin et al. 2019, BERT, section 3.1",
        )
    ]
