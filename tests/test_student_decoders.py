"""Decoders as students: what they read, what they are trained on, what they write, and what is saved of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from armada_student_decoders.decoding import Draw, drawing
from armada_student_decoders.options import (
    DecoderOptions,
    Llama3LargeOptions,
    Llama3SmallOptions,
    LlamaOptions,
    OptOptions,
)
from armada_student_decoders.student import Decoder
from tiny_decoders import tiny_llama, tiny_of, tiny_opt
from torch.nn import functional

from armada_cli import Decoding, Environment, Problem, UserError
from armada_cli.registry import catalog
from armada_cli.training.precision import held_in

OFFLINE = Environment(offline=True)
WRITING = Problem("generation", 0, (), 96)
THREE = Problem("classification", 3, ("calm", "windy", "stormy"), 64)
PAIRS = [
    ("Name a boat.", "A ferry."),
    ("What hangs above the table in the captain's cabin?", "An old map."),
    ("Count to two.", "One, two."),
]
PROMPTS = ["A ferry", "The choir rehearses in the cellar every", "No", "Two boys carry a kite through", "Rain on the roof:"]
TEXTS = [("the sea lies flat",), ("gusts from the west, and rising",), ("hail",)]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_opt(tmp_path_factory.mktemp("opt"))


@pytest.fixture
def make(llama: Path) -> Callable[..., Decoder]:
    def made(model: Path | None = None, **options: Any) -> Decoder:
        return Decoder(DecoderOptions(model=str(model or llama), **options), OFFLINE)

    return made


def built(student: Decoder, problem: Problem = WRITING, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return student.build(problem)


def batch(student: Decoder, problem: Problem = WRITING, rows: Any = None) -> dict[str, torch.Tensor]:
    return student.pad(student.encode(rows or (PAIRS if problem.kind == "generation" else TEXTS), problem))


def moved(model: Any, seed: int = 1) -> Any:
    """What training would do to it: every trained weight is a little elsewhere."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    return model


def trained(model: Any) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


# ----------------------------------------------------------------------------------------------------------------- cards


def test_the_cast_of_the_paper_is_there_as_decoders() -> None:
    cards = {
        item.name: item.component for item in catalog.current().components("student") if "decoder" in item.component.provides
    }
    assert {"opt-1.3b", "llama-7b", "llama-3.1-8b", "llama-3.2-3b", "decoder"} <= set(cards)
    assert cards["opt-1.3b"].defaults["lr"] == 3e-6
    assert {cards[name].defaults["lr"] for name in ("llama-7b", "llama-3.1-8b", "llama-3.2-3b")} == {3e-4}


def test_cards_and_options_import_nothing_heavy() -> None:
    code = (
        "import sys, armada_student_decoders as it\n"
        "for card in it.armada_students():\n"
        "    options = card.options(model='someone/something')\n"
        "    options.size(), list(options.problems(None)), list(options.downloads(None))\n"
        "heavy = {'torch', 'transformers', 'peft', 'numpy', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("options", "billions", "trained_millions"),
    [
        (OptOptions(), 1.316, 1316),
        (LlamaOptions(), 6.738, 4.19),
        (Llama3LargeOptions(), 8.030, 3.41),
        (Llama3SmallOptions(), 3.213, 2.29),
    ],
    ids=["opt", "llama", "llama-3.1", "llama-3.2"],
)
def test_the_size_of_the_published_models_is_known_without_them(
    options: DecoderOptions, billions: float, trained_millions: float
) -> None:
    found = options.size()
    assert found["parameters"] / 1e9 == pytest.approx(billions, abs=5e-4)
    assert found["trainable"] / 1e6 == pytest.approx(trained_millions, rel=2e-3)


def test_the_size_of_a_local_model_is_its_own(llama: Path, opt: Path, make: Callable[..., Decoder]) -> None:
    for folder in (llama, opt):
        student = make(folder)
        model = built(student)
        found = student.options.size()
        assert found["trainable"] == sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert found["parameters"] + found["trainable"] == sum(p.numel() for p in model.parameters())
        assert (found["hidden"], found["layers"], found["heads"], found["vocabulary"]) == (32, 2, 4, 259)
    shorter = make(layers=1, lora=0, export="merged")
    assert shorter.options.size()["parameters"] == sum(p.numel() for p in built(shorter).parameters())


