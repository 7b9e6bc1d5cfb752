"""One good component of each kind, and components that each break one promise: what `test_conformance` verifies."""

from __future__ import annotations

import dataclasses
import pickle
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from armada_cli import (
    Choice,
    Component,
    Loss,
    Method,
    Needs,
    NoOptions,
    Planned,
    Split,
    Student,
    StudentOutput,
    Task,
    Teacher,
    Term,
    UserError,
    choose,
    option,
)
from armada_cli.models.tiny import SENTENCES


def card(target: str, options: type = NoOptions, provides: tuple[str, ...] = (), **more: Any) -> Component:
    more.setdefault("summary", f"The {target}")
    name = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in target).strip("-")
    return Component(name, target=f"broken_plugins:{target}", options=options, provides=frozenset(provides), **more)


# ------------------------------------------------------------------------------------------------------------- teachers


@dataclass(frozen=True)
class VowelOptions:
    words: int = option(8, "Words that are heard", minimum=1)
    batch: int = option(4, "Texts at once", minimum=1, identity=False)


@dataclass(frozen=True)
class SilentOptions:
    words: int = option(8, "Words that are heard", minimum=1, identity=False)


@dataclass(frozen=True)
class HelplessOptions:
    words: int = 8


class Vowels(Teacher):
    """The good one: vowels of each word, and the length of the text."""

    def heard(self, text: Any) -> list[float]:
        if not isinstance(text, str):
            raise UserError(f"vowels are heard in texts, not in {type(text).__name__}", "Take another teacher")
        words = [float(sum(letter in "aeiouy" for letter in word)) for word in text.split()[: self.options.words]]
        return [*words, *[0.0] * (self.options.words - len(words)), float(len(text) % 97)]

    def represent(self, inputs: Any) -> Any:
        import numpy as np

        return np.array([self.heard(text) for text in inputs], np.float32)


class Unmakeable(Vowels):
    def __init__(self, options: Any, environment: Any) -> None:
        raise RuntimeError("no cage\nfor me")


class NoTeacher:
    def __init__(self, options: Any, environment: Any) -> None:
        pass


class Flat(Vowels):
    def represent(self, inputs: Any) -> Any:
        return super().represent(inputs).squeeze()


class Lists(Vowels):
    def represent(self, inputs: Any) -> Any:
        return super().represent(inputs).tolist()


class Wide(Vowels):
    def represent(self, inputs: Any) -> Any:
        return super().represent(inputs).astype("float64")


class NotANumber(Vowels):
    def represent(self, inputs: Any) -> Any:
        found = super().represent(inputs)
        found[[text == "Rain." for text in inputs]] = float("nan")
        return found


class Constant(Vowels):
    def represent(self, inputs: Any) -> Any:
        return super().represent(inputs) * 0


class NoBatch(Vowels):
    batch_size = 0


class OneBuffer(Vowels):
    def represent(self, inputs: Any) -> Any:
        import numpy as np

        self.buffer = getattr(self, "buffer", np.zeros((64, 9), np.float32))
        self.buffer[: len(inputs)] = super().represent(inputs)
        return self.buffer[: len(inputs)]


class Dreaming(Vowels):
    def __init__(self, options: Any, environment: Any) -> None:
        super().__init__(options, environment)
        self.mood = random.random()

    def represent(self, inputs: Any) -> Any:
        return super().represent(inputs) + self.mood.__float__().__round__(6)


class Hashing(Vowels):
    def heard(self, text: Any) -> list[float]:
        return [*super().heard(text), float(hash(text) % 97)]


@dataclass(frozen=True)
class UnsortedOptions:
    words: int = option(8, "Words that are heard", minimum=1)

    def identity(self, environment: Any) -> dict[str, Any]:
        return {"letters": list({"alpha", "beta", "gamma", "delta", "epsilon", "zeta"})}


class Threaded(Vowels):
    def represent(self, inputs: Any) -> Any:
        return super().represent(inputs) * self.environment.threads


class Neighbours(Vowels):
    def represent(self, inputs: Any) -> Any:
        found = super().represent(inputs)
        return found - 0.1 * found.mean(0)


class Fragile(Vowels):
    def heard(self, text: Any) -> list[float]:
        found = super().heard(text)
        return [found[0] / len(text.split()), *found[1:]]


class Undefined(Vowels):
    def heard(self, text: Any) -> list[float]:
        found = super().heard(text)
        return found if str(text).strip() else [float("nan"), *found[1:]]


class Narrow(Vowels):
    def represent(self, inputs: Any) -> Any:
        found = super().represent(inputs)
        return found[:, :3] if list(inputs) == [""] else found


class Growing(Vowels):
    def represent(self, inputs: Any) -> Any:
        found = super().represent(inputs)
        return found[:, :3] if list(inputs) == ["Rain."] else found


@dataclass(frozen=True)
class AccentOptions:
    words: int = option(8, "Words that are heard", minimum=1)
    accent: int = option(1, "How strongly", minimum=1, identity=False)


