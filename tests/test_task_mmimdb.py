"""MM-IMDb: films from the released folder or features file, genres as 23 zeros and ones, and what is said of damaged ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import armada_task_mmimdb
import numpy as np
import pytest
from armada_task_mmimdb.films import GENRES, MEANS

from armada_cli import Environment, MissingPackage, UserError

CARD = armada_task_mmimdb.armada_tasks()[0]
FILMS = {
    "0000001": {"plot": ["A ferry is late.", "A ferry is late, and nobody minds."], "genres": ["Comedy", "Drama", "News"]},
    "0000002": {"plot": ["Snow falls\n on the vineyard."], "genres": ["Film-Noir"]},
    "0000003": {"plot": ["A clock stops."], "genres": ["Short", "Drama"]},
}
SPLITS = {"train": ["0000002", "0000001"], "dev": ["0000003"], "test": ["0000003"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three films in the released layout."""
    from PIL import Image

    root = tmp_path / "mm-imdb"
    (root / "dataset").mkdir(parents=True)
    (root / "split.json").write_text(json.dumps(SPLITS))
    for number, (name, record) in enumerate(FILMS.items()):
        (root / "dataset" / f"{name}.json").write_text(json.dumps(record))
        Image.new("RGB", (20, 32), (80 * number, 10, 200)).save(root / "dataset" / f"{name}.jpeg")
    return root


def rewrite(root: Path, **fields: Any) -> None:
    """Change fields of the first film."""
    path = root / "dataset" / "0000001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def list_films(root: Path, *identifiers: Any) -> None:
    """Make these the training films."""
    (root / "split.json").write_text(json.dumps({**SPLITS, "train": list(identifiers)}))


def make(environment: Environment, **options: Any) -> Any:
    return CARD.load()(CARD.options(**options), environment)


def test_plots_go_to_the_student_posters_to_the_teacher_and_genres_are_flags(folder):
    task = make(Environment(data=folder.parent))
    split = task.split("train")
    assert split.texts == [("Snow falls on the vineyard.",), ("A ferry is late, and nobody minds.",)]
    assert split.teacher_inputs == [folder / "dataset" / f"{name}.jpeg" for name in SPLITS["train"]]
    assert [[task.labels()[place] for place, flag in enumerate(row) if flag] for row in split.labels] == [
        ["Film-Noir"],
        ["Drama", "Comedy"],
    ]
    assert len(task.labels()) == 23
    assert task.kind == "multilabel"


def test_which_plot_is_read_is_an_option(folder):
    plots = {
        plot: make(Environment(), path=str(folder), plot=plot).split("train").texts[1][0]
        for plot in ("first", "longest", "all")
    }
    assert plots == {
        "first": "A ferry is late.",
        "longest": "A ferry is late, and nobody minds.",
        "all": "A ferry is late. A ferry is late, and nobody minds.",
    }


def test_the_dev_split_is_evaluated_and_the_test_split_where_it_is_named(folder):
    """As every other task is evaluated on its validation split."""
    (folder / "split.json").write_text(json.dumps({**SPLITS, "test": ["0000002"]}))
    named = ({}, {"split": "dev"}, {"split": "test"})
    read = [make(Environment(), path=str(folder), **options).split("validation").texts[0][0][:4] for options in named]
    assert read == ["A cl", "A cl", "Snow"]
    assert [CARD.options(**options).rows()["validation"] for options in named] == [2_608, 2_608, 7_799]


