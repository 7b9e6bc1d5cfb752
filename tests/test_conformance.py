"""Every built-in keeps its contract, and a component that breaks a promise is told which, why, and what to do."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import broken_plugins
import numpy as np
import pytest
import torch
from armada_task_ratings.options import RatingsOptions, fetching
from broken_plugins import card
from running import armada

from armada_cli import Component, Environment, NoOptions, UserError
from armada_cli.conformance import (
    NotConforming,
    Report,
    check_loss,
    check_method,
    check_student,
    check_task,
    check_teacher,
    verify,
)
from armada_cli.contracts import KINDS
from armada_cli.execution.assemble import make_accelerator
from armada_cli.registry.catalog import Catalog
from armada_cli.registry.registered import Registered
from armada_cli.settings import Train

BUILT_IN = [item for kind in KINDS for item in Catalog.load(warn=False).components(kind) if item.distribution == "armada-cli"]
QUICK = {"cosine", "euclid", "elementwise", "precomputed", "cola", "stsb", "copa", "arc-easy", "files"}
"""Built-ins that take a second; the others are verified with --slow."""


def given(name: str, folder: Path) -> dict[str, Any]:
    """Options of the built-ins that are nothing without the user's own files."""
    if name == "files":
        rows = [f"{text},{'good' if number % 2 else 'bad'}" for number, text in enumerate(broken_plugins.SENTENCES)]
        table = folder / "table.csv"
        table.write_text(
            "\n".join(["text,label", *(row.replace(",", ";", row.count(",") - 1) for row in rows)]), encoding="utf-8"
        )
        return {"file": str(table), "label": "label"}
    if name == "texts":
        lines = folder / "lines.txt"
        lines.write_text("\n".join(broken_plugins.SENTENCES), encoding="utf-8")
        return {"file": str(lines)}
    if name in ("precomputed", "ensemble"):
        np.save(folder / "vectors.npy", np.eye(4, dtype=np.float32))
        (folder / "texts.txt").write_text("one\ntwo\nthree\nfour\n", encoding="utf-8")
        options = {"path": str(folder / "vectors.npy"), "ids": str(folder / "texts.txt"), "missing": "random"}
        if name == "precomputed":
            return options
        return {"teachers": [{"name": "precomputed", **options}, {"name": "precomputed", **options, "ids": options["ids"]}]}
    return {}


def named(value: Any) -> str:
    """A test's name; the same in every process, which the text of a function is not."""
    return str(getattr(value, "__name__", value))[:30]


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(item, id=f"{item.kind}-{item.name}", marks=() if item.name in QUICK else pytest.mark.slow)
        for item in BUILT_IN
    ],
)
def test_every_built_in_keeps_its_contract(item: Registered, tmp_path: Path) -> None:
    missing = item.component.missing_packages()
    if missing and (item.kind == "teacher" or not hasattr(item.component.options, "smoke")):
        pytest.skip(f"{item.name} needs {', '.join(missing)}, not installed here")
    if item.name == "ratings-offline" and not (path := RatingsOptions().file()).is_file():
        pytest.skip(f"no file {path}; {fetching(path.parent)}")
    report = verify(item.kind, item.name, given(item.name, tmp_path))
    assert report.failed == ()
    assert sum(check.verdict == "pass" for check in report.checks) > 8


CHANGES_NO_VECTOR = {
    "stable-diffusion": {"batch_size"},
    "midjourney": {"batch_size"},
    "modelscope-video": {"batch_size"},
    "resnet-posters": {"max_pixels"},
    "image-api": {"key_variable", "response_format", "max_calls", "concurrency", "timeout", "retries", "backoff", "max_wait"}
    | {"max_picture_bytes", "max_pixels"},
}
"""Options of teachers that may differ between two runs which share their vectors. Whoever adds to it has thought about it."""


def another(value: Any, choices: Any) -> Any:
    """A value of an option that is not the one it has."""
    if choices is not None:
        return next(choice for choice in choices if choice != value)
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, (int, float)) else f"another/{value}"


