"""What a report says in sentences: below its tables, and once for the whole run."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence

from armada_cli.errors import capitalise
from armada_cli.reporting import published
from armada_cli.reporting.folder import Run, TrialRecord
from armada_cli.reporting.groups import Comparison, Group
from armada_cli.reporting.selection import Arm, Chosen
from armada_cli.reporting.statistics import mean

SMOKE = "SMOKE RUN: a few rows and steps, only to see that everything works. The numbers mean nothing."

REGULARISATION = (
    "An improvement which the shuffled or noise teacher also gives is regularisation, not knowledge: only a real teacher "
    "that beats its control has taught something."
)

NO_CONTROLS = "Nothing to compare: no row has a control's options, or the two have no finished seed in common."

FITS = (
    "How well a model that the method brings fits the rows that it was trained on, which says nothing of rows that it has not "
    "seen."
)

ANSWERED = "answered"
"""The score that tells the share of answers that could be read (`Task.score`)."""

FEW_SEEDS = 5
SMALL_P = 0.05


def describe_scores(group: Group) -> list[str]:
    """What the figures of a table of scores are: seeds, rows, precision, and what is quoted of the paper."""
    seeds = sorted({seed for arm in group.arms for trials in arm.trials.values() for seed in trials})
    names = ", ".join(map(str, seeds))
    lines = [
        f"mean ± sd (best) over seeds {names}; sd with n − 1."
        if len(seeds) > 1
        else f"One seed ({names}): no spread and no test, so a difference here may be chance."
    ]
    lines += describe_rows(group)
    if any(unread_share(arm, column.task) for arm in group.arms for column in group.tasks):
        lines.append("unread: answers from which no answer could be read, which count as wrong.")
    lines += _describe_selection(group)
    lines += _describe_precision(group)
    if group.published:
        quoted = {number for row in group.published for number in row.tables}
        text = "The paper's numbers are quoted as printed, from students trained on full training splits"
        if group.mean_key in group.keys:
            text += "; their mean over these tasks is computed here"
        for number in sorted(number for number in quoted if published.table(number).selection):
            text += f"; Table {number} reports the {published.table(number).selection}, so compare it with the best in brackets"
        lines.append(text + ".")
        if group.student != group.student_name:
            lines.append(f"The paper's rows are for {group.student_name} itself; this run's student is {group.student}.")
    elif any(column.published for column in group.columns):
        lines.append(f"The paper has no row for student {group.student_name} on these tasks.")
    return lines


def describe_rows(group: Group) -> list[str]:
    """How many rows the students learned from and were scored on, where splits were limited."""
    rows = [
        f"{column.task} {column.rows['train']} / {column.rows['validation']}"
        for column in group.tasks
        if {"train", "validation"} <= column.rows.keys()
    ]
    return [f"Rows trained on / evaluated on: {'; '.join(rows)}."] if rows else []


def unread_share(arm: Arm, task: str) -> str:
    """The share of an arm's answers on a task from which none could be read, the mean over seeds; empty where all could, or
    the task does not tell."""
    shares = [trial.scores[ANSWERED] for trial in arm.trials.get(task, {}).values() if ANSWERED in trial.scores]
    missing = 100 - mean(shares) if shares else 0.0
    return "" if missing < 0.05 else f"{missing:.0f} %" if missing >= 1 else "< 1 %"


def _describe_selection(group: Group) -> list[str]:
    """What was searched for each method, which point is shown of each task, and whether all methods had as many points."""
    if group.held_out is None:
        return []
    share = f"{100 * group.held_out:g} % of the training rows are held out, and nothing is trained on them"
    searched = [arm for arm in group.arms if arm.search]
    if not searched:
        return [f"{share}. No method has a grid, so nothing was chosen there."]
    lines = [
        f"{share}. Of a grid, each task shows the point with the best mean over seeds on the held-out rows; the validation "
        "rows have no part in the choice."
    ]
    lines += [_describe_search(group, arm) for arm in searched]
    sizes = {_name_arm(group, arm): len(arm.points) for arm in group.arms if not arm.first.control}
    if len(set(sizes.values())) == 1:
        lines.append(f"The budget was equal: {next(iter(sizes.values()))} points for each method.")
    elif sizes:
        counts = ", ".join(f"{name} {count}" for name, count in sizes.items())
        lines.append(f"The budget was not equal. Points tried: {counts}.")
    return lines


def _describe_search(group: Group, arm: Arm) -> str:
    search = arm.search
    assert search is not None
    axes = "; ".join(f"{name} {', '.join(values)}" for name, values in search.axes.items())
    chosen = [
        f"{task} {_describe_choice(search.chosen[task], len(search.points))}" if task in search.chosen else f"{task} none yet"
        for task in (column.task for column in group.tasks)
        if task in arm.trials
    ]
    return f"{_name_arm(group, arm)}: {len(search.points)} points ({axes}). Chosen: {'; '.join(chosen)}."


def _describe_choice(choice: Chosen, points: int) -> str:
    values = " ".join(f"{name}={value}" for name, value in choice.values.items()) or choice.label
    more = [f"held-out {choice.score:.1f}"]
    if choice.equals > 1:
        more.append(f"the first of {choice.equals} equals")
    if choice.compared < points:
        more.append(f"{choice.compared} of {points} points have their scores")
    return f"{values} ({', '.join(more)})"


def _name_arm(group: Group, arm: Arm) -> str:
    """What a sentence calls a row; with its teacher where several are in the table."""
    name = arm.search.title if arm.search else arm.label
    several = len({other.first.teacher for other in group.arms if other.first.teacher}) > 1
    return f"{name} from {arm.first.teacher}" if several and arm.first.teacher else name


def _describe_precision(group: Group) -> list[str]:
    """In what the students were trained, and in what they were scored: once for the group, or by arm where arms differ."""
    by_arm: dict[str, str] = {}
    for arm in group.arms:
        scored = [trial for trials in arm.trials.values() for trial in trials.values() if trial.precision and trial.scored_in]
        if scored:
            by_arm[arm.label] = " or ".join(
                sorted({f"trained in {trial.precision}, scored in {trial.scored_in}" for trial in scored})
            )
    if not by_arm:
        return []
    where = ", the precision in which the student is exported."
    if len(set(by_arm.values())) == 1:
        (text,) = set(by_arm.values())
        return [capitalise(text) + where]
    return ["; ".join(f"{label}: {text}" for label, text in by_arm.items()) + where]


def describe_differences(group: Group) -> list[str]:
    """How the differences from the baseline were tested, and which other baselines the run has."""
    lines = [_describe_test(group.differences)]
    if baseline := group.baseline:
        same = [arm for arm in group.arms if arm.first.method_name == baseline.first.method_name and arm is not baseline]
        if same:
            rivals = ", ".join(arm.label for arm in same)
            lines.append(f"Compared with '{baseline.label}'; the run has other undistilled rows: {rivals}.")
    return lines


def describe_controls(group: Group) -> list[str]:
    """How often a real teacher is ahead of its control, and how that was tested."""
    judged = [
        (-difference.mean if group.lower_is_better(key) else difference.mean, difference.p_holm)
        for comparison in group.controls
        for key, difference in comparison.differences.items()
        if key != group.mean_key
    ]
    ahead = [p for lead, p in judged if lead > 0]
    sure = [p for p in ahead if p is not None and p < SMALL_P]
    plural = "s" if len(judged) != 1 else ""
    count = f"The real teacher is ahead of its control in {len(ahead)} of {len(judged)} comparison{plural}"
    return [f"{count}, with p (Holm) < .05 in {len(sure)}.", _describe_test(group.controls)]


def _describe_test(comparisons: Iterable[Comparison]) -> str:
    tested = [(key, item.n) for one in comparisons for key, item in one.differences.items() if item.p is not None]
    if not tested:
        return "Mean ± sd of the differences paired by seed. No p-value: a paired test needs 3 seeds."
    counts = " or ".join(map(str, sorted({n for _, n in tested})))
    families = Counter(key for key, _ in tested)
    largest = max(families.values())
    size = f"{largest}" if len(set(families.values())) == 1 else f"up to {largest}"
    family = f", Holm's correction over the {size} tests of a column" if largest > 1 else ""
    return f"Mean ± sd of the differences paired by seed, n = {counts}{family}."


def explain_differences(groups: Sequence[Group]) -> list[str]:
    """What a reader must know of the tests and the controls, once for the whole report."""
    comparisons = [item for group in groups for item in (*group.differences, *group.controls)]
    differences = [value for item in comparisons for value in item.differences.values()]
    tested = [value.n for value in differences if value.p is not None]
    lines = []
    if tested:
        lines.append(
            "p is from a two-sided paired t-test over the seeds and is not corrected for multiple comparisons; the p after "
            "'Holm' is, over the rows of its column in its table. Seeds vary initialisation and order, not the evaluated "
            "rows, so p speaks of new seeds, not of new data."
        )
        if min(tested) < FEW_SEEDS:
            lines.append("With so few seeds only large and steady effects reach a small p; a large p is no proof of no effect.")
    if any(value.why == "no variance" for value in differences):
        lines.append("no variance: every seed has the same difference, so t is undefined.")
    if any(arm.first.control for group in groups for arm in group.arms):
        lines.append(REGULARISATION)
    return lines


def describe_state(run: Run) -> str:
    """How many trials there are, by status."""
    counts = Counter(trial.status for trial in run.trials)
    states = ", ".join(f"{count} {status}" for status, count in counts.items())
    plural = "s" if len(run.trials) != 1 else ""
    return f"run {run.name}: {len(run.trials)} trial{plural}" + (f" ({states})" if states else "")


def list_missing(run: Run) -> list[str]:
    """One line for each reason why trials have no score: status, method, task, seeds, reason."""
    seeds_of: dict[tuple[str, ...], list[int]] = {}
    for trial in run.trials:
        if trial.score is None:
            teacher = f", teacher {trial.teacher}" if trial.teacher else ""
            key = (trial.status, f"{trial.method}{teacher}, {trial.student}, {trial.task}", trial.reason)
            seeds_of.setdefault(key, []).append(trial.seed)
    lines = []
    for (status, what, reason), seeds in seeds_of.items():
        plural = "seeds" if len(seeds) > 1 else "seed"
        lines.append(f"{status}: {what}, {plural} {', '.join(map(str, seeds))}" + (f": {reason}" if reason else ""))
    return lines


def list_warnings(run: Run) -> list[str]:
    """The trials' warnings, each text once, with how many trials gave it and which first."""
    trials_of: dict[str, list[TrialRecord]] = {}
    for trial in run.trials:
        for text in trial.warnings:
            trials_of.setdefault(text, []).append(trial)
    lines = []
    for text, (first, *others) in trials_of.items():
        more = f" and {len(others)} more" if others else ""
        lines.append(f"{first.method}, {first.task}, seed {first.seed}{more}: {text}")
    return lines