class Accented(Vowels):
    def represent(self, inputs: Any) -> Any:
        found = super().represent(inputs)
        found[:, 0] *= self.options.accent
        return found


class Careless(Vowels):
    def heard(self, text: Any) -> list[float]:
        return super().heard(str(text))


class Clumsy(Vowels):
    def heard(self, text: Any) -> list[float]:
        return super().heard(text.strip())


class Pickled(Vowels):
    def __init__(self, options: Any, environment: Any) -> None:
        super().__init__(options, environment)
        with tempfile.TemporaryFile() as stream:
            pickle.dump(Path("a"), stream)
            stream.seek(0)
            pickle.load(stream)


@dataclass(frozen=True)
class ChoirOptions:
    """The good one: another teacher sings along."""

    words: int = option(8, "Words that are heard", minimum=1)
    second: Choice | None = option(None, "Who sings along", component="teacher")


@dataclass(frozen=True)
class NobodyOptions:
    words: int = option(8, "Words that are heard", minimum=1)
    second: Choice = option("nobody-sings", "Who sings along", component="teacher")


@dataclass(frozen=True)
class SingerOptions:
    words: int = option(8, "Words that are heard", minimum=1)
    second: Choice = option("speech-offline", "Who sings along", component="singer")


@dataclass(frozen=True)
class NamesOptions:
    words: int = option(8, "Words that are heard", minimum=1)
    second: str = option("speech-offline", "Who sings along", component="teacher")


@dataclass(frozen=True)
class OneOfManyOptions:
    words: int = option(8, "Words that are heard", minimum=1)
    rest: tuple[Choice, ...] = option("speech-offline", "Who sings along", component="teacher")


@dataclass(frozen=True)
class SilentChoirOptions:
    words: int = option(8, "Words that are heard", minimum=1)
    second: Choice | None = option(None, "Who sings along", component="teacher", identity=False)


@dataclass(frozen=True)
class OwnIdentityOptions:
    """What it says of itself takes the place of what the host says."""

    words: int = option(8, "Words that are heard", minimum=1)
    second: Choice = option("speech-offline", "Who sings along", component="teacher")

    def identity(self, environment: Any) -> dict[str, Any]:
        return {"options": {"words": self.words, "second": self.second.name}}


def heavy_options() -> type:
    from broken_heavy import HeavyOptions

    return HeavyOptions


TEACHERS = [
    ("card", "has no help", lambda: card("Vowels", HelplessOptions)),
    ("card", "names nothing", lambda: card("Nobody", VowelOptions)),
    ("card", "is no Teacher", lambda: card("NoTeacher", VowelOptions)),
    ("card", "several lines", lambda: card("Vowels", VowelOptions, summary="Two\nlines")),
    ("lazy import", "imports numpy", lambda: card("Vowels", heavy_options())),
    ("made", "it raises RuntimeError: no cage for me", lambda: card("Unmakeable", VowelOptions)),
    ("card", "contract 1, this armada has 2; adapt it", lambda: card("Vowels", VowelOptions, requires_armada=1)),
    ("component options", "cannot be had: unknown teacher 'nobody-sings'", lambda: card("Vowels", NobodyOptions)),
    ("component options", "component='singer'; the kinds are teacher", lambda: card("Vowels", SingerOptions)),
    ("component options", "its type is not Choice", lambda: card("Vowels", NamesOptions)),
    ("component options", "its type asks for a tuple of names", lambda: card("Vowels", OneOfManyOptions)),
    (
        "component options",
        "'second' is a component and declared with identity=False",
        lambda: card("Vowels", SilentChoirOptions),
    ),
    ("component options", "Another option of what 'second' names leaves", lambda: card("Vowels", OwnIdentityOptions)),
    ("shape", r"returns shape \[9\] for 1 inputs", lambda: card("Flat", VowelOptions)),
    ("shape", "returns list, not a numpy array", lambda: card("Lists", VowelOptions)),
    ("shape", "Its width changes with the input", lambda: card("Growing", VowelOptions)),
    ("dtype", "returns float64, not float32", lambda: card("Wide", VowelOptions)),
    ("finite", "vector of 'Rain.' holds NaN", lambda: card("NotANumber", VowelOptions)),
    ("finite", "one and the same vector", lambda: card("Constant", VowelOptions)),
    ("batch size", "batch_size is 0", lambda: card("NoBatch", VowelOptions)),
    ("work is done", "changes during the next call", lambda: card("OneBuffer", VowelOptions)),
    ("determinism", "Two instances with the same options", lambda: card("Dreaming", VowelOptions)),
    ("another process", "Another process has other vectors", lambda: card("Hashing", VowelOptions)),
    ("another process", "Another process has another identity", lambda: card("Vowels", UnsortedOptions)),
    ("threads", "Two threads give other vectors", lambda: card("Threaded", VowelOptions)),
    ("batch independence", "another vector alone than in a batch", lambda: card("Neighbours", VowelOptions)),
    ("identity", "Option 'words' changes the vectors", lambda: card("Vowels", SilentOptions)),
    ("identity", "Option 'accent' changes the vectors", lambda: card("Accented", AccentOptions)),
    ("awkward inputs", "For an empty text its vector holds NaN", lambda: card("Undefined", VowelOptions)),
    ("awkward inputs", "For an empty text it returns shape", lambda: card("Narrow", VowelOptions)),
    ("awkward inputs", "On an empty text it raises ZeroDivisionError", lambda: card("Fragile", VowelOptions)),
    ("wrong input", "returns a vector", lambda: card("Careless", VowelOptions)),
    ("wrong input", "raises AttributeError", lambda: card("Clumsy", VowelOptions)),
    ("pickling", "reads a pickle", lambda: card("Pickled", VowelOptions)),
]


