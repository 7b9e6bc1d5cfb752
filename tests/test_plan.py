"""What a trial's id depends on: whatever may change its result, and nothing else, or finished work would be done again."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from armada_cli import Environment, UserError, option
from armada_cli.contracts import Needs, Planned, distribution_name
from armada_cli.plan.planning import HOST_REVISION, make_plan
from armada_cli.plan.trials import Trial
from armada_cli.recipe import load_recipe
from armada_cli.registry import catalog
from armada_cli.registry.restore import restore
from armada_cli.settings import Features, Train

Write = Callable[..., Path]

TRAIN: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 16,
    "lr": 1e-4,
    "weight_decay": 0.1,
    "warmup": 0.2,
    "schedule": "cosine",
    "clip": 0.5,
    "max_length": 32,
    "accumulation": 2,
    "precision": "bf16",
    "select": "best",
    "evaluate": "end",
    "evaluation_batch": 7,
    "log_every": 3,
}
FEATURES: dict[str, Any] = {"reduce": "gaussian", "width": 8, "standardise": False, "seed": 1}


def planned(path: Path) -> dict[str, Trial]:
    """Method -> its trial."""
    environment = Environment(runs=path.parent / "runs")
    recipe = load_recipe(str(path), catalog.current(), environment)
    return {trial.method.name: trial for trial in make_plan(recipe, environment).trials}


def changed(recipe: Write, one: dict[str, str], other: dict[str, str]) -> set[str]:
    """Methods whose trials are others under the second recipe."""
    before, after = planned(recipe("one", **one)), planned(recipe("other", **other))
    assert set(before) == set(after) == {"undistilled", "armada"}
    return {name for name, trial in before.items() if after[name].id != trial.id}


def test_trials_stand_behind_those_that_they_depend_on(recipe: Write) -> None:
    path = recipe("order")
    environment = Environment(runs=path.parent / "runs")
    plan = make_plan(load_recipe(str(path), catalog.current(), environment), environment)
    (trial, *_) = plan.trials
    chain = [dataclasses.replace(trial, id=name, depends=depends) for name, depends in CHAIN.items()]
    plan.trials, plan.dependencies = chain[:3], chain[3:]
    assert [trial.id for trial in plan.everything] == ["first", "third", "second", "last"]


CHAIN = {"last": {"a": "second"}, "first": {}, "third": {"a": "first"}, "second": {"a": "third", "b": "first"}}
"""A trial -> what it depends on."""


def test_every_setting_is_tried_here() -> None:
    assert set(TRAIN) == {item.name for item in dataclasses.fields(Train)}
    assert set(FEATURES) == {item.name for item in dataclasses.fields(Features)}
    assert not [name for name, value in TRAIN.items() if value == getattr(Train(), name)]
    assert not [name for name, value in FEATURES.items() if value == getattr(Features(), name)]


@pytest.mark.parametrize("name", TRAIN)
def test_a_training_setting_makes_another_trial_where_it_is_seen(recipe: Write, name: str) -> None:
    """How many prompts are answered side by side changes no answer."""
    expected = set() if name == "evaluation_batch" else {"undistilled", "armada"}
    plain = {"precision": "float32"}
    given = json.dumps(plain | {name: TRAIN[name]})
    assert changed(recipe, {"train": json.dumps(plain)}, {"train": given}) == expected


@pytest.mark.parametrize("name", FEATURES)
def test_how_representations_are_reduced_makes_another_trial_where_there_is_a_teacher(recipe: Write, name: str) -> None:
    assert changed(recipe, {"features": "{}"}, {"features": json.dumps({name: FEATURES[name]})}) == {"armada"}


@pytest.mark.parametrize(
    "other", [{"seeds": "[1]"}, {"limit": "{train: 20}"}, {"limit": "{validation: 20}"}, {"methods": "[undistilled, armada]"}]
)
def test_seed_rows_and_options_make_another_trial(recipe: Write, other: dict[str, str]) -> None:
    assert changed(recipe, {}, other) == ({"armada"} if "methods" in other else {"undistilled", "armada"})


def test_another_vector_of_the_teacher_makes_another_trial(recipe: Write, vectors: Path, tmp_path: Path) -> None:
    import numpy as np

    table = np.load(vectors)
    table[0, 0] += 1
    np.save(tmp_path / "moved.npy", table)
    ids = vectors.with_suffix(".txt")
    assert changed(recipe, {}, {"teacher": f"{{name: precomputed, path: {tmp_path / 'moved.npy'}, ids: {ids}}}"}) == {"armada"}


def test_a_host_that_scores_otherwise_makes_every_trial_another(recipe: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old results must not be shown as new ones."""
    path = recipe("one")
    before = planned(path)
    monkeypatch.setattr("armada_cli.plan.planning.HOST_REVISION", HOST_REVISION + 1)
    assert not {trial.id for trial in planned(path).values()} & {trial.id for trial in before.values()}


