"""Tokenizer files: whether a model folder has a vocabulary at all, and whether its tokens fit the model's embeddings.

transformers makes a tokenizer of a folder without tokenizer files: one that knows its special tokens and nothing else, on which
a model trains without a word. And a token that has no row in the embeddings is an index error in the middle of a training. What
files can tell is told from them, without torch; `require_usable` asks a loaded tokenizer the same.
"""

from __future__ import annotations

import functools
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from armada_cli.contracts import Environment, fingerprint
from armada_cli.errors import UserError
from armada_cli.models import architectures, hub
from armada_cli.reading import load_json, read_bytes

FORMS: tuple[tuple[str, ...], ...] = (
    ("tokenizer.json",),
    ("vocab.txt",),
    ("vocab.json", "merges.txt"),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("sentencepiece.model",),
    ("spm.model",),
    ("spm_char.model",),
    ("tokenizer.model",),
    ("tekken.json",),
    ("source.spm", "vocab.json"),
    ("vocab-src.json", "merges.txt"),
    ("prophetnet.tokenizer",),
    ("byte_maps.json",),
)
"""The files of transformers' tokenizers; those of one line belong together."""

NAMES = (
    "tokenizer.json, vocab.txt, vocab.json with merges.txt, tokenizer.model or another *.model of sentencepiece, tekken.json"
)
"""`FORMS`, for messages."""

WITHOUT_VOCABULARY = ("ByT5Tokenizer", "CanineTokenizer", "PerceiverTokenizer")
"""Tokenizers of bytes and characters, which need no file."""

WITHOUT_TABLE = ("byt5", "canine", "perceiver")
"""Their models."""

MADE_UP = re.compile(r"\u2581|<extra_id_\d+>")
"""Tokens that transformers puts into a vocabulary without being told."""

AROUND = "token around a text"

ROLES = ("pad_token", "eos_token")
"""Special tokens that are put into inputs, beside those that a tokenizer itself puts around texts. Others (image tokens, masks,
an unknown token of a tokenizer that knows every byte) never occur, and published models have some without a row."""


def has_files(folder: Path) -> bool:
    """Whether a folder holds the vocabulary of a tokenizer, or of one that needs none."""
    if any(all((folder / name).is_file() for name in form) for form in FORMS) or any(folder.glob("*.tiktoken")):
        return True
    kind = str(_read(folder / "tokenizer_config.json").get("tokenizer_class", "")).removesuffix("Fast")
    return kind in WITHOUT_VOCABULARY or _read(folder / "config.json").get("model_type") in WITHOUT_TABLE


def lacking(folder: Path, name: str = "") -> Iterable[str]:
    """The line about a folder without tokenizer files; nothing for one that has them.

    Args:
        name: of the model, where the folder is not what the user named.
    """
    if not has_files(folder):
        yield f"{name or folder} holds no tokenizer ({NAMES}); save it beside the model with tokenizer.save_pretrained"


def problems(place: str, environment: Environment, revision: str | None = None) -> Iterable[str]:
    """What is wrong with the tokenizer of a local model folder, or of a model in the hub's cache; nothing where no file tells.

    What a cache lacks may still be fetched, unless downloads are off.
    """
    folder = hub.local_folder(place)
    cached = hub.snapshot(place, revision) if folder is None else None
    if cached is not None and (own := list(hub.own_code_problems(cached, place))):
        yield from own
        return
    if folder is not None or (cached is not None and (environment.offline or has_files(cached))):
        yield from problems_of_folder(folder or cached or Path(place))


def problems_of_folder(folder: Path, name: str = "") -> Iterable[str]:
    """What is wrong with the tokenizer of a model folder; `name` as in `lacking`."""
    config = _read(folder / "config.json")
    if not config:
        return
    without = list(lacking(folder, name))
    yield from without
    if not without and (rows := rows_of(config)) is not None:
        used, size = read_ids(folder)
        padding = architectures.text_part(config).get("pad_token_id")
        yield from misfits(name or str(folder), rows, used, size, padding if isinstance(padding, int) else None)


def problems_before_fetching(place: str, revision: str | None, environment: Environment) -> Iterable[str]:
    """What is wrong with the tokenizer of a model that is still to be fetched: its small files are looked at and thrown away.

    Raises:
        UserError: the hub does not hand them out.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    wanted = sorted({"config.json", "*.tiktoken", *CONFIGURATIONS, *(name for form in FORMS for name in form)})
    shown = not are_progress_bars_disabled()
    with tempfile.TemporaryDirectory(prefix="armada-look-") as folder:
        disable_progress_bars()
        try:
            snapshot_download(place, revision=revision, local_dir=folder, allow_patterns=wanted)
        except Exception as error:
            raise hub.cannot_load("model", place, "configuration", error, environment) from error
        finally:
            if shown:
                enable_progress_bars()
        own = list(hub.own_code_problems(Path(folder), place))
        yield from own or problems_of_folder(Path(folder), place)


def rows_of(config: Mapping[str, Any]) -> int | None:
    """Rows of a model's token embeddings; None for a model without such a table, or where the configuration does not say."""
    config = architectures.text_part(config)
    rows = next((config[name] for name in ("vocab_size", "n_words", "n_tokens") if isinstance(config.get(name), int)), None)
    return None if config.get("model_type") in WITHOUT_TABLE else rows


