"""Tables -> text for a terminal or a file, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from armada_cli.escaping import dump_json, escape_for_csv, escape_for_latex, escape_for_markdown
from armada_cli.reporting import tables as made
from armada_cli.reporting.folder import Run
from armada_cli.reporting.tables import MEAN, Group, Line, Section, Table

FORMATS = ("rich", "txt", "md", "json", "csv", "latex")
FILE_WIDTH = 100
"""Columns of report.txt: fits an editor and a review."""

GAP = 3
LABEL = 18
"""Least width of the label column."""

SMOKE = "SMOKE RUN: a few rows and steps, only to see that everything works. The numbers mean nothing."


# ---------------------------------------------------------------------------------------------------------------- text


def text(run: Run, groups: Sequence[Group], width: int) -> Text:
    """The whole report, at most `width` columns wide wherever its numbers allow it: they are never cut."""
    lines: list[Text] = [Text(run.title or run.name, "bold")]
    if run.summary:
        lines += _wrapped(run.summary, width)
    lines += _wrapped(_state(run), width, style="dim")
    if run.smoke:
        lines += [Text(), *_wrapped(SMOKE, width, style="bold reverse red")]
    for group in groups:
        for table in made.tables(group):
            lines += [Text(), Text(), *table_lines(table, width)]
    for title, entries, style in (
        ("How to read the differences", made.reading_notes(groups), ""),
        ("Trials without a score", made.missing_lines(run), "red"),
        ("Warnings", made.warning_lines(run), "yellow"),
        ("Parameters", made.parameter_lines(run), ""),
        ("Provenance", provenance_lines(run), ""),
        ("Timings", timing_lines(run), ""),
    ):
        if entries:
            lines += [Text(), Text(), Text(title, "bold"), Text("─" * width, "dim")]
            for entry in entries:
                lines += _wrapped(entry, width, style=style, hang="    ")
    return Text("\n").join(lines) + Text("\n")


def table_lines(table: Table, width: int) -> Iterator[Text]:
    """One table, split into as many as its columns need; in long form where not even one column fits beside the labels."""
    cells = [_column(table, place) for place in range(len(table.heads))]
    widths = [max(len(line) for cell in column for line in cell) for column in cells]
    label = max(
        [len(table.corner), *(len(line.label) + _indent(section) for section in table.sections for line in section.lines)]
    )
    label = _label_width(label, widths, width)
    if not widths or label + GAP + max(widths) > width:
        yield from _wrapped(table.title, width, style="bold")
        yield from _long_form(table, width)
    else:
        parts = _split(widths, width - label)
        for number, part in enumerate(parts):
            if number:
                yield Text()
            yield from _wrapped(
                table.title + (f" ({number + 1} of {len(parts)})" if len(parts) > 1 else ""), width, style="bold"
            )
            yield from _grid(table, part, cells, widths, label)
    for note in table.notes:
        yield from _wrapped(note, width, style="dim italic", hang="  ")


def _label_width(longest: int, widths: Sequence[int], width: int) -> int:
    """As wide as the labels are, narrower where wrapping them saves a table, never under `LABEL` (or the longest)."""
    widest = min(longest, max(LABEL, width * 2 // 5))
    least = min(longest, LABEL)
    fitting = [label for label in range(widest, least - 1, -1) if widths and label + GAP + max(widths) <= width]
    if not fitting:
        return least
    return min(fitting, key=lambda label: (len(_split(widths, width - label)), -label))


def _indent(section: Section) -> int:
    return 2 if section.title else 0


def _split(widths: Sequence[int], room: int) -> list[list[int]]:
    parts: list[list[int]] = []
    left = -1
    for place, needed in enumerate(widths):
        if left < needed + GAP:
            parts.append([])
            left = room
        parts[-1].append(place)
        left -= needed + GAP
    return parts


def _column(table: Table, place: int) -> list[list[str]]:
    """A column's cells as lines: the head, then one entry a row, numbers aligned at their decimal point."""
    rows = [line.cells[place].split("\n") for section in table.sections for line in section.lines]
    leads = [match.end() if (match := re.match(r"[+−-]?\d+", row[0])) else None for row in rows]
    widest = max((lead for lead in leads if lead is not None), default=0)
    aligned = [
        [" " * (widest - lead) + row[0], *row[1:]] if lead is not None else row for row, lead in zip(rows, leads, strict=True)
    ]
    return [list(table.heads[place]), *aligned]