@pytest.mark.parametrize("kind", [DecoderOptions, OptOptions, LlamaOptions, Llama3LargeOptions, Llama3SmallOptions])
def test_smoke_gives_the_same_student_with_a_tiny_model_of_its_class(kind: type[DecoderOptions], tmp_path: Path) -> None:
    options = kind(model="someone/else") if kind is DecoderOptions else kind()
    small = options.smoke(tmp_path)
    assert replace(small, model=options.model) == options
    assert small.smoke(tmp_path).size()["parameters"] < 200_000
    student = Decoder(small, OFFLINE)
    model = built(student)
    assert ("OPT" in type(model.base_model).__name__) == (kind is OptOptions)
    assert bool(student.forward(model, batch(student)).loss.isfinite())
    assert len(student.generate(model, ["Hello"], Decoding(max_new_tokens=3), [0])) == 1


def test_smoke_of_a_local_model_keeps_its_family(tmp_path: Path) -> None:
    from transformers import Qwen2Config

    Qwen2Config().save_pretrained(tmp_path / "mine")
    small = DecoderOptions(model=str(tmp_path / "mine")).smoke(tmp_path / "smoke")
    assert json.loads((Path(small.model) / "config.json").read_text())["architectures"] == ["Qwen2ForCausalLM"]


# ----------------------------------------------------------------------------------------------------------------- text


def test_a_training_row_is_prompt_response_and_end_of_text(make: Callable[..., Decoder]) -> None:
    student = make()
    row = student.encode([("Say hi.", "Hi")], WRITING)[0]
    assert student.reader.tokenizer.decode(row["input_ids"]) == "<s>Say hi.Hi</s>"
    assert row["prompt_mask"] == [1] * 8 + [0] * 3
    assert row["labels"] == [-100] * 8 + row["input_ids"][8:]


def test_a_long_prompt_loses_its_beginning_and_a_long_response_its_end(make: Callable[..., Decoder]) -> None:
    student, short = make(), Problem("generation", 0, (), 16)
    decode = student.reader.tokenizer.decode
    rows = student.encode([("abcdefghijklmnopqrstuvwxyz", "hi"), ("abc", "d" * 40), ("p" * 40, "r" * 40)], short)
    assert decode(rows[0]["input_ids"]) == "<s>opqrstuvwxyzhi</s>"
    assert decode(rows[1]["input_ids"]) == "<s>abc" + "d" * 12
    assert decode(rows[2]["input_ids"]) == "<s>" + "p" * 11 + "r" * 4  # a quarter is the response's always
    assert all(len(row["input_ids"]) == 16 for row in rows)


def test_a_pair_is_two_lines_and_its_longer_one_is_cut(make: Callable[..., Decoder]) -> None:
    student = make()
    rows = student.encode(
        [("what?", "because"), ("what?", "b" * 50), ("w" * 50, "no")], Problem("classification", 2, ("a", "b"), 16)
    )
    texts = [student.reader.tokenizer.decode(row["input_ids"]) for row in rows]
    assert texts == ["<s>what?\nbecause", "<s>what?\n" + "b" * 9, "<s>" + "w" * 13 + "no"]