def misfits(place: str, rows: int, used: Mapping[str, int], size: int, padding: int | None) -> Iterator[str]:
    """The line about tokens without a row in the embeddings; nothing where all that can occur have one.

    Args:
        rows: of the embeddings; size: tokens of the tokenizer.
        used: name -> id of the special tokens that are put into inputs; ``""`` is the largest id that texts are made of.
        padding: the padding token's id in the model's configuration.
    """
    number, name = max((number, name) for name, number in {"": -1, **used}.items())
    sizes = f"the tokenizer has {size} tokens and the model's embeddings have {rows} rows"
    if number >= rows:
        what = f", and the {name} has the id {number}" if used.get("", -1) < rows else ""
        yield (
            f"{place}: {sizes}{what}; take the tokenizer that belongs to the model, or enlarge the embeddings with "
            "model.resize_token_embeddings(len(tokenizer)) and save both"
        )
    elif padding is not None and padding >= rows:
        yield f"{place}: {sizes}, and config.json says pad_token_id {padding}; write the id of the tokenizer's padding token"


# ------------------------------------------------------------------------------------------------------------- files


def read_ids(folder: Path) -> tuple[dict[str, int], int]:
    """From tokenizer files: what can occur (see `misfits`), and the number of tokens. Those that a library adds to a file's are
    not counted: only what is certain is."""
    files = [folder / name for name in (*{name for form in FORMS for name in form}, *CONFIGURATIONS)]
    stamp = tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files if path.is_file())
    used, size = _read_ids(folder, stamp)
    return dict(used), size


CONFIGURATIONS = ("tokenizer_config.json", "added_tokens.json", "special_tokens_map.json")


@functools.lru_cache(maxsize=16)
def _read_ids(folder: Path, stamp: tuple[Any, ...]) -> tuple[dict[str, int], int]:
    settings, core = _read(folder / "tokenizer_config.json"), _read(folder / "tokenizer.json")
    if core:
        used, everything = core_ids(core)
    else:
        largest = _largest_of_files(folder)
        used, everything = {"": largest}, {"": largest}
    special = {str(token.get("content")) for token in core.get("added_tokens", ()) if token.get("special")}
    special |= set(_roles(settings).values()) | set(_roles(_read(folder / "special_tokens_map.json")).values())
    added = {str(token): number for token, number in _read(folder / "added_tokens.json").items() if isinstance(number, int)}
    for number, token in (settings.get("added_tokens_decoder") or {}).items():
        added[str(token.get("content"))] = int(number)
        if token.get("special"):
            special.add(str(token.get("content")))
    everything |= added
    for token, number in added.items():
        if token not in special:
            used[""] = max(used.get("", -1), number)
    roles = {**_roles(_read(folder / "special_tokens_map.json")), **_roles(settings)}
    for role, token in roles.items():
        if token in everything:
            used[role] = everything[token]
    return used, max(everything.values(), default=-1) + 1


def stands_for_files(place: str, revision: str | None = None) -> str | None:
    """What `stands_for` gives for the tokenizer of a local model folder, or of a model in the hub's cache; None where that
    cannot be told from a ``tokenizer.json``."""
    folder = hub.model_folder(place, revision)
    try:
        known = (folder / "tokenizer.json").stat() if folder is not None else None
    except OSError:
        return None
    return None if folder is None or known is None else _digest_of_file(folder, known.st_mtime_ns, known.st_size)


@functools.lru_cache(maxsize=16)
def _digest_of_file(folder: Path, *stamp: int) -> str | None:
    core = _read(folder / "tokenizer.json")
    return _digest(*_plain_ids(core)) if core else None


def _plain_ids(core: Mapping[str, Any]) -> tuple[dict[str, int], int]:
    """Of a ``tokenizer.json`` the tokens that texts are made of, and the number of all: special ones are called differently in
    versions of one model, and no text is read as one of them."""
    _, everything = core_ids(core)
    special = {str(token["content"]) for token in core.get("added_tokens") or () if token.get("special")}
    plain = {token: number for token, number in everything.items() if token not in special}
    return plain, max(everything.values(), default=-1) + 1


def _digest(plain: Mapping[str, int], size: int) -> str:
    return fingerprint([size, sorted(plain.items())])


