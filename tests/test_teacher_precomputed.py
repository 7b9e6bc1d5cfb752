"""The precomputed teacher: vectors from a file, found by text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from armada_teacher_precomputed.options import PrecomputedOptions
from armada_teacher_precomputed.teacher import Precomputed
from safetensors.numpy import save_file

from armada_cli import Environment, UserError
from armada_cli.registry.catalog import Catalog

TEXTS = ["red, white", "green\u2028and more", " blue "]
VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4)


def teacher(path: Path, ids: Path | str = "") -> Precomputed:
    return Precomputed(PrecomputedOptions(path=str(path), ids=str(ids)), Environment())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    save_file({"features": VECTORS}, path, {"ids": json.dumps(TEXTS)})
    return path


@pytest.fixture
def array(tmp_path: Path) -> Path:
    path = tmp_path / "mine.npy"
    np.save(path, VECTORS.astype(np.float64))
    return path


def test_vectors_are_found_by_their_texts(file: Path) -> None:
    found = teacher(file).represent([TEXTS[2], TEXTS[0]])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, VECTORS[[2, 0]])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ids.txt", "\n".join(TEXTS)),
        ("ids.txt", "\r\n".join(TEXTS) + "\r\n"),
        ("ids.jsonl", "\n".join(json.dumps(text) for text in TEXTS) + "\n"),
        ("ids.jsonl", "\n".join(json.dumps({"text": text, "n": 1}) for text in TEXTS)),
    ],
)
def test_an_array_takes_its_texts_from_a_file(array: Path, name: str, content: str) -> None:
    ids = array.with_name(name)
    ids.write_bytes(content.encode())
    np.testing.assert_array_equal(teacher(array, ids).represent(TEXTS), VECTORS)


def test_missing_texts_are_counted_and_the_first_is_named(file: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.safetensors: has no vector for 2 of 3 texts, the first is 'Blue'"):
        teacher(file).represent(["Blue", TEXTS[0], "blue"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("one\ntwo\n", "2 texts for the 3 rows"),
        ("one\ntwo\none\n", "rows 1 and 3 are one text with two vectors"),
    ],
)
def test_texts_that_do_not_fit_the_rows_are_refused(array: Path, content: str, says: str) -> None:
    ids = array.with_name("ids.txt")
    ids.write_text(content)
    with pytest.raises(UserError, match=says):
        teacher(array, ids)


def test_a_line_that_is_no_text_is_named_by_its_number(array: Path) -> None:
    ids = array.with_name("ids.jsonl")
    ids.write_text('"one"\n{"words": "two"}\n')
    with pytest.raises(UserError, match=r"ids\.jsonl:2: holds no text"):
        teacher(array, ids)
    ids.write_text('"one"\ntwo\n')
    with pytest.raises(UserError, match=r"ids\.jsonl:2: is not JSON"):
        teacher(array, ids)


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    path, ids = tmp_path / "objects.npy", tmp_path / "ids.txt"
    np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    ids.write_text("one\ntwo")
    with pytest.raises(UserError, match=r"objects\.npy: cannot be read as vectors"):
        teacher(path, ids)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"vectors": VECTORS}, "no tensor `features`"),
        ({"features": VECTORS[0]}, r"holds float32 \[4\]"),
        ({"features": VECTORS.astype(np.int64)}, "holds int64"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, tensors: dict[str, np.ndarray], says: str) -> None:
    path = tmp_path / "other.safetensors"
    save_file(tensors, path, {"ids": json.dumps(TEXTS)})
    with pytest.raises(UserError, match=says) as error:
        teacher(path)
    assert "\n" not in str(error.value)


def test_a_file_cut_short_is_one_line(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(UserError, match="cannot be read as vectors") as error:
        teacher(file)
    assert "\n" not in str(error.value)


def test_a_recipe_is_checked_before_anything_is_loaded(tmp_path: Path, array: Path) -> None:
    def problems(**values: str) -> list[str]:
        return list(PrecomputedOptions(**values).problems(Environment()))

    assert problems(path=str(array)) == ["a .npy file says nothing about its rows; name the file of their texts with `ids`"]
    assert "is no file" in problems(path=str(tmp_path / "none.safetensors"))[0]
    assert "neither .safetensors nor .npy" in problems(path="vectors.pt")[0]


def test_the_contents_of_the_files_are_its_identity(file: Path, tmp_path: Path) -> None:
    card = Catalog.load().find("teacher", "precomputed").component
    copy, other = tmp_path / "copy.safetensors", tmp_path / "other.safetensors"
    copy.write_bytes(file.read_bytes())
    save_file({"features": VECTORS + 1}, other, {"ids": json.dumps(TEXTS)})
    one, two, three = (card.identity(PrecomputedOptions(path=str(path)), Environment()) for path in (file, copy, other))
    assert one == two != three


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("number", ["f4", "f8"])
def test_a_vector_that_is_not_finite_is_told_with_row_column_and_text(tmp_path: Path, bad: float, number: str) -> None:
    vectors = VECTORS.astype(number)
    with np.errstate(over="ignore"):
        vectors[1, 2] = bad
    np.save(tmp_path / "bad.npy", vectors)
    (tmp_path / "ids.txt").write_text("a\nb\nc\n")
    lookup = teacher(tmp_path / "bad.npy", tmp_path / "ids.txt")
    for asked in (["a", "b"], ["b"]):
        with pytest.raises(UserError) as caught:
            lookup.represent(asked)
        assert str(caught.value) == (
            f"{tmp_path / 'bad.npy'}: row 2, column 3 is {vectors[1, 2]}, not a finite float32 number (text 'b'). "
            "Compute this vector again, or remove its row and its text"
        )
    np.testing.assert_array_equal(lookup.represent(["a", "c"]), VECTORS[[0, 2]])


def test_a_vector_that_is_not_finite_is_told_before_a_run(tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.where(VECTORS == 5, np.nan, VECTORS))
    (tmp_path / "ids.txt").write_text("a\nb\nc\n")
    options = PrecomputedOptions(path=str(tmp_path / "bad.npy"), ids=str(tmp_path / "ids.txt"))
    (told,) = options.unanswerable(["a", "b", "c"], Environment())
    assert "row 2, column 2 is nan" in told
    assert list(options.unanswerable(["a", "c"], Environment())) == []


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"])
def test_safetensors_of_every_floating_point_type_are_read_to_the_value(tmp_path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    rows = torch.tensor([[1.5, -0.25, 96.0], [0.0, 3.5, -448.0]]).to(getattr(torch, dtype))
    save_file({"features": rows}, tmp_path / "v.safetensors", metadata={"ids": json.dumps(["one", "two"])})
    teacher = Precomputed(PrecomputedOptions(path=str(tmp_path / "v.safetensors")), Environment())
    vectors = teacher.represent(["two", "one"])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, rows.float().numpy()[::-1])


@pytest.mark.parametrize(
    ("name", "content"), [("ids.txt", "one\ntwo\n"), ("ids.txt", "one\r\ntwo"), ("ids.jsonl", '"one"\n{"text": "two"}\n')]
)
def test_a_file_of_texts_may_begin_with_a_byte_order_mark(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode("utf-8-sig"))
    np.save(tmp_path / "v.npy", np.eye(2, dtype=np.float32))
    options = PrecomputedOptions(path=str(tmp_path / "v.npy"), ids=str(tmp_path / name))
    np.testing.assert_array_equal(Precomputed(options, Environment()).represent(["one"]), [[1, 0]])