# --------------------------------------------------------------------------------------------------------------- losses


class Squared(Loss):
    """The good one."""

    def per_row(self, p_ts: Any, p_s: Any) -> Any:
        if p_ts.shape != p_s.shape:
            raise ValueError(f"projections of shapes {list(p_ts.shape)} and {list(p_s.shape)}")
        return (p_ts - p_s).pow(2).sum(1)

    def __call__(self, p_ts: Any, p_s: Any) -> Any:
        return self.per_row(p_ts, p_s).mean()


class PerRow(Squared):
    def __call__(self, p_ts: Any, p_s: Any) -> Any:
        return self.per_row(p_ts, p_s)


class HalfDetached(Squared):
    def __call__(self, p_ts: Any, p_s: Any) -> Any:
        return (p_ts - p_s).mul(p_ts - p_s.detach()).sum(1).mean() + 0 * super().__call__(p_ts, p_s)


class Shifted(Squared):
    def __call__(self, p_ts: Any, p_s: Any) -> Any:
        return super().__call__(p_ts, p_s) + 1


class Similarity(Squared):
    def __call__(self, p_ts: Any, p_s: Any) -> Any:
        return -super().__call__(p_ts, p_s)


class Rooted(Squared):
    def __call__(self, p_ts: Any, p_s: Any) -> Any:
        return self.per_row(p_ts, p_s).sqrt().mean()


class Broadcast(Squared):
    def __call__(self, p_ts: Any, p_s: Any) -> Any:
        return (p_ts - p_s).pow(2).sum(1).mean() if 1 in p_s.shape else super().__call__(p_ts, p_s)


class Ordered(Squared):
    def __call__(self, p_ts: Any, p_s: Any) -> Any:
        import torch

        return (self.per_row(p_ts, p_s) * torch.arange(1, len(p_s) + 1)).mean()


class Spread(Squared):
    def __call__(self, p_ts: Any, p_s: Any) -> Any:
        return super().__call__(p_ts, p_s) + 1e-9 * (p_ts - p_s).std(0).sum()


LOSSES = [
    ("scalar", r"returns shape \[1\]", "PerRow"),
    ("scalar", "nan for 1 random pair", "Spread"),
    ("gradient", "finite differences have", "HalfDetached"),
    ("zero", "It is 1 where both batches are equal", "Shifted"),
    ("never below", "below its minimum of 0", "Similarity"),
    ("gradient at rest", "NaN or infinite where both are equal", "Rooted"),
    ("shapes", "broadcasting compares the wrong rows", "Broadcast"),
    ("order", "in another order give", "Ordered"),
]


# ---------------------------------------------------------------------------------------------------------------- tasks


@dataclass(frozen=True)
class DraftOptions:
    rows: int = option(8, "Rows of the training split", minimum=4, maximum=10)


@dataclass(frozen=True)
class SilentDraftOptions:
    rows: int = option(8, "Rows of the training split", minimum=4, maximum=10, identity=False)


class Draft(Task):
    """The good one: does a sentence have an even number of words?"""

    names: tuple[str, ...] = ("odd", "even")

    def texts(self, name: str) -> list[str]:
        return list(SENTENCES[: self.options.rows] if name == "train" else SENTENCES[10:])

    def split(self, name: str) -> Split:
        texts = self.texts(name)
        labels = [1 - len(text.split()) % 2 for text in texts]
        return Split([(text,) for text in texts], labels, texts)

    def labels(self) -> tuple[str, ...]:
        return self.names

    def score(self, outputs: Any, labels: Any) -> dict[str, float]:
        import numpy as np

        return {"accuracy": 100 * float((np.asarray(outputs).argmax(1) == np.asarray(labels)).mean())}

    @property
    def metric(self) -> str:
        return "accuracy"


class Nameless(Draft):
    names = ("odd", "odd")


class OtherKind(Draft):
    kind = "regression"


class Empty(Draft):
    def texts(self, name: str) -> list[str]:
        return [*super().texts(name), " "]


class Uneven(Draft):
    def split(self, name: str) -> Split:
        found = super().split(name)
        return dataclasses.replace(found, teacher_inputs=found.teacher_inputs[1:])


class OutOfRange(Draft):
    def split(self, name: str) -> Split:
        found = super().split(name)
        return dataclasses.replace(found, labels=[label + 1 for label in found.labels])


