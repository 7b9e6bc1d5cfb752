"""Model folders that bring Python code: it never runs, nobody is asked whether it may, and one line says so."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from armada_student_decoders.options import DecoderOptions
from armada_student_decoders.student import Decoder
from armada_student_encoders.options import EncoderOptions
from armada_student_encoders.student import Encoder
from armada_teacher_diffusers.image import StableDiffusion
from armada_teacher_diffusers.options import StableDiffusionOptions
from armada_teacher_posters.options import PostersOptions
from armada_teacher_speecht5.options import SpeechT5Options
from armada_teacher_speecht5.teacher import SpeechT5
from running import armada
from tiny_decoders import tiny_llama

from armada_cli import Environment, Problem, UserError
from armada_cli.conformance import alone
from armada_cli.models import hub, tiny
from armada_cli.models.own_code import needs_own_code
from armada_cli.models.pictures import PictureEncoder

ROOT = Path(__file__).parents[1]
HERE = Environment(offline=True, threads=1, device="cpu")
TWO = Problem("classification", 2, ("no", "yes"), 16)
CHOICE = Problem("multiple-choice", 2, ("first", "second"), 16)
LINE = "needs Python code of its own, and code from model folders is never run"

AUTO = (
    "AutoConfig",
    "AutoFeatureExtractor",
    "AutoImageProcessor",
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForMultipleChoice",
    "AutoModelForSequenceClassification",
)

OWN = """
import os
from pathlib import Path
Path(os.environ["MARKER"]).touch()
from transformers import BertConfig, BertModel, BertTokenizer
class Own(BertConfig):
    model_type = "own-kind"
"""


class Yes(io.StringIO):
    """A standard input that says yes, and knows whether it was asked."""

    asked = 0

    def readline(self, *_: Any) -> str:
        self.asked += 1
        return "y\n"


@pytest.fixture(autouse=True)
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What the code of a model folder leaves behind when it runs. Whoever asks is answered yes."""
    path, answers = tmp_path / "it-ran", Yes()
    monkeypatch.setenv("MARKER", str(path))
    monkeypatch.setattr(sys, "stdin", answers)
    yield path
    assert not path.exists(), "code from the folder ran"
    assert answers.asked == 0, "somebody asked whether it may"


def change(file: Path, **values: Any) -> None:
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps(before | values), encoding="utf-8")


def with_code(folder: Path, model_type: str | None = "own-kind") -> Path:
    """The folder with code for each of transformers' automatic classes, and another type unless it is None."""
    (folder / "own.py").write_text(OWN, encoding="utf-8")
    change(folder / "config.json", auto_map=dict.fromkeys(AUTO, "own.Own"))
    if model_type is not None:
        change(folder / "config.json", model_type=model_type)
    return folder


def with_tokenizer_code(folder: Path) -> Path:
    with_code(folder)
    change(folder / "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", None]})
    return folder


@pytest.fixture
def encoder(tiny_student: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_student, tmp_path / "encoder"))


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    return tiny_llama(tmp_path / "decoder")


# ----------------------------------------------------------------------------------------------------------- the loaders


def test_this_very_folder_runs_its_code_where_it_is_trusted(encoder: Path, tmp_path: Path) -> None:
    """So that the other tests are known to look for something that can happen."""
    from transformers import AutoConfig

    marker = tmp_path / "it-ran"
    with_code(encoder)
    AutoConfig.from_pretrained(encoder, trust_remote_code=True)
    assert marker.exists()
    marker.unlink()


def test_an_encoder_is_refused_and_its_code_does_not_run(encoder: Path) -> None:
    for change_it in (with_code, with_tokenizer_code):
        change_it(encoder)
        with pytest.raises(UserError, match=LINE):
            Encoder(EncoderOptions(model=str(encoder)), HERE)


def test_a_decoder_is_refused_and_its_code_does_not_run(decoder: Path) -> None:
    for change_it in (with_code, with_tokenizer_code):
        change_it(decoder)
        with pytest.raises(UserError, match=LINE):
            Decoder(DecoderOptions(model=str(decoder)), HERE)


@pytest.mark.parametrize("problem", [TWO, CHOICE], ids=lambda problem: problem.kind)
def test_a_known_encoder_is_loaded_as_the_librarys_own_class(problem: Problem, encoder: Path) -> None:
    with_code(encoder, model_type=None)
    assert not needs_own_code(encoder)
    model = Encoder(EncoderOptions(model=str(encoder)), HERE).build(problem)
    assert type(model).__module__.startswith("transformers.")


def test_a_known_decoder_is_loaded_as_the_librarys_own_class(decoder: Path) -> None:
    with_code(decoder, model_type=None)
    assert not needs_own_code(decoder)
    (decoder / "custom_generate").mkdir()
    (decoder / "custom_generate" / "generate.py").write_text(OWN + "\ndef generate(model, **more): pass\n")
    student = Decoder(DecoderOptions(model=str(decoder), lora=0), HERE)
    for problem in (TWO, Problem("generation", 0, (), 16)):
        assert type(student.build(problem)).__module__.startswith("transformers.")


