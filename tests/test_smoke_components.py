"""What `--smoke` makes of encoders, of GLUE and SuperGLUE and of the offline components: tiny, and read by the same code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from armada_cli import Environment, Problem, Student, Task, UserError
from armada_cli.registry.catalog import Catalog
from armada_cli.registry.registered import Registered

GLUE = ["cola", "mrpc", "rte", "stsb", "sst2", "mnli", "qnli", "qqp"]
SUPERGLUE = ["cb", "copa", "boolq", "wic"]
TASKS = [*GLUE, *SUPERGLUE, "tweets-offline", "ratings-offline"]
SIZES = {"ratings-offline": (39, 9)}
"""Rows of the two splits, where they are not 16 and 8: whole documents are held out, so more sentences are needed."""
RANGES = {"stsb": (0, 5), "ratings-offline": (-3, 3)}
"""Smallest and largest target of a regression."""
STUDENTS = ["bert-base", "bert-6l", "deberta-v2-xxlarge", "minilm-offline", "mpnet-offline", "visualbert"]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load(warn=False)


def card_class(registered: Registered) -> type:
    """The class, whether or not the packages of the full-size component are installed."""
    import importlib

    module, _, name = registered.component.target.partition(":")
    return getattr(importlib.import_module(module), name)


def smoke_task(catalog: Catalog, name: str, folder: Path, **options: object) -> Task:
    registered = catalog.find("task", name)
    small = registered.component.options(**options).smoke(folder)
    assert list(small.problems(Environment())) == []
    return card_class(registered)(small, Environment(offline=True))


# --------------------------------------------------------------------------------------------------------------- tasks


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_rows_of_its_own_with_every_class_on_both_sides(catalog: Catalog, name: str, tmp_path: Path) -> None:
    task = smoke_task(catalog, name, tmp_path)
    train, validation = task.split("train"), task.split("validation")
    assert (len(train), len(validation)) == SIZES.get(name, (16, 8))
    if task.kind != "regression":
        assert set(train.labels) == set(validation.labels) == set(range(len(task.labels())))
    else:
        assert (min(train.labels), max(train.labels)) == RANGES[name]
        assert len(set(validation.labels)) > 4
    assert not {*train.texts} & {*validation.texts}
    assert len({*train.texts, *validation.texts}) == sum(SIZES.get(name, (16, 8)))
    assert all(isinstance(text, str) and text for text in [*train.teacher_inputs, *validation.teacher_inputs])


@pytest.mark.parametrize("name", TASKS)
def test_right_answers_to_the_rows_score_full_marks(catalog: Catalog, name: str, tmp_path: Path) -> None:
    task = smoke_task(catalog, name, tmp_path)
    labels = task.split("validation").labels
    outputs = np.array(labels)[:, None] if task.kind == "regression" else np.eye(len(task.labels()))[labels]
    assert task.score(outputs, labels)[task.metric] == pytest.approx(100)


def test_mnli_has_rows_for_either_validation_split(catalog: Catalog, tmp_path: Path) -> None:
    assert len(smoke_task(catalog, "mnli", tmp_path, mismatched=True).split("validation")) == 8


def test_copa_asks_for_causes_and_effects_with_either_answer(catalog: Catalog, tmp_path: Path) -> None:
    split = smoke_task(catalog, "copa", tmp_path).split("validation")
    asked = {(text[0].rsplit(" ", 1)[1], label) for text, label in zip(split.texts, split.labels, strict=True)}
    assert asked == {("because", 0), ("because", 1), ("so", 0), ("so", 1)}


def test_smoke_rows_have_the_same_identity_wherever_they_were_written(catalog: Catalog, tmp_path: Path) -> None:
    for name in ("cola", "tweets-offline", "ratings-offline"):
        registered = catalog.find("task", name)
        identities = []
        for place in ("a", "b", "a"):
            small = registered.component.options().smoke(tmp_path / place)
            identities.append(registered.component.identity(small, Environment()))
        assert identities[0] == identities[1] == identities[2]
        assert identities[0] != registered.component.identity(registered.component.options(), Environment())


@pytest.mark.parametrize("name", GLUE + SUPERGLUE)
def test_a_task_knows_its_published_size(catalog: Catalog, name: str) -> None:
    rows = catalog.find("task", name).component.options().rows()
    assert rows["train"] > rows["validation"] > 50
    assert 10 < rows["tokens"] < 200


@pytest.mark.parametrize(
    ("name", "place"), [("cola", "nyu-mll/glue/cola"), ("mrpc", "nyu-mll/glue/mrpc"), ("boolq", "aps/super_glue/boolq")]
)
def test_the_published_size_is_the_size_of_the_data(catalog: Catalog, name: str, place: str, data: Path) -> None:
    rows = catalog.find("task", name).component.options().rows()
    for split in ("train", "validation"):
        assert len((data / place / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()) == rows[split]


@pytest.fixture
def data() -> Path:
    import os

    place = Path(os.environ.get("ARMADA_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (place / "nyu-mll").is_dir():
        pytest.skip(f"no benchmark data in {place} (ARMADA_DATA)")
    return place


def test_tweets_from_a_file_that_is_not_there_are_refused(catalog: Catalog) -> None:
    options = catalog.find("task", "tweets-offline").component.options(corpus="no/such.csv")
    assert list(options.problems(Environment())) == ["corpus: no file 'no/such.csv'"]


def test_the_users_own_table_stays_the_users_own(catalog: Catalog, tmp_path: Path) -> None:
    options = catalog.find("task", "files").component.options(file="mine.csv", label="stars")
    assert options.smoke(tmp_path) == options


# ------------------------------------------------------------------------------------------------------------ students


def smoke_student(catalog: Catalog, name: str, folder: Path, **options: object) -> Student:
    registered = catalog.find("student", name)
    small = registered.component.options(**options).smoke(folder)
    assert list(small.problems(Environment())) == []
    assert list(small.downloads(Environment())) == []
    return card_class(registered)(small, Environment(offline=True))


@pytest.mark.parametrize(
    ("name", "options", "model"),
    [
        ("bert-base", {}, "BertForSequenceClassification"),
        ("bert-6l", {}, "BertForSequenceClassification"),
        ("deberta-v2-xxlarge", {}, "DebertaV2ForSequenceClassification"),
        ("minilm-offline", {}, "BertForSequenceClassification"),
        ("mpnet-offline", {}, "MPNetForSequenceClassification"),
        ("visualbert", {}, "VisualBertForVisualReasoning"),
        ("encoder", {"model": "FacebookAI/roberta-base"}, "RobertaForSequenceClassification"),
        ("encoder", {"model": "distilbert/distilbert-base-uncased"}, "DistilBertForSequenceClassification"),
        ("encoder", {"model": "google/electra-base-discriminator"}, "ElectraForSequenceClassification"),
        ("encoder", {"model": "microsoft/deberta-v3-base"}, "DebertaV2ForSequenceClassification"),
    ],
)
def test_a_student_is_a_tiny_model_of_its_own_class(catalog, name, options, model, tmp_path: Path) -> None:
    student = smoke_student(catalog, name, tmp_path, **options)
    problem = Problem("classification", 3, ("a", "b", "c"))
    built = student.build(problem)
    assert type(built).__name__ == model
    assert sum(weight.numel() for weight in built.parameters()) < 1_000_000
    output = student.forward(built, student.pad(student.encode([("Rain again.", "So it goes."), ("One.", "Two.")], problem)))
    assert output.logits.shape == (2, 3)
    assert output.pooled.shape == (2, 32)


@pytest.mark.parametrize("name", STUDENTS)
def test_a_tiny_student_reads_every_letter(catalog: Catalog, name: str, tmp_path: Path) -> None:
    student = smoke_student(catalog, name, tmp_path)
    (row,) = student.encode(
        [("Two boys carry a kite (6 m wide) through the tall grass!",)], Problem("classification", 2, ("a", "b"))
    )
    assert student.tokenizer.unk_token_id not in row["input_ids"]


def test_a_tiny_student_of_a_local_folder_has_that_models_class(catalog: Catalog, tmp_path: Path) -> None:
    from transformers import AlbertConfig, AlbertModel

    config = AlbertConfig(vocab_size=99, embedding_size=16, hidden_size=64, num_attention_heads=4, intermediate_size=64)
    AlbertModel(config).save_pretrained(tmp_path / "mine")
    student = smoke_student(catalog, "encoder", tmp_path / "smoke", model=str(tmp_path / "mine"))
    assert type(student.build(Problem("classification", 2, ("a", "b")))).__name__ == "AlbertForSequenceClassification"


def test_as_many_layers_as_the_recipe_keeps(catalog: Catalog, tmp_path: Path) -> None:
    student = smoke_student(catalog, "bert-base", tmp_path, layers=6)
    assert student.build(Problem("classification", 2, ("a", "b"))).config.num_hidden_layers == 6


def test_a_tiny_student_has_the_same_weights_wherever_it_was_written(catalog: Catalog, tmp_path: Path) -> None:
    import torch

    options = catalog.find("student", "bert-base").component.options()
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = options.smoke(tmp_path / "a")
    assert torch.equal(before, torch.random.get_rng_state()), "the caller's random numbers must not move"
    torch.manual_seed(6)
    second = options.smoke(tmp_path / "b")
    assert first.identity(Environment()) == second.identity(Environment())


@pytest.mark.parametrize(
    ("name", "millions", "shape"),
    [
        ("bert-base", 110, (768, 12, 12, 30522)),
        ("bert-6l", 67, (768, 6, 12, 30522)),
        ("deberta-v2-xxlarge", 1567, (1536, 48, 24, 128100)),
        ("minilm-offline", 23, (384, 6, 12, 30522)),
        ("mpnet-offline", 109, (768, 12, 12, 30527)),
    ],
)
def test_a_student_knows_its_full_size_before_it_is_there(catalog, name, millions, shape) -> None:
    size = catalog.find("student", name).component.options().size()
    assert size["parameters"] == pytest.approx(millions * 1e6, rel=0.02)
    assert size["trainable"] == size["parameters"]
    assert (size["hidden"], size["layers"], size["heads"], size["vocabulary"]) == shape


def test_six_of_twelve_layers_are_the_size_of_a_six_layer_bert(catalog: Catalog) -> None:
    half = catalog.find("student", "bert-base").component.options(layers=6).size()
    assert half["layers"] == 6
    assert half["parameters"] == pytest.approx(67e6, rel=0.01)


def test_a_local_model_is_measured(catalog: Catalog, tmp_path: Path) -> None:
    student = smoke_student(catalog, "bert-base", tmp_path, layers=3)
    size = student.options.size()
    encoder = student.build(Problem("classification", 2, ("a", "b"))).base_model
    assert size["parameters"] == sum(weight.numel() for weight in encoder.parameters())
    assert (size["hidden"], size["layers"], size["heads"]) == (32, 3, 4)


def test_nothing_is_said_of_the_size_of_an_unknown_model(catalog: Catalog) -> None:
    assert catalog.find("student", "encoder").component.options(model="somebody/something").size() == {}


# ------------------------------------------------------------------------------------------------------------ teachers


def test_speech_takes_the_voice_that_need_not_be_fetched(catalog: Catalog, tmp_path: Path) -> None:
    options = catalog.find("teacher", "speech-offline").component.options(voice="kore", seed=3).smoke(tmp_path)
    assert (options.voice, options.seed) == ("heart", 3)
    assert list(options.downloads(Environment())) == []


def test_vectors_of_a_file_stand_in_for_texts_they_do_not_know_in_a_smoke_run_alone(catalog: Catalog, tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.eye(3, dtype=np.float32))
    (tmp_path / "texts.txt").write_text("one\ntwo\nthree\n", encoding="utf-8")
    registered = catalog.find("teacher", "precomputed")
    options = registered.component.options(path=str(tmp_path / "vectors.npy"), ids=str(tmp_path / "texts.txt"))
    teacher = card_class(registered)(options, Environment())
    with pytest.raises(UserError, match="has no vector for 1 of 2 texts, the first is 'four'"):
        teacher.represent(["two", "four"])
    small = card_class(registered)(options.smoke(tmp_path), Environment())
    both = small.represent(["two", "four"])
    assert (both.dtype, both.shape) == (np.float32, (2, 3))
    assert both[0].tolist() == [0, 1, 0]
    assert np.array_equal(small.represent(["four"])[0], both[1]), "a vector depends on its text alone"


def test_every_class_of_these_options_can_be_made_tiny(catalog: Catalog) -> None:
    names = {
        "task": [*TASKS, "files"],
        "student": [*STUDENTS, "encoder"],
        "teacher": ["speech-offline", "pictures-offline", "precomputed"],
    }
    lacking = [
        f"{kind} {name}"
        for kind in names
        for name in names[kind]
        if not hasattr(catalog.find(kind, name).component.options, "smoke")
    ]
    assert lacking == []
