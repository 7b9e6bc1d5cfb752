"""A recipe names a class in a file: only with --allow-local-code, known by its content, and told apart from plugins."""

# ruff: noqa: E501  (the expected lines stand whole, as a user sees them)

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from running import Ended, armada, train, written

from armada_cli import Environment, UserError
from armada_cli.plan.planning import make_plan
from armada_cli.recipe import load_recipe
from armada_cli.registry import catalog
from armada_cli.registry.restore import restore

PARTS = '''
    """One class of each kind."""
    from __future__ import annotations

    from dataclasses import dataclass
    from pathlib import Path

    import numpy as np
    from torch.nn.functional import cross_entropy

    from armada_cli import Loss, Method, Split, Task, Teacher, Term, option
    from armada_cli.evaluation import metrics
    from armada_student_encoders.options import EncoderOptions
    from armada_student_encoders.student import Encoder

    (Path(__file__).parent / "executed").touch()


    class LetterTeacher(Teacher):
        """How often each letter occurs."""

        @dataclass(frozen=True)
        class Options:
            letters: int = option(26, "How many letters are counted", minimum=1, maximum=26)

        def represent(self, inputs):
            alphabet = [chr(97 + number) for number in range(self.options.letters)]
            return np.array([[text.count(letter) for letter in alphabet] for text in inputs], np.float32)


    class Reader(Encoder):
        Options = EncoderOptions
        provides = {"encoder"}


    class Moods(Task):
        metric = "accuracy"

        def split(self, name):
            texts = [f"{mood} day number {number}" for number in range(12) for mood in ("a bright", "a grim")]
            texts = [f"{text} in {name}" for text in texts]
            return Split([(text,) for text in texts], [0, 1] * 12, texts)

        def labels(self):
            return ["bright", "grim"]

        def score(self, outputs, labels):
            return metrics.score(("accuracy",), outputs, labels)


    class City(Loss):
        def __call__(self, p_ts, p_s):
            return (p_ts - p_s).abs().sum(1).mean()


    class Plain(Method):
        provides = {"classification"}

        def terms(self, batch, output):
            return [Term("task", 1.0, cross_entropy(output.logits, batch.labels), task=True)]
'''


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """The file beside the recipes of the fixture `recipe`."""
    path = tmp_path / "parts.py"
    path.write_text(dedent(PARTS), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Each test executes files anew, as each process does."""
    yield
    for name in [name for name in sys.modules if name.startswith("armada_local_")]:
        del sys.modules[name]


def check(recipe: Path, *more: str) -> Ended:
    return armada("check", recipe, "--runs", recipe.parent / "runs", *more)


def allowed(recipe: Path, *more: str) -> Ended:
    return check(recipe, "--allow-local-code", *more)


def identities(recipe: Path) -> list[str]:
    """Ids of the trials of a recipe."""
    environment = Environment(runs=recipe.parent / "runs", local_code=True)
    return [trial.id for trial in make_plan(load_recipe(str(recipe), catalog.current(), environment), environment).trials]


LETTERS = "{file: parts.py, class: LetterTeacher}"

PLACES = {
    "a student": {"student": "{file: parts.py, class: Reader, model: nowhere}"},
    "a teacher": {"teacher": LETTERS},
    "a task": {"tasks": "[{file: parts.py, class: Moods}]", "methods": "[undistilled]"},
    "a method": {"methods": "[{file: parts.py, class: Plain}]"},
    "a loss": {"methods": "[{name: armada, manifold: {file: parts.py, class: City}}]"},
    "a text teacher": {"methods": "[{name: kd, teacher: {file: parts.py, class: Reader, model: nowhere}}]"},
    "a member of an ensemble": {"teacher": f"{{name: ensemble, teachers: [{LETTERS[:-1]}, letters: 3}}, {LETTERS}]}}"},
}


@pytest.mark.parametrize("lines", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("command", ["check", "run", "features"])
def test_without_permission_one_line_says_so_and_nothing_of_the_file_is_executed(
    recipe: Callable[..., Path], parts: Path, lines: dict[str, str], command: str
) -> None:
    path = recipe(**lines)
    words = ("features", "build") if command == "features" else (command,)
    ended = armada(*words, path, "--runs", parts.parent / "runs")
    *said, count = ended.err.splitlines()
    assert (ended.status, ended.out) == (2, "")
    assert count == ("1 problem" if len(said) == 1 else f"{len(said)} problems")
    for line in said:
        assert line.startswith(f"{path}:")
        assert line.endswith(
            "parts.py is code outside of any plugin, and would run with all your rights. If you trust it, add --allow-local-code"
        )
    assert not (parts.parent / "executed").exists()


@pytest.mark.parametrize("lines", PLACES.values(), ids=PLACES)
def test_with_permission_a_local_part_may_stand_wherever_a_plugins_may(
    recipe: Callable[..., Path], parts: Path, lines: dict[str, str]
) -> None:
    ended = allowed(recipe(**lines))
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("tiny: no problems\n")
    assert (parts.parent / "executed").exists()


def test_what_is_printed_while_the_file_is_executed_is_not_in_the_output(recipe: Callable[..., Path], parts: Path) -> None:
    parts.write_text(parts.read_text() + "print('hello')\n")
    ended = allowed(recipe(teacher=LETTERS), "--json")
    assert json.loads(ended.out)["teachers"] == ["letter-teacher"]
    assert ended.err == "hello\n"


def test_options_are_checked_as_those_of_a_plugin(recipe: Callable[..., Path], parts: Path) -> None:
    ended = allowed(recipe(teacher="{file: parts.py, class: LetterTeacher, letters: 40, leters: 3}"))
    assert ended.status == 2
    first, second, _ = ended.err.splitlines()
    assert "teacher.letters must be at least 1 and at most 26: '40'" in first
    assert second.endswith("unknown option of teacher 'letter-teacher': 'leters'. Did you mean 'letters'?")


def test_an_option_may_be_a_grid(recipe: Callable[..., Path], parts: Path) -> None:
    ended = allowed(recipe(teacher="{file: parts.py, class: LetterTeacher, letters: [3, 26]}"), "--json")
    assert json.loads(ended.out)["teachers"] == ["letter-teacher letters=3", "letter-teacher letters=26"]


def test_a_recipe_of_local_parts_alone_runs_in_worker_processes_and_its_report_names_the_file(
    recipe: Callable[..., Path], parts: Path, tiny_student: Path
) -> None:
    path = recipe(
        student=f"{{file: parts.py, class: Reader, model: {tiny_student}}}",
        teacher=LETTERS,
        tasks="[{file: parts.py, class: Moods}]",
        methods="[{file: parts.py, class: Plain}, {name: armada, hidden: 16, manifold: {file: parts.py, class: City}}]",
        train="{epochs: 1, batch_size: 12}",
    )
    runs = parts.parent / "runs"
    ended = armada("run", path, "--runs", runs, "--workers", "1", "--allow-local-code")
    assert ended.status == 0, ended.err
    version = "sha256:" + hashlib.sha256(parts.read_bytes()).hexdigest()[:12]
    words = written(runs, path.stem)
    made = f"local file parts.py ({version}): student reader; teacher letter-teacher; task moods; method plain; loss city"
    assert made in words
    results = {item.parent.name: item for item in runs.glob("trials/*/result.json")}
    assert sorted(results) == sorted(identities(path))
    roles = [role for item in results.values() for role in json.loads(item.read_text())["plugins"].values()]
    own = {role["name"] for role in roles if (role["distribution"], role["version"]) == ("local file parts.py", version)}
    assert own == {"reader", "letter-teacher", "moods", "plain", "city"}
    refused = train(path, runs)
    assert refused.status == 2, "a run that is finished asks for permission as well"
    before = {name: item.stat().st_mtime_ns for name, item in results.items()}
    assert train(path, runs, "--allow-local-code").status == 0
    assert {name: item.stat().st_mtime_ns for name, item in results.items()} == before


def test_other_content_is_another_trial_and_another_folder_is_not(recipe: Callable[..., Path], parts: Path) -> None:
    path = recipe(teacher=LETTERS, methods="[undistilled, {name: armada, manifold: {file: parts.py, class: City}}]")
    plain, distilled = identities(path)
    moved = parts.parent / "moved"
    moved.mkdir()
    for file in (path, parts):
        (moved / file.name).write_bytes(file.read_bytes())
    assert identities(moved / path.name) == [plain, distilled]
    parts.write_text(parts.read_text() + "# changed\n")
    again = identities(path)
    assert again[0] == plain
    assert again[1] != distilled


def test_a_loss_alone_is_part_of_its_trials_identity(recipe: Callable[..., Path], parts: Path) -> None:
    path = recipe(methods="[{name: armada, manifold: {file: parts.py, class: City}}]")
    before = identities(path)
    parts.write_text(parts.read_text() + "# changed\n")
    assert identities(path) != before


def test_features_are_built_with_a_local_teacher(recipe: Callable[..., Path], parts: Path) -> None:
    path = recipe(teacher="{file: parts.py, class: LetterTeacher, letters: 20}")
    runs = parts.parent / "runs"
    ended = armada("features", "build", path, "--runs", runs, "--allow-local-code")
    assert (ended.status, ended.out.partition(" on ")[0]) == (0, "letter-teacher letters=20")
    (stored,) = json.loads(armada("features", "list", "--runs", runs, "--json").out)
    assert (stored["teacher"], stored["width"]) == ("letter-teacher", 20)
    assert stored["description"]["content"] == hashlib.sha256(parts.read_bytes()).hexdigest()


def test_a_spec_gives_no_permission_and_a_file_that_changed_since_is_refused(recipe: Callable[..., Path], parts: Path) -> None:
    path = recipe(methods="[{file: parts.py, class: Plain}]")
    environment = Environment(runs=parts.parent / "runs", local_code=True)
    (trial,) = make_plan(load_recipe(str(path), catalog.current(), environment), environment).trials
    build = json.loads(json.dumps(trial.spec()))["build"]["method"]
    registered, _ = restore("method", build, environment)
    assert registered.name == "plain"
    with pytest.raises(UserError, match="add --allow-local-code"):
        restore("method", build, Environment())
    parts.write_text(parts.read_text() + "# changed\n")
    with pytest.raises(UserError, match=r"parts\.py has changed since this trial was planned"):
        restore("method", build, environment)


TEACHER = "from armada_cli import Teacher\n\n\nclass Mine(Teacher):\n"
BODY = "    def represent(self, inputs):\n        return inputs\n"

WRONG = {
    "no such file": (None, "mine.py: there is no such file. A relative path is relative to the recipe"),
    "syntax": ("x = 1\nclass Mine(:\n", "mine.py:2: SyntaxError: invalid syntax. Mend the file"),
    "a package": ("\nimport no_such_package\n", "mine.py:2: ModuleNotFoundError: No module named 'no_such_package'. Install it: pip install no_such_package"),
    "a neighbour": ("import parts\n", "mine.py:1: ModuleNotFoundError: No module named 'parts'. A local file cannot import its neighbours: put all in one file, or make a plugin with `armada new`"),
    "its own error": ("def f():\n    return 1 / 0\n\n\nf()\n", "mine.py:2: ZeroDivisionError: division by zero. Mend the file"),
    "it leaves": ("import sys\nsys.exit('bye')\n", "mine.py:2: SystemExit: bye. Mend the file"),
    "null bytes": ("x = 1\n\0", "source code string cannot contain null bytes. Mend the file"),
    "another class": (TEACHER.replace("Mine", "Miner") + BODY, "mine.py has no class 'Mine'. Did you mean 'Miner'?"),
    "no class": ("Mine = 3\n", "mine.py has no class 'Mine'. Write `class Mine`"),
    "another kind": ("class Mine:\n    pass\n", "mine.py: class Mine is not a teacher. Write `class Mine(Teacher):`, with Teacher of armada_cli"),
    "half a class": (TEACHER + "    pass\n", "mine.py: class Mine lacks represent. `armada new teacher NAME` writes a whole one to look at"),
    "plain options": (TEACHER + "    class Options:\n        x = 1\n\n" + BODY, "mine.py: class Mine has an Options that is not a dataclass. Put @dataclass(frozen=True) above it"),
    "a taken name": ("from dataclasses import dataclass\n" + TEACHER + "    @dataclass(frozen=True)\n    class Options:\n        file: str = ''\n\n" + BODY, "mine.py: class Mine has an option 'file', which means something else in a recipe. Give it another name"),
}  # fmt: skip


@pytest.mark.parametrize(("source", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_file_is_one_line(
    recipe: Callable[..., Path], parts: Path, source: str | None, message: str
) -> None:
    if source is not None:
        (parts.parent / "mine.py").write_text(source, encoding="utf-8")
    ended = allowed(recipe(teacher="{file: mine.py, class: Mine}"))
    line, count = ended.err.splitlines()
    assert (ended.status, count) == (2, "1 problem")
    assert line.endswith(message)
    assert ":2:17: teacher: " in line


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{file: parts.py}", "teacher names a file and no class"),
        ("{class: LetterTeacher}", "teacher names a class and no file"),
        ("{file: [parts.py, other.py], class: LetterTeacher}", "teacher.file must be text"),
        ("{file: parts.py, class: 3}", "teacher.class must be text"),
    ],
)
def test_both_file_and_class_are_needed(recipe: Callable[..., Path], parts: Path, entry: str, message: str) -> None:
    ended = allowed(recipe(teacher=entry))
    assert ended.status == 2
    assert message in ended.err.splitlines()[0]
    assert ended.err.splitlines()[-1] == "1 problem"


def test_a_mistake_in_the_file_of_a_loss_is_told_at_its_place(recipe: Callable[..., Path], parts: Path) -> None:
    ended = allowed(recipe(methods="[{name: armada, manifold: {file: parts.py, class: Town}}]"))
    assert ended.status == 2
    assert "parts.py has no class 'Town'" in ended.err.splitlines()[0]


def test_a_task_whose_name_was_forgotten_is_not_taken_for_code(recipe: Callable[..., Path], table: dict[str, Path]) -> None:
    ended = allowed(recipe(tasks=f"[{{file: {table['train']}}}]"))
    assert "tasks.0 has no name" in ended.err