def without_a_head(folder: Path) -> Path:
    """A model of a type that transformers knows, for whose tasks it has no class, and the folder has."""
    from transformers import Blip2QFormerConfig, Blip2QFormerModel

    words = tiny.save_letters_tokenizer(folder)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    Blip2QFormerModel(Blip2QFormerConfig(vocab_size=words, **small)).save_pretrained(folder)
    return with_code(folder, model_type=None)


@pytest.mark.parametrize("problem", [TWO, CHOICE], ids=lambda problem: problem.kind)
def test_a_head_that_only_the_folder_defines_is_refused(problem: Problem, tmp_path: Path) -> None:
    student = Encoder(EncoderOptions(model=str(without_a_head(tmp_path / "headless"))), HERE)
    with pytest.raises(UserError, match=LINE):
        student.build(problem)


def test_an_encoder_of_pictures_is_refused_and_its_code_does_not_run(tmp_path: Path) -> None:
    folder = Path(PostersOptions().smoke(tmp_path).model)
    with_code(folder)
    with pytest.raises(UserError, match=LINE):
        PictureEncoder(str(folder), HERE, subject="teacher it")
    change(folder / "preprocessor_config.json", image_processor_type="Own", auto_map={"AutoImageProcessor": "own.Own"})
    with pytest.raises(UserError, match=LINE):
        PictureEncoder(str(folder), HERE, subject="teacher it")


@pytest.mark.parametrize("part", ["model", "vocoder", "encoder"])
def test_no_part_of_a_speaking_teacher_runs_its_code(part: str, tmp_path: Path) -> None:
    options = SpeechT5Options().smoke(tmp_path)
    with_code(Path(getattr(options, part)))
    assert any(LINE in line for line in options.problems(HERE))
    if part == "encoder":
        with pytest.raises(UserError, match=LINE):
            SpeechT5(options, HERE)
    else:  # read by a class that is named here, whatever type the folder claims
        with contextlib.suppress(UserError):
            SpeechT5(options, HERE)


def test_a_feature_extractor_of_its_own_is_refused(tmp_path: Path) -> None:
    options = SpeechT5Options().smoke(tmp_path)
    folder = with_code(Path(options.encoder))
    change(folder / "preprocessor_config.json", feature_extractor_type="Own", auto_map={"AutoFeatureExtractor": "own.Own"})
    with pytest.raises(UserError, match=LINE):
        SpeechT5(options, HERE)


def pipeline_of_its_own(folder: Path) -> None:
    (folder / "pipeline.py").write_text(OWN, encoding="utf-8")
    change(folder / "model_index.json", _class_name=["pipeline", "Own"])


def part_of_its_own(folder: Path) -> None:
    (folder / "unet" / "own.py").write_text(OWN, encoding="utf-8")
    change(folder / "model_index.json", unet=["own", "Own"])


def text_encoder_of_its_own(folder: Path) -> None:
    with_code(folder / "text_encoder")
    change(folder / "model_index.json", text_encoder=["transformers", "AutoModel"])


@pytest.mark.parametrize("change_it", [pipeline_of_its_own, part_of_its_own, text_encoder_of_its_own])
def test_a_diffusion_pipeline_is_refused_and_its_code_does_not_run(change_it: Callable[[Path], None], tmp_path: Path) -> None:
    options = StableDiffusionOptions().smoke(tmp_path)
    change_it(Path(options.model))
    with pytest.raises(UserError) as refused:
        StableDiffusion(options, HERE)
    if change_it is not text_encoder_of_its_own:  # diffusers itself loads no automatic class
        assert any(LINE in line for line in options.problems(HERE))
    if change_it is part_of_its_own:
        assert LINE in str(refused.value)


def test_a_call_inside_the_libraries_that_says_nothing_of_code_does_not_ask(encoder: Path) -> None:
    """As a model of several parts loads them, and as diffusers does."""
    from transformers import AutoConfig

    with_code(encoder)
    with hub.quiet(), pytest.raises(ValueError, match="trust_remote_code"):
        AutoConfig.from_pretrained(encoder)


def test_an_exported_folder_is_tried_without_its_code(encoder: Path) -> None:
    with_code(encoder)
    with pytest.raises(ValueError, match="trust_remote_code"):
        alone.load(encoder)


def test_a_smoke_run_makes_its_miniature_without_the_code(encoder: Path, decoder: Path, tmp_path: Path) -> None:
    for model_type in (None, "own-kind"):
        with_code(decoder, model_type)
        DecoderOptions(model=str(decoder)).smoke(tmp_path / "smoke")
        with_code(encoder, model_type)
        if model_type is None:
            EncoderOptions(model=str(encoder)).smoke(tmp_path / "smoke")


