"""A model of the hub is judged by the files of the revision that a recipe asks for, not by those that were fetched last."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from armada_student_decoders.options import DecoderOptions
from armada_student_encoders.options import EncoderOptions
from armada_teacher_diffusers.options import MidjourneyOptions, StableDiffusionOptions
from armada_teacher_image_api.options import ImageApiOptions
from armada_teacher_posters.options import PostersOptions
from armada_teacher_speecht5.options import SpeechT5Options

from armada_cli import Environment
from armada_cli.models import architectures, hub

HERE = Environment(offline=True)
OLD, NEW, OTHER = "0" * 40, "1" * 40, "2" * 40
REVISIONS = {"main": OLD, "v2": NEW, "refs/pr/7": OTHER}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model in the hub's cache as its client leaves it: two, four and six layers deep; the main branch's is the oldest."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--owner--it"
    for number, (name, commit) in enumerate(REVISIONS.items()):
        reference, snapshot = folder / "refs" / name, folder / "snapshots" / commit
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit)
        snapshot.mkdir(parents=True)
        sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 10}
        config = {"model_type": "llama", "num_hidden_layers": 2 * number + 2, **sizes}
        (snapshot / "config.json").write_text(json.dumps(config))
        (snapshot / "vocab.txt").write_text("a\nb\n")
        os.utime(snapshot, (number, number))
    return folder


@pytest.mark.parametrize("revision", [None, "main", "v2", "refs/pr/7", OLD, NEW, OTHER, "v3", "3" * 40, "../refs"])
def test_a_revision_is_found_where_the_hubs_own_client_finds_it(repository: Path, revision: str | None) -> None:
    from huggingface_hub import try_to_load_from_cache

    theirs = try_to_load_from_cache("owner/it", "config.json", cache_dir=repository.parent, revision=revision)
    folder = hub.snapshot("owner/it", revision)
    assert (str(folder / "config.json") if folder else None) == theirs


@pytest.mark.parametrize(("revision", "deep"), [(None, 2), ("v2", 4), (NEW, 4), ("refs/pr/7", 6)])
@pytest.mark.parametrize("options", [EncoderOptions, DecoderOptions])
def test_a_student_is_judged_by_its_revision(repository: Path, options: Any, revision: str | None, deep: int) -> None:
    assert architectures.depth(architectures.read_config("owner/it", revision)) == deep
    own = {"export": "merged"} if options is DecoderOptions else {}
    asked = [options(model="owner/it", revision=revision, layers=layers, **own) for layers in (deep, deep + 1)]
    assert list(asked[0].problems(HERE)) == []
    (line,) = asked[1].problems(HERE)
    assert line.startswith(f"layers: {deep + 1} are asked for and the model has {deep}")
    assert list(options(model="owner/it", revision=revision).downloads(HERE)) == []


def test_a_tokenizer_and_own_code_are_those_of_the_revision(repository: Path) -> None:
    (repository / "snapshots" / NEW / "vocab.txt").unlink()
    config = json.loads((repository / "snapshots" / OTHER / "config.json").read_text())
    own = config | {"model_type": "own-kind", "auto_map": {"AutoConfig": "own.Own"}}
    (repository / "snapshots" / OTHER / "config.json").write_text(json.dumps(own))
    said = {revision: list(EncoderOptions(model="owner/it", revision=revision).problems(HERE)) for revision in REVISIONS}
    assert said["main"] == []
    assert "holds no tokenizer" in said["v2"][0]
    assert "needs Python code of its own" in said["refs/pr/7"][0]


def test_the_size_of_a_decoder_is_that_of_the_revision(repository: Path) -> None:
    assert DecoderOptions(model="owner/it", revision="v2").size()["layers"] == 4
    assert DecoderOptions(model="owner/it").size()["layers"] == 2


@pytest.mark.parametrize(
    ("options", "index"),
    [
        (EncoderOptions, "config.json"),
        (DecoderOptions, "config.json"),
        (PostersOptions, "config.json"),
        (SpeechT5Options, "config.json"),
        (StableDiffusionOptions, "model_index.json"),
    ],
)
def test_a_revision_that_is_not_here_is_still_to_be_fetched(repository: Path, options: Any, index: str) -> None:
    for commit in REVISIONS.values():
        (repository / "snapshots" / commit / index).touch()
    own: dict[str, Any] = {"vocoder": "owner/it", "encoder": "owner/it"} if options is SpeechT5Options else {}
    assert list(options(model="owner/it", revision="v2", **own).downloads(HERE)) == []
    (line,) = options(model="owner/it", revision="v3", **own).downloads(HERE)
    assert line == "model owner/it, revision v3, from the Hugging Face hub"


def test_so_is_that_of_a_second_model(repository: Path) -> None:
    for commit in REVISIONS.values():
        (repository / "snapshots" / commit / "lora.safetensors").touch()
        (repository / "snapshots" / commit / "model_index.json").touch()
    places = {"model": "owner/it", "vocoder": "owner/it", "encoder": "owner/it"}
    lora = {"model": "owner/it", "lora": "owner/it", "lora_file": "lora.safetensors"}
    for missing in (
        SpeechT5Options(**places, vocoder_revision="v3"),
        SpeechT5Options(**places, encoder_revision="v3"),
        MidjourneyOptions(**lora, lora_revision="v3"),
        ImageApiOptions(encoder="owner/it", encoder_revision="v3"),
    ):
        assert len(list(missing.downloads(HERE))) == 1
    assert list(MidjourneyOptions(**lora, lora_revision="v2").downloads(HERE)) == []
