"""Model folders without a tokenizer, or with one that is larger than the model's embeddings: one line, from files where they
tell, before anything starts."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from armada_student_decoders.options import DecoderOptions
from armada_student_decoders.student import Decoder
from armada_student_encoders.options import EncoderOptions
from armada_student_encoders.student import Encoder
from running import armada, ended, start
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

from armada_cli import Environment, UserError
from armada_cli.models import hub, tiny, vocabulary

HERE = Environment(offline=True)
FORMS = ["+".join(form) for form in vocabulary.FORMS]


def empty(folder: Path, *files: str) -> Path:
    """A folder with the configuration of a BERT and files of no content."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    for file in files:
        (folder / file).write_bytes(b"")
    return folder


@pytest.mark.parametrize("form", [*FORMS, "qwen.tiktoken"])
def test_every_form_of_a_vocabulary_is_known(form: str, tmp_path: Path) -> None:
    assert list(vocabulary.lacking(empty(tmp_path, *form.split("+")))) == []


@pytest.mark.parametrize(
    "files",
    [(), ("tokenizer_config.json", "special_tokens_map.json"), ("vocab.json",), ("merges.txt",), ("added_tokens.json",)],
)
def test_half_a_tokenizer_is_none(files: tuple[str, ...], tmp_path: Path) -> None:
    (line,) = vocabulary.problems(str(empty(tmp_path, *files)), HERE)
    assert line.startswith(
        f"{tmp_path} holds no tokenizer (tokenizer.json, vocab.txt, vocab.json with merges.txt, tokenizer.model"
    )


@pytest.mark.parametrize(
    ("model", "tokenizer"), [("canine", None), ("t5", "ByT5Tokenizer"), ("perceiver", "PerceiverTokenizer")]
)
def test_bytes_and_characters_need_no_vocabulary(model: str, tokenizer: str | None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model}), encoding="utf-8")
    if tokenizer:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": tokenizer}), encoding="utf-8")
    assert list(vocabulary.lacking(tmp_path)) == []


def test_a_cache_without_a_tokenizer_is_wrong_only_where_nothing_may_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    empty(tmp_path / "models--own--model" / "snapshots" / "abc")
    (tmp_path / "models--own--model" / "refs").mkdir()
    (tmp_path / "models--own--model" / "refs" / "main").write_text("abc", encoding="utf-8")
    assert list(vocabulary.problems("own/model", Environment())) == []
    assert len(list(vocabulary.problems("own/model", HERE))) == 1
    assert len(list(EncoderOptions(model="own/model").problems(HERE))) == 1


SILENT = ("bert", "roberta", "distilbert", "electra", "albert", "deberta-v2", "mpnet", "xlm-roberta", "t5", "bart", "camembert")
SILENT_DECODERS = ("gpt2", "opt", "qwen2", "qwen3", "gemma2", "gpt_neox", "phi", "smollm3")


def save(kind: str, folder: Path, rows: int = 130, **more: Any) -> Path:
    """A tiny model of a family, without a tokenizer."""
    config = tiny.narrow(AutoConfig.for_model(kind), 1, 64, rows, {"pad_token_id": 0, "eos_token_id": 2, **more})
    with hub.quiet(), torch.random.fork_rng(devices=[]):
        (AutoModelForCausalLM if kind in SILENT_DECODERS else AutoModel).from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", [*SILENT, *SILENT_DECODERS])
def test_a_folder_without_a_tokenizer_is_refused_before_and_while_it_is_loaded(kind: str, tmp_path: Path) -> None:
    place = str(save(kind, tmp_path))
    options: Any = DecoderOptions(model=place, lora=0) if kind in SILENT_DECODERS else EncoderOptions(model=place)
    (line,) = options.problems(HERE)
    assert "holds no tokenizer" in line
    with pytest.raises(UserError, match=r"no vocabulary|no usable tokenizer|no end-of-text"):
        (Decoder if kind in SILENT_DECODERS else Encoder)(options, HERE)


@pytest.mark.parametrize(
    ("kind", "files"),
    [("bert", "tokenizer.model"), ("bert", "vocab.json+merges.txt"), ("roberta", "vocab.txt"), ("t5", "vocab.txt")],
)
def test_files_of_another_family_are_no_vocabulary_either(kind: str, files: str, tmp_path: Path) -> None:
    save(kind, tmp_path)
    for name in files.split("+"):
        (tmp_path / name).write_text("{}" if name.endswith("json") else "", encoding="utf-8")
    with pytest.raises(UserError, match=r"no vocabulary|no usable tokenizer"):
        Encoder(EncoderOptions(model=str(tmp_path)), HERE)