class Leaking(Draft):
    def texts(self, name: str) -> list[str]:
        return [*super().texts(name), SENTENCES[0]] if name == "validation" else super().texts(name)


class Shuffled(Draft):
    def texts(self, name: str) -> list[str]:
        return random.sample(super().texts(name), len(super().texts(name)))


class Share(Draft):
    def score(self, outputs: Any, labels: Any) -> dict[str, float]:
        return {"accuracy": super().score(outputs, labels)["accuracy"] / 100}


class OtherMetric(Draft):
    @property
    def metric(self) -> str:
        return "f1"


TASKS = [
    ("kind", "all different", "Nameless", DraftOptions),
    ("kind", "is 'regression', the card", "OtherKind", DraftOptions),
    ("rows", "Row 8 of train has an empty text", "Empty", DraftOptions),
    ("rows", "columns of one length", "Uneven", DraftOptions),
    ("labels", "the classes are numbered 0 to 1", "OutOfRange", DraftOptions),
    ("disjoint splits", "1 of 7 validation texts are in the training split", "Leaking", DraftOptions),
    ("same rows", "has other rows", "Shuffled", DraftOptions),
    ("perfect score", "score 1 accuracy, not 100", "Share", DraftOptions),
    ("perfect score", "there is no 'f1'", "OtherMetric", DraftOptions),
    ("suggestions", "suggests lr, which no method has as an option", "Draft", DraftOptions, {"lr": 1e-3}),
    ("suggestions", "suggests null for aligner_lr", "Draft", DraftOptions, {"aligner_lr": None}),
    ("suggestions", "for armada aligner_lr must be a number or null", "Draft", DraftOptions, {"aligner_lr": "fast"}),
    ("suggestions", "is no plain value: TypeError", "Draft", DraftOptions, {"layers": {1, 2}}),
    ("identity", "Option 'rows' changes the rows", "Draft", SilentDraftOptions),
]


# ------------------------------------------------------------------------------------------------------------- students


class Bert(Student):
    """The good one: a small random BERT, for classification alone."""

    def __init__(self, options: Any, environment: Any) -> None:
        from transformers import AutoTokenizer

        from armada_cli.models.tiny import save_letters_tokenizer

        super().__init__(options, environment)
        with tempfile.TemporaryDirectory() as folder:
            self.size = save_letters_tokenizer(Path(folder))
            self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def build(self, problem: Any, weights: Path | None = None, *, new_head: bool = False) -> Any:
        from transformers import BertConfig, BertForSequenceClassification

        if problem.kind != "classification":
            raise UserError(f"a small student does no {problem.kind}", "Take another")
        attention = "eager" if problem.attentions else "sdpa"
        if weights is not None:
            model = BertForSequenceClassification.from_pretrained(weights, attn_implementation=attention)
            if new_head:
                model.classifier.reset_parameters()
            return model
        return BertForSequenceClassification(
            BertConfig(
                vocab_size=self.size,
                hidden_size=getattr(self.options, "hidden", 16),
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                num_labels=problem.outputs,
                attn_implementation=attention,
            )
        )

    def encode(self, texts: Any, problem: Any) -> Any:
        found = self.tokenizer([text[0] for text in texts], truncation=True, max_length=problem.max_length)
        return [{name: found[name][row] for name in found} for row in range(len(texts))]

    def pad(self, examples: Any) -> Any:
        return dict(self.tokenizer.pad(examples, return_tensors="pt"))

    def forward(self, model: Any, batch: Any, hidden_states: bool = False, attentions: bool = False) -> StudentOutput:
        found = model.bert(**batch, output_hidden_states=hidden_states, output_attentions=attentions)
        pooled = found.pooler_output
        logits = model.classifier(model.dropout(pooled))
        return StudentOutput(logits, pooled, found.hidden_states if hidden_states else None, attentions=found.attentions)

    def save(self, model: Any, problem: Any, folder: Path) -> None:
        model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


@dataclass(frozen=True)
class SilentBertOptions:
    hidden: int = option(16, "Width of the model", minimum=2, identity=False)


class Inattentive(Bert):
    def forward(self, model: Any, batch: Any, hidden_states: bool = False, attentions: bool = False) -> StudentOutput:
        return super().forward(model, batch, hidden_states)


class HalfAttentive(Bert):
    def forward(self, model: Any, batch: Any, hidden_states: bool = False, attentions: bool = False) -> StudentOutput:
        output = super().forward(model, batch, hidden_states, attentions)
        return dataclasses.replace(output, attentions=tuple(part / 2 for part in output.attentions or ()))


class MeanAttentive(Bert):
    def forward(self, model: Any, batch: Any, hidden_states: bool = False, attentions: bool = False) -> StudentOutput:
        output = super().forward(model, batch, hidden_states, attentions)
        return dataclasses.replace(output, attentions=tuple(part.mean(1) for part in output.attentions or ()))


