"""A run as CSV: one row for each method and task."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator, Mapping
from typing import Any

from armada_cli.escaping import escape_for_csv
from armada_cli.reporting.folder import Run
from armada_cli.reporting.groups import Group, make_groups

FIELDS = (
    *("source", "student", "group", "task", "metric", "method", "name", "teacher", "components", "control"),
    *("n", "missing", "mean", "sd", "best"),
    *("difference", "difference_sd", "difference_n", "p", "p_holm"),
)


def render_csv(run: Run) -> str:
    """Published rows too; `source` is ``run`` or the paper's table."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
    writer.writeheader()
    for group in make_groups(run):
        for row in (*_own_rows(group), *_published_rows(group)):
            shared = {"student": group.student, "group": group.name}
            writer.writerow({field: escape_for_csv(cell) for field, cell in {**shared, **row}.items()})
    return stream.getvalue()


def _own_rows(group: Group) -> Iterator[dict[str, Any]]:
    columns = {column.task: column for column in group.columns}
    for arm in group.arms:
        for key in group.keys:
            summary, difference = group.summary(arm, key), group.difference(arm, key)
            row: dict[str, Any] = {
                "source": "run",
                "task": (columns[key].title or key) if key in columns else key,
                "metric": columns[key].metric if key in columns else "",
                "method": arm.label,
                "name": arm.first.method_name,
                "teacher": arm.first.teacher,
                "components": _as_text(arm.first.components),
                "control": arm.first.control,
                "n": 0,
                "missing": len(arm.missing(key)),
            }
            if summary:
                row |= dataclasses.asdict(summary)
            if difference:
                row |= {"difference": difference.mean, "difference_sd": difference.sd, "difference_n": difference.n}
                row |= {"p": difference.p, "p_holm": difference.p_holm}
            yield row


def _published_rows(group: Group) -> Iterator[dict[str, Any]]:
    for row in group.published:
        for column in group.columns:
            if column.published_key in row.values:
                yield {
                    "source": row.source,
                    "task": column.title or column.task,
                    "metric": column.metric,
                    "method": row.label,
                    "name": row.method,
                    "teacher": row.teacher,
                    "components": _as_text(row.components),
                    "mean": row.values[column.published_key],
                }


def _as_text(components: Mapping[str, str]) -> str:
    """``option=component``, as titles have it."""
    return " ".join(f"{option}={name}" for option, name in components.items())
