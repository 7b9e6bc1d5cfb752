"""A causal language model of transformers as a student: it classifies with its last token, or it writes."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional

from armada_cli import Decoding, Environment, Problem, StudentOutput, TokenOutput, UserError, targets
from armada_cli.models import architectures, hub, vocabulary
from armada_cli.models.pretrained import PretrainedStudent, by_row, pad_choices, set_outputs
from armada_student_decoders import adapters
from armada_student_decoders.passes import Watch, only_last, precision
from armada_student_decoders.text import IGNORED, Reader
from armada_student_decoders.writing import Writer


class Decoder(PretrainedStudent):
    """OPT, LLaMA and the like, with LoRA adapters or trained as a whole.

    h_s is the last hidden state of the last token in classification (paper, section 5), and in generation the mean over the
    prompt's tokens, or its last token (`pooling`). There is no pooler: the method adds F~_s.
    """

    own_pooler = False

    def __init__(self, options: Any, environment: Environment) -> None:
        super().__init__(options, environment)
        self.reader = Reader(self.read_tokenizer(), self.place)
        config = self.read_config(self.place)
        vocabulary.require_usable("student", self.place, self.reader.tokenizer, config.get_text_config())
        self.context = min(architectures.positions(config.to_dict()) or 2**20, int(self.reader.tokenizer.model_max_length))
        self.writer = Writer(self.place, self.reader, self.context)
        self._watches: WeakKeyDictionary[nn.Module, Watch] = WeakKeyDictionary()

    # ------------------------------------------------------------------------------------------------------- loading

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

        config, source = self.read_config(place), place
        if place == self.place:
            config, source = self.cut(config), self.loadable()
        set_outputs(config, problem)
        generates = problem.kind == "generation"
        text = config.get_text_config()
        if text.pad_token_id is None or not generates:
            text.pad_token_id = self.reader.pad
        if problem.kind == "multiple-choice":
            config.num_labels = 1
        kind = AutoModelForCausalLM if generates else AutoModelForSequenceClassification
        more = self._quantisation() if self.options.quantise == "4bit" else {}
        new = new_head and not generates
        return self.load_model(kind, source, problem, place=place, new_head=new, config=config, dtype=dtype, **more)

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
        return pad_choices(examples, self._pad_rows)

    def _pad_rows(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        fill = {"input_ids": self.reader.pad, "labels": IGNORED}
        return {name: self.reader.padded([row[name] for row in rows], fill.get(name, 0)) for name in rows[0]}

    # ------------------------------------------------------------------------------------------------------- forward

    def vocabulary(self) -> str:
        return self._vocabulary[0]

    @functools.cached_property
    def _vocabulary(self) -> tuple[str, int]:
        """What stands for the tokens, and how many there are."""
        return vocabulary.stands_for(self.reader.tokenizer)

    def forward(
        self,
        model: nn.Module,
        batch: Mapping[str, Tensor],
        hidden_states: bool = False,
        attentions: bool = False,
        tokens: bool = False,
    ) -> StudentOutput:
        """One pass. ``hidden_states`` has the last one always: it lies between the weights and everything that is asked."""
        watch, inner = self._watch(model)
        if "labels" in batch:
            return self._forward_generation(model, inner, watch, batch, hidden_states, attentions, tokens)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        flat = ids.view(-1, ids.shape[-1])
        with precision(model, ids.device):
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
        weights = output.attentions if attentions else None
        return by_row(StudentOutput(output.logits, pooled, states, anchor=last, attentions=weights), ids)

    def _forward_generation(
        self,
        model: nn.Module,
        inner: Any,
        watch: Watch,
        batch: Mapping[str, Tensor],
        hidden_states: bool,
        attentions: bool,
        tokens: bool,
    ) -> StudentOutput:
        labels, prompt = batch["labels"], batch["prompt_mask"]
        # The vocabulary is wide: logits are computed from the first response's beginning on, as each predicts the next token.
        first = int((labels != IGNORED).any(0).int().argmax()) - 1
        kept = labels.shape[1] - max(first, 0)
        with precision(model, labels.device):
            output = model(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                use_cache=False,
                output_hidden_states=hidden_states,
                **({"output_attentions": True} if attentions else {}),
                **only_last(inner, kept),
            )
        logits, wanted = output.logits[:, -kept:][:, :-1], labels[:, -kept:][:, 1:]
        loss = functional.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)
        last = watch.take()
        states = (*output.hidden_states[:-1], last) if hidden_states else (last,)
        weights = output.attentions if attentions else None
        said = self._said(logits, wanted) if tokens else None
        return StudentOutput(logits.new_empty(0), self._pooled(last, prompt), states, loss, last, weights, said)

    def _said(self, logits: Tensor, wanted: Tensor) -> TokenOutput:
        """Of logits [n, tokens, rows of the output layer] those of the responses' tokens."""
        answered = wanted != IGNORED
        # Published models have output layers that are wider than their vocabularies, each by another number.
        return TokenOutput(logits[answered][:, : self._vocabulary[1]], wanted[answered], answered.nonzero()[:, 0])

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

    # ------------------------------------------------------------------------------------------------------- writing

    def generate(self, model: nn.Module, prompts: Sequence[str], decoding: Decoding, streams: Sequence[int]) -> list[str]:
        """See `Writer.generate`."""
        return self.writer.generate(model, prompts, decoding, streams)

    def likelihoods(self, model: nn.Module, rows: Sequence[tuple[str, ...]]) -> list[list[float]]:
        """See `Writer.likelihoods`."""
        return self.writer.likelihoods(model, rows)

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

        config = self.read_config(str(folder))
        if hasattr(config, "quantization_config"):
            del config.quantization_config  # an adapter trained over four bits is folded into the weights they came from
        kind = AutoModelForCausalLM if adapters.is_causal(folder) else AutoModelForSequenceClassification
        source, dtype = self.loadable(), config.dtype or torch.float32
        with hub.quiet():
            model = self.read(kind, "weights", source, config=config, dtype=dtype, use_safetensors=True)
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
