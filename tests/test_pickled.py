"""Weights that exist only as pickled tensors (`pytorch_model.bin`): read by torch's restricted loader, converted once."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from armada_cli import Environment, UserError
from armada_cli.models import hub, packaged, pickled, tiny
from tests.running import armada

OFFLINE = Environment(offline=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def nothing_asked_yet() -> None:
    """What this process has asked the hub."""
    hub._pickled_files.cache_clear()
    hub._fetched.clear()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT as `save_pretrained` writes it today."""
    from transformers import BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("saved") / "bert"
    size = tiny.save_letters_tokenizer(folder)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    BertForMaskedLM(config).save_pretrained(folder)
    return folder


def as_bin(saved: Path, folder: Path, shards: int = 1, legacy: bool = False, extra: dict[str, Any] | None = None) -> Path:
    """The same folder with its weights pickled, as versions of transformers before safetensors wrote it: with the tied output
    layer under its own name too, sharing memory."""
    shutil.copytree(saved, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    tensors: dict[str, Any] = dict(load_file(saved / "model.safetensors"))
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
    tensors |= extra or {}
    if shards == 1:
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
        return folder
    names = list(tensors)
    where = {}
    for number in range(shards):
        file = f"pytorch_model-{number + 1:05d}-of-{shards:05d}.bin"
        torch.save({name: tensors[name] for name in names[number::shards]}, folder / file)
        where |= dict.fromkeys(names[number::shards], file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def hidden(folder: str | Path) -> torch.Tensor:
    from transformers import BertModel

    model = BertModel.from_pretrained(folder, use_safetensors=True, trust_remote_code=False).eval()
    with torch.no_grad():
        return model(torch.arange(12).reshape(2, 6)).last_hidden_state


@pytest.mark.parametrize("how", [{}, {"shards": 3}, {"legacy": True}], ids=["single", "sharded", "before torch 1.6"])
def test_a_folder_of_pickled_weights_gives_the_bits_of_its_safetensors(
    saved: Path, tmp_path: Path, how: dict[str, Any]
) -> None:
    folder = as_bin(saved, tmp_path / "bin", **how)
    assert list(hub.problems(str(folder))) == []
    place = hub.loadable("student", str(folder), OFFLINE)
    assert torch.equal(hidden(place), hidden(saved))
    assert not any(path.suffix == ".bin" for path in Path(place).iterdir())
    assert not list(folder.glob("*.safetensors"))  # the source is left as it was


def test_it_is_converted_once_beside_a_note_of_what_it_was(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = as_bin(saved, tmp_path / "bin", shards=2)
    place = Path(hub.loadable("student", str(folder), OFFLINE))
    assert "converted once to safetensors" in capsys.readouterr().err
    times = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}
    assert hub.loadable("student", str(folder), OFFLINE) == str(place)
    assert {path.name: path.stat().st_mtime_ns for path in place.iterdir()} == times
    assert capsys.readouterr().err == ""
    note = json.loads((place / "source.json").read_text())
    assert sorted(note["files"]) == ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    assert all(value.startswith("sha256:") for value in note["files"].values())


def test_other_weights_of_the_same_size_and_another_configuration_are_converted_anew(saved: Path, tmp_path: Path) -> None:
    folder = as_bin(saved, tmp_path / "bin")
    first = hub.loadable("student", str(folder), OFFLINE)
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    tensors["bert.embeddings.word_embeddings.weight"] += 1
    torch.save(tensors, folder / "pytorch_model.bin")
    second = hub.loadable("student", str(folder), OFFLINE)
    assert second != first
    assert not torch.equal(hidden(second), hidden(first))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    assert hub.loadable("student", str(folder), OFFLINE) not in (first, second)


@pytest.mark.parametrize("damage", ["no header", "one bit"])
def test_a_damaged_conversion_is_made_again(saved: Path, tmp_path: Path, damage: str) -> None:
    """One bit of a weight changes what is trained, and nothing else would tell."""
    folder = as_bin(saved, tmp_path / "bin")
    weights = Path(hub.loadable("student", str(folder), OFFLINE)) / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(b"\0" * 40 if damage == "no header" else content[:-1] + bytes([content[-1] ^ 64]))
    assert torch.equal(hidden(hub.loadable("student", str(folder), OFFLINE)), hidden(saved))


def test_safetensors_win_where_both_are_there(saved: Path, tmp_path: Path) -> None:
    folder = as_bin(saved, tmp_path / "both")
    shutil.copy(saved / "model.safetensors", folder)
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    assert hub.loadable("student", str(folder), OFFLINE) == str(folder)


# ---------------------------------------------------------------------------------------------- several, and killed ones

FORKS = multiprocessing.get_context("fork") if "fork" in multiprocessing.get_all_start_methods() else None
forking = pytest.mark.skipif(FORKS is None, reason="a second process that has torch already needs fork")


def convert_slowly(folder: Path, begin: Any, places: Any, locked: bool) -> None:
    """In a process of its own: tells where the conversion lies and whether this process made it."""
    import safetensors.torch as safe

    write, made = safe.save_file, []

    def slow(*all: Any, **how: Any) -> None:
        made.append(1)
        time.sleep(0.2)
        write(*all, **how)

    safe.save_file = slow
    if not locked:
        packaged.fcntl = None  # type: ignore[assignment]
    begin.wait(60)
    try:
        places.put((hub.loadable("student", str(folder), OFFLINE), len(made)))
    except Exception as error:
        places.put((repr(error), len(made)))


@forking
@pytest.mark.parametrize("locked", [True, False], ids=["one waits for the other", "where there are no locks"])
def test_two_processes_that_convert_one_folder_at_once_both_get_all_of_it(saved: Path, tmp_path: Path, locked: bool) -> None:
    assert FORKS is not None
    folder = as_bin(saved, tmp_path / "bin", shards=2)
    begin, places = FORKS.Barrier(2), FORKS.Queue()
    both = [FORKS.Process(target=convert_slowly, args=(folder, begin, places, locked)) for _ in range(2)]
    for process in both:
        process.start()
    told = [places.get(timeout=60) for _ in both]
    for process in both:
        process.join(60)
    assert len({place for place, _ in told}) == 1
    assert torch.equal(hidden(told[0][0]), hidden(saved))
    assert sorted(shards for _, shards in told) == ([0, 2] if locked else [2, 2])
    assert not list(Path(told[0][0]).parent.glob(".*"))


STEPS = {
    "before the first shard": ("safetensors.torch", "save_file", 0),
    "between two shards": ("safetensors.torch", "save_file", 1),
    "in the middle of a shard": ("safetensors.torch", "save_file", "half"),
    "before the note": ("armada_cli.models.pickled", "write_json", 0),
    "before it gets its name": ("armada_cli.models.pickled", "publish_folder", 0),
    "between the old and the new": ("armada_cli.files.os", "replace", 1),
}


def convert_and_die(folder: Path, module: str, name: str, when: Any) -> None:
    """In a process of its own: killed at a call of a function, so that nothing of it can clean up."""
    owner = resolve_name(module)
    real, calls = getattr(owner, name), []

    def die(*all: Any, **how: Any) -> Any:
        if when == "half":
            real(*all, **how)
            os.truncate(all[1], os.path.getsize(all[1]) // 2)
        if when in ("half", len(calls)):
            os.kill(os.getpid(), signal.SIGKILL)
        calls.append(1)
        return real(*all, **how)

    setattr(owner, name, die)
    hub.loadable("student", str(folder), OFFLINE)


@forking
@pytest.mark.parametrize("step", STEPS)
def test_a_conversion_that_was_killed_leaves_nothing_that_a_later_one_trusts(saved: Path, tmp_path: Path, step: str) -> None:
    assert FORKS is not None
    folder = as_bin(saved, tmp_path / "bin", shards=2)
    killed = FORKS.Process(target=convert_and_die, args=(folder, *STEPS[step]))
    killed.start()
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    models = tmp_path / "cache/armada/models"
    assert list(models.glob(".*"))  # its unfinished work
    assert not list(models.glob("converted-*/"))
    place = Path(hub.loadable("student", str(folder), OFFLINE))
    assert torch.equal(hidden(place), hidden(saved))
    assert sorted(path.name for path in models.iterdir()) == [place.name, f"{place.name}.lock"]


def test_weights_that_change_while_they_are_converted_are_not_taken_for_the_old_ones(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = as_bin(saved, tmp_path / "bin")
    read = pickled._read

    def read_later(path: Path, subject: str) -> Any:
        tensors = dict(read(path, subject))
        torch.save({name: value + 1 for name, value in tensors.items() if value.is_floating_point()}, path)
        return {name: value.clone() for name, value in tensors.items()}

    monkeypatch.setattr(pickled, "_read", read_later)
    with pytest.raises(UserError, match="changed while they were read"):
        hub.loadable("student", str(folder), OFFLINE)
    monkeypatch.setattr(pickled, "_read", read)
    expected = torch.load(folder / "pytorch_model.bin", weights_only=True)
    made = load_file(Path(hub.loadable("student", str(folder), OFFLINE)) / "model.safetensors")
    assert all(torch.equal(made[name], value) for name, value in expected.items())


# ------------------------------------------------------------------------------------------------------------- malicious


class Marker:
    """What a pickle can do: any call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("shards", [1, 2])
def test_a_file_that_holds_more_than_tensors_is_refused_and_nothing_in_it_runs(
    saved: Path, tmp_path: Path, legacy: bool, shards: int
) -> None:
    if legacy and shards > 1:
        pytest.skip("files of that time were not sharded")
    folder = as_bin(saved, tmp_path / "bin", shards, legacy, extra={"more": Marker(tmp_path / "it-ran")})
    with pytest.raises(UserError, match=r"pytorch_model\S*\.bin holds more than tensors"):
        hub.loadable("student", str(folder), OFFLINE)
    assert not (tmp_path / "it-ran").exists()
    assert not list((tmp_path / "cache/armada/models").glob("converted-*/*"))


@pytest.mark.parametrize("more", [{"steps": 3}, {"text": "a"}, {"list": [torch.zeros(2)]}], ids=["number", "text", "list"])
def test_what_is_no_tensor_is_refused_too(saved: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    folder = as_bin(saved, tmp_path / "bin", extra=more)
    with pytest.raises(UserError, match="holds more than tensors"):
        hub.loadable("student", str(folder), OFFLINE)


@pytest.mark.parametrize("damage", ["cut", "text", "pointer of git lfs"])
def test_a_damaged_file_is_one_line(saved: Path, tmp_path: Path, damage: str) -> None:
    folder = as_bin(saved, tmp_path / "bin")
    file = folder / "pytorch_model.bin"
    content = file.read_bytes()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4\n"
    file.write_bytes(
        {"cut": content[: len(content) // 2], "text": b"<html>not found</html>", "pointer of git lfs": pointer}[damage]
    )
    with pytest.raises(UserError, match="is damaged, or no file of weights"):
        hub.loadable("student", str(folder), OFFLINE)


def test_a_missing_shard_and_an_empty_file_are_found_by_check(saved: Path, tmp_path: Path) -> None:
    folder = as_bin(saved, tmp_path / "bin", shards=2)
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    assert any("pytorch_model-00002-of-00002.bin: it is missing" in line for line in hub.problems(str(folder)))
    with pytest.raises(UserError, match=r"00002-of-00002\.bin: it is missing"):
        hub.loadable("student", str(folder), OFFLINE)
    empty = as_bin(saved, tmp_path / "empty")
    (empty / "pytorch_model.bin").write_bytes(b"")
    assert any("it is empty" in line for line in hub.problems(str(empty)))


def test_an_index_cannot_lead_out_of_its_folder(saved: Path, tmp_path: Path) -> None:
    folder = as_bin(saved, tmp_path / "bin", shards=2)
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../secret.bin"}}))
    assert any("which is no file of weights" in line for line in hub.problems(str(folder)))


def test_a_full_disk_is_one_line(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = as_bin(saved, tmp_path / "bin")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(UserError, match="No space left on device"):
        hub.loadable("student", str(folder), OFFLINE)


@pytest.mark.parametrize("kind", ["classification", "multiple-choice"])
def test_an_encoder_trains_from_pickled_weights_and_a_run_says_what_is_wrong_before_it_starts(
    saved: Path, tmp_path: Path, kind: str
) -> None:
    from armada_cli import Problem
    from armada_cli.registry import catalog

    folder = as_bin(saved, tmp_path / "bin")
    card = catalog.current().find("student", "encoder").component
    logits = []
    for place in (folder, saved):
        student = card.load()(card.options(model=str(place)), OFFLINE)
        problem = Problem(kind, 2, ("a", "b") if kind == "classification" else ())
        torch.manual_seed(1)
        model = student.build(problem).eval()
        rows = [("a b", "c d", "e")] if kind == "multiple-choice" else [("a b c",)]
        with torch.no_grad():
            logits.append(student.forward(model, student.pad(student.encode(rows, problem))).logits)
    assert torch.equal(*logits)


def test_a_malicious_student_ends_a_run_before_its_first_trial(recipe: Any, saved: Path, tmp_path: Path) -> None:
    folder = as_bin(saved, tmp_path / "bin", extra={"more": Marker(tmp_path / "it-ran")})
    path = recipe(student=f"{{name: encoder, model: {folder}}}", methods="[undistilled]")
    ended = armada("run", path, "--runs", tmp_path / "runs", "--workers", "0")
    assert ended.status == 2
    assert "holds more than tensors" in ended.complaint
    assert not (tmp_path / "it-ran").exists()
    assert not list(tmp_path.glob("runs/trials/*"))


def test_parts_of_a_pipeline_are_converted_and_the_others_taken_over(tmp_path: Path) -> None:
    from diffusers import AutoencoderKL

    folder = tmp_path / "pipeline"
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"block_out_channels": (8,), "norm_num_groups": 4, "latent_channels": 2}
    AutoencoderKL(**sizes).save_pretrained(folder / "vae")
    expected = load_file(folder / "vae/diffusion_pytorch_model.safetensors")
    shutil.copytree(folder / "vae", folder / "other")
    torch.save(expected, folder / "vae/diffusion_pytorch_model.bin")
    (folder / "vae/diffusion_pytorch_model.safetensors").unlink()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    assert list(hub.problems(str(folder), hub.PIPELINE)) == []
    place = Path(hub.loadable("teacher", str(folder), OFFLINE, index=hub.PIPELINE))
    assert place != folder
    assert (place / "other/diffusion_pytorch_model.safetensors").is_file()
    loaded = AutoencoderKL.from_pretrained(place / "vae", use_safetensors=True).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


# ------------------------------------------------------------------------------------------------------------- the hub

OPT = ["config.json", "pytorch_model.bin", "flax_model.msgpack", "tf_model.h5", "vocab.json", "merges.txt", "README.md"]
BOTH = ["config.json", "pytorch_model.bin", "model.safetensors", "tokenizer.json"]
PIPELINE = [
    "model_index.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.bin",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.fp16.safetensors",
    "tokenizer/vocab.json",
    "sd-v1.ckpt",
]


def test_of_a_repository_only_what_is_needed_is_fetched() -> None:
    assert pickled.wanted(OPT, pipeline=False) == ["config.json", "pytorch_model.bin", "vocab.json", "merges.txt"]
    assert pickled.wanted(BOTH, pipeline=False) == []
    assert pickled.wanted(PIPELINE, pipeline=True) == [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.bin",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "tokenizer/vocab.json",
    ]


def test_a_hub_model_without_safetensors_is_fetched_and_converted(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = as_bin(saved, tmp_path / "snapshot")
    asked: list[Any] = []

    class Api:
        def model_info(self, place: str, revision: str) -> Any:
            asked.append((place, revision))
            return SimpleNamespace(sha="c0ffee", siblings=[SimpleNamespace(rfilename=path.name) for path in folder.iterdir()])

    def fetch(place: str, revision: str, allow_patterns: list[str]) -> str:
        asked.append((place, revision, "pytorch_model.bin" in allow_patterns))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    place = hub.loadable("student", "someone/model", Environment(), revision="v2")
    assert asked == [("someone/model", "v2"), ("someone/model", "c0ffee", True)]
    assert torch.equal(hidden(place), hidden(saved))


def test_a_model_of_the_cache_is_converted_without_the_network(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: 1 / 0)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: 1 / 0)
    repository = tmp_path / "models--someone--model"
    as_bin(saved, repository / "snapshots/c0ffee")
    (repository / "refs").mkdir()
    (repository / "refs/v2").write_text("c0ffee")
    for revision in ("v2", "c0ffee"):
        assert torch.equal(hidden(hub.loadable("student", "someone/model", OFFLINE, revision)), hidden(saved))
    assert hub.loadable("student", "someone/model", OFFLINE) == "someone/model"  # the main branch is not here


@pytest.mark.parametrize("answers", ["bin", "safetensors", "nothing"])
def test_the_hub_is_asked_once_however_many_trials_there_are(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: str
) -> None:
    folder = as_bin(saved, tmp_path / "snapshot")
    asked = []

    class Api:
        def model_info(self, place: str, revision: str) -> Any:
            asked.append("which files")
            if answers == "nothing":
                raise OSError("no connection")
            return SimpleNamespace(sha="c0ffee", siblings=[SimpleNamespace(rfilename=name) for name in names])

    def fetch(place: str, **_: Any) -> str:
        asked.append("the files")
        return str(folder)

    names = [path.name for path in (folder if answers == "bin" else saved).iterdir()]
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    places = {hub.loadable("student", "someone/model", Environment()) for _ in range(5)}
    assert len(places) == 1
    assert asked == (["which files", "the files"] if answers == "bin" else ["which files"])


def test_transformers_may_ask_no_service_to_convert() -> None:
    """It reads this variable whenever a repository has no safetensors."""
    assert os.environ["DISABLE_SAFETENSORS_CONVERSION"] == "1"
