"""A causal language model of transformers as a student: it classifies with its last token, or it writes."""

from __future__ import annotations

import inspect
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from armada_cli import Decoding, Environment, Problem, Student, StudentOutput, UserError, targets
from armada_cli.models import architectures, hub, vocabulary
from armada_student_decoders import adapters
from armada_student_decoders.decoding import continued
from armada_student_decoders.text import IGNORED, Reader
from armada_student_decoders.watch import Watch

PROBLEM_TYPES = {
    "classification": "single_label_classification",
    "regression": "regression",
    "multilabel": "multi_label_classification",
}

LIKELIHOOD_TOKENS = 4096
"""Padded tokens of one pass over candidates."""


class Decoder(Student):
    """OPT, LLaMA and the like, with LoRA adapters or trained as a whole.

    h_s is the last hidden state of the last token in classification (paper, section 5), and in generation the mean over the
    prompt's tokens, or its last token (`pooling`). There is no pooler: the method adds F~_s.
    """

    own_pooler = False

    def __init__(self, options: Any, environment: Environment) -> None:
        super().__init__(options, environment)
        if hasattr(options, "prepare"):
            options.prepare(environment)
        self.place = options.place()
        self.where = {
            "revision": options.revision or "main",
            "local_files_only": environment.offline,
            "trust_remote_code": False,
        }
        self.reader = Reader(self._load_tokenizer(), self.place)
        self.context = self._context()
        self._watches: WeakKeyDictionary[nn.Module, Watch] = WeakKeyDictionary()

    # ------------------------------------------------------------------------------------------------------- loading

    def _load_tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(self.place, **self.where)
        except Exception as error:  # a damaged file raises what its parser happens to stumble over
            raise self._cannot_load("tokenizer", error) from error

    def _loadable(self) -> str:
        return hub.loadable("student", self.place, self.environment, self.options.revision)

    def _read_config(self, place: str) -> Any:
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(place, **self.where)
        except Exception as error:
            raise self._cannot_load("configuration", error) from error

    def _context(self) -> int:
        """Tokens that the model can read at once."""
        config = self._read_config(self.place)
        vocabulary.require_usable("student", self.place, self.reader.tokenizer, config.get_text_config())
        return min(architectures.positions(config.to_dict()) or 2**20, int(self.reader.tokenizer.model_max_length))

    def build(self, problem: Problem, weights: Path | None = None, *, new_head: bool = False) -> nn.Module:
        if problem.kind == "masked":
            raise UserError(f"student {self.place} is a decoder and reads no masked text", "Name an encoder")
        if new_head and weights is not None and (self.options.rank > 0 or adapters.is_adapter(weights)):
            raise UserError(
                f"student {self.place}: adapters belong to the weights they were trained on, so a student with adapters cannot "
                "begin from those of another task",
                "Say `lora: 0`",
            )
        adapter = weights if weights is not None and adapters.is_adapter(weights) else None
        lora = self.options.rank > 0 if weights is None else adapter is not None
        place = str(weights) if weights is not None and adapter is None else self.place
        half = lora and problem.precision == "bf16"
        model = self._load(problem, place, torch.bfloat16 if half else torch.float32, new_head=new_head or place == self.place)
        if new_head and weights is not None and problem.kind != "generation":
            hub.draw_new_head(model)
        if adapter is not None:
            model = self._with_adapter(model, adapter)
        elif lora:
            model = adapters.with_adapters(model, self.options, self.place)
        if self.options.gradient_checkpointing:
            with adapters.without_chatter():
                adapters.inner(model).gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        return model

    def _load(self, problem: Problem, place: str, dtype: torch.dtype, *, new_head: bool) -> Any:
        """The transformers model for a problem, without adapters."""
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

        config = self._read_config(place)
        if self.options.layers is not None and place == self.place:
            config = architectures.with_layers(f"student {self.place}", config, self.options.layers)
        generates = problem.kind == "generation"
        text = config.get_text_config()
        if text.pad_token_id is None or not generates:
            text.pad_token_id = self.reader.pad
        if problem.kind == "multiple-choice":
            config.num_labels = 1
        elif not generates:
            config.num_labels = problem.outputs
            config.problem_type = PROBLEM_TYPES[problem.kind]
            config.id2label = dict(enumerate(problem.labels))
            config.label2id = {label: number for number, label in enumerate(problem.labels)}
        kind = AutoModelForCausalLM if generates else AutoModelForSequenceClassification
        source = self._loadable() if place == self.place else place
        more = self._quantisation() if self.options.quantise == "4bit" else {}
        if problem.attentions:
            more["attn_implementation"] = "eager"
        try:
            with hub.quiet():
                loaded: Any = kind.from_pretrained(
                    source,
                    config=config,
                    dtype=dtype,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                    **self.where,
                    **more,
                )
        except Exception as error:
            if "Unrecognized configuration class" in str(error):
                raise UserError(
                    f"student {place}: transformers has no {config.model_type} for {problem.kind}",
                    "Take another model, or a task of another kind",
                ) from error
            raise self._cannot_load("weights", error) from error
        model, report = loaded
        hub.require_weights("student", place, model, report, new_head=new_head and not generates)
        return model

    def _quantisation(self) -> dict[str, Any]:
        if not torch.cuda.is_available():
            raise UserError(f"student {self.place}: weights in four bits need a GPU, and there is none", "Say quantise: none")
        from transformers import BitsAndBytesConfig

        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=["lm_head", "score"],
        )
        return {"quantization_config": config}

    def _cannot_load(self, what: str, error: Exception) -> UserError:
        return hub.cannot_load("student", self.place, what, error, self.environment)

    # ---------------------------------------------------------------------------------------------------------- text

    def encode(self, texts: Sequence[tuple[str, ...]], problem: Problem) -> list[dict[str, Any]]:
        """Tokenise once.

        A pair is read as two lines. A training row of generation is prompt, response and end of text; `Reader.answered` says
        what is cut of one that is too long. Its ``labels`` are -100 on the prompt, its ``prompt_mask`` is 1 there.
        """
        longest = min(problem.max_length, self.context)
        if problem.kind == "generation":
            return [self._answered(row, longest) for row in texts]
        if problem.kind == "multiple-choice":
            rows = [[self.reader.text((row[0], choice), longest) for choice in row[1:]] for row in texts]
            return [{"input_ids": row, "attention_mask": [[1] * len(part) for part in row]} for row in rows]
        plain = [self.reader.text(row, longest) for row in texts]
        return [{"input_ids": row, "attention_mask": [1] * len(row)} for row in plain]

    def _answered(self, row: tuple[str, ...], longest: int) -> dict[str, list[int]]:
        before, after = self.reader.answered(row[0], row[1], longest)
        return {
            "input_ids": before + after,
            "attention_mask": [1] * (len(before) + len(after)),
            "labels": [IGNORED] * len(before) + after,
            "prompt_mask": [1] * len(before) + [0] * len(after),
        }

    def pad(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """A batch padded on the right."""
        if examples and isinstance(examples[0]["input_ids"][0], list):
            choices = len(examples[0]["input_ids"])
            flat = [{name: value[i] for name, value in row.items()} for row in examples for i in range(choices)]
            return {name: value.view(len(examples), choices, -1) for name, value in self.pad(flat).items()}
        fill = {"input_ids": self.reader.pad, "labels": IGNORED}
        return {name: self.reader.padded([row[name] for row in examples], fill.get(name, 0)) for name in examples[0]}

    # ------------------------------------------------------------------------------------------------------- forward

    def forward(
        self, model: nn.Module, batch: Mapping[str, Tensor], hidden_states: bool = False, attentions: bool = False
    ) -> StudentOutput:
        """One pass. ``hidden_states`` has the last one always: it lies between the weights and everything that is asked."""
        watch, inner = self._watch(model)
        if "labels" in batch:
            return self._forward_generation(model, inner, watch, batch, hidden_states, attentions)
        tokens, mask = batch["input_ids"], batch["attention_mask"]
        flat = tokens.view(-1, tokens.shape[-1])
        with self._precision(model, tokens.device):
            output = model(
                input_ids=flat,
                attention_mask=mask.view(-1, mask.shape[-1]),
                use_cache=False,
                output_hidden_states=hidden_states,
                **({"output_attentions": True} if attentions else {}),
            )
        last = watch.take()
        # By the model's own rule, so that this is the token that its head reads.
        place = torch.arange(flat.shape[1], device=flat.device, dtype=torch.int32)
        at = (place * (flat != inner.config.get_text_config().pad_token_id)).argmax(-1)
        pooled = last[torch.arange(len(flat), device=flat.device), at].float()
        states = (*output.hidden_states[:-1], last) if hidden_states else (last,)
        logits, weights = output.logits, output.attentions if attentions else None
        if tokens.ndim == 3:
            n, choices = tokens.shape[:2]
            logits, pooled = logits.view(n, choices), pooled.view(n, choices, -1)
            states = tuple(state.view(n, choices, *state.shape[1:]) for state in states)
            if weights is not None:
                weights = tuple(layer.view(n, choices, *layer.shape[1:]) for layer in weights)
        return StudentOutput(logits, pooled, states, anchor=last, attentions=weights)

    def _forward_generation(
        self,
        model: nn.Module,
        inner: Any,
        watch: Watch,
        batch: Mapping[str, Tensor],
        hidden_states: bool,
        attentions: bool,
    ) -> StudentOutput:
        labels, prompt = batch["labels"], batch["prompt_mask"]
        # The vocabulary is wide: logits are computed from the first response's beginning on, as each predicts the next token.
        first = int((labels != IGNORED).any(0).int().argmax()) - 1
        kept = labels.shape[1] - max(first, 0)
        with self._precision(model, labels.device):
            output = model(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                use_cache=False,
                output_hidden_states=hidden_states,
                **({"output_attentions": True} if attentions else {}),
                **self._only_last(inner, kept),
            )
        logits = output.logits[:, -kept:]
        loss = functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), labels[:, -kept:][:, 1:].flatten(), ignore_index=IGNORED
        )
        last = watch.take()
        states = (*output.hidden_states[:-1], last) if hidden_states else (last,)
        weights = output.attentions if attentions else None
        return StudentOutput(logits.new_empty(0), self._pooled(last, prompt), states, loss, anchor=last, attentions=weights)

    def _pooled(self, last: Tensor, prompt: Tensor) -> Tensor:
        """h_s [n, d] of the prompts' tokens; they stand at the beginning of their rows."""
        if self.options.pooling == "last":
            return last[torch.arange(len(last), device=last.device), prompt.sum(1) - 1].float()
        weights = prompt.to(torch.float32)[..., None]
        return (last.float() * weights).sum(1) / weights.sum(1)

    def _watch(self, model: nn.Module) -> tuple[Watch, Any]:
        inner = adapters.inner(model)
        watch = self._watches.get(inner)
        if watch is None:
            watch = self._watches[inner] = Watch(inner)
        return watch, inner

    @staticmethod
    def _only_last(inner: Any, kept: int) -> dict[str, int]:
        """The argument that has the model compute the logits of the last so many tokens, if it knows it."""
        return {"logits_to_keep": kept} if "logits_to_keep" in inspect.signature(inner.forward).parameters else {}

    @contextmanager
    def _precision(self, model: nn.Module, device: torch.device) -> Iterator[None]:
        """Frozen weights in bfloat16 beside adapters in float32 need autocast, also where the caller has none."""
        if torch.is_autocast_enabled(device.type) or not adapters.frozen_in_half(model):
            yield
        else:
            with torch.autocast(device.type, torch.bfloat16):
                yield

    # ------------------------------------------------------------------------------------------------------- writing

    @torch.no_grad()
    def generate(self, model: nn.Module, prompts: Sequence[str], decoding: Decoding, streams: Sequence[int]) -> list[str]:
        """Answers to a batch of prompts, padded on the left, with a key-value cache.

        Raises:
            UserError: `max_new_tokens` leaves no room for a prompt.
        """
        if not prompts:
            return []
        inner = adapters.inner(model)
        room = self.context - decoding.max_new_tokens
        if room < 1 + len(self.reader.begin):
            raise UserError(
                f"student {self.place}: answers of {decoding.max_new_tokens} tokens leave no room for a prompt, the "
                f"model reads {self.context}",
                "Ask for a smaller max_new_tokens",
            )
        longest = min(room, decoding.max_prompt_tokens or room)
        rows = [self.reader.prompt(text, longest) or [self.reader.end] for text in prompts]
        device = next(inner.parameters()).device
        tokens = self.reader.padded(rows, left=True).to(device)
        mask = self.reader.padded([[1] * len(row) for row in rows], 0, left=True).to(device)
        stops = self._stops(inner)
        with _evaluating(model), self._precision(inner, device):
            found = continued(inner, tokens, mask, decoding.max_new_tokens, decoding, streams, stops, self.reader.pad)
        return [self.reader.decode(row, stops) for row in found.tolist()]

    def _stops(self, inner: Any) -> list[int]:
        """Tokens that end an answer: the tokenizer's end of text, and what the model's own settings name."""
        own = getattr(inner.generation_config, "eos_token_id", None)
        return sorted({self.reader.end, *([own] if isinstance(own, int) else own or [])})

    @torch.no_grad()
    def likelihoods(self, model: nn.Module, rows: Sequence[tuple[str, ...]]) -> list[list[float]]:
        """Mean log-likelihood of a token of each candidate, in nats; -inf for an empty one."""
        pairs = [
            (number, place, *self.reader.answered(row[0], candidate, self.context, closed=False))
            for number, row in enumerate(rows)
            for place, candidate in enumerate(row[1:])
        ]
        found = [[-float("inf")] * (len(row) - 1) for row in rows]
        pairs = sorted((pair for pair in pairs if pair[3]), key=lambda pair: -len(pair[2]) - len(pair[3]))
        with _evaluating(model):
            while pairs:
                count = max(1, LIKELIHOOD_TOKENS // (len(pairs[0][2]) + len(pairs[0][3])))
                batch, pairs = pairs[:count], pairs[count:]
                for (number, place, _, after), total in zip(batch, self._totals(model, batch), strict=True):
                    found[number][place] = total / len(after)
        return found

    def _totals(self, model: nn.Module, batch: Sequence[tuple[int, int, list[int], list[int]]]) -> list[float]:
        """Summed log-likelihood of each candidate's tokens."""
        inner = adapters.inner(model)
        device = next(inner.parameters()).device
        tokens = self.reader.padded([before + after for _, _, before, after in batch]).to(device)
        mask = self.reader.padded([[1] * (len(before) + len(after)) for _, _, before, after in batch], 0).to(device)
        labels = self.reader.padded([[IGNORED] * len(before) + after for _, _, before, after in batch], IGNORED).to(device)
        kept = tokens.shape[1] - min(len(before) for _, _, before, _ in batch) + 1
        with self._precision(inner, device):
            output = inner(input_ids=tokens, attention_mask=mask, use_cache=False, **self._only_last(inner, kept))
        logits, wanted = output.logits[:, -kept:][:, :-1].float(), labels[:, -kept:][:, 1:]
        losses = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED, reduction="none")
        return (-losses.view(wanted.shape).double().sum(1)).tolist()

    # -------------------------------------------------------------------------------------------------------- saving

    def fold(self, model: nn.Module, scale: targets.Scale) -> targets.Scale:
        """The heads of transformers' decoders have no bias, so the shift is left over."""
        return targets.fold_into(adapters.output_layer(model), scale)

    def save(self, model: nn.Module, problem: Problem, folder: Path) -> None:
        """A peft folder (adapter, head, configuration) or, without adapters or with ``export: merged``, a transformers folder;
        with the tokenizer. The model stays as it is."""
        with hub.quiet():
            if not hasattr(model, "peft_config"):
                model.save_pretrained(folder)  # type: ignore[operator]
            elif self.options.export == "adapter":
                adapters.save_adapter(model, folder)
            else:
                with tempfile.TemporaryDirectory(prefix="armada-adapter-") as between:
                    adapters.save_adapter(model, Path(between))
                    self.merge(Path(between), folder)
            self.reader.tokenizer.save_pretrained(folder)

    def merge(self, folder: Path, output: Path) -> None:
        """Fold the adapter of a folder into the weights it was trained on, and write an ordinary transformers folder.

        Raises:
            UserError: those weights are not there, or the adapter is not theirs.
        """
        if not adapters.is_adapter(folder):
            shutil.copytree(folder, output, dirs_exist_ok=True)
            return
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

        config = self._read_config(str(folder))
        if hasattr(config, "quantization_config"):
            del config.quantization_config  # an adapter trained over four bits is folded into the weights they came from
        kind = AutoModelForCausalLM if adapters.is_causal(folder) else AutoModelForSequenceClassification
        source = self._loadable()
        with hub.quiet():
            try:
                model = kind.from_pretrained(
                    source,
                    config=config,
                    dtype=config.dtype or torch.float32,
                    use_safetensors=True,
                    **self.where,
                )
            except Exception as error:
                raise self._cannot_load("weights", error) from error
            merged = self._with_adapter(model, folder).merge_and_unload()
            merged.save_pretrained(output)
            self.reader.tokenizer.save_pretrained(output)

    def _with_adapter(self, model: Any, folder: Path) -> Any:
        try:
            return adapters.load_adapter(model, folder)
        except Exception as error:
            raise UserError(
                f"student folder {folder}: the adapter does not fit {self.place} ({' '.join(str(error).split())[:160]})",
                "Train again, or name the model that it was trained on",
            ) from error


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
