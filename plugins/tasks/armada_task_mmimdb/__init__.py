"""MM-IMDb (Arevalo et al. 2017): genres of films by their plots, with the posters for a teacher; the paper's Table 9."""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_task_mmimdb.options import MMIMDbOptions


@hookimpl
def armada_tasks() -> list[Component]:
    return [
        Component(
            "mm-imdb",
            "Genres of films, 23: the student reads the plot, the teacher sees the poster (micro F1)",
            "armada_task_mmimdb.task:MMIMDb",
            MMIMDbOptions,
            provides={"multilabel"},
            # The paper's appendix C; it does not name the batch.
            defaults={"epochs": 20, "batch_size": 32, "lr": 2e-5},
            light=True,
            # 2: genres are known in other spellings too, where they were passed over.
            revision=2,
            reference="Paper, Table 9",
        )
    ]
