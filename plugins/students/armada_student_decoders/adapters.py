"""LoRA through peft: where adapters go, and back into the weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from armada_cli import UserError
from armada_cli.reading import load_json

CONFIG = "adapter_config.json"
"""What makes a folder an adapter's."""


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).is_file()


def with_adapters(model: Any, options: Any, place: str) -> Any:
    """The model with fresh LoRA adapters in float32 and a head that is trained with them; its own weights are frozen.

    Raises:
        UserError: a target that the model does not have, or a layer that peft cannot adapt (experts, Mamba's).
    """
    from peft import LoraConfig, TaskType, get_peft_model

    heads = head_names(model)
    for name in heads:
        getattr(model, name).float()
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules=targets(model, options.lora_targets, place),
        modules_to_save=heads or None,
        task_type=TaskType.SEQ_CLS if heads else TaskType.CAUSAL_LM,
        revision=options.revision,
    )
    try:
        with without_chatter():
            return get_peft_model(model, config)
    except ValueError as error:
        raise UserError(
            f"student {place}: peft cannot adapt it as asked ({' '.join(str(error).split())[:160]})",
            "Name other layers with lora_targets, say lora_dropout: 0, or train all weights with lora: 0",
        ) from error


@contextmanager
def without_chatter() -> Iterator[None]:
    """Silence peft's warnings about future names in transformers and about GPT-2's weights; users cannot act on them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message="fan_in_fan_out")
        yield


def head_names(model: Any) -> list[str]:
    """Names of the classification head's modules: none in a causal model."""
    if model.get_output_embeddings() is not None:
        return []
    return [
        name
        for name, child in model.named_children()
        if name != model.base_model_prefix and any(True for _ in child.parameters())
    ]


def output_layer(model: Any) -> nn.Linear:
    """The last linear layer of a classification model's head; under adapters the copy that is trained and saved."""
    classifier = inner(model)
    head = getattr(classifier, head_names(classifier)[-1])
    trained = getattr(head, "modules_to_save", None)
    if trained is not None:
        head = next(iter(trained.values()))
    return [module for module in head.modules() if isinstance(module, nn.Linear)][-1]


def targets(model: Any, wanted: Sequence[str] | None, place: str) -> list[str] | str:
    """The layers that get adapters: those that were named, else peft's choice for the architecture, else all linear ones."""
    from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as known

    if wanted is None:
        usual = known.get(model.config.model_type)
        return list(usual) if usual else "all-linear"
    body = model.base_model
    there = sorted({name.rpartition(".")[2] for name, item in body.named_modules() if _adaptable(item)})
    names = [name for name, item in body.named_modules() if _adaptable(item)]
    for target in wanted:
        if not any(name == target or name.endswith("." + target) for name in names):
            raise UserError(
                f"student {place}: lora_targets names {target!r}, and the model has no such linear layer",
                f"It has {', '.join(there)}",
            )
    return list(wanted)


def _adaptable(module: nn.Module) -> bool:
    """A linear layer; GPT-2 and its kin have them under another name."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def save_adapter(model: Any, folder: Path) -> None:
    """Write adapters and head as peft has them, with the model's configuration beside them."""
    # Embeddings are never trained here; "auto" would ask the hub whether they were.
    model.save_pretrained(folder, save_embedding_layers=False)
    # The number of labels and the padding token are in no adapter_config.json.
    model.get_base_model().config.save_pretrained(folder)


def is_causal(folder: Path) -> bool:
    """Whether the adapter of a folder is a causal model's, and not a classifier's."""
    return load_json(folder / CONFIG).get("task_type") == "CAUSAL_LM"


def load_adapter(model: Any, folder: Path) -> Any:
    """The model with the adapters of a folder, which can be trained on."""
    from peft import PeftModel

    for name in head_names(model):
        getattr(model, name).float()
    with without_chatter():
        return PeftModel.from_pretrained(model, str(folder), is_trainable=True, torch_device="cpu")


def inner(model: Any) -> Any:
    """The transformers model inside DistributedDataParallel and PEFT."""
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def frozen_in_half(model: nn.Module) -> bool:
    """Whether the model holds weights in bfloat16 beside its adapters in float32."""
    return any(parameter.dtype == torch.bfloat16 for parameter in model.parameters())
