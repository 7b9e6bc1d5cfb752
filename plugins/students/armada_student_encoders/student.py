"""A transformers encoder with its own pooler and head, so that what is saved is an ordinary classification model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from armada_cli import Environment, Problem, StudentOutput, UserError, targets
from armada_cli.models import architectures, hub, special_tokens, vocabulary
from armada_cli.models.pretrained import PretrainedStudent, by_row, pad_choices, set_outputs
from armada_student_encoders import masking


class Encoder(PretrainedStudent):
    """BERT, DeBERTa, RoBERTa, DistilBERT and the like.

    h'_s, the pooled output, is what the model's own head reads just before its last dropout and linear layer; where that
    is in a given architecture is found by watching one forward pass.
    """

    def __init__(self, options: Any, environment: Environment) -> None:
        super().__init__(options, environment)
        self.tokenizer = self.read_tokenizer()
        config = self.read_config(self.place)
        vocabulary.require_usable("student", self.place, self.tokenizer, config)
        self.reader = special_tokens.as_text(self.tokenizer)
        limits = (architectures.positions(config.to_dict()), self.tokenizer.model_max_length)
        self.longest = min(int(limit) for limit in limits if limit is not None)
        self._seen: WeakKeyDictionary[nn.Module, PooledWatch] = WeakKeyDictionary()

    # ------------------------------------------------------------------------------------------------------- loading

    def build(self, problem: Problem, weights: Path | None = None, *, new_head: bool = False) -> nn.Module:
        """See `Student.build`. For masked the head is the checkpoint's own, where it has one; a pooler is then left out, and so
        it is new in a model that begins from what was saved."""
        if problem.kind == "masked" and self.tokenizer.mask_token_id is None:
            raise UserError(
                f"student {self.place}: its tokenizer has no mask, so it cannot be trained on masked text",
                "Take a model that was pre-trained that way",
            )
        kind = self.choose_class(problem)
        place = str(weights or self.loadable())
        config = self.read_config(place)
        if weights is None:
            config = self.cut(config)
        set_outputs(config, problem)
        new = weights is None or new_head
        model = self.load_model(kind, place, problem, place=place, new_head=new, config=config, dtype=torch.float32)
        if weights is not None and new_head:
            hub.draw_new_head(model)
        return model

    def choose_class(self, problem: Problem) -> Any:
        """The class of transformers whose `from_pretrained` makes a model for the problem."""
        from transformers import AutoModelForMaskedLM, AutoModelForMultipleChoice, AutoModelForSequenceClassification

        special = {"multiple-choice": AutoModelForMultipleChoice, "masked": AutoModelForMaskedLM}
        return special.get(problem.kind, AutoModelForSequenceClassification)

    # ---------------------------------------------------------------------------------------------------------- text

    def encode(self, texts: Sequence[tuple[str, ...]], problem: Problem) -> list[dict[str, Any]]:
        if problem.kind == "multiple-choice":
            flat = [(row[0], choice) for row in texts for choice in row[1:]]
            encoded = iter(self._tokenise(flat, problem.max_length))
            rows = [list(itertools.islice(encoded, len(row) - 1)) for row in texts]
            return [{name: [item[name] for item in row] for name in row[0]} for row in rows]
        return self._tokenise(texts, problem.max_length, return_special_tokens_mask=problem.kind == "masked")

    def _tokenise(self, texts: Sequence[tuple[str, ...]], max_length: int, **more: bool) -> list[dict[str, list[int]]]:
        if not texts:
            return []
        columns = [list(column) for column in zip(*texts, strict=True)]
        encoded = self.reader(*columns, truncation=True, max_length=min(max_length, self.longest), **more)
        names = list(encoded.keys())
        return [{name: encoded[name][row] for name in names} for row in range(len(texts))]

    def pad(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        return pad_choices(examples, self._pad_rows)

    def _pad_rows(self, rows: Sequence[dict[str, list[int]]]) -> dict[str, Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        fill = {
            "input_ids": self.tokenizer.pad_token_id or 0,
            "token_type_ids": self.tokenizer.pad_token_type_id,
            "special_tokens_mask": 1,
        }
        return {
            name: torch.tensor([row[name] + [fill.get(name, 0)] * (longest - len(row[name])) for row in rows])
            for name in rows[0]
        }

    # ------------------------------------------------------------------------------------------------------- forward

    def forward(
        self,
        model: nn.Module,
        batch: Mapping[str, Tensor],
        hidden_states: bool = False,
        attentions: bool = False,
        tokens: bool = False,
    ) -> StudentOutput:
        if "special_tokens_mask" in batch:
            return self._forward_masked(model, batch, hidden_states, attentions)
        inner = getattr(model, "module", model)
        watch = self._seen.get(inner)
        if watch is None:
            watch = self._seen[inner] = PooledWatch(inner, batch)
        output = model(**batch, output_hidden_states=hidden_states, **self._asking(attentions))
        caught = watch.take()
        pooled = caught[:, 0] if caught.ndim == 3 else caught
        states = getattr(output, "hidden_states", None) if hidden_states else None
        if hidden_states and states is None:
            raise UserError(
                f"student {self.place}: a model of an encoder and a decoder has no single last layer to be pooled",
                "Say pooling: pooler",
            )
        anchor = caught if states is None else states[-1]
        weights = output.attentions if attentions else None
        answers = StudentOutput(output.logits, pooled, states, anchor=anchor, attentions=weights)
        return by_row(answers, batch["input_ids"])

    def _forward_masked(
        self, model: nn.Module, batch: Mapping[str, Tensor], hidden_states: bool, attentions: bool
    ) -> StudentOutput:
        tokens, special = batch["input_ids"], batch["special_tokens_mask"].bool()
        inputs = {name: value for name, value in batch.items() if name != "special_tokens_mask"}
        length = batch["attention_mask"].sum(1)
        mask, words = self.tokenizer.mask_token_id, len(self.tokenizer)
        inputs["input_ids"], chosen = masking.hide(tokens, special, length, mask, words, drawn=model.training)
        output = model(**inputs, output_hidden_states=True, **self._asking(attentions))
        return masking.output_of(masking.told(output.logits, tokens, chosen), output, attentions, hidden_states)

    @staticmethod
    def _asking(attentions: bool) -> dict[str, bool]:
        return {"output_attentions": True} if attentions else {}

    def fold(self, model: nn.Module, scale: targets.Scale) -> targets.Scale:
        return targets.fold_into(_output_layer(model), scale)

    def save(self, model: nn.Module, problem: Problem, folder: Path) -> None:
        with hub.quiet():
            model.save_pretrained(folder)  # type: ignore[operator]
            # Whoever loads it should read texts as the student was trained to.
            self.tokenizer.split_special_tokens = self.tokenizer.init_kwargs["split_special_tokens"] = True
            self.tokenizer.save_pretrained(folder)


class PooledWatch:
    """Catches h'_s in a forward pass: the input of the last dropout before the output layer, or of the output layer itself
    in a model without such a dropout."""

    def __init__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> None:
        self.caught: Tensor | None = None
        head = _output_layer(model)
        calls: list[tuple[nn.Module, Tensor]] = []
        hooks = [
            module.register_forward_pre_hook(lambda module, inputs: calls.append((module, inputs[0])))
            for module in model.modules()
            if module is head or "dropout" in type(module).__name__.lower()
        ]
        training = model.training
        model.eval()  # the probe must not draw from the dropout's random stream
        with torch.no_grad():
            model(**{name: value[:1] for name, value in batch.items()})
        model.train(training)
        for hook in hooks:
            hook.remove()
        at = next(i for i in reversed(range(len(calls))) if calls[i][0] is head)
        source, given = calls[at]
        if at and "dropout" in type(calls[at - 1][0]).__name__.lower() and calls[at - 1][1].shape == given.shape:
            source = calls[at - 1][0]
        source.register_forward_pre_hook(self._catch)

    def _catch(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.caught = inputs[0]  # a module that runs several times in one pass is asked last for the output layer

    def take(self) -> Tensor:
        """What the head read, [n, d], or [n, tokens, d] where it reads every token: the tensor that the logits come from."""
        caught, self.caught = self.caught, None
        if caught is None:
            raise RuntimeError("the student's head did not run")
        return caught


def _output_layer(model: nn.Module) -> nn.Linear:
    """O_s: the last linear layer in the model's order, which in every transformers classification model is the head's."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return layers[-1]