def test_another_text_teacher_makes_another_trial(recipe: Write, tiny_student: Path) -> None:
    def methods(**options: Any) -> str:
        teacher = {"name": "encoder", "model": str(tiny_student), **options.pop("teacher", {})}
        return json.dumps([{"name": "kd", "teacher": teacher, **options}])

    first = planned(recipe("first", methods=methods()))["kd"]
    assert planned(recipe("again", methods=methods()))["kd"].id == first.id
    for options in ({"teacher": {"layers": 1}}, {"teacher_seed": 3}, {"alpha": 0.25}):
        other = planned(recipe("other", methods=methods(**options)))["kd"]
        assert other.id != first.id
        assert (other.depends != first.depends) == ("alpha" not in options)


def test_a_text_teacher_is_trained_by_settings_of_its_own(recipe: Write, tiny_student: Path) -> None:
    def plan(train: str) -> tuple[Trial, Trial]:
        teacher = f"{{name: encoder, model: {tiny_student}, train: {train}}}"
        path = recipe("own", methods=f"[{{name: kd, teacher: {teacher}}}]", train="{epochs: 2, lr: 1e-4}", teacher="null")
        environment = Environment(runs=path.parent / "runs")
        student, teacher_trial = reversed(
            make_plan(load_recipe(str(path), catalog.current(), environment), environment).everything
        )
        return student, teacher_trial

    student, teacher = plan("{epochs: 5, lr: 3e-5}")
    assert (student.train["epochs"], student.train["lr"]) == (2, 1e-4)
    assert (teacher.train["epochs"], teacher.train["lr"]) == (5, 3e-5)
    other_student, other_teacher = plan("{epochs: 6, lr: 3e-5}")
    assert other_teacher.id != teacher.id
    assert other_student.id != student.id


