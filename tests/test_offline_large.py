"""The larger weights that arrive as packages: they are what they are said to be, and the students read them as they should.

Run with ``--slow``: the first run converts them into the user's cache.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from armada_student_decoders import smollm2
from armada_student_encoders import mpnet

from armada_cli import Component, Decoding, Environment, Problem
from armada_cli.registry import catalog

HERE = Environment(threads=1, offline=True)
GENERATION = Problem("generation", 0, (), 64, "float32")


def card(kind: str, name: str) -> Component:
    return catalog.current().find(kind, name).component


def needs(kind: str, name: str) -> Callable[[Any], Any]:
    """Skips where the packages are absent, and says how they are installed."""
    component = card(kind, name)
    return pytest.mark.skipif(
        bool(component.missing_packages()), reason=f"{name}: not installed; {component.install_command()}"
    )


@pytest.fixture(scope="module")
def encoder() -> Any:
    component = card("student", "mpnet-offline")
    return component.load()(component.options(), HERE)


@pytest.fixture(scope="module")
def decoder() -> Any:
    component = card("student", "smollm2-offline")
    return component.load()(component.options(lora=0), HERE)


@pytest.fixture(scope="module")
def language_model(decoder: Any) -> Any:
    return decoder.build(GENERATION).eval()


# ------------------------------------------------------------------------------------------------------------- MPNet


@pytest.mark.slow
@needs("student", "mpnet-offline")
def test_the_unpacked_weights_are_those_that_were_published(encoder: Any) -> None:
    weights = mpnet.SOURCE.folder() / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest().startswith("78c0197b")


@pytest.mark.slow
@needs("student", "mpnet-offline")
def test_mpnet_is_as_large_as_its_card_says_and_keeps_its_meaning(encoder: Any) -> None:
    problem = Problem("classification", 2, ("bad", "good"), 32, "float32")
    model = encoder.build(problem).eval()
    size = mpnet.MPNetOptions().size()
    body = sum(weight.numel() for weight in model.base_model.parameters())
    assert size["parameters"] == body + 768 * 769  # the published file has a pooler, which a classifier does without
    assert (size["hidden"], size["layers"]) == (model.config.hidden_size, model.config.num_hidden_layers) == (768, 12)
    texts = [("A child plays the violin.",), ("Somebody makes music on a string instrument.",), ("The price of oil fell.",)]
    batch = encoder.pad(encoder.encode(texts, problem))
    with torch.no_grad():
        states = model.base_model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    vectors = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)
    near, far = float(vectors[0] @ vectors[1]), float(vectors[0] @ vectors[2])
    assert near > 0.4 > 0.2 > far


@pytest.mark.slow
@needs("student", "mpnet-offline")
def test_the_pooled_output_of_mpnet_is_what_its_head_reads(encoder: Any) -> None:
    problem = Problem("classification", 2, ("bad", "good"), 32, "float32")
    model = encoder.build(problem).eval()
    batch = encoder.pad(encoder.encode([("the ferry was warm",), ("a grim letter to nobody",)], problem))
    with torch.no_grad():
        output = encoder.forward(model, batch)
        torch.testing.assert_close(model.classifier.out_proj(output.pooled), output.logits)


# ----------------------------------------------------------------------------------------------------------- SmolLM2


def unpack_q4_1(raw: np.ndarray) -> np.ndarray:
    """uint8 [rows, bytes] -> float32 [rows, values]: blocks of 32 values in 20 bytes, a scale d and a minimum m in half
    precision and sixteen bytes of two numbers q each; a value is d q + m."""
    blocks = raw.reshape(raw.shape[0], -1, 20)
    scale = blocks[..., 0:2].copy().view(np.float16).astype(np.float32)
    least = blocks[..., 2:4].copy().view(np.float16).astype(np.float32)
    low, high = blocks[..., 4:] & 15, blocks[..., 4:] >> 4
    values = scale * np.concatenate([low, high], axis=-1).astype(np.float32) + least
    return values.reshape(raw.shape[0], -1)


def unpermute(weights: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key projection as transformers orders them: GGUF alternates the two halves of each head that are
    rotated together."""
    rows, width = weights.shape
    return weights.reshape(heads, rows // heads // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


@pytest.mark.slow
@needs("student", "smollm2-offline")
def test_the_converted_weights_are_the_values_that_the_four_bits_stand_for(language_model: Any) -> None:
    from gguf import GGMLQuantizationType, GGUFReader

    (source,) = smollm2.SOURCE.sources()
    raw = {item.name: item for item in GGUFReader(source).tensors}
    layer = language_model.model.layers[7]
    pairs = [
        ("blk.7.attn_q.weight", layer.self_attn.q_proj.weight, 9),
        ("blk.7.attn_k.weight", layer.self_attn.k_proj.weight, 3),
        ("blk.7.attn_v.weight", layer.self_attn.v_proj.weight, 0),
        ("blk.7.ffn_up.weight", layer.mlp.up_proj.weight, 0),
        ("blk.7.ffn_down.weight", layer.mlp.down_proj.weight, 0),
    ]
    compared = 0
    for name, weight, heads in pairs:
        tensor = raw[name]
        if tensor.tensor_type != GGMLQuantizationType.Q4_1:
            continue
        values = unpack_q4_1(np.asarray(tensor.data))
        values = unpermute(values, heads) if heads else values
        assert np.array_equal(values, weight.detach().numpy()), name
        compared += 1
    assert compared >= 3
    norm = np.asarray(raw["blk.7.attn_norm.weight"].data)
    assert np.array_equal(norm, layer.input_layernorm.weight.detach().numpy())


@pytest.mark.slow
@needs("student", "smollm2-offline")
def test_smollm2_is_as_large_as_its_card_says(language_model: Any) -> None:
    size = smollm2.SmolLM2Options(lora=0).size()
    assert size["parameters"] == sum(weight.numel() for weight in language_model.parameters())
    assert smollm2.SmolLM2Options().size()["trainable"] == 30 * 8 * (2 * 576 + 576 + 192)


@pytest.mark.slow
@needs("student", "smollm2-offline")
def test_smollm2_expects_english_and_not_its_words_in_disorder(decoder: Any, language_model: Any) -> None:
    def perplexity(text: str) -> float:
        first = text.split(" ", 1)[0]
        (value,) = decoder.likelihoods(language_model, [(first, text.removeprefix(first))])[0]
        return math.exp(-value)

    plain = [
        "The capital of France is Paris, and the capital of Germany is Berlin.",
        "A grey heron waits at the edge of the pond.",
    ]
    mixed = [
        "Germany Paris the is of capital Berlin and, is the France capital of.",
        "Pond the of a grey edge at waits heron the.",
    ]
    for text, disorder in zip(plain, mixed, strict=True):
        assert perplexity(text) < 100
        assert perplexity(disorder) > 8 * perplexity(text)


@pytest.mark.slow
@needs("student", "smollm2-offline")
def test_smollm2_answers_in_english_and_stops(decoder: Any, language_model: Any) -> None:
    chat = "<|im_start|>user\nWhat is the capital of Italy?<|im_end|>\n<|im_start|>assistant\n"
    asked = ["The capital of France is", chat]
    said = decoder.generate(language_model, asked, Decoding(max_new_tokens=12, sample=False), [0, 1])
    assert said[0].startswith(" Paris")
    assert said[1] == "The capital of Italy is Rome."


@pytest.mark.slow
@needs("student", "smollm2-offline")
def test_the_tokenizer_of_smollm2_gives_a_text_back_and_splits_numbers_into_digits(decoder: Any) -> None:
    text = "In 2024 it wasn't  so:\n\n\u201cna\u00efve\u201d \U0001f600"
    tokens = decoder.reader.plain(text)
    assert decoder.reader.tokenizer.decode(tokens) == text
    assert [decoder.reader.tokenizer.decode([token]) for token in decoder.reader.plain("2024")] == list("2024")
    assert decoder.context == 8192


@needs("student", "smollm2-offline")
def test_a_student_from_packages_is_tiny_in_a_smoke_run(tmp_path: Path) -> None:
    for kind, name, width in (("student", "smollm2-offline", 32), ("student", "mpnet-offline", 32)):
        component = card(kind, name)
        options = component.options().smoke(tmp_path / name)
        assert component.load()(options, HERE).build(Problem("classification", 2, ("a", "b"), 32)).config.hidden_size == width