@pytest.mark.parametrize("item", [item for item in BUILT_IN if item.kind == "teacher"], ids=lambda item: item.name)
def test_every_option_of_a_teacher_is_part_of_its_identity_unless_it_changes_no_vector(
    item: Registered, tmp_path: Path
) -> None:
    """An option that is forgotten serves a run the vectors of its other value. `verify` asks for what can be had here; a
    revision on the hub or the strength of a LoRA is none of it."""
    if item.name == "ensemble":
        pytest.skip("the host asks its members")
    given_ = given(item.name, tmp_path)
    options, environment = item.component.options(**given_), Environment(offline=True)
    before = item.component.identity(options, environment)
    same = set()
    for field in dataclasses.fields(options):
        if field.name in given_:
            continue  # a file, which is known by its content
        value = another(getattr(options, field.name), field.metadata.get("choices"))
        if item.component.identity(dataclasses.replace(options, **{field.name: value}), environment) == before:
            same.add(field.name)
    assert same == CHANGES_NO_VECTOR.get(item.name, set())


# ------------------------------------------------------------------------------------------------------- what is broken


def sentence(report: Report, check: str) -> str:
    """What a failed check says."""
    (found,) = [item for item in report.checks if item.name == check]
    assert found.verdict == "fail", found
    return found.sentence


def test_the_good_ones_among_the_broken_ones_pass() -> None:
    check_teacher(card("Vowels", broken_plugins.VowelOptions))
    check_loss(card("Squared"))
    check_task(card("Draft", broken_plugins.DraftOptions, ("classification",)))
    check_method(card("Labels", provides=("classification",)))


def test_what_the_process_trained_in_before_does_not_matter() -> None:
    accelerator = make_accelerator(Train(precision="bf16"), Environment(device="cpu"))
    with accelerator.autocast():
        assert torch.is_autocast_enabled("cpu")
    check_method(card("Precise", provides=("classification",)))


def test_a_method_that_needs_other_trials_passes() -> None:
    report = check_method(card("Taught", broken_plugins.TaughtOptions, ("classification",)))
    said = {check.name: check.sentence for check in report.checks}
    assert said["dependencies"] == "Needs teacher, assistant"
    assert said["component options"] == "Part of the identity with their own options: teacher"


def test_a_method_with_every_optional_part_passes() -> None:
    report = check_method(card("Visible", provides=("classification",)))
    said = {check.name: check.sentence for check in report.checks}
    assert said["training split"] == "Rows of another training split: classification 7 of 8"
    assert said["before forward"] == "It leaves the batch as it is"
    assert said["inference modules"] == "Exported beside the student: layer"
    assert said["representations"] == "seen 5 wide"
    assert said["advice"] == "About small"


def test_a_student_that_learns_from_text_alone_passes() -> None:
    report = check_student(card("MaskedBert", provides=("encoder",)))
    said = {check.name: check.sentence for check in report.checks}
    assert said["builds"].startswith("For classification, masked")
    assert said["new head"] == "From what was saved on masked and classification"
    assert said["attentions"] == "1 layers of weights"


def test_a_component_among_the_options_may_be_left_open_or_chosen() -> None:
    options = broken_plugins.ChoirOptions
    (check,) = verify("teacher", card("Vowels", options), only=["component options"]).checks
    assert (check.verdict, check.sentence) == ("pass", "There is nothing to vary in second")
    (check,) = verify("teacher", card("Vowels", options), {"second": "speech-offline"}, only=["component options"]).checks
    assert check.sentence == "Part of the identity with their own options: second"


def test_a_default_that_cannot_be_had_is_told_before_anything_is_made() -> None:
    report = verify("teacher", card("Vowels", broken_plugins.NobodyOptions))
    assert [check.name for check in report.checks] == ["component options"]
    assert not report.ok


def test_a_good_student_passes() -> None:
    report = check_student(card("Bert", provides=("encoder",)))
    assert "transformers alone has equal outputs on classification" in [item.sentence for item in report.checks]