def _grid(table: Table, part: Sequence[int], cells: list[list[list[str]]], widths: Sequence[int], label: int) -> Iterator[Text]:
    full = label + sum(widths[place] + GAP for place in part)
    rule = Text("─" * full, "dim")
    yield rule
    for level in range(2):
        head = Text((table.corner if level == 0 else "").ljust(label), "bold" if level == 0 else "dim")
        for place in part:
            head.append(" " * GAP + cells[place][0][level].ljust(widths[place]), "bold" if level == 0 else "dim")
        yield _stripped(head)
    yield rule
    row = 0
    was_published = False
    for number, section in enumerate(table.sections):
        rows = range(row + 1, row + 1 + len(section.lines))
        row += len(section.lines)
        # A table of the paper need not have the columns of this part.
        shown = [
            place for place in rows if not section.published or any(cells[column][place][0] != made.NOTHING for column in part)
        ]
        if not shown:
            continue
        if section.published and not was_published and number:
            yield Text("╌" * full, "dim")
        elif number:
            yield Text()
        was_published = section.published
        if section.title:
            for piece in textwrap.wrap(section.title, full):
                yield Text(piece, "italic dim" if section.published else "italic cyan")
        for place in shown:
            entries = [cells[column][place] for column in part]
            yield from _row(section.lines[place - rows.start], section, part, entries, widths, label)
    yield rule


def _row(
    line: Line, section: Section, part: Sequence[int], entries: list[list[str]], widths: Sequence[int], label: int
) -> Iterator[Text]:
    indent = " " * _indent(section)
    labels = textwrap.wrap(line.label, label, initial_indent=indent, subsequent_indent=indent + "  ") or [""]
    for level in range(max(len(labels), *(len(entry) for entry in entries))):
        text = Text((labels[level] if level < len(labels) else "").ljust(label), "dim" if section.published else "")
        for place, entry in zip(part, entries, strict=True):
            piece = entry[level] if level < len(entry) else ""
            style = "dim" if section.published or level else "bold" if place in line.best else _tone(piece)
            text.append(" " * GAP).append(piece.ljust(widths[place]), style)
        yield _stripped(text)


def _tone(piece: str) -> str:
    return {"failed": "red", "damaged": "red", "pending": "yellow"}.get(piece, "")


def _long_form(table: Table, width: int) -> Iterator[Text]:
    for section in table.sections:
        if section.title:
            yield from _wrapped(section.title, width, style="italic")
        for line in section.lines:
            yield from _wrapped(line.label, width, style="bold")
            for (task, metric), cell in zip(table.heads, line.cells, strict=True):
                first, *rest = cell.split("\n")
                yield from _wrapped(f"  {task} ({metric}): {first}", width, hang="    ")
                for piece in rest:
                    yield from _wrapped(f"    {piece}", width, hang="    ")


def _wrapped(text: str, width: int, *, style: str = "", hang: str = "") -> list[Text]:
    lines = textwrap.wrap(text, max(width, 20), subsequent_indent=hang, break_long_words=False, break_on_hyphens=False)
    return [Text(line, style) for line in lines]


def _stripped(text: Text) -> Text:
    text.rstrip()
    return text


def _state(run: Run) -> str:
    counts: dict[str, int] = {}
    for trial in run.trials:
        counts[trial.status] = counts.get(trial.status, 0) + 1
    states = ", ".join(f"{count} {status}" for status, count in counts.items())
    plural = "s" if len(run.trials) != 1 else ""
    return f"run {run.name}: {len(run.trials)} trial{plural}" + (f" ({states})" if states else "")


# ---------------------------------------------------------------------------------------------------------- provenance


