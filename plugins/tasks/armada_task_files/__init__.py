"""A user's own table as a task: CSV, TSV, JSONL or Parquet; classification, regression or multi-label.

tasks:
  - {name: files, file: reviews.csv, text: body, label: stars, target: regression}
"""

from __future__ import annotations

from armada_cli import Component, hookimpl
from armada_task_files.options import FilesOptions


@hookimpl
def armada_tasks() -> list[Component]:
    return [
        Component(
            "files",
            "Your own CSV, TSV, JSONL or Parquet: classes, numbers or several labels",
            "armada_task_files.task:Files",
            FilesOptions,
            provides={"classification", "regression", "multilabel"},
            light=True,
            # 2: labels that look the same are one class, multi-hot vectors and lists in cells are read as such.
            revision=2,
        )
    ]