@pytest.mark.parametrize(("check", "words", "make"), broken_plugins.TEACHERS, ids=named)
def test_a_broken_teacher_is_told_why(check: str, words: str, make: Any) -> None:
    report = verify("teacher", make(), only=["made", check])
    assert re.search(words, sentence(report, check))


@pytest.mark.parametrize(("check", "words", "target"), broken_plugins.LOSSES, ids=named)
def test_a_broken_loss_is_told_why(check: str, words: str, target: str) -> None:
    with pytest.raises(NotConforming, match=words):
        check_loss(card(target), only=[check])


@pytest.mark.parametrize("row", broken_plugins.TASKS, ids=lambda row: named(row[1]))
def test_a_broken_task_is_told_why(row: tuple[Any, ...]) -> None:
    check, words, target, options, *suggestions = row
    more = {"suggestions": suggestions[0]} if suggestions else {}
    with pytest.raises(NotConforming, match=words):
        check_task(card(target, options, ("classification",), **more), only=[check])


@pytest.mark.parametrize(("check", "words", "target"), broken_plugins.STUDENTS, ids=named)
def test_a_broken_student_is_told_why(check: str, words: str, target: str) -> None:
    options = broken_plugins.SilentBertOptions if check == "identity" else NoOptions
    with pytest.raises(NotConforming, match=words):
        check_student(card(target, options, ("encoder",)), only=[check])


def test_a_student_that_denies_what_it_can_is_told_so() -> None:
    @dataclasses.dataclass(frozen=True)
    class ModestOptions:
        def cannot_learn(self, kind: str) -> str | None:
            return "is modest" if kind == "classification" else None

    with pytest.raises(
        NotConforming, match=r"cannot_learn\(\) of its options keeps it from classification, and it can be built"
    ):
        check_student(card("Bert", ModestOptions, ("encoder",)), only=["builds"])


@pytest.mark.parametrize(
    ("check", "target", "words"),
    [
        ("generation", "Crowded", "The drawn answer to prompt 2 is"),
        ("generation", "Parrot", "Its answers begin with the prompt"),
        ("generation", "Listing", "Likelihoods of candidates are others in a batch than alone"),
        ("tokens", "Mute", "Asked for tokens, it gives none"),
        ("tokens", "Wordy", "gives StudentOutput.tokens without being asked"),
        ("tokens", "Late", "the logits at a token are those that it is predicted from"),
        ("tokens", "Astray", "numbers of the batch's rows, going up"),
    ],
)
def test_a_broken_decoder_is_told_why(check: str, target: str, words: str) -> None:
    llama = Catalog.load(warn=False).find("student", "llama-7b").component
    broken = dataclasses.replace(llama, name=target.lower(), target=f"broken_decoder:{target}")
    with pytest.raises(NotConforming, match=words):
        check_student(broken, only=[check])


@pytest.mark.parametrize(("check", "words", "target", "options"), broken_plugins.METHODS, ids=named)
def test_a_broken_method_is_told_why(check: str, words: str, target: str, options: type) -> None:
    with pytest.raises(NotConforming, match=words):
        check_method(card(target, options, ("classification",)), only=[check])


def test_every_check_has_a_plugin_that_breaks_it() -> None:
    shared = {"card", "lazy import", "made", "component options", "pickling"}  # the same code for every kind
    for kind, module, broken in (
        ("teacher", "teachers", broken_plugins.TEACHERS),
        ("loss", "losses", broken_plugins.LOSSES),
        ("task", "tasks", broken_plugins.TASKS),
        ("student", "students", broken_plugins.STUDENTS),
        ("method", "methods", broken_plugins.METHODS),
    ):
        questions = importlib.import_module(f"armada_cli.conformance.{module}").QUESTIONS
        names = {name for name, _ in questions} - (set() if kind == "teacher" else shared)
        elsewhere = {"generation", "tokens"} if kind == "student" else set()  # test_a_broken_decoder_is_told_why
        assert names - {row[0] for row in broken} == elsewhere


