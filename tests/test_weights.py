"""What the headers of safetensors files tell without torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from armada_cli.weights import count_parameters, damage, read_header


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
