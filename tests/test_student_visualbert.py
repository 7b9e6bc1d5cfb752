"""VisualBERT as a student that reads text alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from armada_student_encoders.student import VisualBert
from armada_student_encoders.visualbert import VisualBertOptions
from running import results, train

from armada_cli import Environment, Problem, UserError
from armada_cli.execution.exporting import loading
from armada_cli.models import hub

THREE = Problem("classification", 3, ("bad", "so", "good"), 32)
CHOICES = Problem("multiple-choice", 1, ("choice",), 32)
TEXTS = [("the ferry was warm",), ("a grim letter", "and nobody calls the lantern bright"), ("rain",)]


@pytest.fixture
def options(tmp_path: Path) -> VisualBertOptions:
    return VisualBertOptions().smoke(tmp_path / "smoke")


@pytest.fixture
def student(options: VisualBertOptions) -> VisualBert:
    return VisualBert(options, Environment(offline=True))


def encode(student: VisualBert, texts: list[tuple[str, ...]], problem: Problem) -> dict[str, torch.Tensor]:
    return student.pad([student.encode([text], problem)[0] for text in texts])


def test_missing_visuals_are_visual_tokens_behind_a_mask_of_zeros(student: VisualBert) -> None:
    model: Any = student.build(THREE).eval()
    inputs = encode(student, TEXTS, THREE)
    assert int((inputs["attention_mask"] == 0).sum()) > 0, "rows of unequal length"
    seen = {
        "visual_embeds": torch.randn(3, 5, model.config.visual_embedding_dim),
        "visual_attention_mask": torch.zeros(3, 5),
        "visual_token_type_ids": torch.ones(3, 5, dtype=torch.long),
    }
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, model(**inputs, **seen).logits)
        shown = model(**inputs, **(seen | {"visual_attention_mask": torch.ones(3, 5)})).logits
        assert not torch.allclose(model(**inputs).logits, shown), "pictures that are shown change the outputs"


def test_on_text_it_is_a_bert_of_the_same_weights(student: VisualBert) -> None:
    from transformers import BertConfig, BertModel

    model: Any = student.build(THREE).eval()
    same = {key: value for key, value in model.config.to_dict().items() if key in BertConfig().to_dict()}
    same.pop("model_type")
    bert = BertModel(BertConfig(**same)).eval()
    state = {key: value for key, value in model.visual_bert.state_dict().items() if ".visual_" not in key}
    bert.load_state_dict(state)
    inputs = encode(student, TEXTS, THREE)
    with torch.no_grad():
        pooled = bert(**inputs).pooler_output
        torch.testing.assert_close(student.forward(model, inputs).pooled, pooled)
        torch.testing.assert_close(model(**inputs).logits, model.cls(pooled))


def test_dropout_stands_between_the_pooled_output_and_the_head(student: VisualBert) -> None:
    model: Any = student.build(THREE).train()
    model.dropout.p = 0.5
    given: list[torch.Tensor] = []
    student.forward(model, encode(student, TEXTS, THREE))
    model.cls.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    pooled = student.forward(model, encode(student, TEXTS, THREE)).pooled
    kept = given[-1] != 0
    assert 0 < int(kept.sum()) < kept.numel()
    torch.testing.assert_close(given[-1][kept], 2 * pooled[kept])


def test_choices_are_compared(student: VisualBert) -> None:
    model = student.build(CHOICES).eval()
    rows: list[tuple[str, ...]] = [("why", "because it rained", "never"), ("who", "she", "nobody at all")]
    output = student.forward(model, student.pad(student.encode(rows, CHOICES)))
    assert output.logits.shape == (2, 2)
    assert output.pooled.shape == (2, 2, 32)


def test_what_reads_pictures_is_not_trained(student: VisualBert) -> None:
    model = student.build(THREE)
    frozen = {
        name.removeprefix("visual_bert.embeddings.") for name, weight in model.named_parameters() if not weight.requires_grad
    }
    assert frozen == {
        "visual_position_embeddings.weight",
        "visual_projection.bias",
        "visual_projection.weight",
        "visual_token_type_embeddings.weight",
    }
    trained = sum(weight.numel() for weight in model.visual_bert.parameters() if weight.requires_grad)  # type: ignore[union-attr]
    assert student.options.size()["trainable"] == trained


def test_the_published_model_is_as_large_as_bert_with_what_reads_pictures() -> None:
    size = VisualBertOptions().size()
    assert size["parameters"] - size["trainable"] == 2048 * 768 + 768 + 512 * 768 + 2 * 768
    assert size["trainable"] == 109_482_240


def test_weights_that_exist_only_as_a_pickle_are_converted(
    options: VisualBertOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in the published repository: ``pytorch_model.bin`` of the pre-training's class, and no tokenizer."""
    from transformers import VisualBertConfig, VisualBertForPreTraining

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    published = tmp_path / "published"
    with hub.quiet():
        model = VisualBertForPreTraining(VisualBertConfig.from_pretrained(options.model))
        model.config.save_pretrained(published)
    torch.save(model.state_dict(), published / "pytorch_model.bin")
    theirs = VisualBertOptions(model=str(published), tokenizer=options.tokenizer)
    assert list(theirs.problems(Environment(offline=True))) == []
    built: Any = VisualBert(theirs, Environment(offline=True)).build(THREE)
    word = built.visual_bert.embeddings.word_embeddings.weight
    assert torch.equal(word, model.visual_bert.embeddings.word_embeddings.weight)


def test_a_folder_of_another_family_is_refused(tiny_student: Path, options: VisualBertOptions) -> None:
    other = VisualBertOptions(model=str(tiny_student), tokenizer=options.tokenizer)
    (line,) = other.problems(Environment(offline=True))
    assert "family 'bert'" in line
    assert "use the student `encoder`" in line


def test_masked_text_is_refused_in_one_line(student: VisualBert) -> None:
    with pytest.raises(UserError, match="not pre-trained on masked text"):
        student.build(Problem("masked", 0, ()))


def test_a_trained_one_loads_by_the_lines_that_export_prints(
    recipe: Callable[..., Path], options: VisualBertOptions, tmp_path: Path
) -> None:
    student = f"{{name: visualbert, model: {options.model}, tokenizer: {options.tokenizer}}}"
    done = train(recipe(student=student, methods="[undistilled]", teacher="null"), tmp_path / "runs")
    assert done.status == 0, done.err
    assert len(results(tmp_path / "runs")) == 1
    (folder,) = tmp_path.glob("runs/trials/*/student")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["VisualBertForVisualReasoning"]
    known: dict[str, Any] = {}
    moved = shutil.move(folder, tmp_path / "moved")
    exec("\n".join(loading(Path(moved))), known)
    with torch.no_grad():
        logits = known["model"](**known["tokenizer"]("the ferry was warm", return_tensors="pt")).logits
    assert torch.isfinite(logits).all()