def test_scores_are_micro_and_macro_f1_in_percent(folder):
    task = make(Environment(), path=str(folder))
    labels = [tuple(int(place in chosen) for place in range(23)) for chosen in ({0, 1}, {1})]
    outputs = np.where(np.array(labels) > 0, 2.0, -2.0)
    outputs[0, 0] = -1.0  # Drama is missed: 2 of 3 found, none too many
    scores = task.score(outputs, labels)
    assert task.metric == "micro_f1"
    assert scores["micro_f1"] == pytest.approx(80)
    assert scores["macro_f1"] == pytest.approx(100 / 23)
    assert scores["weighted_f1"] == pytest.approx(200 / 3)
    assert scores["samples_f1"] == pytest.approx((200 / 3 + 100) / 2)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: (root / "dataset/0000001.jpeg").unlink(), r"0000001\.jpeg: no such poster"),
        (lambda root: (root / "dataset/0000001.json").unlink(), r"0000001\.json: no such file"),
        (lambda root: (root / "dataset/0000001.json").write_text("{"), r"0000001\.json: no JSON"),
        (lambda root: (root / "dataset/0000001.json").write_text('{"genres": ["Drama"]}'), r"0000001\.json: no plot in it"),
        (lambda root: (root / "dataset/0000001.json").write_text('{"plot": ["x"]}'), r"0000001\.json: no genres in it"),
        (lambda root: (root / "dataset/0000001.json").write_text('{"plot": ["x"], "genres": []}'), "the film has no genre"),
        (lambda root: (root / "dataset/0000001.json").write_text('{"plot": [" "], "genres": ["Drama"]}'), "the plot is empty"),
        (lambda root: (root / "split.json").write_text('{"dev": []}'), "no list of films under 'train'"),
        (lambda root: (root / "split.json").unlink(), "holds no split.json"),
        (lambda root: rewrite(root, genres=["Dramma"]), r"0000001\.json: 'Dramma' is no genre of the release"),
        (lambda root: rewrite(root, genres=[""]), r"0000001\.json: the film has no genre"),
        (lambda root: rewrite(root, plot=["\u200b", "\ufeff"]), r"0000001\.json: the plot is empty"),
        (lambda root: rewrite(root, plot=["half \ud83d"]), r"0000001\.json: the plot has half a character"),
        (lambda root: (root / "dataset/0000001.jpeg").write_bytes(b""), r"0000001\.jpeg: the poster is empty"),
        (lambda root: (root / "dataset/0000001.jpeg").write_text("<html>"), r"0000001\.jpeg: not a picture"),
        (lambda root: list_films(root, "0000001", "0000001"), r"split\.json: films 1 and 2 of 'train' are both '0000001'"),
        (lambda root: list_films(root, 1), r"split\.json: film 1 of 'train' is 1, not a number as a text"),
        (lambda root: list_films(root, None), r"split\.json: film 1 of 'train' is None, not a number as a text"),
        (lambda root: list_films(root, "../split"), r"split\.json: film 1 of 'train' is '\.\./split', not a number as a text"),
        (lambda root: list_films(root, "a\0b"), r"split\.json: film 1 of 'train' is "),
        (lambda root: list_films(root, ""), r"split\.json: film 1 of 'train' is '', not a number as a text"),
    ],
)
def test_what_is_missing_is_one_line_with_the_file(break_it, message, folder):
    break_it(folder)
    with pytest.raises(UserError, match=message):
        make(Environment(), path=str(folder)).split("train")


@pytest.mark.parametrize("genres", [["sci-fi", "DRAMA"], ["Drama ", "Sci Fi"], ["Sci\u2011Fi", "Drama\u200b"]])
def test_genres_are_known_in_other_spellings(folder, genres):
    rewrite(folder, genres=genres)
    flags = make(Environment(), path=str(folder)).split("train").labels[1]
    assert [genre for genre, flag in zip(GENRES, flags, strict=True) if flag] == ["Drama", "Sci-Fi"]


def test_genres_that_are_not_of_the_release_are_noted(folder):
    rewrite(folder, genres=["Drama", "Dramma"])
    task = make(Environment(), path=str(folder))
    task.split("train")
    assert task.notes == [
        "mm-imdb: 1 of 2 films of train have a genre that the release does not know, such as 'Dramma', which is passed over. "
        "Unpack the release again"
    ]


def test_films_that_are_trained_on_and_evaluated_are_noted(folder):
    list_films(folder, "0000001", "0000003")
    task = make(Environment(), path=str(folder))
    task.split("train")
    task.split("validation")
    assert task.notes == [
        f"{folder / 'split.json'}: 1 films of 'dev' are in 'train' too (the first is '0000003'), so scores will flatter. "
        "Unpack the release again"
    ]