def provenance_lines(run: Run) -> list[str]:
    """What the numbers came from; no clock time among it."""
    known = dict(run.provenance)
    lines = []
    if run.command:
        lines.append(f"command: {run.command}")
    for key in ("git", "python", "platform", "cpu"):
        value = known.pop(key, None)
        if value:
            lines.append(f"{'git commit' if key == 'git' else key}: {value}")
    versions = known.pop("versions", None)
    if isinstance(versions, Mapping) and versions:
        lines.append("versions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())))
    plugins = known.pop("plugins", None)
    components = _mappings(known.pop("components", None))
    brought: dict[tuple[Any, ...], dict[str, list[str]]] = {}
    for item in components:
        # classes of one file that the recipe named stand in one line
        local = str(item.get("distribution")).startswith("local file ")
        who = (None if local else item.get("plugin"), item.get("distribution"), item.get("version"))
        brought.setdefault(who, {}).setdefault(str(item.get("kind")), []).append(str(item.get("name")))
    for (plugin, distribution, version), kinds in brought.items():
        what = "; ".join(f"{kind} {', '.join(names)}" for kind, names in kinds.items())
        source = f"plugin {plugin} ({distribution} {version})" if plugin else f"{distribution} ({version})"
        lines.append(f"{source}: {what}")
    if isinstance(plugins, list) and plugins and not brought:
        names = [f"{item.get('plugin')} ({item.get('distribution')} {item.get('version')})" for item in _mappings(plugins)]
        lines.append("plugins: " + ", ".join(names))
    seeds = known.pop("seeds", None)
    if isinstance(seeds, list) and seeds:
        lines.append("seeds: " + ", ".join(str(seed) for seed in seeds))
    for teacher in _mappings(known.pop("teachers", None)):
        identity = json.dumps(teacher.get("identity"), sort_keys=True, ensure_ascii=False)
        key = f", key {teacher['key']}" if teacher.get("key") else ""
        lines.append(f"teacher {teacher.get('name')}{key}: {identity}")
    lines += [
        f"{key}: {json.dumps(value, sort_keys=True, ensure_ascii=False)}" for key, value in sorted(known.items()) if value
    ]
    return lines


def timing_lines(run: Run) -> list[str]:
    """Clock times: the one part of a report that differs when the same run is made again."""
    times = timings(run)
    lines = [f"{key}: {times[key]}" for key in ("started", "finished") if times[key]]
    for stage in times["stages"]:
        lines.append(f"{stage.get('stage', 'stage')}: {_clock(stage)}")
    total = times["trials"]
    if total["timed"]:
        plural = "s" if total["timed"] != 1 else ""
        lines.append(f"all {total['timed']} trial{plural} together: {_clock(total)}")
        lines += [f"    {name}: {_clock(stage)}" for name, stage in total["stages"].items()]
    return lines


def timings(run: Run) -> dict[str, Any]:
    """Seconds by stage of the run, and summed over its trials (a trial shared with another run is counted in both)."""
    timed = [trial for trial in run.trials if trial.wall is not None]
    stages: dict[str, dict[str, float]] = {}
    for trial in timed:
        for name, spent in trial.stages.items():
            sums = stages.setdefault(name, {})
            for clock, seconds in (spent if isinstance(spent, Mapping) else {"wall": spent}).items():
                if isinstance(seconds, (int, float)):
                    sums[clock] = round(sums.get(clock, 0.0) + seconds, 3)
    return {
        "started": run.started,
        "finished": run.finished,
        "stages": [dict(stage) for stage in run.stages],
        "trials": {
            "timed": len(timed),
            "wall": round(sum(trial.wall or 0.0 for trial in timed), 3),
            "cpu": round(sum(trial.cpu or 0.0 for trial in timed), 3),
            "stages": stages,
        },
    }


def _clock(stage: Mapping[str, Any]) -> str:
    parts = [f"{_seconds(stage[key])} {key}" for key in ("wall", "cpu") if isinstance(stage.get(key), (int, float))]
    return ", ".join(parts) or "not measured"


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


# ------------------------------------------------------------------------------------------------------------ Markdown


def markdown(run: Run, groups: Sequence[Group]) -> str:
    """The report as Markdown; the best mean of a column is bold."""
    lines = [f"# {escape_for_markdown(run.title or run.name)}", ""]
    if run.summary:
        lines += [escape_for_markdown(run.summary), ""]
    lines += [escape_for_markdown(_state(run)), ""]
    if run.smoke:
        lines += [f"> **{SMOKE}**", ""]
    for group in groups:
        for table in made.tables(group):
            lines += [f"## {escape_for_markdown(table.title)}", "", *_md_table(table)]
            lines += [piece for note in table.notes for piece in (escape_for_markdown(note), "")]
    for title, entries in (
        ("How to read the differences", made.reading_notes(groups)),
        ("Trials without a score", made.missing_lines(run)),
        ("Warnings", made.warning_lines(run)),
        ("Parameters", made.parameter_lines(run)),
        ("Provenance", provenance_lines(run)),
        ("Timings", timing_lines(run)),
    ):
        if entries:
            lines += [f"## {title}", "", *(f"- {escape_for_markdown(entry.strip())}" for entry in entries), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _md_table(table: Table) -> list[str]:
    if not table.heads:
        return []
    heads = ["<br>".join(map(escape_for_markdown, head)) for head in table.heads]
    lines = [f"| {' | '.join([escape_for_markdown(table.corner), *heads])} |"]
    lines.append("| --- |" + " --- |" * len(table.heads))
    for section in table.sections:
        if section.title:
            lines.append(f"| *{escape_for_markdown(section.title)}* |" + "  |" * len(table.heads))
        for line in section.lines:
            cells = []
            for place, cell in enumerate(line.cells):
                first, *rest = (escape_for_markdown(piece) for piece in cell.split("\n"))
                cells.append("<br>".join([f"**{first}**" if place in line.best else first, *rest]))
            lines.append(f"| {escape_for_markdown(line.label)} | " + " | ".join(cells) + " |")
    return [*lines, ""]


# --------------------------------------------------------------------------------------------------------------- LaTeX


def latex(run: Run, groups: Sequence[Group]) -> str:
    """One booktabs table each (``\\usepackage{booktabs}``); the best mean of a column is bold."""
    parts = [f"% {SMOKE}"] if run.smoke else []
    for group in groups:
        for table in made.tables(group):
            if table.heads:
                parts.append(_latex_table(table))
    return "\n\n".join(parts) + "\n"


def _latex_table(table: Table) -> str:
    count = len(table.heads) + 1
    lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{l{'l' * len(table.heads)}}}", r"\toprule"]
    lines.append(" & ".join([escape_for_latex(table.corner), *(escape_for_latex(task) for task, _ in table.heads)]) + r" \\")
    lines.append(" & ".join(["", *(escape_for_latex(metric) for _, metric in table.heads)]) + r" \\")
    for section in table.sections:
        lines.append(r"\midrule")
        if section.title:
            lines.append(rf"\multicolumn{{{count}}}{{l}}{{\textit{{{escape_for_latex(section.title)}}}}} \\")
        for line in section.lines:
            cells = []
            for place, cell in enumerate(line.cells):
                first, *rest = (escape_for_latex(piece) for piece in cell.split("\n"))
                cells.append("; ".join([rf"\textbf{{{first}}}" if place in line.best else first, *rest]))
            lines.append(" & ".join([escape_for_latex(line.label), *cells]) + r" \\")
    lines += [
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{escape_for_latex(' '.join([table.title + '.', *table.notes]))}}}",
        r"\end{table}",
    ]
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------- machine forms


