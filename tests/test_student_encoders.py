"""Encoders as students: what they read, and that the pooled output is what their head reads, whatever the architecture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from armada_student_encoders.options import EncoderOptions
from armada_student_encoders.student import Encoder
from torch import Tensor, nn

from armada_cli import Environment, Problem, UserError
from armada_cli.models import hub

TWO = Problem("classification", 2, ("bad", "good"), 32)
TEXTS = [("the ferry was warm",), ("a grim letter",), ("nobody calls the old lantern bright , but it is bright",)]


def saved(family: str, tiny_student: Path, folder: Path) -> Path:
    """A random checkpoint of two layers, with the shared fixture's tokenizer and no dropout."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_student)
    sizes = {
        "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64, "dropout": 0.0, "attention_dropout": 0.0},
        "electra": {"embedding_size": 32},
        "deberta-v2": {"pooler_hidden_size": 32, "type_vocab_size": 2},
    }.get(family, {})
    if family != "distilbert":
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, **sizes}
        sizes |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = AutoConfig.for_model(family, vocab_size=len(tokenizer), max_position_embeddings=64, pad_token_id=0, **sizes)
    with hub.quiet():
        torch.manual_seed(5)
        AutoModel.from_config(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def student(tiny_student: Path) -> Encoder:
    return Encoder(EncoderOptions(model=str(tiny_student)), Environment(offline=True))


def batch(student: Encoder, texts: Sequence[tuple[str, ...]] = TEXTS, problem: Problem = TWO) -> dict[str, Tensor]:
    return student.pad(student.encode(texts, problem))


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "deberta-v2"])
def test_the_pooled_output_is_what_the_head_reads_before_its_dropout(family: str, tiny_student: Path, tmp_path: Path) -> None:
    student = Encoder(EncoderOptions(model=str(saved(family, tiny_student, tmp_path))), Environment(offline=True))
    model: Any = student.build(TWO)
    inputs = batch(student)
    head = [item for item in model.modules() if isinstance(item, nn.Linear)][-1]
    still = student.forward(model.eval(), inputs)
    assert still.pooled.shape == (3, 32)
    torch.testing.assert_close(still.logits, head(still.pooled))
    # Some families drop twice with one module, before the dense layer too: what the head is given is compared itself.
    [item for item in model.modules() if "dropout" in type(item).__name__.lower()][-1].p = 0.5
    given: list[Tensor] = []
    head.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    pooled = student.forward(model.train(), inputs).pooled
    kept = given[-1] != 0
    assert 0 < int(kept.sum()) < kept.numel()
    torch.testing.assert_close(given[-1][kept], 2 * pooled[kept])


def test_a_model_of_encoder_and_decoder_has_no_last_layer_to_be_pooled(student: Encoder) -> None:
    from transformers import BartConfig, BartForSequenceClassification

    sizes = {
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    }
    config = BartConfig(vocab_size=64, encoder_ffn_dim=32, decoder_ffn_dim=32, pad_token_id=0, eos_token_id=2, **sizes)
    model = BartForSequenceClassification(config).eval()
    rows = torch.tensor([[5, 6, 2], [7, 8, 2]])
    inputs = {"input_ids": rows, "attention_mask": torch.ones_like(rows)}
    assert student.forward(model, inputs).pooled.shape == (2, 16)
    with pytest.raises(UserError, match="no single last layer to be pooled"):
        student.forward(model, inputs, hidden_states=True)


def test_padding_changes_no_answer(student: Encoder) -> None:
    model = student.build(TWO).eval()
    together = student.forward(model, batch(student))
    for number, text in enumerate(TEXTS):
        alone = student.forward(model, batch(student, [text]))
        torch.testing.assert_close(together.logits[number], alone.logits[0])
        torch.testing.assert_close(together.pooled[number], alone.pooled[0])


def test_a_pair_is_two_segments_and_its_longer_one_is_cut(student: Encoder) -> None:
    short = Problem("classification", 2, ("bad", "good"), 10)
    rows = student.encode([("the ferry", "was " * 20), ("was " * 20, "the ferry")], short)
    decoded = [student.tokenizer.decode(row["input_ids"]) for row in rows]
    assert decoded == ["[CLS] the ferry [SEP] was was was was was [SEP]", "[CLS] was was was was was [SEP] the ferry [SEP]"]
    assert [row["token_type_ids"] for row in rows] == [[0] * 4 + [1] * 6, [0] * 7 + [1] * 3]


def test_each_choice_is_read_behind_the_question_and_scored_at_its_place(student: Encoder) -> None:
    problem = Problem("multiple-choice", 2, ("first", "second"), 32)
    rows = [("the letter was grim", "the ferry", "a warm kitchen"), ("a teapot", "what a garden we saw", "the violin")]
    encoded = student.encode(rows, problem)
    assert student.tokenizer.decode(encoded[0]["input_ids"][1]) == "[CLS] the letter was grim [SEP] a warm kitchen [SEP]"
    model = student.build(problem).eval()
    output = student.forward(model, student.pad(encoded))
    assert (output.logits.shape, output.pooled.shape) == ((2, 2), (2, 2, 32))
    swapped = student.forward(model, batch(student, [(a, c, b) for a, b, c in rows], problem))
    torch.testing.assert_close(swapped.logits.flip(1), output.logits)
    torch.testing.assert_close(swapped.pooled.flip(1), output.pooled)
