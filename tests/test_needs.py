"""Trials that must be finished before another one: what a method's `dependencies` may ask for, and what is planned for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributions import write_distribution
from running import Ended, armada, plugins_changed

from armada_cli import Environment
from armada_cli.plan.planning import make_plan
from armada_cli.plan.trials import Plan, Trial
from armada_cli.recipe import load_recipe
from armada_cli.recipe.model import Recipe
from armada_cli.registry import catalog

SCHOOL = '''
    """Students of several sizes, tasks of several kinds, and methods that need each other's trials."""
    from __future__ import annotations

    from dataclasses import dataclass
    from typing import ClassVar

    from armada_cli import Choice, Component, Needs, NoOptions, choose, hookimpl, option


    @dataclass(frozen=True)
    class PupilOptions:
        layers: int = option(2, "Layers", minimum=1)
        weights: str | None = option(None, "A file", path=True)


    @dataclass(frozen=True)
    class ChainOptions:
        assistant: Choice = option("middle", "Between the teacher and the student", component="student")
        teacher: Choice = option("large", "The text teacher", component="student")

        def dependencies(self, trial):
            return {
                "teacher": Needs(self.teacher),
                "assistant": Needs(self.assistant, choose("method", "kd", teacher=self.teacher)),
            }


    @dataclass(frozen=True)
    class BlocksOptions:
        student: Choice = option("small", "Whose blocks the teacher is trained with", component="student")


    @dataclass(frozen=True)
    class FriendlyOptions:
        teacher: Choice = option("large", "The text teacher", component="student")

        def dependencies(self, trial):
            return {"teacher": Needs(self.teacher, choose("method", "with-blocks", student=trial.student))}


    @dataclass(frozen=True)
    class PretrainedOptions:
        text: Choice = option("gap-text", "What it is pre-trained on", component="task")

        def dependencies(self, trial):
            return {"start": Needs(trial.student, task=self.text, seed=trial.seed)}


    @dataclass(frozen=True)
    class StudentOptions:
        teacher: Choice = option("large", "The text teacher", component="student")
        seed: int = option(0, "Of the teacher", minimum=0)


    @dataclass(frozen=True)
    class RouteOptions(StudentOptions):
        def dependencies(self, trial):
            return {"teacher": Needs(self.teacher, seed=self.seed, epochs=True)}


    @dataclass(frozen=True)
    class PlainOptions(StudentOptions):
        def dependencies(self, trial):
            return {"teacher": Needs(self.teacher, seed=self.seed)}


    @dataclass(frozen=True)
    class AnswersOptions(StudentOptions):
        def dependencies(self, trial):
            return {"teacher": Needs(self.teacher, answers=True)}


    @dataclass(frozen=True)
    class RingOptions:
        onward: bool = option(False, "The next seed each time")

        def dependencies(self, trial):
            seed = trial.seed + 1 if self.onward else trial.seed
            return {"again": Needs(trial.student, choose("method", "ring", onward=self.onward), seed=seed)}


    @dataclass(frozen=True)
    class TaughtOptions:
        needs_teacher: ClassVar[bool] = True


    @dataclass(frozen=True)
    class UntaughtOptions:
        def dependencies(self, trial):
            return {"expert": Needs(trial.student, "taught")}


    @dataclass(frozen=True)
    class OrphanOptions:
        def dependencies(self, trial):
            return {"expert": Needs(trial.student, "nobodys")}


    @dataclass(frozen=True)
    class TaughtTwiceOptions(UntaughtOptions):
        needs_teacher: ClassVar[bool] = True


    @dataclass(frozen=True)
    class UnableOptions:
        def dependencies(self, trial):
            return {"start": Needs(trial.student, "kd", task=choose("task", "gap-text"))}


    def card(name, options=NoOptions, provides=(), **more):
        return Component(name, f"The {name}", "school_parts:Part", options, frozenset(provides), **more)


    @hookimpl
    def armada_students():
        return [card(name, PupilOptions, ["encoder", "decoder"]) for name in ("small", "middle", "large")]


    @hookimpl
    def armada_teachers():
        return [card("bell", provides=["audio"]), card("gong", provides=["audio"])]


    @hookimpl
    def armada_tasks():
        kinds = {"sorting": "classification", "ranking": "classification", "gap-text": "masked", "tales": "generation"}
        return [card(name, provides=[kind]) for name, kind in kinds.items()]


    @hookimpl
    def armada_methods():
        options = {
            "chain": ChainOptions, "with-blocks": BlocksOptions, "friendly": FriendlyOptions, "pretrained": PretrainedOptions,
            "route": RouteOptions, "plain": PlainOptions, "ring": RingOptions, "taught": TaughtOptions,
            "untaught": UntaughtOptions, "taught-twice": TaughtTwiceOptions, "unable": UnableOptions, "orphan": OrphanOptions,
        }
        methods = [card(name, kind, ["classification"]) for name, kind in options.items()]
        return [*methods, card("answered", AnswersOptions, ["generation", "classification"])]