def plain(run: Run, groups: Sequence[Group]) -> dict[str, Any]:
    """Everything the report knows, every seed's value included; ``timings`` alone differs between equal runs."""
    return {
        "format": 1,
        "run": {"recipe": run.name, "title": run.title, "summary": run.summary, "smoke": run.smoke, "command": run.command},
        "groups": [_plain_group(group) for group in groups],
        "trials": [
            {
                key: value
                for key, value in dataclasses.asdict(trial).items()
                if key not in ("wall", "cpu", "stages") and not (key == "options" and value is None)
            }
            for trial in run.trials
        ],
        "provenance": dict(run.provenance),
        "timings": {
            **timings(run),
            "by_trial": {
                trial.id: {"wall": trial.wall, "cpu": trial.cpu, "stages": dict(trial.stages)} for trial in run.trials
            },
        },
    }


def _plain_group(group: Group) -> dict[str, Any]:
    tasks = [column.task for column in group.columns]
    methods = []
    for place, arm in enumerate(group.arms):
        scores = {}
        for key in group.keys:
            summary = group.summary(arm, key)
            scores[key] = {
                "seeds": {str(seed): score for seed, score in group.scores(arm, key).items()},
                **(dataclasses.asdict(summary) if summary else {"n": 0, "mean": None, "sd": None, "best": None}),
                **({"missing": {str(trial.seed): trial.status for trial in arm.missing(key)}} if key in tasks else {}),
                "difference": made.as_plain(group.differences.get((place, key)), group.holm.get((place, key))),
            }
        methods.append(
            {
                "label": arm.label,
                "method": arm.method_name,
                "teacher": arm.teacher,
                "teacher_name": arm.teacher_name,
                "manifold": arm.manifold,
                "control": arm.control,
                "baseline": arm is group.baseline,
                "scores": scores,
            }
        )
    return {
        "student": group.student,
        "student_name": group.student_name,
        "group": group.name,
        "columns": [dataclasses.asdict(column) for column in group.columns],
        "mean_over_tasks": MEAN if MEAN in group.keys else None,
        "methods": methods,
        "controls": [
            {
                "method": group.arms[int(key[0])].label,
                "control": group.arms[int(key[1])].label,
                "column": key[2],
                "difference": made.as_plain(difference, group.holm.get(key)),
            }
            for key, difference in group.controls.items()
        ],
        "published": [
            {
                "source": row.source,
                "method": row.method,
                "label": row.label,
                "manifold": row.manifold,
                "teacher": row.teacher,
                "values": dict(row.values),
            }
            for row in group.published
        ],
    }