# ----------------------------------------------------------------------------------------------------- how it is called


def test_a_failure_names_every_check_that_failed() -> None:
    with pytest.raises(NotConforming) as raised:
        check_teacher(card("Wide", broken_plugins.SilentOptions), only=["dtype", "identity", "threads"])
    first, *lines = str(raised.value).splitlines()
    assert first == "teacher 'wide' fails 2 checks"
    assert [line.split(":")[0].strip() for line in lines] == ["dtype", "identity"]
    assert isinstance(raised.value, AssertionError)


def test_what_cannot_be_made_is_not_asked_for_more() -> None:
    report = verify("teacher", card("Unmakeable", broken_plugins.VowelOptions), only=["made", "shape", "dtype"])
    assert [item.verdict for item in report.checks] == ["fail", "skip", "skip"]


def test_importing_the_kit_is_cheap() -> None:
    program = "import sys, armada_cli.conformance; print(sorted({'torch', 'numpy', 'transformers'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_options_can_be_given_to_a_component() -> None:
    report = verify("loss", "euclid", {"normalize": "rows"}, only=["zero", "never below"])
    assert report.ok
    with pytest.raises(UserError, match="normalize"):
        check_loss("euclid", {"normalise": "rows"})


def test_a_loss_may_say_that_it_has_no_minimum() -> None:
    report = verify("loss", "cosine", {"normalize": "none"}, only=["zero", "gradient"])
    assert [item.verdict for item in report.checks] == ["pass", "skip"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["teacher", "precomputed"],
            "cannot be verified without 'path'. Give it: `armada verify teacher precomputed --set path=...`",
        ),
        (["teacher", "nobody-knows"], "unknown teacher 'nobody-knows'"),
        (["recipe", "quickstart"], "a recipe is not verified. Check it: `armada check quickstart`"),
        (["loss", "euclid", "--only", "gradients"], "a loss has no check 'gradients'. Did you mean 'gradient'"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(arguments: list[str], words: str) -> None:
    ended = armada("verify", *arguments)
    assert ended.status == 2
    assert words in ended.complaint


def test_the_command_prints_a_line_for_each_check() -> None:
    ended = armada("verify", "loss", "euclid", "--only", "zero", "--only", "shapes")
    assert (ended.status, ended.err) == (0, "")
    assert [line.split("\t")[:2] for line in ended.out.splitlines()] == [["zero", "pass"], ["shapes", "pass"]]


def test_the_command_prints_json() -> None:
    found = json.loads(armada("verify", "loss", "elementwise", "--only", "order", "--json").out)
    assert (found["kind"], found["name"], found["ok"]) == ("loss", "elementwise", True)
    assert found["checks"][0]["check"] == "order"


def test_the_command_ends_with_1_when_a_check_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributions import write_distribution
    from running import plugins_changed

    source = """
        from armada_cli import Component, Loss, hookimpl


        class Half(Loss):
            def __call__(self, p_ts, p_s):
                return (p_ts - p_s).abs().sum(1).mean()


        @hookimpl
        def armada_losses():
            return [Component("half", "Half a loss", "armada_loss_half:Half", provides={"manifold"})]
    """
    monkeypatch.syspath_prepend(
        str(write_distribution(tmp_path, "armada-half", {"armada_loss_half": source}, {"half": "armada_loss_half"}))
    )
    with plugins_changed():
        ended = armada("verify", "loss", "half")
    assert ended.status == 1
    verdicts = {line.split("\t")[0]: line.split("\t")[1] for line in ended.out.splitlines()}
    assert [name for name, verdict in verdicts.items() if verdict == "fail"] == ["shapes"]
    assert verdicts["lazy import"] == "pass"


def test_a_bare_card_needs_no_plugin() -> None:
    assert isinstance(card("Squared"), Component)
    report = verify("loss", card("Squared"), only=["lazy import"])
    assert report.checks[0].verdict == "skip"
