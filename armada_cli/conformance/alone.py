"""Loads an exported student in a process that cannot import armada or its plugins. Run as a program: a JSON file of jobs in.

Standard error has one line for each folder that could not be loaded, standard output one JSON object: folder -> predictions.
"""

from __future__ import annotations

import importlib.abc
import json
import sys
import warnings
from pathlib import Path
from typing import Any


class Blocker(importlib.abc.MetaPathFinder):
    """Refuses armada and every plugin's package."""

    def __init__(self, packages: list[str]) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in self.packages:
            raise ImportError(f"{name} was asked for, and an exported student must load without it")


def load(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a transformers or PEFT folder, as anybody would load them."""
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    adapter = folder / "adapter_config.json"
    if not adapter.is_file():
        kind = getattr(transformers, config.architectures[0])
        return kind.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False), tokenizer
    import peft

    settings = json.loads(adapter.read_text(encoding="utf-8"))
    causal = settings.get("task_type") == "CAUSAL_LM"
    kind = transformers.AutoModelForCausalLM if causal else transformers.AutoModelForSequenceClassification
    base = kind.from_pretrained(
        settings["base_model_name_or_path"], config=config, dtype=torch.float32, trust_remote_code=False
    )
    return peft.PeftModel.from_pretrained(base, str(folder)), tokenizer


def main() -> None:
    jobs, blocked = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.meta_path.insert(0, Blocker(blocked))
    warnings.simplefilter("ignore")
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    answers: dict[str, Any] = {}
    for job in jobs:
        try:
            model, tokenizer = load(Path(job["folder"]))
            inputs = {name: torch.tensor(value) for name, value in job["inputs"].items()}
            with torch.no_grad():
                logits = model.eval()(**inputs).logits
            read = tokenizer("The ferry waits.")["input_ids"]
            answers[job["kind"]] = {"logits": logits.float().tolist(), "tokens": len(read)}
        except Exception as error:
            answers[job["kind"]] = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
