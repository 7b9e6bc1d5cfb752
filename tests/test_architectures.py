"""Models of fewer layers and texts beyond the last position, for families that say things layer by layer or number positions
in ways of their own. Tiny random checkpoints of the real classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from armada_student_decoders.options import DecoderOptions
from armada_student_decoders.student import Decoder
from armada_student_encoders.options import EncoderOptions
from armada_student_encoders.student import Encoder
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from armada_cli import Environment, Problem, UserError
from armada_cli.models import architectures, hub, tiny

HERE = Environment(offline=True)
TWO = Problem("classification", 2, ("bad", "good"), 32)
TEXTS = [("The ferry was warm.",), ("A grim letter, and nobody calls.",)]
SLIDING, FULL = "sliding_attention", "full_attention"
LETTERS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2}
BYTES = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

ENCODERS: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"pad_token_id": 1},
    "distilbert": {},
    "deberta-v2": {},
    "modernbert": {"layer_types": [FULL, SLIDING, FULL, SLIDING]},
    "longformer": {"attention_window": [4, 8, 4, 8], "pad_token_id": 1},
    "funnel": {"block_sizes": [2, 2], "block_repeats": [1, 1]},
    "bart": {"pad_token_id": 1},
    "t5": {"decoder_start_token_id": 0},
}
DECODERS: dict[str, dict[str, Any]] = {
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "layer_types": [FULL, SLIDING, FULL, SLIDING]},
    "qwen3": {},
    "gemma2": {"layer_types": [FULL, SLIDING, SLIDING, FULL]},
    "gemma3_text": {},
    "smollm3": {"no_rope_layers": [1, 0, 1, 1]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1], [["local"], 2]]},
    "minicpm3": {
        "num_key_value_heads": 4,
        "q_lora_rank": 8,
        "kv_lora_rank": 8,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    },
    "opt": {"pad_token_id": 1},
    "gpt2": {},
    "biogpt": {"pad_token_id": 1},
}


def make(kind: str, folder: Path, *, layers: int = 4, positions: int = 64, **more: Any) -> Path:
    """A checkpoint of a family with four layers, and a tokenizer that names no greatest length."""
    reads_bytes = kind in DECODERS
    vocabulary = (tiny.save_bytes_tokenizer if reads_bytes else tiny.save_letters_tokenizer)(folder)
    config = tiny.narrow(AutoConfig.for_model(kind), layers, positions, vocabulary, BYTES if reads_bytes else LETTERS)
    values = {**config.to_dict(), **(DECODERS if reads_bytes else ENCODERS)[kind], **more}
    values["architectures"] = []
    config = type(config).from_dict({name: value for name, value in values.items() if "dropout" not in name})
    with hub.quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        (AutoModelForCausalLM if reads_bytes else AutoModel).from_config(config).save_pretrained(folder)
    return folder


def student_of(kind: str, folder: Path, layers: int | None = None) -> Any:
    if kind in DECODERS:
        return Decoder(DecoderOptions(model=str(folder), lora=None, layers=layers), HERE)
    return Encoder(EncoderOptions(model=str(folder), layers=layers), HERE)


@pytest.mark.parametrize("kind", [*ENCODERS, *DECODERS])
def test_the_first_layers_are_trained_and_exported_as_they_were_in_the_whole_model(kind: str, tmp_path: Path) -> None:
    whole = student_of(kind, make(kind, tmp_path / "whole"))
    short = student_of(kind, tmp_path / "whole", layers=3)
    model: Any = short.build(TWO)
    assert architectures.depth(model.config.to_dict()) == 3
    batch = short.pad(short.encode(TEXTS, TWO))
    plain = not model.config.is_encoder_decoder and kind != "funnel"  # their last states are of a decoder, or pooled
    before = short.forward(model.eval(), batch, hidden_states=plain)
    if plain:
        layers = whole.forward(whole.build(TWO).eval(), batch, hidden_states=True).hidden_states
        for number in range(3):
            torch.testing.assert_close(before.hidden_states[number], layers[number])
    short.forward(model.train(), batch).logits.sum().backward()
    short.save(model.eval(), TWO, tmp_path / "exported")
    alone: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "exported", dtype=torch.float32).eval()
    assert alone.config.to_dict().keys() == model.config.to_dict().keys()
    with torch.no_grad():
        torch.testing.assert_close(alone(**batch).logits, before.logits.detach())


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"num_hidden_layers": 4, "layer_types": list("abcd"), "eos_token_id": [1, 2, 3, 4]}, {"layer_types": list("ab")}),
        ({"num_hidden_layers": 2, "pos_att_type": ["p2c", "c2p"]}, {"pos_att_type": ["p2c", "c2p"]}),
        ({"num_hidden_layers": 4, "num_kv_shared_layers": 3}, {"num_kv_shared_layers": 1}),
        ({"num_hidden_layers": 40, "cross_attention_layers": [1, 8, 13]}, {"cross_attention_layers": [1]}),
        ({"num_hidden_layers": 4, "hybrid_override_pattern": "M-*-"}, {"hybrid_override_pattern": "M-"}),
        ({"num_hidden_layers": 4, "per_layer_config": {"1": {}, "3": {}}}, {"per_layer_config": {"1": {}}}),
        ({"num_hidden_layers": 8, "scale_depth": 1.4}, {"scale_depth": 0.7}),
        ({"layers_block_type": ["mamba", "moe", "mlp"]}, {"layers_block_type": ["mamba", "moe"]}),
        (
            {"encoder_layers": 6, "decoder_layers": 3, "attention_window": [4] * 6},
            {"decoder_layers": 2, "attention_window": [4, 4]},
        ),
        ({"num_layers": 3, "attention_types": [[["global", "local"], 2]]}, {"attention_types": [[["global", "local"], 1]]}),
        (
            {"block_sizes": [1, 4], "block_repeats": [1, 1], "num_decoder_layers": 2},
            {"block_sizes": [1, 1], "num_decoder_layers": 2},
        ),
    ],
)
def test_what_is_said_of_each_layer_is_kept_for_those_that_stay(said: dict, kept: dict) -> None:
    short = architectures.shorten(said, 2)
    assert {name: short[name] for name in kept} == kept
    assert short.get("eos_token_id") == said.get("eos_token_id")
    nested = architectures.shorten({"text_config": said, "vision_config": said}, 2)
    assert nested == {"text_config": short, "vision_config": said}


def test_too_many_layers_are_told_from_the_configuration_alone(tmp_path: Path) -> None:
    options = EncoderOptions(model=str(make("bert", tmp_path)), layers=5)
    assert list(options.problems(HERE)) == ["layers: 5 are asked for and the model has 4; ask for at most that many"]
    assert list(DecoderOptions(model=str(tmp_path), layers=5, lora=0).problems(HERE)) == list(options.problems(HERE))


@pytest.mark.parametrize(("kind", "options"), [("modernbert", EncoderOptions), ("smollm3", DecoderOptions)])
def test_a_smoke_run_leaves_layers_out_as_the_real_run_does(kind: str, options: Any, tmp_path: Path) -> None:
    more = {} if options is EncoderOptions else {"lora": 0}
    small = options(model=str(make(kind, tmp_path / "whole")), layers=2, **more).smoke(tmp_path / "smoke")
    config = json.loads((Path(small.model) / "config.json").read_text(encoding="utf-8"))
    assert (small.layers, config["num_hidden_layers"]) == (2, 3)
    lists = {"modernbert": ("layer_types", [FULL, SLIDING, FULL]), "smollm3": ("no_rope_layers", [1, 0, 1])}
    name, values = lists[kind]
    assert config[name] == values
    built = (Encoder if options is EncoderOptions else Decoder)(small, HERE).build(TWO)
    assert built.config.num_hidden_layers == 2


def test_a_smoke_run_tells_what_a_family_refuses(tmp_path: Path) -> None:
    place = make("bert", tmp_path / "whole")
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    layer_types = ["linear_attention"] * 3 + [FULL]
    values = {"model_type": "olmo_hybrid", "layer_types": layer_types, "num_hidden_layers": 4}
    (place / "config.json").write_text(json.dumps({**config, **values}), encoding="utf-8")
    with pytest.raises(UserError, match="a olmo_hybrid of 2 of its 4 layers is refused"):
        DecoderOptions(model=str(place), layers=2, lora=0).smoke(tmp_path / "smoke")


# ------------------------------------------------------------------------------------------------------------- positions

LONGEST = {
    "bert": 64,
    "roberta": 62,
    "distilbert": 64,
    "deberta-v2": 64,
    "longformer": 62,
    "bart": 64,
    "gpt_neo": 64,
    "opt": 64,
    "gpt2": 64,
    "biogpt": 64,
}


@pytest.mark.parametrize("kind", LONGEST)
def test_a_long_text_is_cut_at_the_last_position(kind: str, tmp_path: Path) -> None:
    student = student_of(kind, make(kind, tmp_path))
    long = Problem("classification", 2, ("bad", "good"), 512)
    rows = student.encode([("The ferry was warm. " * 20,), ("short",)], long)
    assert len(rows[0]["input_ids"]) == LONGEST[kind]
    model = student.build(long).eval()
    together = student.forward(model, student.pad(rows)).logits
    torch.testing.assert_close(together[1], student.forward(model, student.pad(rows[1:])).logits[0])


@pytest.mark.parametrize("padding", [0, 1, 5])
def test_roberta_has_no_positions_up_to_its_padding_token(padding: int, tmp_path: Path) -> None:
    student = student_of("roberta", make("roberta", tmp_path, pad_token_id=padding))
    (row,) = student.encode([("warm " * 50,)], Problem("classification", 2, ("bad", "good"), 128))
    assert len(row["input_ids"]) == 64 - padding - 1
    student.forward(student.build(TWO), student.pad([row]))


@pytest.mark.parametrize("kind", ["roberta", "gpt2"])
def test_choices_are_cut_at_the_last_position(kind: str, tmp_path: Path) -> None:
    student = student_of(kind, make(kind, tmp_path))
    problem = Problem("multiple-choice", 2, ("first", "second"), 512)
    rows = student.encode([("why " * 60, "because " * 30, "so")], problem)
    lengths = [len(choice) for choice in rows[0]["input_ids"]]
    assert max(lengths) == LONGEST[kind]
    assert student.forward(student.build(problem), student.pad(rows)).logits.shape == (1, 2)


@pytest.mark.parametrize("kind", ["t5", "deberta-v2"])
def test_a_model_that_knows_distances_alone_reads_any_length(kind: str, tmp_path: Path) -> None:
    more = {"position_biased_input": False, "relative_attention": True} if kind == "deberta-v2" else {"n_positions": 64}
    student = student_of(kind, make(kind, tmp_path, **more))
    (row,) = student.encode([("warm " * 100,)], Problem("classification", 2, ("bad", "good"), 150))
    assert len(row["input_ids"]) == 150
    student.forward(student.build(TWO), student.pad([row]))


@pytest.mark.parametrize(
    ("kind", "config", "reason"),
    [
        ("esm", {"vocab_size": 33}, "its contact head reads the attention of all of them"),
        ("gemma3n_text", {}, "its embeddings have a part for each of them"),
        ("gemma3n", {}, "its embeddings have a part for each of them"),
        ("gemma4_text", {}, "its embeddings have a part for each of them"),
        ("gemma4", {}, "its embeddings have a part for each of them"),
    ],
)
def test_a_family_with_weights_across_its_layers_keeps_all_of_them(
    kind: str, config: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    whole = AutoConfig.for_model(kind, **config)
    whole.save_pretrained(tmp_path)
    there = architectures.depth(whole.to_dict())
    assert list(architectures.layer_problems(str(tmp_path), 2)) == [
        f"layers: none of the {there} can be left out, {reason}; remove layers, or take another model"
    ]
    assert list(architectures.layer_problems(str(tmp_path), there)) == []
    with pytest.raises(UserError, match=reason):
        architectures.with_layers("student it", whole, 2)
    assert architectures.with_layers("student it", whole, there) is whole


def test_a_gemma_without_embeddings_for_each_layer_may_be_shortened() -> None:
    config = AutoConfig.for_model("gemma4_text", hidden_size_per_layer_input=0)
    assert architectures.across_layers(config.to_dict()) is None