def test_without_a_folder_the_release_is_a_download_and_a_wrong_folder_a_mistake(folder, tmp_path):
    for environment in (Environment(), Environment(data=tmp_path / "empty")):
        assert list(CARD.options().problems(environment)) == []
        assert [line for line in CARD.options().downloads(environment) if line.startswith("mmimdb.tar.gz of http")]
    assert list(CARD.options().downloads(Environment(data=folder.parent))) == []
    wrong = CARD.options(path=str(tmp_path))
    assert [line for line in wrong.problems(Environment()) if "holds no folder dataset; unpack" in line]
    assert list(wrong.downloads(Environment())) == []
    with pytest.raises(UserError, match="no folder is named"):
        make(Environment()).split("train")


def test_another_film_or_split_is_another_identity_and_another_place_is_not(folder):
    def identity(**options: Any) -> Any:
        return CARD.identity(CARD.options(**options), Environment(data=folder.parent))

    before = identity()
    assert identity(path=str(folder)) == before != identity(split="test")
    (folder / "dataset" / "0000003.json").write_text(json.dumps({**FILMS["0000003"], "plot": ["Another one, and longer."]}))
    changed = identity()
    (folder / "split.json").write_text(json.dumps({**SPLITS, "dev": []}))
    assert len({json.dumps(value) for value in (before, changed, identity())}) == 3


@pytest.mark.parametrize("name", ["0000003.json", "0000003.jpeg"])
def test_a_film_changed_at_equal_size_is_another_identity(folder, name):
    def identity() -> Any:
        return CARD.identity(CARD.options(path=str(folder)), Environment())

    before, path = identity(), folder / "dataset" / name
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[::-1])
    assert path.stat().st_size == size
    assert identity() != before


# ------------------------------------------------------------------------------------------------------- features file


def write_hdf5(path: Path, names: list[str]) -> dict[str, Any]:
    """A features file with the released names and types: films 2, 1 in train, 3 in dev. Returns the pictures, RGB."""
    h5py = pytest.importorskip("h5py")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 20, 3))
    planes = pictures.transpose(0, 3, 1, 2)[:, ::-1] - np.array(MEANS)[None, :, None, None]
    kind = np.dtype(
        [("split", "S5"), ("source", "S8"), ("start", np.int64), ("stop", np.int64), ("available", bool), ("comment", "S1")]
    )
    bounds = {"train": (0, 2), "dev": (2, 3), "test": (2, 3)}
    table = [(split.encode(), source, *ends, True, b".") for split, ends in bounds.items() for source in (b"images", b"genres")]
    with h5py.File(path, "w") as file:
        order = ["0000002", "0000001", "0000003"]
        file["imdb_ids"] = np.array(order, dtype="S7")
        file["images"] = planes.astype(np.int32)
        file["genres"] = np.array([[int(name in FILMS[key]["genres"]) for name in names] for key in order], np.int32)
        file["genres"].attrs["target_names"] = json.dumps(names)
        file.attrs["split"] = np.array(table, dtype=kind)
    return dict(zip(order, pictures, strict=True))


def test_the_features_file_gives_split_genres_and_posters_and_the_folder_the_plots(folder, tmp_path):
    from PIL import Image

    pictures = write_hdf5(tmp_path / "multimodal_imdb.hdf5", sorted(GENRES))
    plain = make(Environment(), path=str(folder)).split("train")
    for path in (folder / "dataset").glob("*.jpeg"):
        path.unlink()
    (folder / "split.json").unlink()
    runs = Environment(runs=tmp_path / "runs")
    options = {"path": str(folder), "hdf5": str(tmp_path / "multimodal_imdb.hdf5")}
    assert list(CARD.options(**options).problems(runs)) == []
    split = make(runs, **options).split("train")
    assert (split.texts, split.labels) == (plain.texts, plain.labels)
    for path, name in zip(split.teacher_inputs, SPLITS["train"], strict=True):
        # The release rounded towards zero what it stored as whole numbers.
        assert np.abs(np.asarray(Image.open(path)).astype(int) - pictures[name]).max() <= 1
    stamps = [path.stat().st_mtime_ns for path in split.teacher_inputs]
    assert [path.stat().st_mtime_ns for path in make(runs, **options).split("train").teacher_inputs] == stamps


