"""kd and seqkd in generation: their losses from their formulas, what is kept of a teacher, and recipes from start to end."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from running import armada, by_method, kept_bytes, results, train
from test_hard_methods import kill
from test_run_generation import instruct, llama, mirror  # noqa: F401  (fixtures)
from tiny_decoders import tiny_llama
from torch import Tensor

from armada_cli import Batch, Decoding, Problem, Setup, StudentOutput, TokenOutput, TokenTargets, TopTokens
from armada_cli.execution.token_outputs import TokenBlock, keep_tokens, read_tokens, write_tokens
from armada_cli.methods.kd import KD, KDOptions
from armada_cli.methods.seqkd import SeqKD, SeqKDOptions
from armada_cli.settings import Train
from armada_cli.training import tokens

M, V = 7, 11
"""Tokens of the responses of the toy batches, and of the vocabulary."""


def draw(seed: int, dtype: torch.dtype = torch.float64, scale: float = 2.0) -> Tensor:
    return (scale * torch.randn(M, V, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(dtype)


def expected(teacher: Tensor, student: Tensor, top: int, temperature: float) -> tuple[float, float]:
    """KL and cross-entropy over the `top` likeliest tokens of the teacher and one sum of the others, word by word."""
    divergences, crosses = [], []
    for z_t, z_s in zip(teacher.tolist(), student.tolist(), strict=True):
        p, q = ([math.exp(z / temperature) for z in row] for row in (z_t, z_s))
        p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
        kept = sorted(range(V), key=lambda v: -p[v])[:top]
        pairs = [(p[v], q[v]) for v in kept]
        others = [(p[v], q[v]) for v in range(V) if v not in kept]
        if others:
            pairs.append((sum(x for x, _ in others), sum(y for _, y in others)))
        divergences.append(sum(x * math.log(x / y) for x, y in pairs))
        crosses.append(sum(-x * math.log(y) for x, y in pairs))
    return sum(divergences) / M, sum(crosses) / M


def targets(teacher: Tensor, asked: TopTokens, labels: Tensor | None = None) -> TokenTargets:
    ids, values = tokens.keep_top(teacher, asked)
    return TokenTargets(ids, values, torch.zeros(M, dtype=torch.long) if labels is None else labels)


# ------------------------------------------------------------------------------------------------------------ the losses


@pytest.mark.parametrize("top", [1, 3, V - 1, V, 50])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_both_losses_are_what_their_formulas_say(top: int, temperature: float) -> None:
    teacher, student = draw(1), draw(2)
    p, q = tokens.compare(targets(teacher, TopTokens(top, temperature)), student, temperature)
    divergence, cross = expected(teacher, student, top, temperature)
    assert float(tokens.divergence(p, q).mean()) == pytest.approx(divergence, rel=1e-12)
    assert float(tokens.soft_cross_entropy(p, q).mean()) == pytest.approx(cross, rel=1e-12)


def test_with_all_tokens_kept_it_is_the_full_divergence() -> None:
    teacher, student = draw(1), draw(2).requires_grad_()
    kept = tokens.divergence(*tokens.compare(targets(teacher, TopTokens(V, 2.0)), student, 2.0)).mean()
    full = tokens.divergence(tokens.everything(teacher, 2.0), tokens.everything(student, 2.0)).mean()
    gradients = [torch.autograd.grad(loss, student, retain_graph=True)[0] for loss in (kept, full)]
    assert float(kept.detach()) == pytest.approx(float(full.detach()), rel=1e-12)
    assert torch.allclose(*gradients, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("top", [1, 4, V])
def test_the_divergence_is_never_more_than_the_full_one_and_nothing_where_both_agree(top: int) -> None:
    teacher, student = draw(1), draw(2)
    kept = tokens.divergence(*tokens.compare(targets(teacher, TopTokens(top)), student))
    full = tokens.divergence(tokens.everything(teacher), tokens.everything(student))
    assert bool((kept <= full + 1e-12).all())
    assert bool((kept >= -1e-12).all())
    same = tokens.divergence(*tokens.compare(targets(teacher, TopTokens(top)), teacher))
    assert float(same.abs().max()) < 1e-12


def test_the_gradient_is_that_of_finite_differences() -> None:
    kept = targets(draw(1), TopTokens(3, 2.0))
    for loss in (tokens.divergence, tokens.soft_cross_entropy):
        assert torch.autograd.gradcheck(
            lambda z, loss=loss: loss(*tokens.compare(kept, z, 2.0)).mean(), draw(2).requires_grad_()
        )


def test_on_the_two_tokens_of_the_fixture_the_cross_entropy_is_divergence_and_entropy() -> None:
    teacher, student = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    for top in (1, 2):
        ids, values = tokens.keep_top(teacher, TopTokens(top))
        p, q = tokens.compare(TokenTargets(ids, values, torch.zeros(1, dtype=torch.long)), student)
        assert float(tokens.soft_cross_entropy(p, q)) == pytest.approx(0.693147, abs=1e-6)
        assert float(tokens.divergence(p, q)) == pytest.approx(0.130812, abs=1e-6)


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_the_sum_of_the_others_stays_a_probability_in_half_precision(tmp_path: Path, precision: str) -> None:
    """Distributions from nearly flat to nearly certain, where one less the sum of the kept would be noise."""
    scale = torch.logspace(-2, 2, M, dtype=torch.float64)[:, None]
    teacher = (draw(1, scale=1.0) * scale).float()
    asked = TopTokens(3, precision=precision)
    ids, values = tokens.keep_top(teacher, asked)
    block = TokenBlock(ids, values, torch.arange(M), torch.tensor([3, 4]))
    write_tokens(tmp_path / "kept", asked, [block])
    stored = read_tokens(tmp_path / "kept", 2, asked)
    assert stored is not None
    found = stored(torch.tensor([1, 0]))
    order = [3, 4, 5, 6, 0, 1, 2]
    assert found.labels.tolist() == order
    assert torch.equal(found.ids, ids[order])
    assert not bool(torch.isnan(found.log_probabilities).any())
    assert bool((found.log_probabilities <= 0).all())
    assert torch.allclose(found.log_probabilities.exp().sum(-1), torch.ones(M), atol=1e-6)
    exact = values[order].exp()
    assert torch.allclose(found.log_probabilities.exp(), exact, atol=2e-3 if precision == "float16" else 1e-6)
    student = draw(2, torch.float32).requires_grad_()
    loss = tokens.divergence(*tokens.compare(found, student)).mean()
    (gradient,) = torch.autograd.grad(loss, student)
    assert bool(torch.isfinite(loss))
    assert bool(torch.isfinite(gradient).all())


def test_a_token_that_the_teacher_excludes_adds_nothing() -> None:
    teacher, student = draw(1, torch.float32), draw(2, torch.float32).requires_grad_()
    teacher[:, 3] = -math.inf
    for kept in (targets(teacher, TopTokens(V)), targets(teacher, TopTokens(V - 1))):
        loss = tokens.divergence(*tokens.compare(kept, student)).mean()
        (gradient,) = torch.autograd.grad(loss, student)
        assert bool(torch.isfinite(loss))
        assert bool(torch.isfinite(gradient).all())


# ------------------------------------------------------------------------------------------------------------ the methods


def make_setup(**given: Any) -> Setup:
    return Setup(
        problem=Problem("generation", 0, ()),
        hidden=4,
        feature_width=None,
        features=None,
        labels=torch.zeros(2),
        seed=0,
        train=Train(),
        losses=lambda choice: None,  # type: ignore[arg-type, return-value]
        stream=lambda name: 0,
        steps=3,
        learning_rate=lambda step: 0.1,
        **given,
    )


def make_output(logits: Tensor) -> StudentOutput:
    rows = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    labels = torch.arange(M)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    return StudentOutput(torch.empty(0), torch.zeros(2, 4), loss=loss, tokens=TokenOutput(logits, labels, rows))


BATCH = Batch(torch.tensor([0, 1]), torch.zeros(2), None, 0)


@pytest.mark.parametrize(("reduction", "divisor"), [("batchmean", 1), ("mean", V)])
def test_kd_is_its_formula(reduction: str, divisor: int) -> None:
    teacher, student = draw(1), draw(2)
    asked: list[Any] = []

    def cached(role: str, what: TopTokens) -> Callable[[Tensor], TokenTargets]:
        asked.append((role, what))
        return lambda rows: targets(teacher, what, torch.arange(M))

    options = KDOptions(alpha=0.3, temperature=2.0, top_k=4, stored_in="float32", reduction=reduction)
    method = KD(options, make_setup(cached_tokens=cached))
    assert method.tokens
    assert asked == [("teacher", TopTokens(4, 2.0, "float32"))]
    output = make_output(student)
    task, soft = method.terms(BATCH, output)
    divergence, _ = expected(teacher, student, 4, 2.0)
    assert (task.weight, soft.weight) == (0.7, 0.3)
    assert float(task.value) == pytest.approx(float(output.loss))  # type: ignore[arg-type]
    assert float(soft.value) == pytest.approx(4 * divergence / divisor, rel=1e-12)


def test_seqkd_is_its_formula_and_reads_no_tokens_without_a_ratio() -> None:
    teacher, student = draw(1), draw(2)
    kept = make_setup(cached_tokens=lambda role, what: lambda rows: targets(teacher, what, torch.arange(M)))
    task, soft = SeqKD(SeqKDOptions(kd_ratio=0.5, top_k=2), kept).terms(BATCH, make_output(student))
    _, cross = expected(teacher, student, 2, 1.0)
    assert (task.weight, soft.weight) == (0.5, 0.5)
    assert float(soft.value) == pytest.approx(cross, rel=1e-12)
    plain = SeqKD(SeqKDOptions(), make_setup())
    assert not plain.tokens
    (only,) = plain.terms(BATCH, make_output(student))
    assert (only.weight, only.task) == (1.0, True)


def test_a_teacher_that_reads_the_rows_otherwise_is_refused() -> None:
    method = KD(KDOptions(), make_setup(cached_tokens=lambda role, what: lambda rows: targets(draw(1), what)))
    with pytest.raises(Exception, match="as other tokens than the student"):
        method.terms(BATCH, make_output(draw(2)))


def test_seqkd_says_how_the_teacher_answers() -> None:
    assert SeqKDOptions().decoding() == Decoding(256, None, False, beams=5)
    assert SeqKDOptions(sample=True, max_new_tokens=9).decoding() == Decoding(9, None, True)


# ------------------------------------------------------------------------------------------------------- what is kept


def test_kept_tokens_that_are_damaged_are_computed_again(tmp_path: Path) -> None:
    asked = TopTokens(3)
    ids, values = tokens.keep_top(draw(1, torch.float32), asked)
    block = TokenBlock(ids, values, torch.arange(M), torch.tensor([3, 4]))
    computed: list[int] = []

    def compute() -> Any:
        computed.append(1)
        yield block

    def keep() -> TokenTargets:
        return keep_tokens(tmp_path / "kept", 2, asked, compute())(torch.tensor([0, 1]))

    first = keep()
    assert torch.equal(keep().log_probabilities, first.log_probabilities)
    assert computed == [1]
    for name in ("log_probabilities.bin", "ids.bin", "labels.bin", "offsets.npy"):
        path = tmp_path / "kept" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert read_tokens(tmp_path / "kept", 2, asked) is None
        assert torch.equal(keep().ids, first.ids)
    assert computed == [1] * 5


def test_shuffled_rows_have_distributions_of_others_and_tokens_of_their_own(tmp_path: Path) -> None:
    asked = TopTokens(3)
    ids, values = tokens.keep_top(draw(1, torch.float32), asked)
    stored = keep_tokens(tmp_path / "kept", 2, asked, [TokenBlock(ids, values, torch.arange(M), torch.tensor([3, 4]))])
    stored.source = [1, 0]
    found = stored(torch.tensor([0, 1]))
    assert found.labels.tolist() == list(range(M))
    assert torch.equal(found.ids, ids[[3, 4, 5, 0, 1, 2, 0]])


# ----------------------------------------------------------------------------------------------------------- recipes

TRAIN = "{epochs: 2, batch_size: 4, lr: 1e-3, log_every: 1, max_length: 384, precision: float32}"


@pytest.fixture
def write(instruct: Callable[..., Path], llama: Path, mirror: Path) -> Callable[..., Path]:  # noqa: F811
    """A recipe of the tiny LLaMA on one instruction set, whose teacher is itself without adapters."""

    def write(methods: str, name: str = "tiny", **more: str) -> Path:
        teacher = f"{{name: decoder, model: {llama}, lora: 0}}"
        return instruct(
            name,
            methods=f"[{methods.replace('TEACHER', f'teacher: {teacher}')}]",
            teacher="null",
            **{"tasks": f"[{{name: dolly, path: {mirror}, max_new_tokens: 8, sample: false}}]", "train": TRAIN, **more},
        )

    return write


def learned(runs: Path, method: str) -> dict[str, Any]:
    """The training of the student that a method has taught."""
    return next(
        result
        for title, result in by_method(runs).items()
        if title.startswith("training on")
        and result["spec"]["build"]["method"]["name"] == method
        and result["spec"]["build"]["student"]["options"]["lora"] == 4
    )


def adapter(result: dict[str, Any]) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(result["folder"] / "student" / "adapter_model.safetensors")


def test_kept_tokens_teach_what_the_live_teacher_does(write: Callable[..., Path], tmp_path: Path) -> None:
    found = {}
    for top in (0, 1000):
        runs = tmp_path / f"runs{top}"
        done = train(write(f"{{name: kd, TEACHER, temperature: 2, top_k: {top}, stored_in: float32}}"), runs)
        assert done.status == 0, done.err
        found[top] = learned(runs, "kd")
        kept = list(runs.glob("outputs/*/*/ids.bin"))
        assert len(kept) == (top > 0)
    first, second = (adapter(found[top]) for top in (0, 1000))
    assert all(torch.allclose(first[name], second[name], atol=2e-4) for name in first)


def test_the_tokens_are_kept_once_for_all_students(write: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    path = write("{name: kd, TEACHER, top_k: 4}, {name: kd, TEACHER, top_k: 4, alpha: 1.0}", seeds="[0, 1]")
    done = train(path, runs)
    assert done.status == 0, done.err
    assert len(list(runs.glob("outputs/*/*/ids.bin"))) == 1


PAIRS = """
import json
from dataclasses import dataclass