def core_ids(core: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Of a ``tokenizer.json``: what can occur, and every token with its id."""
    entries = (core.get("model") or {}).get("vocab") or {}
    known: dict[str, int] = (
        {str(token): int(number) for token, number in entries.items()}
        if isinstance(entries, Mapping)
        else {str(entry[0]): number for number, entry in enumerate(entries)}
    )
    added = core.get("added_tokens") or []
    special = {str(token["content"]) for token in added if token.get("special")}
    everything = known | {str(token["content"]): int(token["id"]) for token in added}
    used = {"": max((number for token, number in everything.items() if token not in special), default=-1)}
    for number in _framing(core.get("post_processor") or {}):
        used[AROUND] = max(used.get(AROUND, -1), number)
    return used, everything


def _framing(processor: Mapping[str, Any]) -> Iterator[int]:
    """Ids that a post-processor puts around texts."""
    for inner in processor.get("processors") or ():
        yield from _framing(inner)
    for token in (processor.get("special_tokens") or {}).values():
        yield from token.get("ids", ())
    for name in ("sep", "cls"):
        if name in processor:
            yield processor[name][1]


def _roles(settings: Mapping[str, Any]) -> dict[str, str]:
    tokens = {}
    for role in ROLES:
        token = settings.get(role)
        token = token.get("content") if isinstance(token, Mapping) else token
        if isinstance(token, str):
            tokens[role] = token
    return tokens


def _largest_of_files(folder: Path) -> int:
    """The largest id in the files of a tokenizer without ``tokenizer.json``; -1 where they do not tell."""
    if (folder / "vocab.json").is_file():
        return max((number for number in _read(folder / "vocab.json").values() if isinstance(number, int)), default=-1)
    if (folder / "vocab.txt").is_file():
        return len(read_bytes(folder / "vocab.txt").rstrip(b"\n").split(b"\n")) - 1
    for path in (folder / name for (name, *more) in FORMS if name.endswith(".model") and not more):
        if path.is_file():
            return count_pieces(read_bytes(path)) - 1
    return -1


def count_pieces(model: bytes) -> int:
    """Pieces of a sentencepiece model, the first field of its protocol buffer; 0 for what is none."""
    count = place = 0
    try:
        while place < len(model):
            tag, place = _varint(model, place)
            if tag & 7 == 2:
                length, place = _varint(model, place)
                place += length
                count += tag >> 3 == 1
            elif tag & 7 == 0:
                _, place = _varint(model, place)
            elif tag & 7 in (1, 5):
                place += 8 if tag & 7 == 1 else 4
            else:
                return 0
    except IndexError:
        return 0
    return count if place == len(model) else 0


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:  # the format's longest number has ten bytes; a run of thousands would take for ever
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
    raise IndexError


def _read(path: Path) -> dict[str, Any]:
    try:
        content = load_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


# ---------------------------------------------------------------------------------------------------------- loaded


def stands_for(tokenizer: Any) -> tuple[str, int]:
    """What stands for the tokens of a loaded tokenizer and their numbers, equal for two that read texts as the same numbers,
    and how many tokens it has."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        plain, size = _plain_ids(json.loads(backend.to_str()))
    else:
        known: dict[str, int] = dict(tokenizer.get_vocab())
        special = {str(token) for token in tokenizer.all_special_tokens}
        plain = {token: number for token, number in known.items() if token not in special}
        size = max(known.values(), default=-1) + 1
    return _digest(plain, size), size


def require_usable(subject: str, place: str, tokenizer: Any, config: Any = None) -> None:
    """What `problems` finds in files, of a loaded tokenizer and the configuration of its model.

    Raises:
        UserError: the tokenizer has no vocabulary, or tokens that the model has no row for.
    """
    known: dict[str, int] = dict(tokenizer.get_vocab())
    special = {str(token) for token in tokenizer.all_special_tokens}
    special |= {str(token) for token in getattr(tokenizer, "added_tokens_decoder", {}).values() if token.special}
    plain = [number for token, number in known.items() if token not in special and not MADE_UP.fullmatch(token)]
    if not plain and type(tokenizer).__name__.removesuffix("Fast") not in WITHOUT_VOCABULARY:
        raise UserError(
            f"{subject} {place}: its tokenizer has no vocabulary, {len(known)} special tokens are all it knows",
            f"Put the tokenizer's files beside the model ({NAMES})",
        )
    rows = rows_of(config.to_dict() | {"vocab_size": getattr(config, "vocab_size", None)}) if config is not None else None
    if rows is None:
        return
    used = {"": max(plain, default=-1), AROUND: max(tokenizer("")["input_ids"], default=-1)}
    for role in ROLES:
        if (token := getattr(tokenizer, role, None)) is not None and str(token) in known:
            used[role] = known[str(token)]
    padding = getattr(config, "pad_token_id", None)
    for line in misfits(f"{subject} {place}", rows, used, max(known.values(), default=-1) + 1, padding):
        what, _, hint = line.partition("; ")
        raise UserError(what, hint)