'''


@pytest.fixture(autouse=True)
def school(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = write_distribution(tmp_path / "site", "armada-school", {"armada_school": SCHOOL}, {"school": "armada_school"})
    monkeypatch.syspath_prepend(str(folder))
    with plugins_changed():
        yield


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe of one method; keywords replace whole lines."""

    def write(method: str, name: str = "mine", **lines: str) -> Path:
        parts = {"student": "small", "tasks": "[sorting]", "methods": f"[{method}]", "train": "{precision: float32}"} | lines
        path = tmp_path / f"{name}.yaml"
        path.write_text("".join(f"{key}: {value}\n" for key, value in parts.items()), encoding="utf-8")
        return path

    return write


def read(path: Path) -> Recipe:
    return load_recipe(str(path), catalog.current(), Environment())


def plan(path: Path) -> Plan:
    return make_plan(read(path), Environment())


def only(path: Path) -> tuple[Trial, dict[str, Trial]]:
    """The recipe's one trial, and all others by their id."""
    planned = plan(path)
    (trial,) = planned.trials
    return trial, {item.id: item for item in planned.dependencies}


def refused(path: Path) -> Ended:
    """What `armada check` says of a recipe that cannot be planned."""
    ended = armada("check", path)
    assert (ended.status, ended.out) == (2, "")
    assert len(ended.err.splitlines()) == 1, ended.err
    return ended


# ---------------------------------------------------------------------------------------------------------- what is planned


def test_a_chain_of_three_trials_is_planned_from_its_end(write: Callable[..., Path]) -> None:
    planned = plan(write("chain"))
    (student,) = planned.trials
    others = {item.id: item for item in planned.dependencies}
    assistant, teacher = others[student.depends["assistant"]], others[student.depends["teacher"]]
    assert (assistant.student.name, assistant.method.name) == ("middle", "kd")
    assert (teacher.student.name, teacher.method.name) == ("large", "undistilled")
    assert assistant.depends == {"teacher": teacher.id}, "one teacher for both"
    assert teacher.depends == {}
    assert len(others) == 2
    order = [trial.id for trial in planned.everything]
    assert order.index(teacher.id) < order.index(assistant.id) < order.index(student.id)


def test_a_trial_may_need_one_of_another_method(write: Callable[..., Path]) -> None:
    trial, others = only(write("friendly", student="{name: small, layers: 5}"))
    (teacher,) = others.values()
    assert (teacher.student.name, teacher.method.name) == ("large", "with-blocks")
    assert teacher.method.options.student == trial.student


def test_a_trial_may_need_one_on_another_task(write: Callable[..., Path]) -> None:
    path = write("pretrained", tasks="[sorting, ranking]", seeds="[0, 4]")
    planned = plan(path)
    assert {(trial.task.name, trial.student.name, trial.evaluate) for trial in planned.dependencies} == {
        ("gap-text", "small", False)
    }
    seeds = {trial.id: trial.seed for trial in planned.dependencies}
    assert sorted(seeds.values()) == [0, 4], "one for each seed, shared by the tasks"
    assert all(seeds[trial.depends["start"]] == trial.seed for trial in planned.trials)


def test_the_seed_of_a_dependency_is_its_own(write: Callable[..., Path]) -> None:
    planned = plan(write("{name: plain, seed: 7}", seeds="[0, 1, 2]"))
    (teacher,) = planned.dependencies
    assert teacher.seed == 7
    assert {trial.depends["teacher"] for trial in planned.trials} == {teacher.id}


def test_every_epoch_is_kept_where_it_is_needed_and_changes_no_id(write: Callable[..., Path]) -> None:
    _, whole = only(write("plain"))
    _, kept = only(write("route"))
    assert whole.keys() == kept.keys()
    assert [trial.spec()["keep"] for trial in whole.values()] == [[]]
    assert [trial.spec()["keep"] for trial in kept.values()] == [["epochs"]]


def test_a_trial_that_is_needed_with_and_without_its_epochs_is_planned_once(write: Callable[..., Path]) -> None:
    planned = plan(write("plain, route, undistilled", student="large"))
    (teacher,) = [trial for trial in planned.everything if trial.method.name == "undistilled"]
    assert teacher in planned.trials
    assert teacher.spec()["keep"] == ["epochs"]
    assert planned.dependencies == []


def test_answers_to_the_training_prompts_are_a_trial_of_their_own(write: Callable[..., Path]) -> None:
    planned = plan(write("answered", tasks="[tales]"))
    (scored,) = planned.trials
    others = {trial.id: trial for trial in planned.dependencies}
    (student,) = (others[item] for item in scored.depends.values())
    answering = others[student.depends["teacher"]]
    assert (scored.spec()["split"], answering.spec()["split"]) == ("validation", "train")
    assert answering.student.name == "large"
    (trained,) = (others[item] for item in answering.depends.values())
    assert (trained.student.name, trained.method.name, trained.evaluate) == ("large", "undistilled", False)
    assert len(others) == 3


def test_a_dependency_that_needs_a_teacher_reads_the_vectors_of_the_trials_own(write: Callable[..., Path]) -> None:
    planned = plan(write("taught-twice", teacher="[bell, gong]"))
    others = {trial.id: trial for trial in planned.dependencies}
    pairs = [(trial.teacher, others[trial.depends["expert"]].teacher) for trial in planned.trials]
    assert [first.name for first, _ in pairs if first] == ["bell", "gong"]
    assert all(first == second for first, second in pairs)


def test_two_recipes_share_what_their_trials_need(write: Callable[..., Path]) -> None:
    _, chain = only(write("chain", "one"))
    _, plain = only(write("plain", "two"))
    assert plain.keys() < chain.keys()


# ------------------------------------------------------------------------------------------------------- what is hashed


def test_another_option_of_a_component_that_an_option_names_is_another_trial(write: Callable[..., Path]) -> None:
    usual, usual_others = only(write("chain"))
    same, _ = only(write("{name: chain, teacher: {name: large, layers: 2}}"))
    assert same.id == usual.id, "a default that is written out"
    other, others = only(write("{name: chain, teacher: {name: large, layers: 3}}"))
    assert other.id != usual.id
    assert not others.keys() & usual_others.keys()
    one, others = only(write("{name: chain, assistant: {name: middle, layers: 3}}"))
    assert one.id not in (usual.id, other.id)
    assert len(others.keys() & usual_others.keys()) == 1, "the teacher is the same"


def test_a_component_that_is_named_and_asked_for_nothing_is_part_of_the_id(write: Callable[..., Path]) -> None:
    first, _ = only(write("{name: with-blocks, student: {name: small, layers: 1}}"))
    second, _ = only(write("{name: with-blocks, student: {name: small, layers: 4}}"))
    assert first.depends == second.depends == {}
    assert first.id != second.id


def test_the_content_of_a_file_that_a_named_component_names_is_part_of_the_id(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write("{name: with-blocks, student: {name: small, weights: some.bin}}")
    ids = []
    for content in (b"one", b"two", b"one"):
        (tmp_path / "some.bin").write_bytes(content)
        ids.append(only(path)[0].id)
    assert ids[0] == ids[2] != ids[1]


# ------------------------------------------------------------------------------------------------------ where paths lead


def test_a_path_below_an_option_is_relative_to_the_file_that_has_it(tmp_path: Path) -> None:
    low, high = tmp_path / "low", tmp_path / "high"
    low.mkdir()
    high.mkdir()
    below = "student: small\ntasks: [sorting]\nmethods: [{name: chain, teacher: {name: large, weights: big.bin}}]\n"
    (low / "base.yaml").write_text(below, encoding="utf-8")
    (high / "seeds.yaml").write_text("extends: ../low/base.yaml\nseeds: [3]\n", encoding="utf-8")
    above = "extends: ../low/base.yaml\nmethods: [{name: chain, assistant: {name: middle, weights: ../mid.bin}}]\n"
    (high / "methods.yaml").write_text(above, encoding="utf-8")

    inherited, replaced = read(high / "seeds.yaml"), read(high / "methods.yaml")
    assert Path(inherited.methods[0].options.teacher.options.weights).resolve() == low / "big.bin"
    assert Path(replaced.methods[0].options.assistant.options.weights).resolve() == tmp_path / "mid.bin"
    assert replaced.methods[0].options.teacher.options.weights is None


def test_what_was_resolved_says_where_such_a_path_leads(write: Callable[..., Path], tmp_path: Path) -> None:
    """`resolved.json` of a run folder is this, and is a recipe by itself that plans the same trials."""
    path = write("{name: chain, teacher: {name: large, weights: big.bin}}")
    resolved = json.loads(json.dumps(dict(read(path).resolved)))
    (method,) = resolved["methods"]
    assert method["teacher"] == {"name": "large", "weights": str(tmp_path / "big.bin")}
    elsewhere = tmp_path / "elsewhere" / "resolved.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text(json.dumps(resolved), encoding="utf-8")
    assert [trial.id for trial in plan(elsewhere).everything] == [trial.id for trial in plan(path).everything]


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("onward", ["false", "true"])
def test_a_trial_that_needs_itself_is_one_line(write: Callable[..., Path], onward: str) -> None:
    """Whether it comes back to itself, or asks for another one without end."""
    ended = refused(write(f"{{name: ring, onward: {onward}}}"))
    assert "mine.yaml:3:" in ended.complaint
    assert "method 'ring' needs " in ended.complaint


def test_a_dependency_that_reads_a_teacher_where_there_is_none_is_one_line(write: Callable[..., Path]) -> None:
    said = refused(write("untaught", teacher="bell")).complaint
    assert "method 'untaught' needs 'expert', trained by 'taught', which reads a teacher's vectors; it has none" in said


def test_a_dependency_that_cannot_train_its_task_is_one_line(write: Callable[..., Path]) -> None:
    said = refused(write("unable")).complaint
    assert "method 'unable' needs 'start', and method 'kd' cannot train 'gap-text' (masked)" in said


def test_answers_where_nothing_is_asked_are_one_line(write: Callable[..., Path]) -> None:
    said = refused(write("answered")).complaint
    assert "method 'answered' needs 'teacher' to answer prompts, and 'sorting' is no generation task (classification)" in said


def test_a_component_that_there_is_not_is_told_at_its_place(write: Callable[..., Path]) -> None:
    ended = armada("check", write("{name: chain, teacher: {name: larger}}"))
    assert (ended.status, ended.out) == (2, "")
    assert "mine.yaml:3:" in ended.err.splitlines()[0]
    assert "unknown student: 'larger'. Did you mean 'large'?" in ended.err


def test_a_dependency_on_a_method_that_there_is_not_is_one_line(write: Callable[..., Path]) -> None:
    """Another plugin that a method counts on may not be installed."""
    path = write("orphan")
    complaint = refused(path).complaint
    assert f"{path.name}:3:" in complaint
    assert "method 'orphan' needs 'expert': unknown method 'nobodys'" in complaint