@pytest.mark.parametrize("vocabulary", [("<unk>",), ("<unk>", "<|finetune_right_pad_id|>"), ()])
def test_a_tokenizer_without_padding_gets_a_token_it_has(vocabulary: tuple[str, ...], tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    tiny_llama(tmp_path)
    words = {word: number for number, word in enumerate(["<s>", "</s>", "a", *vocabulary])}
    core = Tokenizer(models.WordLevel(words, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>").save_pretrained(tmp_path)
    student = Decoder(DecoderOptions(model=str(tmp_path)), OFFLINE)
    assert student.reader.pad == words[vocabulary[-1] if vocabulary else "</s>"]
    assert len(student.reader.tokenizer) == len(words)


# -------------------------------------------------------------------------------------------------------------- forward


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_the_loss_is_the_models_own_mean_over_the_responses_tokens(
    family: str, make: Callable[..., Decoder], request: pytest.FixtureRequest
) -> None:
    student = make(request.getfixturevalue(family))
    model = built(student).eval()
    inputs = batch(student)
    with torch.no_grad():
        output = student.forward(model, inputs)
        whole = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], output_hidden_states=True)
    expected = functional.cross_entropy(
        whole.logits[:, :-1].flatten(0, 1), inputs["labels"][:, 1:].flatten(), ignore_index=-100
    )
    assert float(output.loss) == pytest.approx(float(expected), rel=1e-5)
    assert output.logits.numel() == 0
    mask = inputs["prompt_mask"][..., None].float()
    mean = (whole.hidden_states[-1] * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(output.pooled, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.hidden_states[-1], whole.hidden_states[-1])


def test_scaled_and_capped_logits_stay_as_the_family_has_them(tmp_path: Path, make: Callable[..., Decoder]) -> None:
    from transformers import Gemma2Config

    Gemma2Config(final_logit_softcapping=2.0).save_pretrained(tmp_path / "gemma")
    options = DecoderOptions(model=str(tmp_path / "gemma")).smoke(tmp_path)
    student = make(Path(options.model))
    model = built(student).eval()
    inputs = batch(student)
    with torch.no_grad():
        loss = float(student.forward(model, inputs).loss)
        own = model(**{key: inputs[key] for key in ("input_ids", "attention_mask", "labels")}).loss
    assert loss == pytest.approx(float(own), rel=1e-5)


def test_pooling_last_takes_the_prompts_last_token(make: Callable[..., Decoder]) -> None:
    student = make(pooling="last")
    inputs = batch(student)
    output = student.forward(built(student).eval(), inputs)
    for row, count in enumerate(inputs["prompt_mask"].sum(1).tolist()):
        torch.testing.assert_close(output.pooled[row], output.hidden_states[-1][row, count - 1])


def test_padding_changes_no_answer(make: Callable[..., Decoder]) -> None:
    for problem in (WRITING, THREE):
        student = make()
        model = built(student, problem).eval()
        rows = PAIRS if problem is WRITING else TEXTS
        together = student.forward(model, batch(student, problem, rows))
        for number, row in enumerate(rows):
            alone = student.forward(model, batch(student, problem, [row]))
            torch.testing.assert_close(together.pooled[number], alone.pooled[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_the_head_reads_the_last_token_and_that_is_the_pooled_output(
    family: str, make: Callable[..., Decoder], request: pytest.FixtureRequest
) -> None:
    student = make(request.getfixturevalue(family), lora=0)
    model = built(student, THREE).eval()
    inputs = batch(student, THREE)
    output = student.forward(model, inputs)
    torch.testing.assert_close(output.logits, model.score(output.pooled))
    for row, count in enumerate(inputs["attention_mask"].sum(1).tolist()):
        torch.testing.assert_close(output.pooled[row], output.hidden_states[-1][row, count - 1])
    assert model.config.id2label == {0: "calm", 1: "windy", 2: "stormy"}


def test_every_choice_is_scored(make: Callable[..., Decoder]) -> None:
    student, problem = make(), Problem("multiple-choice", 2, ("first", "second"), 64)
    model = built(student, problem).eval()
    output = student.forward(
        model, batch(student, problem, [("Why?", "It rained.", "It snowed."), ("Who?", "He", "She or they")])
    )
    assert output.logits.shape == (2, 2)
    assert output.pooled.shape == (2, 2, 32)
    swapped = student.forward(
        model, batch(student, problem, [("Why?", "It snowed.", "It rained."), ("Who?", "She or they", "He")])
    )
    torch.testing.assert_close(swapped.logits.flip(1), output.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("problem", [WRITING, THREE], ids=["generation", "classification"])
def test_the_last_hidden_state_lies_between_the_weights_and_the_loss(problem: Problem, make: Callable[..., Decoder]) -> None:
    student = make()
    output = student.forward(built(student, problem), batch(student, problem), hidden_states=True)
    assert len(output.hidden_states) == 3
    value = output.loss if output.loss is not None else output.logits.square().sum()
    for goal in (value, output.pooled.square().sum()):
        gradient = torch.autograd.grad(goal, output.hidden_states[-1], retain_graph=True)[0]
        assert float(gradient.abs().max()) > 0


def test_gradient_checkpointing_changes_no_gradient(make: Callable[..., Decoder]) -> None:
    found = []
    for checkpointing in (False, True):
        student = make(gradient_checkpointing=checkpointing, lora_dropout=0.0)
        model = moved(built(student)).train()
        output = student.forward(model, batch(student))
        (output.loss + output.pooled.square().mean()).backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    assert found[0].keys() == found[1].keys()
    assert all(value is not None for value in found[1].values())
    for name, value in found[0].items():
        torch.testing.assert_close(found[1][name], value)


WRAPPED = """
import os, sys
import torch
from armada_student_decoders.options import DecoderOptions
from armada_student_decoders.student import Decoder
from armada_cli import Environment, Problem

student = Decoder(DecoderOptions(model=sys.argv[1], lora_dropout=0.0), Environment(offline=True))
writing = Problem("generation", 0, (), 96)
torch.manual_seed(0)
model = student.build(writing)
inputs = student.pad(student.encode([("Say hi.", "Hi"), ("Name a colour of the sea.", "Green, on most days")], writing))
plain = student.forward(model, inputs)
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=0, world_size=1)
wrapped = torch.nn.parallel.DistributedDataParallel(model)
output = student.forward(wrapped, inputs)
(output.loss + output.pooled.mean()).backward()
torch.testing.assert_close(output.pooled, plain.pooled)
assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
print("the same", flush=True)
os._exit(0)
"""


def test_a_wrapped_model_gives_the_same(llama: Path, tmp_path: Path) -> None:
    """DistributedDataParallel, as the loop uses it under `accelerate launch`. In a process that ends without taking the group
    apart: gloo's destructor waits for its threads while Python's lock is held, and sometimes for ever."""
    command = [sys.executable, "-c", WRAPPED, str(llama), str(tmp_path / "meeting")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (ran.returncode, ran.stdout.strip().splitlines()[-1:]) == (0, ["the same"]), ran.stderr


# ------------------------------------------------------------------------------------------------------- what is trained


def test_lora_trains_adapters_and_the_head_and_nothing_else(make: Callable[..., Decoder]) -> None:
    names = trained(built(make(), THREE))
    assert names
    assert all("lora_" in name or ".score.modules_to_save" in name for name in names)
    assert {part for name in names for part in ("q_proj", "v_proj", "score") if part in name} == {"q_proj", "v_proj", "score"}
    assert all("lora_" in name for name in trained(built(make())))


@pytest.mark.parametrize("lora", [0, None])
def test_without_lora_everything_is_trained(lora: int | None, make: Callable[..., Decoder]) -> None:
    model = built(make(lora=lora), THREE)
    assert trained(model) == {name for name, _ in model.named_parameters()}


def test_one_seed_gives_one_head_and_one_set_of_adapters(make: Callable[..., Decoder]) -> None:
    first, again, other = (dict(built(make(), THREE, seed).named_parameters()) for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    changed = {name for name in first if not torch.equal(first[name], other[name])}
    assert any("lora_A" in name for name in changed)
    assert any("score" in name for name in changed)


def test_frozen_weights_are_held_in_half_and_trained_ones_are_not(make: Callable[..., Decoder]) -> None:
    model = built(make(), replace(THREE, precision="bf16"))
    for name, parameter in model.named_parameters():
        frozen_body = not parameter.requires_grad and "score" not in name
        assert parameter.dtype == (torch.bfloat16 if frozen_body else torch.float32), name
    whole = built(make(lora=0), replace(THREE, precision="bf16"))
    assert {p.dtype for p in whole.parameters()} == {torch.float32}
    assert (held_in(model), held_in(whole)) == ("bfloat16 and float32", "float32")
    model.is_loaded_in_4bit = True  # as transformers marks a model whose weights bitsandbytes holds
    assert held_in(model) == "4bit, bfloat16 and float32"


def test_a_few_steps_lower_the_loss_in_half_precision_too(make: Callable[..., Decoder]) -> None:
    for precision in ("float32", "bf16"):
        student, problem = make(), replace(WRITING, precision=precision)
        model = built(student, problem).train()
        inputs = batch(student, problem)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)
        losses = []
        for _ in range(12):
            loss = student.forward(model, inputs).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        assert losses[-1] < 0.8 * losses[0]


def test_adapters_go_where_they_are_told(make: Callable[..., Decoder]) -> None:
    names = trained(built(make(lora_targets=("gate_proj", "down_proj"))))
    assert {name.split(".")[-4] for name in names} == {"gate_proj", "down_proj"}


@pytest.mark.parametrize(
    ("options", "scale", "dropout"),
    [({}, 16 / 8, 0.05), ({"lora": 4, "lora_alpha": 6.0, "lora_dropout": 0.3}, 6 / 4, 0.3)],
    ids=["default", "given"],
)
def test_adapters_are_scaled_by_alpha_over_rank_and_dropped_as_told(
    options: dict[str, Any], scale: float, dropout: float, make: Callable[..., Decoder]
) -> None:
    model = moved(built(make(**options))).eval()
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    inputs = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        adapted = layer(inputs) - layer.base_layer(inputs)
        low_rank = layer.lora_B["default"](layer.lora_A["default"](inputs))
    torch.testing.assert_close(adapted, scale * low_rank, rtol=1e-4, atol=1e-5)
    assert float(low_rank.abs().min()) > 0
    assert layer.lora_dropout["default"].p == dropout


def test_a_target_that_is_not_there_is_named_with_those_that_are(make: Callable[..., Decoder]) -> None:
    with pytest.raises(UserError) as error:
        built(make(lora_targets=("q_proj", "qproj")))
    assert "lora_targets names 'qproj'" in str(error.value)
    assert "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in str(error.value)


def test_only_the_first_layers_are_kept(make: Callable[..., Decoder]) -> None:
    model = built(make(layers=1, lora=0))
    assert len(model.model.layers) == 1
    with pytest.raises(UserError, match="layers is 3, the model has 2"):
        built(make(layers=3, lora=0))


# --------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("family", ["llama", "opt"])
@pytest.mark.parametrize("beams", [1, 3])
def test_answers_of_a_batch_are_those_of_prompts_alone(
    family: str, beams: int, make: Callable[..., Decoder], request: pytest.FixtureRequest
) -> None:
    """Compared with transformers' own `generate` of one prompt, without padding."""
    student = make(request.getfixturevalue(family))
    model = moved(built(student)).eval()
    answers = student.generate(model, PROMPTS, Decoding(max_new_tokens=24, beams=beams), range(len(PROMPTS)))
    tokenizer = student.reader.tokenizer
    alone = []
    for prompt in PROMPTS:
        tokens = tokenizer(prompt, return_tensors="pt")
        found = model.generate(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            max_new_tokens=24,
            num_beams=beams,
            do_sample=False,
            pad_token_id=0,
        )
        alone.append(tokenizer.decode(found[0, tokens["input_ids"].shape[1] :], skip_special_tokens=True))
    assert answers == alone
    assert len(set(answers)) > 1


def test_a_sampled_answer_depends_on_its_stream_and_not_on_its_neighbours(make: Callable[..., Decoder]) -> None:
    student = make()
    model = built(student).eval()
    decoding = Decoding(max_new_tokens=16, sample=True, temperature=1.5, top_p=0.95, top_k=50)
    streams = [11, 12, 13, 14, 15]
    together = student.generate(model, PROMPTS, decoding, streams)
    assert student.generate(model, PROMPTS[::-1], decoding, streams[::-1])[::-1] == together
    assert [student.generate(model, [p], decoding, [s])[0] for p, s in zip(PROMPTS, streams, strict=True)] == together
    assert student.generate(model, PROMPTS, decoding, [s + 100 for s in streams]) != together
    state = torch.get_rng_state()
    student.generate(model, PROMPTS, decoding, streams)
    assert torch.equal(torch.get_rng_state(), state)


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    chances = torch.tensor([0.5, 0.3, 0.2, 0.0])
    draw = Draw(range(4000))
    scores = draw(torch.zeros(4000, 1, dtype=torch.long), chances.log().expand(4000, 4))
    found = torch.bincount(scores.argmax(-1), minlength=4) / 4000
    assert found[3] == 0
    torch.testing.assert_close(found, chances, atol=0.03, rtol=0)


@pytest.mark.parametrize(
    ("settings", "chances"),
    [
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({"temperature": 0.5}, [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_p": 0.8}, [4 / 9, 3 / 9, 2 / 9, 0]),
        # The temperature comes first: of the sharper distribution two tokens are enough.
        ({"top_p": 0.8, "temperature": 0.5}, [16 / 25, 9 / 25, 0, 0]),
    ],
    ids=["plain", "temperature", "top_k", "top_p", "both"],
)
def test_temperature_and_cuts_shape_what_is_drawn(settings: dict[str, Any], chances: list[float]) -> None:
    scores = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().expand(4000, 4)
    for step in drawing(Decoding(sample=True, **{"top_k": 0, "top_p": 1.0, "temperature": 1.0, **settings}), range(4000)):
        scores = step(torch.zeros(4000, 1, dtype=torch.long), scores)
    found = torch.bincount(scores.argmax(-1), minlength=4) / 4000
    torch.testing.assert_close(found, torch.tensor(chances), atol=0.03, rtol=0)
    assert [share == 0 for share in found.tolist()] == [chance == 0 for chance in chances]


def test_the_models_own_decoding_settings_are_put_aside_and_its_stops_kept(
    tmp_path: Path, make: Callable[..., Decoder]
) -> None:
    folder = tiny_llama(tmp_path / "instruct")
    student = make(folder)
    plain = student.generate(built(student).eval(), PROMPTS, Decoding(max_new_tokens=12), range(5))
    end = next(letter for answer in plain for letter in answer[1:] if letter.isascii())
    byte = student.reader.plain(end)[0]
    settings = {
        "do_sample": True,
        "temperature": 0.6,
        "repetition_penalty": 5.0,
        "eos_token_id": [2, byte],
        "max_new_tokens": 3,
    }
    (folder / "generation_config.json").write_text(json.dumps(settings))
    student = make(folder)
    model = built(student).eval()
    stopped = student.generate(model, PROMPTS, Decoding(max_new_tokens=12), range(5))
    assert stopped != plain
    assert stopped == [answer.partition(end)[0] for answer in plain]
    assert model.get_base_model().generation_config.repetition_penalty == 5.0


def test_a_long_prompt_keeps_its_end(make: Callable[..., Decoder]) -> None:
    student = make()
    model = built(student).eval()
    decoding = Decoding(max_new_tokens=8, max_prompt_tokens=10)
    long = "z" * 600 + "the ferry"
    assert student.generate(model, [long], decoding, [0]) == student.generate(model, ["the ferry"], decoding, [0])
    assert len(student.generate(model, ["y" * 2000], Decoding(max_new_tokens=8), [0])) == 1  # 512 tokens are the context
    with pytest.raises(UserError, match="answers of 512 tokens leave no room for a prompt"):
        student.generate(model, ["a"], Decoding(max_new_tokens=512), [0])


def test_generation_leaves_the_model_in_the_mode_it_was_in(make: Callable[..., Decoder]) -> None:
    student = make(lora_dropout=0.5)
    model = moved(built(student)).train()
    first = student.generate(model, PROMPTS, Decoding(max_new_tokens=8), range(5))
    assert model.training
    assert student.generate(model.eval(), PROMPTS, Decoding(max_new_tokens=8), range(5)) == first
    assert not model.training
    assert student.generate(model, [], Decoding(), []) == []


def test_likelihoods_are_the_mean_log_probability_of_a_candidates_tokens(make: Callable[..., Decoder]) -> None:
    student = make()
    model = built(student).eval()
    rows = [("The boat is", " red", " on the lake"), ("Why?", "Because it rained all night.", "", "No")]
    found = student.likelihoods(model, rows)
    for row, values in zip(rows, found, strict=True):
        for candidate, value in zip(row[1:], values, strict=True):
            if not candidate:
                assert value == -float("inf")
                continue
            before = student.reader.prompt(row[0], 512)
            tokens = torch.tensor([before + student.reader.plain(candidate)])
            with torch.no_grad():
                chances = model(input_ids=tokens).logits[0].log_softmax(-1)
            each = [float(chances[at - 1, tokens[0, at]]) for at in range(len(before), tokens.shape[1])]
            assert value == pytest.approx(sum(each) / len(each), abs=1e-4)


# ---------------------------------------------------------------------------------------------------------------- saving


@pytest.mark.parametrize("problem", [WRITING, THREE], ids=["generation", "classification"])
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("lora", [8, 0])
def test_what_was_saved_is_built_again_exactly(
    problem: Problem, precision: str, lora: int, make: Callable[..., Decoder], tmp_path: Path
) -> None:
    student, problem = make(lora=lora), replace(problem, precision=precision)
    model = moved(built(student, problem)).eval()
    student.save(model, problem, tmp_path / "saved")
    again = make(lora=lora).build(problem, weights=tmp_path / "saved").eval()
    inputs = batch(student, problem)
    with torch.no_grad():
        before, after = student.forward(model, inputs), student.forward(again, inputs)
    assert torch.equal(before.pooled, after.pooled)
    assert torch.equal(before.logits, after.logits)
    assert trained(again) == trained(model)
    assert (tmp_path / "saved" / "adapter_config.json").is_file() == bool(lora)
    assert not list((tmp_path / "saved").glob("*.bin"))


def test_a_merged_adapter_answers_as_before(make: Callable[..., Decoder], tmp_path: Path) -> None:
    for problem in (WRITING, THREE):
        student = make()
        model = moved(built(student, problem)).eval()
        adapter, merged, at_once = (tmp_path / f"{problem.kind}-{name}" for name in ("adapter", "merged", "once"))
        student.save(model, problem, adapter)
        student.merge(adapter, merged)
        make(export="merged").save(model, problem, at_once)
        inputs = batch(student, problem)
        with torch.no_grad():
            before = student.forward(model, inputs)
            for folder in (merged, at_once):
                assert not (folder / "adapter_config.json").exists()
                after = student.forward(student.build(problem, weights=folder).eval(), inputs)
                torch.testing.assert_close(after.pooled, before.pooled, rtol=1e-4, atol=1e-4)
                torch.testing.assert_close(after.logits, before.logits, rtol=1e-4, atol=1e-4)


def test_a_shortened_model_is_saved_whole(make: Callable[..., Decoder], tmp_path: Path) -> None:
    student = make(layers=1, export="merged")
    model = moved(built(student)).eval()
    student.save(model, WRITING, tmp_path / "short")
    assert json.loads((tmp_path / "short" / "config.json").read_text())["num_hidden_layers"] == 1
    again = make(layers=1, export="merged").build(WRITING, weights=tmp_path / "short").eval()
    inputs = batch(student)
    torch.testing.assert_close(
        student.forward(again, inputs).pooled, student.forward(model, inputs).pooled, rtol=1e-4, atol=1e-4
    )


def test_the_adapter_names_the_model_as_the_recipe_did(make: Callable[..., Decoder], llama: Path, tmp_path: Path) -> None:
    student = make()
    student.save(built(student), WRITING, tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == str(llama)


# -------------------------------------------------------------------------------------------------------- other families

FAMILIES = {
    "GPT2Config": {"n_embd": 32},
    "GPTNeoXConfig": {},
    "BloomConfig": {},
    "FalconConfig": {},
    "MistralConfig": {"num_key_value_heads": 2},
    "Qwen3Config": {"num_key_value_heads": 2, "head_dim": 8},
    "Gemma2Config": {"num_key_value_heads": 2, "head_dim": 8},
    "Phi3Config": {"num_key_value_heads": 2},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_another_family_is_no_other_in_a_batch(family: str, make: Callable[..., Decoder], tmp_path: Path) -> None:
    """Positions are counted, masked and padded by each family in its own way; adapters find their layers by themselves."""
    student = make(tiny_of(family, tmp_path, **FAMILIES[family]), lora=4)
    model = moved(built(student)).eval()
    prompts = ["Say hi.", "A prompt that says rather more than the first one does.", "Middle one, please"]
    asked = student.generate(model, prompts, Decoding(max_new_tokens=8), [0, 0, 0])
    assert asked == [student.generate(model, [prompt], Decoding(max_new_tokens=8), [0])[0] for prompt in prompts]
    rows = [(prompt, " yes", " no way at all") for prompt in prompts]
    likely = torch.tensor(student.likelihoods(model, rows))
    assert torch.allclose(likely, torch.tensor([student.likelihoods(model, [row])[0] for row in rows]), atol=1e-5)
    model = moved(built(student, THREE)).eval()
    encoded = student.encode([(prompt,) for prompt in prompts], THREE)
    with torch.no_grad():
        together = student.forward(model, student.pad(encoded))
        alone = [student.forward(model, student.pad([row])) for row in encoded]
    assert torch.allclose(together.logits, torch.cat([item.logits for item in alone]), atol=1e-4)
    assert torch.allclose(together.pooled, torch.cat([item.pooled for item in alone]), atol=1e-4)


def test_what_peft_or_transformers_cannot_do_is_one_line(make: Callable[..., Decoder], tmp_path: Path) -> None:
    experts = tiny_of("OlmoeConfig", tmp_path / "experts", num_key_value_heads=2, num_experts=4, num_experts_per_tok=2)
    with pytest.raises(UserError, match=r"peft cannot adapt it as asked .*lora_dropout.* train all weights with lora: 0"):
        built(make(experts, lora=4))
    granite = tiny_of("GraniteConfig", tmp_path / "granite", num_key_value_heads=2)
    with pytest.raises(UserError, match=r"transformers has no granite for classification\. Take another model"):
        built(make(granite, lora=0), THREE)


# -------------------------------------------------------------------------------------------------------------- mistakes


def lines(options: DecoderOptions) -> list[str]:
    return list(options.problems(OFFLINE))


def test_combinations_that_cannot_work_are_refused_early(llama: Path) -> None:
    good = DecoderOptions(model=str(llama))
    assert lines(good) == []
    assert "export: merged" in lines(replace(good, layers=1))[0]
    assert "lora a rank" in lines(replace(good, lora=0, quantise="4bit"))[0]
    assert "the list is empty" in lines(replace(good, lora_targets=()))[0]
    assert "there is no folder" in lines(DecoderOptions(model="./nowhere"))[0]


def test_four_bits_need_a_package_and_a_gpu(make: Callable[..., Decoder]) -> None:
    import importlib.util

    if importlib.util.find_spec("bitsandbytes") is None:
        assert "pip install 'armada-cli[quantised]'" in lines(make().options.__class__(model="a/b", quantise="4bit"))[0]
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="need a GPU, and there is none"):
            built(make(quantise="4bit"))


def test_an_adapters_folder_is_no_model(make: Callable[..., Decoder], tmp_path: Path) -> None:
    student = make()
    student.save(built(student), WRITING, tmp_path)
    assert any("holds an adapter; merge it first" in line for line in lines(DecoderOptions(model=str(tmp_path))))


def test_a_model_that_is_not_there_is_one_line_that_says_how_to_fetch_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError) as error:
        Decoder(LlamaOptions(), OFFLINE)
    assert "\n" not in str(error.value)
    assert "hf download huggyllama/llama-7b" in str(error.value)
    assert list(LlamaOptions().downloads(OFFLINE)) == ["model huggyllama/llama-7b from the Hugging Face hub"]


def test_weights_of_another_model_are_refused(tmp_path: Path, make: Callable[..., Decoder]) -> None:
    folder = tiny_llama(tmp_path / "mixed")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    for problem in (WRITING, THREE):
        with pytest.raises(UserError, match=r"its weights lack 9 of the model's tensors.*model\.layers\.2\."):
            built(make(folder), problem)


def test_an_adapter_of_another_model_is_refused(tmp_path: Path, make: Callable[..., Decoder]) -> None:
    wide = make(tiny_llama(tmp_path / "wide", hidden=64))
    wide.save(built(wide), WRITING, tmp_path / "adapter")
    with pytest.raises(UserError, match="the adapter does not fit"):
        make().build(WRITING, weights=tmp_path / "adapter")
