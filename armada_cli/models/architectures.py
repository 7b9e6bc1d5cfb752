"""What a model's ``config.json`` says of its layers, its positions and its vocabulary, and how one with fewer layers reads.

Works on plain dictionaries, without torch, so that `armada check` and a training judge by the same rules. The lists of names
were read off the configurations of transformers 5; a test tries them on its models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from armada_cli.errors import UserError, one_line
from armada_cli.models import hub, weights
from armada_cli.reading import load_json

DEPTHS = (
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "encoder_layers",
    "num_encoder_layers",
    "decoder_layers",
    "num_decoder_layers",
)
"""What families call their number of layers; of an encoder-decoder, that of each half."""

LARGEST = {
    **dict.fromkeys(DEPTHS, 10_000),
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "intermediate_size", "d_ff", "n_inner"), 1_000_000),
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads"), 100_000),
    "vocab_size": 100_000_000,
}
"""A hundred times what the largest models have. The classes make their layers before they look at the weights, so that a
configuration with a hundred million of them fills the memory, however small the file of weights is."""

LISTED = ("layers_block_type", "attn_layers")
"""Lists that stand for the number of layers in families that name none."""

BLOCKS = ("block_sizes", "block_repeats")
"""Funnel's layers, in blocks between which it pools."""

PARTS = ("text_config", "encoder", "decoder")
"""Where a configuration of several parts keeps those that read text."""

NOT_PER_LAYER = frozenset(
    {
        "architectures",
        "axial_pos_embds_dim",
        "axial_pos_shape",
        "begin_suppress_tokens",
        "block_repeats",
        "block_sizes",
        "block_types",
        "image_feature_pool_shape",
        "L_bp_cycles",
        "languages",
        "mlp_multipliers",
        "mtp_layers_block_type",
        "pos_att_type",
        "ssm_multipliers",
        "suppress_tokens",
        "time_step_limit",
        "type_vocab_sizes",
    }
)
"""Lists that may be as long as a model is deep by chance; so may those of token ids."""

INDICES = (
    "attn_layer_indices",
    "cross_attention_layers",
    "full_attn_idxs",
    "hybrid_layer_ids",
    "mlp_only_layers",
    "moe_layers",
    "ple_layer_ids",
)
"""Lists of the numbers of those layers that differ from the others."""

PATTERNS = ("hybrid_override_pattern",)
"""Texts with a letter a layer."""

BEHIND_PADDING = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "layoutlmv3",
        "lilt",
        "longformer",
        "luke",
        "markuplm",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)
"""Families that number positions from behind the padding token's id, so that the rows up to it hold no token."""

UNBOUNDED = frozenset({"bloom", "longt5", "mt5", "switch_transformers", "t5", "umt5", "xlnet"})
"""Families that know distances alone, whatever length their configuration names."""

IN_LAYER = re.compile(r"(?:^|\.)\d+\.")
"""A tensor of one of several layers: every body has them."""

OF_HEAD = re.compile(r"^(?:\w*classifi\w*|\w*heads?|score|cls|qa_outputs|pooler|\w*predictions?|\w*projection)\.")
"""A tensor of what stands behind the body, which may be layers in a row too."""

LAYER = re.compile(r"(?:^|\.)(?:layers?|blocks?|h)\.(\d+)\.")
"""A layer's number in most families; others have layers under other names, and nothing is said about how many."""

SHARED = frozenset({"albert", "funnel", "xmod", "zamba", "zamba2"})
"""Families with fewer sets of weights than layers, or layers in blocks."""

REPEATING = frozenset({"albert"})
"""Families that run one and the same layer several times."""

WITHOUT_ROWS = frozenset({"canine", "perceiver", "transfo-xl"})
"""Families without one table of embeddings that has a row for each token."""

POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_target_positions")
"""What families call the greatest length; OPT, BART and BioGPT add their two spare rows to it themselves."""