class VisualBert(Encoder):
    """VisualBERT on text alone, see `armada_student_encoders.visualbert`. What reads pictures gets no gradient from texts, so
    it is not trained."""

    def read_tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        place = self.options.tokenizer
        try:
            return AutoTokenizer.from_pretrained(
                str(hub.local_folder(place) or place),
                revision="main",
                local_files_only=self.environment.offline,
                trust_remote_code=False,
            )
        except Exception as error:
            raise hub.cannot_load("student", place, "tokenizer", error, self.environment) from error

    def choose_class(self, problem: Problem) -> Any:
        if problem.kind == "masked":
            raise UserError(
                f"student {self.place}: VisualBERT is fine-tuned on text here, not pre-trained on masked text",
                "Take another encoder for the kind masked",
            )
        from transformers import VisualBertForMultipleChoice, VisualBertForVisualReasoning

        return VisualBertForMultipleChoice if problem.kind == "multiple-choice" else VisualBertForVisualReasoning

    def build(self, problem: Problem, weights: Path | None = None, *, new_head: bool = False) -> nn.Module:
        model: Any = super().build(problem, weights, new_head=new_head)
        for name, parameter in model.visual_bert.embeddings.named_parameters():
            if name.startswith("visual_"):
                parameter.requires_grad_(False)
        return model