def as_json(run: Run, groups: Sequence[Group], encoding: str | None = "utf-8") -> str:
    return dump_json(plain(run, groups), indent=2, encoding=encoding) + "\n"


CSV_FIELDS = (
    *("source", "student", "group", "task", "metric", "method", "name", "teacher", "manifold", "control"),
    *("n", "missing", "mean", "sd", "best"),
    *("difference", "difference_sd", "difference_n", "p", "p_holm"),
)


def as_csv(run: Run, groups: Sequence[Group]) -> str:
    """One row for each method and task, published ones too; `source` is ``run`` or the paper's table."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for group in groups:
        writer.writerows({field: escape_for_csv(cell) for field, cell in row.items()} for row in _csv_rows(group))
    return stream.getvalue()


def _csv_rows(group: Group) -> Iterable[dict[str, Any]]:
    shared = {"student": group.student, "group": group.name}
    columns = {column.task: column for column in group.columns}
    for place, arm in enumerate(group.arms):
        for key in group.keys:
            summary = group.summary(arm, key)
            difference = group.differences.get((place, key))
            row: dict[str, Any] = {
                **shared,
                "source": "run",
                "task": (columns[key].title or key) if key in columns else key,
                "metric": columns[key].metric if key in columns else "",
                "method": arm.label,
                "name": arm.method_name,
                "teacher": arm.teacher,
                "manifold": arm.manifold,
                "control": arm.control,
                "n": 0,
                "missing": len(arm.missing(key)),
            }
            if summary:
                row |= dataclasses.asdict(summary)
            if difference:
                row |= {"difference": difference.mean, "difference_sd": difference.sd, "difference_n": difference.n}
                row |= {"p": difference.p, "p_holm": group.holm.get((place, key))}
            yield row
    for published in group.published:
        for column in group.columns:
            value = published.values.get(column.published_key)
            if value is not None:
                yield {
                    **shared,
                    "source": published.source,
                    "task": column.title or column.task,
                    "metric": column.metric,
                    "method": published.label,
                    "name": published.method,
                    "teacher": published.teacher,
                    "manifold": published.manifold,
                    "mean": value,
                }