class FirstAttentive(Bert):
    def forward(self, model: Any, batch: Any, hidden_states: bool = False, attentions: bool = False) -> StudentOutput:
        output = super().forward(model, batch, hidden_states, attentions)
        return dataclasses.replace(output, attentions=tuple(part[..., :1, :] for part in output.attentions or ()))


class MaskedBert(Bert):
    """The good one that also learns from text alone: every third token is hidden."""

    def build(self, problem: Any, weights: Path | None = None, *, new_head: bool = False) -> Any:
        from transformers import BertConfig, BertForMaskedLM

        if problem.kind != "masked":
            return super().build(problem, weights, new_head=new_head)
        attention = "eager" if problem.attentions else "sdpa"
        if weights is not None:
            return BertForMaskedLM.from_pretrained(weights, attn_implementation=attention)
        config = BertConfig(
            vocab_size=self.size,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            attn_implementation=attention,
        )
        return BertForMaskedLM(config)

    def forward(self, model: Any, batch: Any, hidden_states: bool = False, attentions: bool = False) -> StudentOutput:
        import torch
        from torch.nn.functional import cross_entropy

        if hasattr(model, "classifier"):
            return super().forward(model, batch, hidden_states, attentions)
        ids = batch["input_ids"]
        hidden = (torch.arange(ids.shape[1]) % 3 == 1) & batch["attention_mask"].bool()
        shown = torch.where(hidden, torch.full_like(ids, 1), ids)
        output = model(**{**batch, "input_ids": shown}, output_hidden_states=True, output_attentions=attentions)
        losses = cross_entropy(output.logits.transpose(1, 2), ids, reduction="none") * hidden
        counted = torch.stack([losses.sum(1), hidden.sum(1).float()], 1)
        states = output.hidden_states
        loss = losses.sum() / hidden.sum()
        return StudentOutput(counted, states[-1][:, 0], states, loss, states[-1], output.attentions)


class Lossless(MaskedBert):
    def forward(self, model: Any, batch: Any, hidden_states: bool = False, attentions: bool = False) -> StudentOutput:
        output = super().forward(model, batch, hidden_states, attentions)
        return dataclasses.replace(output, loss=None if output.loss is None else output.loss / 0)


class Bodiless(MaskedBert):
    def build(self, problem: Any, weights: Path | None = None, *, new_head: bool = False) -> Any:
        return super().build(problem, None if new_head else weights)


class OldHead(Bert):
    def build(self, problem: Any, weights: Path | None = None, *, new_head: bool = False) -> Any:
        return super().build(problem, weights)


class Unable(Bert):
    def build(self, problem: Any, weights: Path | None = None, *, new_head: bool = False) -> Any:
        raise UserError("no weights today", "Come back")


class Uncut(Bert):
    def encode(self, texts: Any, problem: Any) -> Any:
        found = self.tokenizer([text[0][:200] for text in texts])
        return [{name: found[name][row] for name in found} for row in range(len(texts))]


class TooManyLogits(Bert):
    def forward(self, model: Any, batch: Any, hidden_states: bool = False, attentions: bool = False) -> StudentOutput:
        found = super().forward(model, batch, hidden_states, attentions)
        return dataclasses.replace(found, logits=found.pooled)


class NoStates(Bert):
    def forward(self, model: Any, batch: Any, hidden_states: bool = False, attentions: bool = False) -> StudentOutput:
        return dataclasses.replace(super().forward(model, batch, hidden_states, attentions), hidden_states=None)


class Unmasked(Bert):
    def forward(self, model: Any, batch: Any, hidden_states: bool = False, attentions: bool = False) -> StudentOutput:
        return super().forward(model, {**batch, "attention_mask": batch["attention_mask"] * 0 + 1}, hidden_states, attentions)


class Detached(Bert):
    def forward(self, model: Any, batch: Any, hidden_states: bool = False, attentions: bool = False) -> StudentOutput:
        found = super().forward(model, batch, hidden_states, attentions)
        return dataclasses.replace(found, pooled=found.pooled.detach())


class Unused(Bert):
    def build(self, problem: Any, weights: Path | None = None, *, new_head: bool = False) -> Any:
        import torch

        model = super().build(problem, weights, new_head=new_head)
        model.spare = torch.nn.Linear(2, 2)
        return model


class OwnChance(Bert):
    def build(self, problem: Any, weights: Path | None = None, *, new_head: bool = False) -> Any:
        import torch

        torch.manual_seed(random.randrange(2**31))
        return super().build(problem, weights, new_head=new_head)


class Forgetful(Bert):
    def save(self, model: Any, problem: Any, folder: Path) -> None:
        super().save(self.build(problem), problem, folder)


class Unfolded(Bert):
    def build(self, problem: Any, weights: Path | None = None, *, new_head: bool = False) -> Any:
        if problem.kind == "masked":
            raise UserError("no masked text", "Take another")
        return super().build(dataclasses.replace(problem, kind="classification"), weights, new_head=new_head)

    def fold(self, model: Any, scale: Any) -> Any:
        return type(scale)()


class Torched(Bert):
    def save(self, model: Any, problem: Any, folder: Path) -> None:
        import torch

        super().save(model, problem, folder)
        torch.save(model.state_dict(), folder / "extra.pt")