from armada_cli import Decoding, Split, option
from armada_cli.corpora.tasks import GenerationTask


class Pairs(GenerationTask):
    metric = "answered"
    decoding = Decoding(max_new_tokens=4)

    @dataclass(frozen=True)
    class Options:
        pairs: str = option("", "A file of pairs", path=True)

    def split(self, name):
        rows = [tuple(row) for row in json.load(open(self.options.pairs, encoding="utf-8"))]
        texts = rows if name == "train" else [row[:1] for row in rows]
        return Split(texts, [row[1] for row in rows], [row[0] for row in rows])

    def score(self, outputs, labels):
        return {"answered": 100.0 * sum(map(bool, outputs)) / len(outputs)}
"""
"""A local task: prompts and responses of a file."""


def test_without_a_ratio_it_is_fine_tuning_on_the_answers(write: Callable[..., Path], tmp_path: Path) -> None:
    """The same bytes as `undistilled` on a file whose responses are the teacher's answers."""
    prompts = [f"Say the number {number} in words." for number in range(12)]
    (tmp_path / "pairs.py").write_text(PAIRS, encoding="utf-8")
    tables = {"gold": [(text, f"It is {number}.") for number, text in enumerate(prompts)]}
    runs = {name: tmp_path / f"runs-{name}" for name in ("gold", "pseudo")}

    def learn(name: str, method: str) -> dict[str, Tensor]:
        (tmp_path / f"{name}.json").write_text(json.dumps(tables[name]), encoding="utf-8")
        path = write(method, name, tasks=f"[{{file: pairs.py, class: Pairs, pairs: {name}.json}}]")
        done = train(path, runs[name], "--allow-local-code")
        assert done.status == 0, done.err
        return adapter(learned(runs[name], re.split("[ ,}]", method.removeprefix("{name: "))[0]))

    first = learn("gold", "{name: seqkd, TEACHER, sample: true, max_new_tokens: 8}")
    (answering,) = [item for item in by_method(runs["gold"]).values() if item["spec"]["split"] == "train"]
    assert answering["spec"]["decoding"]["sample"] is True
    assert answering["scores"] == {}
    lines = (answering["folder"] / "answers.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    said = {item["row"]: item["answer"] for item in map(json.loads, lines)}
    tables["pseudo"] = [(text, said[number]) for number, text in enumerate(prompts)]
    assert tables["pseudo"] != tables["gold"]
    second = learn("pseudo", "undistilled")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_ratio_adds_the_teachers_tokens_at_its_answers(write: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    path = write("{name: seqkd, TEACHER, kd_ratio: 0.5, sample: true, max_new_tokens: 8, top_k: 5}")
    assert (done := train(path, runs)).status == 0, done.err
    assert set(learned(runs, "seqkd")["terms"]) == {"task", "soft labels"}


def test_under_the_control_every_prompt_has_the_answer_to_another(write: Callable[..., Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    path = write("{name: seqkd, TEACHER, max_new_tokens: 8, kd_ratio: [0, 0.5], features: {control: shuffled}}")
    assert (done := train(path, runs)).status == 0, done.err
    refused = armada("check", write("{name: seqkd, TEACHER, features: {control: noise}}"))
    assert refused.status == 2
    assert "has no control of this kind" in refused.err


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("{name: kd, TEACHER, features: {control: noise}}", "no control 'noise'. Say `control: shuffled`"),
        ("{name: kd, TEACHER, top_k: 0, features: {control: noise}}", "has no control there"),
        ("{name: kd, TEACHER, top_k: 0, features: {control: shuffled}}", "has no control there"),
        ("{name: seqkd, TEACHER, kd_ratio: 0.5, top_k: 0, features: {control: shuffled}}", "has no control there"),
    ],
)
def test_a_control_that_its_teachers_tokens_do_not_have_is_refused_in_one_line(
    write: Callable[..., Path], method: str, words: str
) -> None:
    ended = armada("check", write(method))
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    assert "tiny.yaml:4:" in ended.err
    assert words in ended.err


def test_another_vocabulary_is_refused_in_one_line(write: Callable[..., Path], tmp_path: Path) -> None:
    other = tiny_llama(tmp_path / "other", context=1024)
    core = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    plain = [token for token in core["model"]["vocab"] if len(token) == 1 and token.isalpha()]
    first, second = plain[:2]
    vocabulary = core["model"]["vocab"]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (other / "tokenizer.json").write_text(json.dumps(core), encoding="utf-8")
    teacher = f"teacher: {{name: decoder, model: {other}, lora: 0}}"
    for method in (f"{{name: kd, {teacher}}}", f"{{name: seqkd, {teacher}, kd_ratio: 0.5}}"):
        ended = armada("check", write(method))
        assert ended.status == 2
        assert ended.err.count("\n") == 1
        assert "different vocabularies" in ended.err
    assert armada("check", write(f"{{name: seqkd, {teacher}}}")).status == 0


@pytest.mark.parametrize("method", ["kd", "seqkd"])
def test_a_teacher_that_does_not_write_is_refused_in_one_line(write: Callable[..., Path], method: str) -> None:
    ended = armada("check", write(method))
    assert ended.status == 2
    assert ended.err.count("\n") == 1
    assert "student 'bert-base' is an encoder. Name a decoder" in ended.err


def test_where_no_file_tells_the_vocabulary_the_trial_does() -> None:
    class Known:
        def __init__(self, name: str) -> None:
            self.name = name

        def vocabulary(self) -> str:
            return self.name

    tokens.require_one_vocabulary(Known("a"), Known("a"), "teacher")  # type: ignore[arg-type]
    with pytest.raises(Exception, match="different vocabularies"):
        tokens.require_one_vocabulary(Known("a"), Known("b"), "teacher")  # type: ignore[arg-type]


def test_check_tells_what_will_be_kept(write: Callable[..., Path]) -> None:
    """At most 384 tokens a row of 16: 4 ids and log-probabilities, the sum of the others, and the token itself."""
    ended = armada("check", write("{name: kd, TEACHER, top_k: 4}"), "--json")
    assert ended.status == 0, ended.err
    (kept,) = json.loads(ended.out)["outputs"]
    assert kept["what"] == "4 tokens at each of the responses' in float16"
    assert 0 < kept["gigabytes"] <= 16 * 384 * 30 / 1e9
    said = armada("check", write("{name: kd, TEACHER, top_k: 4}")).out
    assert re.search(
        "to keep        decoder .* on dolly .*: 4 tokens at each of the responses' in float16, less than 0.01 GB", said
    ), said
    live = armada("check", write("{name: seqkd, TEACHER, kd_ratio: 0.5, top_k: 0}")).out
    assert re.search("at each step   decoder .*: a forward pass of .* parameters more, for seqkd", live), live
    assert "to keep" not in armada("check", write("{name: seqkd, TEACHER}")).out


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["{name: kd, TEACHER, top_k: 4}", "{name: seqkd, TEACHER, kd_ratio: 0.5, max_new_tokens: 8}"]
)
def test_killed_it_goes_on_to_the_same_bytes(write: Callable[..., Path], tmp_path: Path, method: str) -> None:
    path = write(method)
    whole = train(path, tmp_path / "whole")
    assert whole.status == 0, whole.err
    for moment in (3, 11):
        runs = tmp_path / f"killed-{moment}"
        kill(path, runs, moment)
        again = train(path, runs)
        assert again.status == 0, again.err
        assert results(runs) == results(tmp_path / "whole")
        assert kept_bytes(runs) == kept_bytes(tmp_path / "whole")