def test_the_posters_of_one_features_file_are_not_taken_for_those_of_another(folder, tmp_path):
    write_hdf5(tmp_path / "multimodal_imdb.hdf5", sorted(GENRES))
    runs = Environment(runs=tmp_path / "runs")
    options = {"path": str(folder), "hdf5": str(tmp_path / "multimodal_imdb.hdf5")}
    before = [path.read_bytes() for path in make(runs, **options).split("train").teacher_inputs]
    import h5py

    with h5py.File(tmp_path / "multimodal_imdb.hdf5", "r+") as file:
        file["images"][0] = 0
    after = [path.read_bytes() for path in make(runs, **options).split("train").teacher_inputs]
    assert [first == second for first, second in zip(before, after, strict=True)] == [False, True]


def test_another_hdf5_file_is_refused_in_one_line(folder, tmp_path):
    h5py = pytest.importorskip("h5py")
    other = tmp_path / "other.hdf5"
    with h5py.File(other, "w") as file:
        file["numbers"] = [1, 2]
    with pytest.raises(UserError, match="not the released features file"):
        make(Environment(runs=tmp_path), path=str(folder), hdf5=str(other)).split("train")
    other.write_text("no HDF5 at all")
    with pytest.raises(UserError, match="cannot be read as HDF5"):
        make(Environment(runs=tmp_path), path=str(folder), hdf5=str(other)).split("train")
    write_hdf5(other, [*GENRES[:-1], "News"])
    with pytest.raises(UserError, match="its genres are"):
        make(Environment(runs=tmp_path), path=str(folder), hdf5=str(other)).split("train")


@pytest.mark.parametrize("identifier", ["../../x", "a/b", "..", "", "/tmp/x"])
def test_a_film_whose_name_leads_out_of_the_folder_of_posters_is_refused(folder, tmp_path, identifier):
    path = tmp_path / "films.hdf5"
    write_hdf5(path, sorted(GENRES))
    import h5py

    with h5py.File(path, "r+") as file:
        file["imdb_ids"][0] = identifier.encode()
    with pytest.raises(UserError, match="not a number as a text"):
        make(Environment(runs=tmp_path / "a" / "b" / "runs"), path=str(folder), hdf5=str(path)).split("train")
    assert not list(tmp_path.rglob("*.png"))


def test_a_missing_h5py_names_the_extra(folder, tmp_path, monkeypatch):
    from armada_task_mmimdb import films

    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingPackage) as caught:
        films.read_hdf5(tmp_path / "x.hdf5", folder, "train", tmp_path)
    assert "armada-cli[hdf5]" in caught.value.hint


# ---------------------------------------------------------------------------------------------------------------- smoke


def test_smoke_needs_no_data(tmp_path):
    from PIL import Image

    options = CARD.options().smoke(tmp_path)
    assert CARD.options().smoke(tmp_path) == options
    task = CARD.load()(options, Environment(offline=True))
    training, evaluated = task.split("train"), task.split("validation")
    assert (len(training), len(evaluated)) == (16, 4)
    assert all(any(row[place] for row in training.labels) for place in range(23))
    with Image.open(training.teacher_inputs[0]) as poster:
        assert poster.size == (40, 64)


@pytest.mark.parametrize(
    ("write", "told"),
    [
        (lambda text: text.encode("utf-16"), "the file is UTF-16, not UTF-8. Save it as UTF-8"),
        (lambda text: text.encode("utf-16-le"), "the file is UTF-16, not UTF-8. Save it as UTF-8"),
        (lambda text: text.encode("utf-16-be"), "the file is UTF-16, not UTF-8. Save it as UTF-8"),
        (lambda text: b"\xef\xbb\xbf" * 2 + text.encode(), "the file begins with two byte order marks"),
        (lambda text: text.encode().replace(b"ferry", b"f\xe9rry"), "is not UTF-8. Unpack the release again"),
    ],
)
@pytest.mark.parametrize("name", ["split.json", "dataset/0000001.json"])
def test_a_file_in_another_encoding_is_told(folder, write, told, name):
    path = folder / name
    record = {**json.loads(path.read_text()), "note": "A ferry."}
    path.write_bytes(write(json.dumps(record)))
    with pytest.raises(UserError) as caught:
        make(Environment(), path=str(folder)).split("train")
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)


def test_one_byte_order_mark_is_read_over(folder):
    for path in [folder / "split.json", *(folder / "dataset").glob("*.json")]:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(make(Environment(), path=str(folder)).split("train")) == 2