class Cryptic(Bert):
    def save(self, model: Any, problem: Any, folder: Path) -> None:
        import json

        super().save(model, problem, folder)
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**settings, "architectures": ["OwnModel"]}))


STUDENTS = [
    ("builds", "It can be built for no kind of task", "Unable"),
    ("identity", "Option 'hidden' changes the model", "Bert"),
    ("encoding", "48 are allowed", "Uncut"),
    ("forward", r"logits for classification have shape \[4, 16\]", "TooManyLogits"),
    ("forward", "Asked for hidden states on classification, it gives none", "NoStates"),
    ("attentions", "asked for them on classification, it gives none", "Inattentive"),
    ("attentions", r"it gives \[4, \d+, \d+\]; they are a tensor", "MeanAttentive"),
    ("attentions", r"layer 0 on classification are \[4, 2, 1, ", "FirstAttentive"),
    ("attentions", "layer 0 on classification sum to 0.5 for a token", "HalfAttentive"),
    ("forward", "For masked StudentOutput.loss must be the cross-entropy", "Lossless"),
    ("new head", "from what was saved on masked; the body must be what was saved", "Bodiless"),
    ("new head", "keeps the head that was saved on classification", "OldHead"),
    ("batch independence", "is another one beside longer rows", "Unmasked"),
    ("gradients", "No gradient flows through its pooled output", "Detached"),
    ("gradients", "2 trainable weights get no gradient, the first is spare", "Unused"),
    ("seed", "two builds on one seed differ", "OwnChance"),
    ("saved and loaded", "has other outputs", "Forgetful"),
    ("unit of a regression", "are not its former ones times 12.5 plus 1985", "Unfolded"),
    ("files", "holds extra.pt", "Torched"),
    ("loads without armada", "does not load without armada", "Cryptic"),
]


# -------------------------------------------------------------------------------------------------------------- methods


@dataclass(frozen=True)
class NeedyOptions:
    needs_teacher: ClassVar[bool] = True


@dataclass(frozen=True)
class QuietOptions:
    weight: float = option(1.0, "Weight of the task", above=0, identity=False)


class Labels(Method):
    """The good one: cross-entropy."""

    sign = 1.0
    marked = True

    def own(self, batch: Any, output: StudentOutput) -> Any:
        from torch.nn.functional import cross_entropy

        return cross_entropy(output.logits, batch.labels)

    def terms(self, batch: Any, output: StudentOutput) -> list[Term]:
        return [Term("task", self.sign, self.own(batch, output), task=self.marked)]


class Unmarked(Labels):
    marked = False


class Silent(Labels):
    def advice(self) -> Any:
        return {"task": None}


class Backwards(Labels):
    sign = -1.0


class Dicing(Labels):
    def terms(self, batch: Any, output: StudentOutput) -> list[Term]:
        return [Term("task", 1.0 + 0.1 * random.random(), self.own(batch, output), task=True)]


class Counting(Labels):
    steps = 0

    def terms(self, batch: Any, output: StudentOutput) -> list[Term]:
        self.steps += 1
        return [Term("task", 1.0 + 0.01 * self.steps, self.own(batch, output), task=True)]


class Idle(Labels):
    def __init__(self, options: Any, setup: Any) -> None:
        import torch

        super().__init__(options, setup)
        self.module = torch.nn.Linear(2, 2)

    def own_modules(self) -> dict[str, Any]:
        return {"idler": self.module}


class Precise(Labels):
    """A good one that asks for what the settings say: float32."""

    def terms(self, batch: Any, output: StudentOutput) -> list[Term]:
        import torch

        if output.logits.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            raise ValueError("the student runs in half precision")
        return super().terms(batch, output)


class Hoarding(Idle):
    def kept_modules(self) -> dict[str, Any]:
        import torch

        return {"idler": torch.nn.Linear(2, 2)}


class Overlapping(Idle):
    def kept_modules(self) -> dict[str, Any]:
        return {"heads": self.module}


class NeedsFeatures(Labels):
    def __init__(self, options: Any, setup: Any) -> None:
        super().__init__(options, setup)
        self.width = setup.features.shape[1]


class PoolersOnly(Labels):
    def __init__(self, options: Any, setup: Any) -> None:
        super().__init__(options, setup)
        if not setup.own_pooler:
            raise ValueError("no pooler, no method")


class Elsewhere(Labels):
    """Its only term does not depend on the student."""

    def own(self, batch: Any, output: StudentOutput) -> Any:
        return (output.logits.detach() * 0).sum() + output.logits.sum() * 0


@dataclass(frozen=True)
class TaughtOptions:
    """The good one: a teacher of text, and an assistant that learned from it."""

    teacher: Choice = option("bert-base", "The text teacher", component="student")

    def dependencies(self, trial: Planned) -> dict[str, Any]:
        learns = choose("method", "kd", teacher=self.teacher)
        return {"teacher": Needs(self.teacher), "assistant": Needs(trial.student, learns, seed=trial.seed)}