def list_pointers(run: Run) -> list[str]:
    """Where the rest of the report is."""
    name = shlex.quote(str(run.folder))
    return [f"All tables, parameters and provenance: armada report {name} --full", f"The page: armada report {name} --open"]


def list_parameters(run: Run) -> list[str]:
    """Parameters of each student and method: the student's own, how many of them are trained where that is a part, of the heads
    that are thrown away after training, of the modules that the student keeps for its answers, and of each model of the
    method's own."""
    counts_of: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for trial in run.trials:
        known = trial.parameters
        shown = {
            "student": known.get("student"),
            "trained": known.get("trained"),
            "extra heads": known.get("heads"),
            "inference modules": known.get("inference"),
        }
        if shown["trained"] == shown["student"]:  # of a student that is trained whole, once is enough
            del shown["trained"]
        counts = [(name, count) for name, count in (*shown.items(), *trial.own_parameters.items()) if count]
        if counts:
            counts_of.setdefault((trial.student, trial.method), counts)
    methods_of: dict[str, list[str]] = {}
    for (student, method), counts in counts_of.items():
        text = ", ".join(f"{name} {count:,}" for name, count in counts)
        methods_of.setdefault(f"{student}: {text}", []).append(method)
    return [f"{text} ({'; '.join(methods)})" for text, methods in methods_of.items()]