# ------------------------------------------------------------------------------------------------------------ what is said


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize("change_it", [with_code, with_tokenizer_code])
def test_the_recipe_is_refused_in_one_line(
    verb: str, change_it: Callable[[Path], Path], encoder: Path, recipe: Callable[..., Path], tmp_path: Path
) -> None:
    change_it(encoder)
    path = recipe(student=f"{{name: encoder, model: {encoder}}}", methods="[undistilled]")
    found = armada(verb, path, "--runs", tmp_path / "runs")
    assert found.status == 2
    (line,) = [line for line in found.err.splitlines() if line != "1 problem"]
    assert f"{encoder}: it {LINE}" in line
    assert line.endswith("Take a model whose classes are in the installed libraries")


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize("of_its_own", ["model", "head"])
def test_yes_on_standard_input_changes_nothing(
    of_its_own: str, workers: str, encoder: Path, recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """Neither is a recipe, and both are known beforehand."""
    folder = with_code(encoder) if of_its_own == "model" else without_a_head(tmp_path / "headless")
    path = recipe(student=f"{{name: encoder, model: {folder}}}", methods="[undistilled]")
    command = [
        sys.executable,
        "-m",
        "armada_cli.main",
        "run",
        str(path),
        "--runs",
        str(tmp_path / "runs"),
        "--workers",
        workers,
    ]
    ended = subprocess.run(command, input="y\n" * 50, capture_output=True, text=True, timeout=240, check=False)
    assert ended.returncode == 2, ended.stderr
    assert (LINE if of_its_own == "model" else "lack the embeddings") in ended.stderr
    assert "[y/N]" not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_types_and_classes_of_the_library_are_known_by_its_tables(tmp_path: Path) -> None:
    for name in ("bert", "llama", "deberta-v2", "donut-swin", "xlm-roberta", "qwen3", "wav2vec2", "data2vec-text"):
        change(tmp_path / "config.json", model_type=name, auto_map={"AutoConfig": "own.Own"})
        assert not needs_own_code(tmp_path), name
    for settings in ({"model_type": "own-kind"}, {"model_type": None}):
        change(tmp_path / "config.json", **settings)
        assert needs_own_code(tmp_path)
    change(tmp_path / "config.json", auto_map={"AutoModelForCausalLM": "own.Own"})
    assert not needs_own_code(tmp_path), "the configuration is no code; loading tells"
    change(tmp_path / "tokenizer_config.json", tokenizer_class="Own", auto_map=["own.Own", None])
    assert needs_own_code(tmp_path)
    change(tmp_path / "tokenizer_config.json", tokenizer_class="LlamaTokenizerFast")
    assert not needs_own_code(tmp_path)


def test_a_model_in_the_hubs_cache_is_judged_by_its_files(encoder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    shutil.copytree(encoder, tmp_path / "hub/models--owner--it/snapshots/0")
    (tmp_path / "hub/models--owner--it/refs").mkdir()
    (tmp_path / "hub/models--owner--it/refs/main").write_text("0")
    options = EncoderOptions(model="owner/it")
    assert list(options.problems(HERE)) == []
    with_code(tmp_path / "hub/models--owner--it/snapshots/0")
    (line,) = options.problems(HERE)
    assert line.startswith(f"owner/it: it {LINE}")


def test_a_model_of_the_hub_is_judged_before_it_is_fetched(encoder: Path, monkeypatch: Any) -> None:
    import huggingface_hub

    with_code(encoder)

    def fetch(*_: Any, local_dir: str, **__: Any) -> None:
        shutil.copytree(encoder, local_dir, dirs_exist_ok=True)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    (line,) = EncoderOptions(model="owner/it").problems_before_fetching(Environment())
    assert line.startswith(f"owner/it: it {LINE}")


# ------------------------------------------------------------------------------------------------------------- the calls


def forgetful_calls(source: str) -> list[int]:
    """Lines that load a model, or make one of a configuration, and do not say that its code must not run."""
    tree = ast.parse(source)
    saying = {
        ast.unparse(target)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if any(
            isinstance(key, ast.Constant) and key.value == "trust_remote_code" and ast.unparse(value) == "False"
            for key, value in zip(node.value.keys, node.value.values, strict=True)
        )
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("from_pretrained", "from_config", "load_config")
        and ast.unparse(node.func.value).split(".")[-1] != "PeftModel"  # takes no such argument, and no code
        and not any(
            ast.unparse(word.value) in ("False" if word.arg == "trust_remote_code" else "", *(saying if not word.arg else ()))
            for word in node.keywords
        )
    ]


def test_every_call_says_that_the_models_code_must_not_run() -> None:
    files = [*(ROOT / "armada_cli").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    assert len(files) > 100
    forgetful = [f"{file}:{line}" for file in files for line in forgetful_calls(file.read_text(encoding="utf-8"))]
    assert forgetful == []


def test_a_call_that_says_nothing_is_seen() -> None:
    assert forgetful_calls("where = {'a': 1}\nAutoModel.from_pretrained(x, **where)\nAutoModel.from_config(c)") == [2, 3]
    assert forgetful_calls("AutoModel.from_pretrained(x, trust_remote_code=True)") == [1]
    assert forgetful_calls("where = {'trust_remote_code': False}\nAutoModel.from_pretrained(x, **where)") == []