def test_other_weights_of_a_text_teacher_in_the_same_place_make_another_trial(
    recipe: Write, tiny_student: Path, tmp_path: Path
) -> None:
    teacher = Path(shutil.copytree(tiny_student, tmp_path / "teacher"))
    path = recipe(methods=f"[{{name: kd, teacher: {{name: encoder, model: {teacher}}}}}]")
    before = planned(path)["kd"].id
    weights = bytearray((teacher / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (teacher / "model.safetensors").write_bytes(bytes(weights))
    assert planned(path)["kd"].id != before


@dataclasses.dataclass(frozen=True)
class AsksByValue:
    """Options whose values say whether a teacher is needed, as a method with an optional one has them."""

    weight: float = 1.0

    def needs_teacher(self) -> bool:
        return self.weight > 0


@pytest.mark.parametrize(("weight", "needed"), [(1.0, True), (0.0, False)])
def test_options_may_say_by_their_values_whether_a_method_needs_a_teacher(recipe: Write, weight: float, needed: bool) -> None:
    """A bound method is always true, so a plan that did not call it went over the teachers that were not there."""
    environment = Environment()
    loaded = load_recipe(str(recipe(methods="[undistilled]")), catalog.current(), environment)
    method = dataclasses.replace(loaded.methods[0], options=AsksByValue(weight))
    assert method.needs_teacher is needed
    bare = dataclasses.replace(loaded, teachers=(), methods=(method,))
    if not needed:
        (trial,) = make_plan(bare, environment).trials
        assert trial.teacher is None
        return
    with pytest.raises(UserError, match="plans no trial: every method needs a teacher, and it has none"):
        make_plan(bare, environment)


@dataclasses.dataclass(frozen=True)
class LeavesOpen:
    """Options of a method: one that a task may suggest a value for, and one that has its own."""

    rate: float | None = None
    passes: int | None = 3


def test_a_task_suggests_values_for_what_a_method_leaves_open(recipe: Write) -> None:
    environment = Environment()
    loaded = load_recipe(str(recipe(methods="[undistilled]")), catalog.current(), environment)
    registered = loaded.tasks[0].registered
    card = dataclasses.replace(registered.component, suggestions={"rate": 0.5, "passes": 9, "nobody's": 1})
    task = dataclasses.replace(loaded.tasks[0], registered=dataclasses.replace(registered, component=card))

    def plan(options: LeavesOpen, suggested: bool) -> Trial:
        method = dataclasses.replace(loaded.methods[0], options=options)
        changed = dataclasses.replace(loaded, tasks=(task if suggested else loaded.tasks[0],), methods=(method,))
        (trial,) = make_plan(changed, environment).trials
        return trial

    taken = plan(LeavesOpen(), suggested=True)
    assert taken.spec()["build"]["method"]["options"] == {"rate": 0.5, "passes": 3}
    assert taken.method.title == "undistilled"
    assert taken.id == plan(LeavesOpen(rate=0.5), suggested=False).id, "as if the recipe had written it"
    assert plan(LeavesOpen(), suggested=False).spec()["build"]["method"]["options"]["rate"] is None
    assert plan(LeavesOpen(rate=0.1), suggested=True).spec()["build"]["method"]["options"]["rate"] == 0.1


def test_what_a_task_suggests_and_a_method_refuses_is_said_in_one_line(recipe: Write) -> None:
    @dataclasses.dataclass(frozen=True)
    class Strict:
        rate: float | None = None

        def __post_init__(self) -> None:
            if self.rate is not None:
                raise ValueError("no rate is right")

    loaded = load_recipe(str(recipe(methods="[undistilled]")), catalog.current(), Environment())
    registered = loaded.tasks[0].registered
    card = dataclasses.replace(registered.component, suggestions={"rate": 0.5})
    task = dataclasses.replace(loaded.tasks[0], registered=dataclasses.replace(registered, component=card))
    method = dataclasses.replace(loaded.methods[0], options=Strict())
    with pytest.raises(UserError, match=r"refuses what task 'files' suggests .*no rate is right"):
        make_plan(dataclasses.replace(loaded, tasks=(task,), methods=(method,)), Environment())


@pytest.mark.parametrize(
    ("value", "why"),
    [("fast", "rate must be a number or null"), ([0.5], "rate must be a number or null"), (-1, "rate must be above 0")],
)
def test_what_a_task_suggests_and_no_option_can_be_is_said_in_one_line(recipe: Write, value: object, why: str) -> None:
    @dataclasses.dataclass(frozen=True)
    class Positive:
        rate: float | None = option(None, "A rate", above=0)

    loaded = load_recipe(str(recipe(methods="[undistilled]")), catalog.current(), Environment())
    registered = loaded.tasks[0].registered
    card = dataclasses.replace(registered.component, suggestions={"rate": value})
    task = dataclasses.replace(loaded.tasks[0], registered=dataclasses.replace(registered, component=card))
    method = dataclasses.replace(loaded.methods[0], options=Positive())
    with pytest.raises(UserError) as refused:
        make_plan(dataclasses.replace(loaded, tasks=(task,), methods=(method,)), Environment())
    place, _, said = str(refused.value).partition(": task ")
    assert place == loaded.methods[0].place
    assert re.fullmatch(rf"'files' suggests rate: .* for method 'undistilled', but {why}\. Write the option.*", said)


def test_the_task_that_a_student_is_trained_on_suggests_for_its_evaluations(recipe: Write) -> None:
    """vicuna has no training split: dolly's card counts, and what is recorded of the evaluation is what was trained."""
    path = recipe(student="llama-3.2-3b", tasks="[vicuna]", methods="[armada]", features="{}", train="{}")
    plan = make_plan(load_recipe(str(path), catalog.current(), Environment()), Environment())
    (trial,), (trained,) = plan.trials, plan.dependencies
    assert trained.task.name == "dolly"
    assert [item.spec()["build"]["method"]["options"]["aligner_lr"] for item in (trained, trial)] == [1e-3, 1e-3]


def test_a_trial_is_not_made_by_another_version_of_a_plugin_than_its_id_names(recipe: Write) -> None:
    build = json.loads(json.dumps(planned(recipe())["armada"].spec()))["build"]["method"]
    assert restore("method", build)[0].name == "armada"
    old = build | {"version": "0.0.1"}
    with pytest.raises(UserError, match=r"method 'armada': the trial was planned with armada-cli 0\.0\.1, here is "):
        restore("method", old)
    assert restore("method", old, any_version=True)[0].name == "armada"


@pytest.mark.parametrize(
    "requirement", ["foo", "foo~=1.0", "foo>=1", "foo!=2", "foo<3", "foo[bar]==1", 'foo ; os_name == "nt"']
)
def test_a_requirement_is_reported_under_its_distributions_name(requirement: str) -> None:
    assert distribution_name(requirement) == "foo"


@pytest.mark.parametrize(
    ("lines", "place", "value"),
    [
        ({"train": "{aligner_lr: 1e-2}"}, "5:9: unknown key of train", "aligner_lr: 0.01"),
        (
            {"methods": "[{name: armada, train: {aligner_epochs: [1, 2]}}]"},
            "4:34: unknown key of methods.0.train",
            "aligner_epochs: [1, 2]",
        ),
    ],
)
def test_an_option_of_a_method_among_the_training_settings_is_told_where_it_belongs(
    recipe: Write, lines: dict[str, str], place: str, value: str
) -> None:
    with pytest.raises(UserError) as caught:
        planned(recipe(**lines))
    option = value.partition(":")[0]
    hint = f"It is an option of the method armada: write `{{name: armada, {value}}}`"
    line = str(caught.value).splitlines()[0]
    assert line.endswith(f":{place}: '{option}'. {hint}")


def test_a_control_makes_another_trial_of_a_method_that_needs_a_teacher_and_of_no_other(recipe: Write) -> None:
    def both(control: str) -> dict[str, Trial]:
        return planned(recipe(methods=f"[undistilled, {{name: armada, features: {{control: {control}}}}}]"))

    plain, shuffled = both("none"), both("shuffled")
    assert plain["undistilled"].id == shuffled["undistilled"].id
    assert plain["armada"].id != shuffled["armada"].id
    assert plain["armada"].id == planned(recipe(methods="[undistilled, armada]"))["armada"].id
    assert [trial.spec()["control"] for trial in (plain["armada"], shuffled["armada"])] == ["none", "shuffled"]
    assert shuffled["armada"].method.title == "armada control=shuffled"


def test_a_grid_of_controls_is_a_row_each(recipe: Write) -> None:
    path = recipe(methods="[{name: armada, beta: 0.1, features: {control: [none, noise]}, train: {lr: 1e-4}}]")
    loaded = load_recipe(str(path), catalog.current(), Environment())
    assert [(choice.title, dict(choice.features)) for choice in loaded.methods] == [
        ("armada beta=0.1 control=none lr=0.0001", {}),
        ("armada beta=0.1 control=noise lr=0.0001", {"control": "noise"}),
    ]


@pytest.mark.parametrize(
    ("method", "line"),
    [
        (
            "{name: armada, control: shuffled}",
            "4:26: unknown option of method 'armada': 'control'. "
            "It is a setting of the features now: write `features: {control: shuffled}`",
        ),
        (
            "{name: armada, features: {control: shufled}}",
            "4:46: methods.0.features.control must be one of none, shuffled, noise: 'shufled'. Did you mean 'shuffled'?",
        ),
        (
            "{name: armada, features: shuffled}",
            "4:36: methods.0.features must be a mapping: 'shuffled'. For example `features: {control: shuffled}`",
        ),
        (
            "{name: undistilled, features: {control: noise}}",
            "4:51: method 'undistilled' reads nothing of a teacher's that a control could take away. Remove `features:`",
        ),
        (
            "{name: armada, features: {contrl: noise}}",
            "4:37: unknown key of methods.0.features: 'contrl'. Did you mean 'control'?",
        ),
    ],
)
def test_a_wrong_control_is_one_line(recipe: Write, method: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        planned(recipe(methods=f"[{method}]"))
    assert str(caught.value).splitlines()[0].partition(".yaml:")[2] == line


def test_what_a_trial_under_a_control_builds_on_is_under_it_too(recipe: Write) -> None:
    @dataclasses.dataclass(frozen=True)
    class Assisted:
        needs_teacher = True

        def dependencies(self, trial: Planned) -> dict[str, Needs]:
            return {"taught": Needs(trial.student, "armada"), "plain": Needs(trial.student)}

    loaded = load_recipe(str(recipe(methods="[armada]")), catalog.current(), Environment())

    def controls(features: dict[str, str]) -> dict[str, str]:
        method = dataclasses.replace(loaded.methods[0], options=Assisted(), features=features)
        plan = make_plan(dataclasses.replace(loaded, methods=(method,)), Environment())
        return {trial.method.name: trial.spec()["control"] for trial in plan.dependencies}

    assert controls({}) == {"armada": "none", "undistilled": "none"}
    assert controls({"control": "shuffled"}) == {"armada": "shuffled", "undistilled": "none"}