# ----------------------------------------------------------------------------------------------------------------- sizes


def letters(folder: Path, rows: int, **more: Any) -> Path:
    """A BERT of so many rows with a tokenizer of letters, which has 109 tokens."""
    assert tiny.save_letters_tokenizer(save("bert", folder, rows, **more)) == 109
    return folder


def lines(folder: Path) -> list[str]:
    return list(EncoderOptions(model=str(folder)).problems(HERE))


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        Encoder(EncoderOptions(model=str(folder)), HERE)
    return str(caught.value)


def test_a_tokenizer_that_fits_is_not_spoken_of(tmp_path: Path) -> None:
    for rows in (109, 128):
        place = letters(tmp_path / str(rows), rows)
        assert lines(place) == []
        Encoder(EncoderOptions(model=str(place)), HERE)


def test_a_tokenizer_larger_than_the_embeddings_is_told_with_both_sizes(tmp_path: Path) -> None:
    place = letters(tmp_path, 100)
    sizes = "the tokenizer has 109 tokens and the model's embeddings have 100 rows"
    assert sizes in lines(place)[0]
    assert sizes in refusal(place)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (place / name).unlink()
    vocabulary_file = "\n".join(f"piece{number}" for number in range(109))
    (place / "vocab.txt").write_text(vocabulary_file + "\n", encoding="utf-8")
    assert sizes in lines(place)[0]


def test_tokens_that_were_added_and_forgotten_count(tmp_path: Path) -> None:
    place = letters(tmp_path, 109)
    tokenizer = AutoTokenizer.from_pretrained(place)
    tokenizer.add_tokens(["heron", "lighthouse"])
    tokenizer.save_pretrained(place)
    sizes = "the tokenizer has 111 tokens and the model's embeddings have 109 rows"
    assert sizes in lines(place)[0]
    assert sizes in refusal(place)


def test_a_special_token_without_a_row_that_never_occurs_is_no_fault(tmp_path: Path) -> None:
    """As the image token of Gemma 3's smallest, which reads no images."""
    place = letters(tmp_path, 109)
    tokenizer = AutoTokenizer.from_pretrained(place)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(place)
    assert lines(place) == []
    student = Encoder(EncoderOptions(model=str(place)), HERE)
    problem = __import__("armada_cli").Problem("classification", 2, ("bad", "good"), 32)
    (row,) = student.encode([("an <image> here",)], problem)
    assert max(row["input_ids"]) < 109


def test_a_padding_token_behind_the_last_row_is_told(tmp_path: Path) -> None:
    place = letters(tmp_path, 109)
    tokenizer = AutoTokenizer.from_pretrained(place)
    tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    tokenizer.save_pretrained(place)
    line = "the tokenizer has 110 tokens and the model's embeddings have 109 rows, and the pad_token has the id 109"
    assert line in lines(place)[0]
    assert line in refusal(place)


def test_a_padding_id_of_the_configuration_behind_the_last_row_is_told(tmp_path: Path) -> None:
    place = letters(tmp_path, 109)
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    (place / "config.json").write_text(json.dumps({**config, "pad_token_id": 109}), encoding="utf-8")
    line = "109 tokens and the model's embeddings have 109 rows, and config.json says pad_token_id 109"
    assert line in lines(place)[0]
    assert line in refusal(place)


