"""Models of the Hugging Face hub or of local folders, as options of teachers and students see them.

Everything here is cheap: `armada check` says what is missing, damaged or still to be fetched without importing a library of
the hub. A *place* is what `from_pretrained` is given: a folder in the format that `save_pretrained` writes, or a model id.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from armada_cli.content import content_fingerprint
from armada_cli.contracts import Environment
from armada_cli.errors import UserError, name_error, one_line
from armada_cli.models import pickled
from armada_cli.models.own_code import needs_own_code
from armada_cli.models.weights import damage

# transformers would ask a service on the web to convert weights that exist only as *.bin, with the user's token (`loadable`
# does it on this machine).
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"

OWN_CODE = "it needs Python code of its own, and code from model folders is never run"
OTHER_MODEL = "Take a model whose classes are in the installed libraries"
"""What is said of a model whose class only its own folder defines, and what to do."""

ADAPTER = "adapter_config.json"
"""What peft writes beside an adapter's weights."""

PIPELINE = "model_index.json"
"""What the folder of a diffusers pipeline holds in place of ``config.json``."""


def local_folder(place: str) -> Path | None:
    """The folder, when the place is one on this machine. A name that does not read as a path is the hub's, even where the
    working directory has a folder of that name: what a recipe means must not depend on where the command is typed. (A folder
    beside the recipe has become an absolute path when the recipe was read, see `place` of `armada_cli.option`.)"""
    path = os.path.expanduser(place)
    return Path(path) if looks_local(place) and os.path.isdir(path) else None


def looks_local(place: str) -> bool:
    """Whether the place was meant to be a folder, there or not."""
    return place.startswith((".", "/", "~")) or os.path.isabs(place)


def identity(place: str) -> str:
    """What stands for the weights in an identity: a folder's content, or the hub's name of them."""
    folder = local_folder(place)
    return content_fingerprint(folder) if folder else place


def problems(place: str, index: str = "config.json") -> Iterable[str]:
    """What is wrong with a local folder of weights; nothing for a model id.

    Args:
        index: the file that such a folder must hold; `PIPELINE` for a diffusers pipeline.
    """
    folder = local_folder(place)
    if folder is None:
        if looks_local(place):
            yield f"there is no folder {place!r}"
        else:
            yield from shadowed(place)
        return
    if not (folder / index).is_file():
        yield f"{folder} holds no {index}; name a folder that save_pretrained wrote"
        return
    if own := list(own_code_problems(folder, str(folder), index)):
        yield from own
        return
    parts = [folder] if index != PIPELINE else sorted(path for path in folder.iterdir() if path.is_dir())
    if not any(any(part.glob("*.safetensors")) or pickled.is_pickled(part) for part in parts):
        yield f"{folder} holds no weights (*.safetensors or pytorch_model*.bin); save the model with save_pretrained"
    yield from pickled.problems(folder)
    for part in parts:
        if (part / ADAPTER).is_file():
            # transformers would load it too, and the model that it names in place of this one
            yield f"model: {part} holds an adapter; merge it first (armada export --merge), or take {ADAPTER} out"
        if damaged := damage(part):
            yield f"damaged weights in {part}, {damaged}; copy or save them again"


def own_code_problems(folder: Path, name: str, index: str = "config.json") -> Iterable[str]:
    """The line about a model whose folder would have to run code of its own, under the name that the user gave it."""
    if needs_own_code(folder, index):
        yield f"{name}: {OWN_CODE}; {OTHER_MODEL[:1].lower()}{OTHER_MODEL[1:]}"


def shadowed(place: str) -> Iterable[str]:
    """About a hub's name that a folder in the working directory has too: the hub's packages would take that folder."""
    if os.path.isdir(place):
        yield (
            f"the working directory holds a folder {place!r}, which would be loaded in place of the hub's model; "
            "write its whole path to mean the folder, or start the command elsewhere to mean the hub's"
        )