@dataclass(frozen=True)
class MiscountedOptions(TaughtOptions):
    def reads(self, trial: Planned) -> dict[str, Any]:
        return {"teacher": ("logits",), "assistant": ("mean:*",)}


@dataclass(frozen=True)
class OvercountedOptions(TaughtOptions):
    def reads(self, trial: Planned) -> dict[str, Any]:
        return {"teacher": ("logits", "first:1"), "assistant": ("logits",)}


class Taught(Labels):
    """Learns from the mean of two finished trials."""

    roles: tuple[str, ...] = ("teacher", "assistant")

    def __init__(self, options: Any, setup: Any) -> None:
        super().__init__(options, setup)
        self.wanted = sum(setup.cached(role, "logits") for role in self.roles) / max(1, len(self.roles))

    def terms(self, batch: Any, output: StudentOutput) -> list[Term]:
        far = (output.logits - self.wanted[batch.rows]).pow(2).mean()
        return [Term("task", 1.0, self.own(batch, output), task=True), Term("taught", 0.1, far)]


class HalfTaught(Taught):
    roles = ("teacher",)


class OtherwiseTaught(Taught):
    roles = ("teacher", "assistant", "professor")


@dataclass(frozen=True)
class OldDependenciesOptions(TaughtOptions):
    """As contract 1 had it."""

    def dependencies(self) -> dict[str, Any]:  # type: ignore[override]
        return {"teacher": {"student": self.teacher, "seed": 0}}


@dataclass(frozen=True)
class HastyCheckOptions(TaughtOptions):
    """Takes it for granted that a student says how large it is."""

    def check(self, trial: Planned) -> None:
        assert trial.student.options.size()["layers"] > 1


@dataclass(frozen=True)
class MappingOptions(TaughtOptions):
    def dependencies(self, trial: Planned) -> dict[str, Any]:
        return {"teacher": {"student": self.teacher, "seed": 0}}


@dataclass(frozen=True)
class ByNameOptions(TaughtOptions):
    def dependencies(self, trial: Planned) -> dict[str, Any]:
        return {"teacher": Needs("bert-base")}  # type: ignore[arg-type]


@dataclass(frozen=True)
class OtherKindOptions(TaughtOptions):
    def dependencies(self, trial: Planned) -> dict[str, Any]:
        return {"teacher": Needs(self.teacher, task=self.teacher)}


@dataclass(frozen=True)
class UnknownMethodOptions(TaughtOptions):
    def dependencies(self, trial: Planned) -> dict[str, Any]:
        return {"teacher": Needs(self.teacher, "no-such-method")}


@dataclass(frozen=True)
class DrawnSeedOptions(TaughtOptions):
    def dependencies(self, trial: Planned) -> dict[str, Any]:
        return {"teacher": Needs(self.teacher, seed=random.randrange(2**31))}


@dataclass(frozen=True)
class NegativeSeedOptions(TaughtOptions):
    def dependencies(self, trial: Planned) -> dict[str, Any]:
        return {"teacher": Needs(self.teacher, seed=-1)}


@dataclass(frozen=True)
class AnswersOptions(TaughtOptions):
    def dependencies(self, trial: Planned) -> dict[str, Any]:
        return {"teacher": Needs(self.teacher, answers=True)}


class Visible(Labels):
    """The good one: a layer inside the student that knows its rows, shown to an analysis, with advice and another split."""

    def __init__(self, options: Any, setup: Any) -> None:
        import torch

        super().__init__(options, setup)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(setup.stream("visible"))
            self.layer = torch.nn.Linear(setup.hidden, 5)
        self.rows: Any = None

    @classmethod
    def training(cls, options: Any, split: Split, answers: Any) -> Split:
        return split.take(range(len(split) - 1))

    def student_modules(self) -> dict[str, Any]:
        return {"layer": self.layer}

    def inference_modules(self) -> dict[str, Any]:
        return {"layer": self.layer}

    def before_forward(self, batch: Any) -> None:
        self.rows = batch.rows

    def representations(self, batch: Any, output: StudentOutput) -> dict[str, Any]:
        return {"seen": self.layer(output.pooled.float())}

    def terms(self, batch: Any, output: StudentOutput) -> list[Term]:
        small = self.layer(output.pooled.float()).pow(2).mean()
        return [Term("task", 1.0, self.own(batch, output), task=True), Term("small", 0.01, small)]

    def advice(self) -> dict[str, str]:
        return {"small": "try less of it"}


class UnevenSplit(Visible):
    @classmethod
    def training(cls, options: Any, split: Split, answers: Any) -> Split:
        return dataclasses.replace(split, labels=split.labels[1:])


class ChangedSplit(Visible):
    @classmethod
    def training(cls, options: Any, split: Split, answers: Any) -> Split:
        split.labels[0] += 1  # type: ignore[index]
        return split


class DrawnSplit(Visible):
    @classmethod
    def training(cls, options: Any, split: Split, answers: Any) -> Split:
        return split.take(random.sample(range(len(split)), len(split)))