def test_the_text_part_of_a_model_of_several_parts_is_compared(tmp_path: Path) -> None:
    tiny.save_letters_tokenizer(tmp_path)
    config = {"model_type": "gemma3", "text_config": {"vocab_size": 90}, "vision_config": {"vocab_size": 500}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "embeddings have 90 rows" in next(iter(vocabulary.problems(str(tmp_path), HERE)))


def test_the_pieces_of_a_sentencepiece_model_are_counted_without_its_library(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    trainer = sentencepiece.SentencePieceTrainer
    trainer.train(
        sentence_iterator=iter([*tiny.SENTENCES] * 5), model_prefix=str(tmp_path / "spiece"), vocab_size=60, minloglevel=2
    )
    assert vocabulary.count_pieces((tmp_path / "spiece.model").read_bytes()) == 60
    assert vocabulary.count_pieces(b"\x0a\x7fno protocol buffer") == 0
    (tmp_path / "config.json").write_text('{"model_type": "t5", "vocab_size": 59}', encoding="utf-8")
    assert "has 60 tokens" in next(iter(vocabulary.problems(str(tmp_path), HERE)))


# -------------------------------------------------------------------------------------------------------------- commands


def recipe(folder: Path, model: str) -> Path:
    rows = "".join(f"text number {number},{'good' if number % 2 else 'bad'}\n" for number in range(24))
    (folder / "rows.csv").write_text("text,label\n" + rows, encoding="utf-8")
    path = folder / "tiny.yaml"
    student, task = f"{{name: encoder, model: {model}}}", "{name: files, file: rows.csv, text: text, label: label}"
    path.write_text(f"student: {student}\ntasks: [{task}]\nmethods: [undistilled]\nseeds: [0]\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("command", ["check", "run"])
def test_check_and_run_say_the_same_line_and_end_with_status_two(command: str, tmp_path: Path) -> None:
    place = save("bert", tmp_path / "model")
    done = armada(command, recipe(tmp_path, str(place)), "--runs", tmp_path / "runs")
    assert done.status == 2
    assert "holds no tokenizer (tokenizer.json" in done.err
    assert not (tmp_path / "runs" / "trials").exists()


def test_check_tells_it_without_torch(tmp_path: Path) -> None:
    path = recipe(tmp_path, str(letters(tmp_path / "model", 100)))
    code = (
        "import sys; from armada_cli.main import run; status = run(sys.argv[1:]); "
        "print(status, sorted({'torch', 'transformers', 'numpy', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(path), "--runs", str(tmp_path / "runs")], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "2 []"
    assert "109 tokens and the model's embeddings have 100 rows" in " ".join(done.stderr.split())


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A hub on this machine with one model, and what it was asked for."""
    asked: list[str] = []

    class Answers(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Quietly."""

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            asked.append(path)
            files = sorted(item.name for item in folder.iterdir() if item.is_file())
            headers, status, body = {"Content-Type": "application/json"}, 200, b""
            if "/tree/" in path:
                kinds = [{"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": "0"} for name in files]
                body = json.dumps(kinds).encode()
            elif path.startswith("/api/models/"):
                siblings = [{"rfilename": name} for name in files]
                body = json.dumps({"id": "own/model", "sha": "a" * 40, "siblings": siblings}).encode()
            elif path.rpartition("/")[2] in files:
                body = (folder / path.rpartition("/")[2]).read_bytes()
                headers = {"X-Repo-Commit": "a" * 40, "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}
            else:
                status, headers = 404, {"X-Error-Code": "EntryNotFound"}
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_model_of_the_hub_is_looked_at_before_it_is_fetched(tmp_path: Path) -> None:
    place = letters(tmp_path / "model", 100)
    with serving(place) as (address, asked):
        more = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
        done = ended(start("run", recipe(tmp_path, "own/model"), "--runs", tmp_path / "runs", **more), seconds=120)
    assert done.status == 2
    complaint = " ".join(done.err.split())
    assert "own/model: the tokenizer has 109 tokens and the model's embeddings have 100 rows" in complaint
    assert "Fetching" not in done.err
    assert not any(path.endswith(".safetensors") for path in asked)
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


# -------------------------------------------------------------------------------------------------------------- teachers


def test_a_pipeline_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    from armada_teacher_diffusers.options import StableDiffusionOptions

    small = StableDiffusionOptions().smoke(tmp_path)
    assert list(small.problems(HERE)) == []
    for path in (Path(small.model) / "tokenizer").iterdir():
        os.remove(path)
    (line,) = small.problems(HERE)
    assert "tokenizer holds no tokenizer (tokenizer.json" in line


def test_a_speaker_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    from armada_teacher_speecht5.options import SpeechT5Options

    small = SpeechT5Options().smoke(tmp_path)
    assert list(small.problems(HERE)) == []
    for path in [*Path(small.model).glob("tokenizer*"), *Path(small.model).glob("spm_char.model")]:
        os.remove(path)
    (line,) = small.problems(HERE)
    assert "holds no tokenizer" in line


def test_pictures_are_drawn_of_special_tokens_as_of_any_text(tmp_path: Path) -> None:
    from armada_teacher_diffusers.image import StableDiffusion
    from armada_teacher_diffusers.options import StableDiffusionOptions

    teacher = StableDiffusion(StableDiffusionOptions().smoke(tmp_path), Environment(offline=True, device="cpu", threads=1))
    tokenizer = teacher.pipeline.tokenizer
    tokens = tokenizer("an <|endoftext|> here")["input_ids"]
    assert tokens.count(tokenizer.eos_token_id) == 1
    assert teacher.represent(["an <|endoftext|> here"]).shape == (1, 16)