def cache_home() -> Path:
    """Where the hub's packages keep what they fetched: ``HF_HOME``, or ``huggingface`` in the user's cache."""
    return Path(os.environ.get("HF_HOME", Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface")).expanduser()


def snapshot(place: str, revision: str | None = None, index: str = "config.json") -> Path | None:
    """The folder in which the hub's cache on this machine holds a model; None when it holds none of this revision.

    A branch or a tag is the commit that it was when it was fetched last, as for the loaders when they are offline.

    Args:
        revision: branch, tag or commit; None is the main branch.
        index: the file that the folder must hold.
    """
    cache = Path(os.environ.get("HF_HUB_CACHE", cache_home() / "hub")).expanduser()
    repository, name = cache / f"models--{place.replace('/', '--')}", revision or "main"
    if ".." in name.split("/"):
        return None
    try:
        commit = (repository / "refs" / name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):  # a commit has no file of its own
        commit = name
    folder = repository / "snapshots" / commit
    return folder if commit and (folder / index).is_file() else None


def model_folder(place: str, revision: str | None = None, index: str = "config.json") -> Path | None:
    """A model's files on this machine: its local folder, or its `snapshot`; None when they are still to be fetched."""
    return local_folder(place) or snapshot(place, revision, index)


def cached(place: str, revision: str | None = None, index: str = "config.json") -> bool:
    """Whether the hub's cache on this machine holds this revision of the model."""
    return snapshot(place, revision, index) is not None


def downloads(place: str, revision: str | None = None, index: str = "config.json") -> Iterable[str]:
    """The model, when it is neither a folder nor in the cache."""
    if local_folder(place) is None and not cached(place, revision, index):
        at = f", revision {revision}," if revision else ""
        yield f"model {place}{at} from the Hugging Face hub"


def loadable(
    subject: str, place: str, environment: Environment, revision: str | None = None, index: str = "config.json"
) -> str:
    """What `from_pretrained` is to be given for a place: the place itself, or a folder in the user's cache with the weights as
    safetensors, for a folder or a model of the hub that has them only as ``*.bin`` (see `armada_cli.models.pickled`).

    Args:
        subject: who needs it, as in ``teacher stable-diffusion``.

    Raises:
        UserError: the weights are damaged, hold more than tensors, or cannot be written.
    """
    folder = local_folder(place)
    if folder is None and not looks_local(place):
        folder = _pickled_snapshot(subject, place, revision, environment, index)
    if folder is None:
        return place
    return str(pickled.converted(folder, subject))


def _pickled_snapshot(subject: str, place: str, revision: str | None, environment: Environment, index: str) -> Path | None:
    """The folder of a hub model whose weights are all or in part pickled, fetched now where downloads are on; None for any
    other, and where the hub does not answer: what the loader then says is to the point."""
    if environment.offline:
        folder = snapshot(place, revision, index)
        return folder if folder is not None and pickled.parts(folder) else None
    wanted, commit = _pickled_files(place, revision or "main", index)
    if not wanted:
        return None
    if (folder := _fetched.get((place, commit))) is not None:
        return folder
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(place, revision=commit, allow_patterns=list(wanted)))
    except Exception as error:
        raise cannot_load(subject, place, "weights", error, environment) from error
    return _fetched.setdefault((place, commit), folder)


_fetched: dict[tuple[str, str], Path] = {}
"""(model, commit) -> its folder, of what this process has fetched: each trial asks, and the hub's client would ask the hub."""


@functools.cache
def _pickled_files(place: str, revision: str, index: str) -> tuple[tuple[str, ...], str]:
    """Which files of a model to fetch when its weights are pickled, none otherwise; and of which commit. The hub is asked once
    in a process, whether it answers or not: a run is of one commit, and does not wait for a lost connection in each trial."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(place, revision=revision)
    except Exception:  # not there, gated, no connection, a mirror that answers less
        return (), revision
    names = [item.rfilename for item in info.siblings or ()]
    return tuple(pickled.wanted(names, pipeline=index == PIPELINE)), info.sha or revision


def cannot_load(subject: str, place: str, what: str, error: Exception, environment: Environment) -> UserError:
    """The one line for a failed `from_pretrained`.

    Args:
        subject: who needs it, as in ``teacher stable-diffusion``.
        what: the part that failed: ``tokenizer``, ``weights``, ``pipeline``.
    """
    text = one_line(error)
    if "trust_remote_code" in text:  # what transformers and diffusers say of a model that is to bring its own code
        return UserError(f"{subject} {place}: {OWN_CODE}", OTHER_MODEL)
    if local_folder(place) is not None:
        if "safetensors" in type(error).__name__.lower() or "header" in text.lower():
            return UserError(
                f"{subject} folder {place}: the {what} are damaged ({one_line(text, 120)})", "Copy or save them again"
            )
        return UserError(
            f"{subject} folder {place}: no usable {what} ({name_error(error, 160)})",
            "It must be a folder that save_pretrained wrote, with *.safetensors and all that belongs to it",
        )
    if environment.offline:
        return UserError(
            f"{subject} {place}: not on this machine, and downloads are off (HF_HUB_OFFLINE)",
            f"Fetch it elsewhere with `hf download {place}` and name the folder, or go online",
        )
    if "gated" in text.lower() or "401" in text or "403" in text:
        return UserError(
            f"{subject} {place}: the hub does not hand it out to you ({one_line(text, 120)})",
            f"Accept its licence at https://huggingface.co/{place}, then `hf auth login`",
        )
    return UserError(
        f"{subject} {place}: the {what} could not be fetched ({name_error(error, 160)})",
        "Check the name and the connection, or name a local folder",
    )


def require_weights(subject: str, place: str, model: Any, report: Mapping[str, Any], *, new_head: bool) -> None:
    """transformers draws what a checkpoint lacks at random and says so in a warning alone: right for a new head and its
    pooler, a silent loss of the pre-training for anything else.

    Args:
        model: what was loaded; report: the loading info that came with it.
        new_head: whether the model's head (and pooler) are meant to be new.

    Raises:
        UserError: the checkpoint lacks tensors of the model, or has them in another shape.
    """
    lacking = {str(key) for key in report["missing_keys"]}
    lacking |= {str(item[0] if isinstance(item, (tuple, list)) else item) for item in report["mismatched_keys"]}
    body = f"{getattr(model, 'base_model_prefix', '')}."
    if new_head and body != ".":
        lacking = {key for key in lacking if key.startswith(body) and ".pooler." not in key}
    if lacking:
        raise UserError(
            f"{subject} {place}: its weights lack {len(lacking)} of the model's tensors, or have them in another shape; the "
            f"first is {min(lacking)}",
            "The config.json and the *.safetensors must be of one model",
        )


def draw_new_head(model: Any) -> None:
    """Draw what lies outside the body of a transformers model anew, from torch's global generator: linear layers with the
    spread that the model's configuration names and biases of 0, as transformers does. What is tied to the body stays."""
    from torch import nn

    body = getattr(model, model.base_model_prefix, None)
    kept = {id(weight) for weight in body.parameters()} if body is not None else set()
    spread = getattr(model.config.get_text_config(), "initializer_range", 0.02)
    for child in model.children():
        for layer in child.modules() if child is not body else ():
            own = [weight for weight in layer.parameters(recurse=False) if id(weight) not in kept]
            if isinstance(layer, nn.Linear) and any(weight is layer.weight for weight in own):
                nn.init.normal_(layer.weight, std=spread)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
            elif own and hasattr(layer, "reset_parameters"):
                layer.reset_parameters()


@contextmanager
def quiet() -> Iterator[None]:
    """Loading without the libraries' bars and lists of new weights: they are meant to be new, and would bury what matters.
    And without a question whether a model's own code may run (see `never_ask`)."""
    from transformers.utils import logging as chatter

    verbosity, bars = chatter.get_verbosity(), chatter.is_progress_bar_enabled()
    other = logging.getLogger("diffusers")
    level = other.level
    chatter.set_verbosity_error()
    chatter.disable_progress_bar()
    other.setLevel(logging.ERROR)
    try:
        with never_ask():
            yield
    finally:
        chatter.set_verbosity(verbosity)
        if bars:
            chatter.enable_progress_bar()
        other.setLevel(level)


@contextmanager
def never_ask() -> Iterator[None]:
    """transformers raises an error where it would ask on standard input whether a model's own code may run. Every call here
    says `trust_remote_code=False`; but a model of several parts, and diffusers, load their parts with calls that do not."""
    from transformers import dynamic_module_utils

    seconds = dynamic_module_utils.TIME_OUT_REMOTE_CODE
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0  # how long it waits for an answer; at 0 it does not ask
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = seconds