class ShorterSplit(Visible):
    def terms(self, batch: Any, output: StudentOutput) -> list[Term]:
        far = (self.layer(output.pooled.float()) - batch.features[:, :5]).pow(2).mean()
        return [Term("task", 1.0, self.own(batch, output), task=True), Term("small", 0.01, far)]


class NoSplit(Visible):
    @classmethod
    def training(cls, options: Any, split: Split, answers: Any) -> Split:
        return list(split.texts)  # type: ignore[return-value]


class Overwriting(Visible):
    def before_forward(self, batch: Any) -> None:
        batch.inputs["input_ids"][:, 0] = 0


class Featured(Visible):
    def before_forward(self, batch: Any) -> None:
        if batch.split != "train":
            batch.features.mean()


class Homeless(Visible):
    def student_modules(self) -> dict[str, Any]:
        return {}


class Narrowed(Visible):
    def representations(self, batch: Any, output: StudentOutput) -> dict[str, Any]:
        return {"seen": output.pooled.mean(1)}


class Moody(Visible):
    def representations(self, batch: Any, output: StudentOutput) -> dict[str, Any]:
        return {"seen": output.pooled * random.random()}


class Meddling(Visible):
    def advice(self) -> dict[str, str]:
        return {"smell": "try less of it"}


class Wordless(Visible):
    def advice(self) -> dict[str, str]:
        return {"small": ""}


METHODS = [
    ("training split", "8 texts, 7 labels and 8 teacher inputs", "UnevenSplit", NoOptions),
    ("training split", "returns list on classification", "NoSplit", NoOptions),
    ("training split", "changes the split it was given", "ChangedSplit", NoOptions),
    ("training split", "another split of the same one each time", "DrawnSplit", NoOptions),
    ("training split", "makes 7 rows of 8, and the method reads a teacher's vectors", "ShorterSplit", NeedyOptions),
    ("before forward", r"changes inputs\['input_ids'\] of the batch", "Overwriting", NoOptions),
    ("before forward", "there the batch has no features", "Featured", NoOptions),
    ("inference modules", "its inference module 'layer' has 2 weights", "Homeless", NoOptions),
    ("kept modules", "names another module than student_modules", "Hoarding", NoOptions),
    ("kept modules", "has the name 'heads', which is to be a file's", "Overlapping", NoOptions),
    ("representations", r"'seen' of 8 rows is \[8\]; it must be a tensor \[8, d\]", "Narrowed", NoOptions),
    ("representations", "another one when it is asked again", "Moody", NoOptions),
    ("advice", "advice is about 'smell', and its terms are small, task", "Meddling", NoOptions),
    ("advice", "must be the end of a sentence", "Wordless", NoOptions),
    ("dependencies", r"takes the trial that is planned: dependencies\(self, trial\)", "Labels", OldDependenciesOptions),
    ("dependencies", r"check\(\) raises AttributeError", "Labels", HastyCheckOptions),
    ("dependencies", "for 'teacher' a dict; it must be armada_cli.Needs", "Labels", MappingOptions),
    ("dependencies", "for 'teacher' str 'bert-base' as its student; it must be a Choice", "Labels", ByNameOptions),
    ("dependencies", "the student 'bert-base' as its task", "Labels", OtherKindOptions),
    ("dependencies", "the method 'no-such-method': unknown method", "Labels", UnknownMethodOptions),
    ("dependencies", "and asked again teacher", "Labels", DrawnSeedOptions),
    ("dependencies", "the seed -1; it must be a whole number", "Labels", NegativeSeedOptions),
    ("dependencies", "a task that is classification; only a generation task has prompts", "Labels", AnswersOptions),
    ("dependencies", "needs 'assistant' and never asks for it", "HalfTaught", TaughtOptions),
    ("dependencies", "asks for the trial 'professor'", "OtherwiseTaught", TaughtOptions),
    ("dependencies", r"reads\(\) does not name logits of 'assistant'", "Taught", MiscountedOptions),
    ("dependencies", r"reads\(\) names first of 'teacher' in vain", "Taught", OvercountedOptions),
    ("made", "it raises AttributeError", "NeedsFeatures", NoOptions),
    ("terms", "0 of its terms on classification are marked task=True", "Unmarked", NoOptions),
    ("advice", "Its advice about 'task' is None; it must be the end", "Silent", NoOptions),
    ("learns", "the student's loss goes from", "Backwards", NoOptions),
    ("same numbers", "two trainings of one seed part at step", "Dicing", NoOptions),
    ("resumes", "Interrupted after step 14 and resumed", "Counting", NoOptions),
    ("teacher", "another teacher's vectors change nothing", "Labels", NeedyOptions),
    ("modules", "its module 'idler' is never trained", "Idle", NoOptions),
    ("modules", "no weight of the student moves", "Elsewhere", NoOptions),
    ("any student", "it raises ValueError: no pooler, no method", "PoolersOnly", NoOptions),
    ("identity", "declared with identity=False", "Labels", QuietOptions),
]