def read_config(place: str, revision: str | None = None) -> dict[str, Any]:
    """``config.json`` of a local folder, or of the hub's cache on this machine; empty where there is none to be read."""
    folder = hub.model_folder(place, revision)
    try:
        config = load_json(folder / "config.json") if folder else {}
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def text_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with what its text part says on top."""
    part = config.get("text_config")
    return {**config, **part} if isinstance(part, Mapping) else dict(config)


def depth(config: Mapping[str, Any]) -> int | None:
    """Layers of the text model, of an encoder-decoder those of its encoder; None where the configuration does not say."""
    return next((count for part in _parts(config) if (count := _depth_of_part(part)) is not None), None)


def _depth_of_part(config: Mapping[str, Any]) -> int | None:
    if all(isinstance(config.get(name), (list, tuple)) for name in BLOCKS):
        return sum(config["block_sizes"])
    named = next((int(config[name]) for name in DEPTHS if _is_count(config.get(name))), None)
    return named or next((len(config[name]) for name in LISTED if isinstance(config.get(name), (list, tuple))), None)


def shorten(config: Mapping[str, Any], layers: int) -> dict[str, Any]:
    """The configuration of a model's first so many layers: its depth, and whatever is said layer by layer. Both halves of an
    encoder-decoder are shortened; what reads pictures or sound stays as it is."""
    short = dict(config)
    for name in PARTS:
        if isinstance(short.get(name), Mapping):
            short[name] = _shorten_part(short[name], layers)
    return _shorten_part(short, layers)


def _shorten_part(config: Mapping[str, Any], layers: int) -> dict[str, Any]:
    short = dict(config)
    there = _depth_of_part(config)
    if there is None or there <= layers:
        return short
    if all(name in config for name in BLOCKS):
        sizes = [min(size, layers - sum(config["block_sizes"][:at])) for at, size in enumerate(config["block_sizes"])]
        kept = [size for size in sizes if size > 0]
        return {**short, "block_sizes": kept, "block_repeats": list(config["block_repeats"])[: len(kept)]}
    for name, value in config.items():
        if name in DEPTHS and _is_count(value):
            short[name] = min(value, layers)
        elif name in PATTERNS and isinstance(value, str) and len(value) == there:
            short[name] = value[:layers]
        elif name == "attention_types":
            short[name] = [[[kind for kinds, times in value for kind in kinds * times][:layers], 1]]
        elif name == "scale_depth" and isinstance(value, (int, float)):
            short[name] = value * math.sqrt(layers / there)  # MiniCPM divides it by the root of the depth
        elif name == "num_kv_shared_layers" and _is_count(value):
            short[name] = max(0, layers - (there - value))  # the last so many layers have no keys of their own
        elif name == "per_layer_config" and isinstance(value, Mapping):
            short[name] = {number: item for number, item in value.items() if int(number) < layers}
        elif isinstance(value, (list, tuple)):
            short[name] = _shorten_list(name, list(value), there, layers)
    return short


def _shorten_list(name: str, values: list[Any], there: int, layers: int) -> list[Any]:
    if name in NOT_PER_LAYER or name.endswith(("token_id", "token_ids")):
        return values
    if len(values) == there:
        return values[:layers]
    return [value for value in values if value < layers] if name in INDICES else values


def with_layers(subject: str, config: Any, layers: int) -> Any:
    """A configuration of transformers for the first so many layers; made anew from what it says, as a saved one will be.

    Args:
        subject: whose it is, for messages, as in ``student NAME``.

    Raises:
        UserError: the model has fewer layers, or does not work with so few.
    """
    values = config.to_dict()
    there = depth(values)
    if there is None:
        raise UserError(f"{subject}: its configuration names no number of layers, so none can be left out", "Remove layers")
    if layers > there:
        raise UserError(f"{subject}: layers is {layers}, the model has {there}", "Ask for at most that many")
    if layers == there:
        return config
    if reason := across_layers(values):
        raise UserError(
            f"{subject}: none of the {there} layers can be left out, {reason}", "Remove layers, or take another model"
        )
    try:
        return type(config).from_dict(shorten(values, layers))
    except Exception as error:  # each family judges its own configuration, in its own words
        text = one_line(error)[-160:]
        raise UserError(
            f"{subject}: a {config.model_type} of {layers} of its {there} layers is refused ({type(error).__name__}: {text})",
            "Ask for another number of layers",
        ) from error


def layer_problems(place: str, layers: int | None, revision: str | None = None) -> Iterator[str]:
    """The line about a configuration of a size that no model has, about more layers than a model on this machine has, or about
    layers that cannot be left out."""
    config = read_config(place, revision)
    for part in _parts(config):
        for name, value in part.items():
            limit = LARGEST.get(name)
            if limit is not None and isinstance(value, (int, float)) and value > limit:
                shown = f"{value:.3g}" if value < 1e300 else "above 1e300"
                yield f"model: its config.json says {name} is {shown}, and {limit} is the most; copy or save it again"
                return
    there = depth(config)
    if layers is None or there is None:
        return
    if layers > there:
        yield f"layers: {layers} are asked for and the model has {there}; ask for at most that many"
    elif layers < there and (reason := across_layers(config)):
        yield f"layers: none of the {there} can be left out, {reason}; remove layers, or take another model"


def across_layers(config: Mapping[str, Any]) -> str | None:
    """Why a model's layers cannot be left out: weights outside of them that have a part for each; None where there are none.

    ESM, and Gemma 3n and 4 where they embed tokens for each layer, are those families of transformers 5.
    """
    if config.get("model_type") == "esm":
        return "its contact head reads the attention of all of them"
    per_layer = text_part(config).get("hidden_size_per_layer_input")
    return "its embeddings have a part for each of them" if _is_count(per_layer) else None


def weight_problems(place: str, layers: int | None, revision: str | None = None) -> Iterator[str]:
    """The line about a model on this machine whose weights lack its body: a head that was saved alone, or another model's
    weights. transformers would draw what is not there at random. Told from the names and shapes in the files' headers, and
    only where they are certain; `hub.require_weights` judges a loaded model."""
    folder = hub.model_folder(place, revision)
    shapes = weights.read_shapes(folder) if folder else {}
    if shapes and (lack := lacking_body(read_config(place, revision), shapes, layers)):
        yield f"the weights in {folder} lack {lack}; name a folder whose config.json and *.safetensors are of one model"


def lacking_body(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], layers: int | None = None) -> str | None:
    """What weights certainly lack of a model's body; None where they may be whole.

    Args:
        shapes: tensor name -> shape.
        layers: so many are needed; None needs all.
    """
    there = depth(config)
    if there is None:
        return None
    if not any(IN_LAYER.search(name) and not OF_HEAD.search(name) for name in shapes):
        return f"all {there} layers of the model (the first of {len(shapes)} tensors is {min(shapes)})"
    rows = text_part(config).get("vocab_size")
    outside = [shape for name, shape in shapes.items() if not IN_LAYER.search(name) and "position" not in name]
    if config.get("model_type") in WITHOUT_ROWS or not isinstance(rows, int):
        rows = 0
    if rows and not any(max(shape, default=0) >= rows for shape in outside):
        return f"the embeddings of its {rows} tokens"
    numbers = [int(match[1]) for name in shapes for match in LAYER.finditer(name)]
    needed = there if layers is None else min(layers, there)
    if numbers and max(numbers) + 1 < needed and config.get("model_type") not in SHARED:
        return f"layers (the model has {there}, they have {max(numbers) + 1})"
    return None


def positions(config: Mapping[str, Any]) -> int | None:
    """Tokens that a model reads at most, with those that mark beginning and end; None for one without such a limit."""
    config = text_part(config)
    family = config.get("model_type")
    longest = next((int(config[name]) for name in POSITIONS if _is_count(config.get(name))), None)
    if longest is None or family in UNBOUNDED:
        return None
    if family in ("deberta", "deberta-v2") and config.get("position_biased_input") is False:
        return None
    if family == "mpnet":  # numbers its positions from 2, whatever the padding token
        return longest - 2
    padding = config.get("pad_token_id")
    if family in BEHIND_PADDING:
        return longest - 1 - (padding if isinstance(padding, int) else 1)
    if family == "prophetnet":  # behind the padding token too, and it looks one position ahead
        return longest - 2 - (padding if isinstance(padding, int) else 0)
    return longest


def _parts(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name in PARTS:
        if isinstance(config.get(name), Mapping):
            yield config[name]
    yield config


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
