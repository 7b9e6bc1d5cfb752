"""What the headers of safetensors files tell without torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from running import armada

from armada_cli.models import hub
from armada_cli.models.weights import count_parameters, damage, read_header


def test_parameters_are_counted_as_torch_counts_them(tiny_student: Path) -> None:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(tiny_student)
    assert count_parameters(tiny_student) == sum(p.numel() for p in model.parameters())


def test_a_student_cut_to_its_first_layer_counts_only_that(tiny_student: Path) -> None:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(tiny_student)
    second = sum(p.numel() for p in model.encoder.layer[1].parameters())
    assert count_parameters(tiny_student, layers=1) == count_parameters(tiny_student) - second


def test_a_whole_file_has_no_damage_and_a_cut_one_is_named(tiny_student: Path, tmp_path: Path) -> None:
    whole = (tiny_student / "model.safetensors").read_bytes()
    assert damage(tiny_student) is None
    (tmp_path / "model.safetensors").write_bytes(whole[:-1])
    assert damage(tmp_path) == f"model.safetensors: it has {len(whole) - 1} bytes, its header speaks of {len(whole)}"


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x04\0\0\0\0\0\0\0[1]]", b"\x02\0\0\0\0\0\0\0[]"])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"header|Extra data|Expecting"):
        read_header(path)


# ------------------------------------------------------------------------------------------- weights that lack the model's body


def rewrite(folder: Path, keep: Any) -> None:
    """Save the weights of a folder again, without those that `keep` says no to."""
    from safetensors.torch import load_file, save_file

    tensors = {name: value for name, value in load_file(folder / "model.safetensors").items() if keep(name)}
    tensors |= {"classifier.weight": torch.zeros(2, 32), "classifier.out.0.bias": torch.zeros(2)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


LACKING = {
    "a head alone": (lambda name: False, "lack all 2 layers of the model (the first of 2 tensors is classifier.out.0.bias)"),
    "embeddings and a head": (lambda name: "layer." not in name, "lack all 2 layers of the model"),
    "layers and a head": (lambda name: "word_embeddings" not in name, "lack the embeddings of its "),
    "half of the layers": (lambda name: "layer.1." not in name, "lack layers (the model has 2, they have 1)"),
}


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize("what", LACKING)
def test_a_folder_without_its_models_body_is_one_line_before_anything_starts(
    what: str, verb: str, recipe: Any, tiny_student: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_student, tmp_path / "student"))
    keep, says = LACKING[what]
    rewrite(folder, keep)
    path = recipe(student=f"{{name: encoder, model: {folder}}}", methods="[undistilled]")
    ended = armada(verb, path, *(["--runs", tmp_path / "runs", "--workers", "0"] if verb == "run" else []))
    assert ended.status == 2
    (line,) = [line for line in ended.err.splitlines() if line != "1 problem"]
    assert says in line
    assert "ame a folder whose config.json and *.safetensors are of one model" in line
    assert not (tmp_path / "runs").exists()


def test_as_many_layers_as_are_asked_for_are_enough(tiny_student: Path, tmp_path: Path) -> None:
    from armada_cli.models.architectures import weight_problems

    folder = Path(shutil.copytree(tiny_student, tmp_path / "student"))
    rewrite(folder, lambda name: "layer.1." not in name)
    assert list(weight_problems(str(folder), 1)) == []
    assert len(list(weight_problems(str(folder), 2))) == 1


def test_a_missing_shard_of_safetensors_is_told_by_check(tiny_student: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_student, tmp_path / "student"))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = dict.fromkeys(read_header(folder / "model-00001-of-00002.safetensors"), "model-00001-of-00002.safetensors")
    index = {"metadata": {}, "weight_map": names | {"last": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (line,) = hub.problems(str(folder))
    assert "model-00002-of-00002.safetensors: it is missing" in line
