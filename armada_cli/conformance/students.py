"""What a student is asked, on every kind of task that it can be built for."""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from armada_cli.conformance import alone
from armada_cli.conformance.asking import Broken, NotAsked, asked, quoted, require
from armada_cli.conformance.inputs import AWKWARD
from armada_cli.conformance.problems import OUTPUTS
from armada_cli.conformance.subject import Subject, shared_questions, single_line
from armada_cli.contracts import TASK_KINDS, Decoding, Problem, StudentOutput, Term
from armada_cli.errors import UserError
from armada_cli.models.tiny import SENTENCES
from armada_cli.targets import NONE, Scale
from armada_cli.training.objective import task_loss
from armada_cli.training.pull import anchor, measure
from armada_cli.training.scales import UNKNOWN
from armada_cli.training.seeds import drawn_from

ROWS = 4
LENGTH = 48
"""Tokens of an input at most; some of the rows are longer with a tokenizer of letters."""

TOLERANCE = 1e-4
"""Outputs count as equal when they differ by at most this, absolutely and as a share."""

KEPT = {".safetensors", ".json", ".txt", ".model", ".jinja", ".md", ".spm", ".vocab", ".merges"}
"""Files of an exported student: weights, configuration, tokenizer, notes. None of them can run code."""


OWN_INPUTS = ("labels", "prompt_mask", "special_tokens_mask")
"""Inputs that are between a student and the host, and that the saved model does not know."""


class StudentSubject(Subject):
    """A student, its model for each kind of task, and rows for it."""

    @functools.cached_property
    def kinds(self) -> dict[str, str]:
        """Kind of task -> why the student cannot do it; empty for those that it can."""
        found = {}
        for kind in TASK_KINDS:
            if kind == "generation" and "decoder" not in self.card.provides:
                found[kind] = "it is an encoder"
                continue
            try:
                self.build(kind)
                found[kind] = ""
            except UserError as error:
                found[kind] = quoted(error, named=False)
        return found

    @property
    def able(self) -> list[str]:
        _ = self.first
        able = [kind for kind, why in self.kinds.items() if not why]
        if not able:
            raise NotAsked("It can be built for no kind of task, see above")
        return able

    def problem(self, kind: str) -> Problem:
        names = tuple(f"label {number}" for number in range(OUTPUTS[kind]))
        return Problem(kind, OUTPUTS[kind], names, LENGTH)

    def build(self, kind: str, weights: Path | None = None, seed: int = 0) -> nn.Module:
        with self.at_work(), drawn_from(seed, "student head"):
            return self.first.build(self.problem(kind), weights)

    @functools.cached_property
    def models(self) -> dict[str, nn.Module]:
        """A model for each kind, its trainable weights moved a little as by training."""
        found = {}
        for kind in self.able:
            model = self.build(kind)
            chance = torch.Generator().manual_seed(3)
            with torch.no_grad():
                for weight in model.parameters():
                    if weight.requires_grad:
                        weight.add_(0.02 * torch.randn(weight.shape, generator=chance).to(weight))
            found[kind] = model.eval()
        return found

    def texts(self, kind: str) -> list[tuple[str, ...]]:
        """Four rows of unequal length."""
        s = SENTENCES
        if kind == "multiple-choice":
            return [(s[number], s[number + 4], "Perhaps.") for number in range(ROWS)]
        if kind == "generation":
            return [(s[number] * (1 + number % 2), f"{s[number + 4]}") for number in range(ROWS)]
        return [(s[0],), (f"{s[1]} {s[2]}",), ("Rain.",), (s[3],)]

    def labels(self, kind: str) -> Tensor:
        if kind == "regression":
            return torch.tensor([0.0, 1.0, 2.0, 0.5])
        if kind == "multilabel":
            return torch.eye(4)
        return torch.tensor([0, 1, 0, 1])

    def batch(self, kind: str, texts: Sequence[tuple[str, ...]] | None = None) -> dict[str, Tensor]:
        rows = list(texts or self.texts(kind))
        with self.at_work():
            return self.first.pad(self.first.encode(rows, self.problem(kind)))

    def forward(
        self, model: nn.Module, batch: dict[str, Tensor], hidden_states: bool = False, attentions: bool = False, **more: bool
    ) -> StudentOutput:
        with self.at_work():
            return self.first.forward(model, batch, hidden_states=hidden_states, attentions=attentions, **more)

    @functools.cached_property
    def exports(self) -> dict[str, Path]:
        """What the student saves of each model."""
        found = {}
        for kind, model in self.models.items():
            found[kind] = self.folder / f"export-{kind}"
            with self.at_work():
                self.first.save(model, self.problem(kind), found[kind])
        return found


SUBJECT = StudentSubject
QUESTIONS = shared_questions()


@asked(QUESTIONS, "builds")
def check_builds(subject: StudentSubject) -> str:
    """A torch module for at least one kind of task; a kind it cannot do is a UserError."""
    _ = subject.first
    provides = subject.card.provides
    require(
        "encoder" in provides or "decoder" in provides,
        "Its card provides neither 'encoder' nor 'decoder'; a recipe is checked against it",
    )
    able = [kind for kind, why in subject.kinds.items() if not why]
    require(bool(able), f"It can be built for no kind of task; for classification it says: {subject.kinds['classification']}")
    if "decoder" in provides:
        require("generation" in able, f"Its card says decoder, and it does not generate: {subject.kinds['generation']}")
    for kind in able:
        model = subject.models[kind]
        require(isinstance(model, nn.Module), f"build() returns {type(model).__name__} for {kind}, not a torch module")
        trainable = [weight for weight in model.parameters() if weight.requires_grad]
        require(bool(trainable), f"Its model for {kind} has no weight that can be trained")
        wrong = {str(weight.dtype) for weight in trainable} - {"torch.float32"}
        require(not wrong, f"Its model for {kind} has trainable weights of {', '.join(wrong)}; they must be float32")
    cannot = [kind for kind in subject.kinds if kind not in able]
    return f"For {', '.join(able)}" + (f"; not for {', '.join(cannot)}" if cannot else "")


@asked(QUESTIONS, "encoding")
def check_encoding(subject: StudentSubject) -> str:
    """A dictionary a row, no longer than asked; any text can be read."""
    for kind in subject.able:
        rows = subject.first.encode(subject.texts(kind), subject.problem(kind))
        require(
            isinstance(rows, list) and len(rows) == ROWS and all(isinstance(row, dict) and "input_ids" in row for row in rows),
            f"encode() gives {type(rows).__name__} for {ROWS} rows of {kind}; it must be a list with a dictionary a row, each "
            "with "
            "input_ids",
        )
        for row in rows:
            parts = row["input_ids"] if kind == "multiple-choice" else [row["input_ids"]]
            longest = max(len(part) for part in parts)
            require(
                0 < longest <= LENGTH,
                f"A row of {kind} is encoded in {longest} tokens, {LENGTH} are allowed (Problem.max_length); cut it",
            )
    kind = subject.able[0]
    for what, text in AWKWARD.items():
        row = (text, text, "Perhaps.") if kind == "multiple-choice" else (text, text) if kind == "generation" else (text,)
        try:
            output = subject.forward(subject.models[kind], subject.batch(kind, [row]))
        except UserError as error:
            require(single_line(error), f"For {what} its UserError has several lines")
            continue
        except Exception as error:
            raise Broken(f"On {what} it raises {quoted(error)}; cut what is too long, and read what is empty as such") from None
        require(bool(torch.isfinite(output.pooled).all()), f"For {what} its output holds NaN or infinity")
    return f"At most {LENGTH} tokens; {len(AWKWARD)} awkward texts are read"


@asked(QUESTIONS, "forward")
def check_forward(subject: StudentSubject) -> str:
    """Logits, pooled and hidden states of the promised shapes."""
    words = []
    for kind, model in subject.models.items():
        batch = subject.batch(kind)
        output = subject.forward(model, batch, hidden_states=True)
        if kind == "generation":
            require(
                output.loss is not None and output.loss.ndim == 0 and bool(torch.isfinite(output.loss)),
                "For generation StudentOutput.loss must be the next-token cross-entropy, one finite number",
            )
        else:
            require(
                kind != "masked" or (output.loss is not None and output.loss.ndim == 0 and bool(torch.isfinite(output.loss))),
                "For masked StudentOutput.loss must be the cross-entropy of the masked tokens, one finite number",
            )
            wanted = (ROWS, 2 if kind in ("multiple-choice", "masked") else OUTPUTS[kind])
            require(
                tuple(output.logits.shape) == wanted,
                f"Its logits for {kind} have shape {list(output.logits.shape)}, not {list(wanted)}",
            )
            require(bool(torch.isfinite(output.logits).all()), f"Its logits for {kind} hold NaN or infinity")
        lead = (ROWS, 2) if kind == "multiple-choice" else (ROWS,)
        pooled = tuple(output.pooled.shape)
        require(
            pooled[:-1] == lead and len(pooled) == len(lead) + 1,
            f"Its pooled output for {kind} has shape {list(pooled)}, not {[*lead, 'd']}",
        )
        states = output.hidden_states
        require(
            bool(states) and states[-1].shape[: len(lead)] == torch.Size(lead) and states[-1].ndim == len(lead) + 2,  # type: ignore[index]
            f"Asked for hidden states on {kind}, it gives {'none' if not states else list(states[-1].shape)}; they are the "
            "layers' "
            f"outputs, {[*lead, 'tokens', 'd']}",
        )
        words.append(f"{kind} {list(output.logits.shape) if kind != 'generation' else 'loss'}")
    return f"{', '.join(words)}; pooled {pooled[-1]} wide"


@asked(QUESTIONS, "attentions")
def check_attentions(subject: StudentSubject) -> str:
    """Built for attentions, it gives weights that sum to 1, and its outputs are the usual ones."""
    counts = []
    for kind in subject.able:
        with subject.at_work(), drawn_from(0, "student head"):
            try:
                model = subject.first.build(dataclasses.replace(subject.problem(kind), attentions=True)).eval()
            except UserError as error:
                return f"It gives none: {quoted(error, named=False)}"
        batch = subject.batch(kind)
        with torch.no_grad():
            output, usual = subject.forward(model, batch, attentions=True), subject.forward(subject.build(kind).eval(), batch)
        weights = output.attentions
        lead = [ROWS, 2] if kind == "multiple-choice" else [ROWS]
        require(
            bool(weights) and list(weights[0].shape[: len(lead)]) == lead and weights[0].ndim == len(lead) + 3,  # type: ignore[index]
            f"Built with Problem.attentions and asked for them on {kind}, it gives "
            f"{'none' if not weights else list(weights[0].shape)}; they are "
            f"a tensor {[*lead, 'heads', 'tokens', 'tokens']} a layer",
        )
        assert weights is not None
        tokens = batch["input_ids"].shape[-1]
        # What a padded token attends to is nobody's business.
        read = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool().unsqueeze(len(lead))
        for layer, part in enumerate(weights):
            require(
                list(part.shape[: len(lead)]) == lead and list(part.shape[-2:]) == [tokens, tokens],
                f"Its attention weights of layer {layer} on {kind} are {list(part.shape)} for {tokens} tokens; they are "
                f"{[*lead, 'heads', tokens, tokens]}",
            )
            sums = part.float().sum(-1)
            read_sums = sums[read.expand_as(sums)]
            furthest = float(read_sums[(read_sums - 1).abs().argmax()])
            require(
                abs(furthest - 1) <= 1e-3,
                f"Its attention weights of layer {layer} on {kind} sum to {furthest:.3g} for a token, not to 1; give the "
                "weights after the softmax, without dropout or scaling",
            )
        far = float((_answer(output) - _answer(usual)).abs().max())
        require(far <= 10 * TOLERANCE, f"Built for attentions, its outputs on {kind} are others (by {far:.2g})")
        counts.append(len(weights))
    return f"{max(counts)} layers of weights"


@asked(QUESTIONS, "tokens")
def check_tokens(subject: StudentSubject) -> str:
    """What it says to each token of the responses: the loss follows from it, and it is the same alone and in a batch."""
    if "generation" not in subject.able:
        raise NotAsked("It does not generate")
    name = subject.first.vocabulary()
    require(isinstance(name, str) and bool(name), f"vocabulary() returns {name!r}; it must be a text that tells its tokens")
    model, texts = subject.models["generation"], subject.texts("generation")
    with torch.no_grad():
        usual = subject.forward(model, subject.batch("generation"))
        output = subject.forward(model, subject.batch("generation"), tokens=True)
        alone = [subject.forward(model, subject.batch("generation", [text]), tokens=True).tokens for text in texts]
    require(usual.tokens is None, "It gives StudentOutput.tokens without being asked; they would fill the memory of every step")
    tokens = output.tokens
    if tokens is None or output.loss is None:
        raise Broken("Asked for tokens, it gives none; StudentOutput.tokens holds the logits of the responses' tokens")
    m, shape = len(tokens.labels), list(tokens.logits.shape)
    require(
        len(shape) == 2 and shape[0] == m and tokens.labels.ndim == 1 and tokens.rows.shape == tokens.labels.shape,
        f"Its tokens have logits {shape}, labels {list(tokens.labels.shape)} and rows {list(tokens.rows.shape)}; they are "
        "[m, V], [m] and [m]",
    )
    rows = tokens.rows.tolist()
    require(
        rows == sorted(rows) and set(rows) == set(range(len(texts))),
        f"The rows of its tokens are {rows[:8]}...; they are numbers of the batch's rows, going up, each with its response",
    )
    loss = torch.nn.functional.cross_entropy(tokens.logits.float(), tokens.labels)
    far = float((loss - output.loss).abs())
    require(
        far <= 10 * TOLERANCE,
        f"The cross-entropy of its tokens is {float(loss):.5g} and its loss {float(output.loss):.5g}; the logits at a token "
        "are those that it is predicted from, one place before it, and no token of a prompt or of the padding is among them",
    )
    far = abs(float(usual.loss) - float(output.loss)) if usual.loss is not None else 0.0
    require(far <= TOLERANCE, f"Asked for tokens, its loss is another one (by {far:.2g})")
    for row, single in enumerate(alone):
        own = tokens.rows == row
        require(
            single is not None and torch.equal(single.labels, tokens.labels[own]),
            f"The tokens of the response of row {row} are others beside longer rows",
        )
        assert single is not None
        far = float((single.logits - tokens.logits[own]).abs().max())
        require(
            far <= 10 * TOLERANCE,
            f"What it says to the tokens of row {row} is something else beside longer rows (by {far:.2g})",
        )
    return f"Logits over {shape[1]} tokens; the loss is their mean cross-entropy"


@asked(QUESTIONS, "new head")
def check_new_head(subject: StudentSubject) -> str:
    """The body of what was saved under a new head."""
    kinds = [kind for kind in subject.able if kind not in ("generation", "masked")]
    if not kinds:
        raise NotAsked("It has no task with a head of its own")
    kind = kinds[0]
    asked_for = [name for name in ("masked", kind) if name in subject.exports]
    for source in asked_for:
        with subject.at_work():
            try:
                with drawn_from(1, "student head"):
                    first = subject.first.build(subject.problem(kind), subject.exports[source], new_head=True)
            except UserError as error:
                require(single_line(error), "Its refusal has several lines")
                return f"It refuses: {quoted(error, named=False)}"
            with drawn_from(1, "student head"):
                second = subject.first.build(subject.problem(kind), subject.exports[source], new_head=True)
            with drawn_from(2, "student head"):
                other = subject.first.build(subject.problem(kind), subject.exports[source], new_head=True)
        own = [dict(model.named_parameters()) for model in (first, second, other, subject.models[source])]
        require(
            all(torch.equal(own[0][name], own[1][name]) for name in own[0]),
            "Two builds with new_head on one seed differ; draw the head from torch's own generator, which the host has seeded",
        )
        changed = [name for name in own[0] if not torch.equal(own[0][name], own[2][name])]
        require(
            bool(changed),
            f"build(problem, weights, new_head=True) keeps the head that was saved on {source}; it must be drawn anew",
        )
        taken = [name for name in own[0] if name in own[3] and own[0][name].shape == own[3][name].shape]
        same = [name for name in taken if torch.equal(own[0][name], own[3][name])]
        require(
            len(same) > len(changed),
            f"build(problem, weights, new_head=True) takes {len(same)} of {len(own[0])} tensors from what was saved on "
            f"{source}; the body must be what was saved",
        )
    return f"From what was saved on {' and '.join(asked_for)}"


@asked(QUESTIONS, "batch independence")
def check_batch(subject: StudentSubject) -> str:
    """A row's output does not depend on the padding that longer neighbours bring."""
    for kind, model in subject.models.items():
        texts = subject.texts(kind)
        with torch.no_grad():
            together = subject.forward(model, subject.batch(kind))
            for row, text in enumerate(texts):
                single = subject.forward(model, subject.batch(kind, [text]))
                for name in ("pooled",) if kind == "generation" else ("pooled", "logits"):
                    far = float((getattr(single, name)[0] - getattr(together, name)[row]).abs().max())
                    require(
                        far <= 10 * TOLERANCE,
                        f"On {kind} its {name} of a row is another one beside longer rows (by {far:.2g}); mask what is "
                        "padded, and "
                        "pool over the row's own tokens",
                    )
    return f"Alone and in a batch its outputs are equal to {10 * TOLERANCE:g}"


@asked(QUESTIONS, "gradients")
def check_gradients(subject: StudentSubject) -> str:
    """Every weight that can be trained gets a gradient, from the outputs and from the pooled output."""
    counts = []
    for kind in subject.able:
        model = subject.build(kind).train()
        output = subject.forward(model, subject.batch(kind))
        require(
            output.pooled.requires_grad,
            f"No gradient flows through its pooled output on {kind}; distillation would not reach the student",
        )
        own = output.loss if output.loss is not None else task_loss(kind, output.logits, subject.labels(kind))
        (own + output.pooled.float().pow(2).mean()).backward()
        without = [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None]
        require(
            not without,
            f"On {kind} {len(without)} trainable weights get no gradient, the first is {without[0] if without else ''}; "
            "several "
            "processes would wait for them for ever. Freeze them, or leave them out",
        )
        counts.append(sum(1 for weight in model.parameters() if weight.requires_grad))
        for asked_for in (False, True):
            _require_anchor(subject, model, kind, asked_for)
    return f"All {max(counts)} trainable tensors get one"


def _require_anchor(subject: StudentSubject, model: nn.Module, kind: str, hidden_states: bool) -> None:
    """Both the student's own loss and what a method projects come from the tensor where their pulls are compared."""
    output = subject.forward(model, subject.batch(kind), hidden_states=hidden_states)
    own = output.loss if output.loss is not None else task_loss(kind, output.logits, subject.labels(kind))
    projected = output.pooled if not hidden_states or output.hidden_states is None else output.hidden_states[-1]
    terms = [Term("its own loss", 1.0, own), Term("what is projected", 1.0, projected.float().pow(2).mean())]
    lost = [name for name, (_, norm) in measure(terms, anchor(output)).items() if norm == UNKNOWN]
    asked_for = ", asked for hidden states," if hidden_states else ""
    require(
        not lost,
        f"On {kind}{asked_for} {' and '.join(lost)} does not come from the tensor where gradients are measured, so no report "
        "could say which term outweighs the others; hand the tensor itself out as StudentOutput.anchor, before it is cut or "
        "viewed",
    )


@asked(QUESTIONS, "seed")
def check_seed(subject: StudentSubject) -> str:
    """One seed, one head."""
    for kind in subject.able:
        first, second = subject.build(kind).state_dict(), subject.build(kind).state_dict()
        other = [name for name in first if not torch.equal(first[name], second[name])]
        require(
            not other,
            f"On {kind} two builds on one seed differ in {other[0] if other else ''}; draw new weights from torch's own "
            "generator, "
            "which the host has seeded",
        )
    return "Two builds on one seed are equal to the bit"


@asked(QUESTIONS, "saved and loaded")
def check_saved(subject: StudentSubject) -> str:
    """What was saved is loaded again, with equal predictions."""
    worst = 0.0
    for kind, folder in subject.exports.items():
        loaded = subject.build(kind, weights=folder, seed=9).eval()
        with torch.no_grad():
            batch = subject.batch(kind)
            first, second = (_answer(subject.forward(model, batch)) for model in (subject.models[kind], loaded))
        far = float((first - second).abs().max())
        require(
            far <= TOLERANCE,
            f"On {kind} the model that was saved and loaded again has other outputs (by {far:.2g}); save() must write "
            "everything "
            "that is trained, and build(problem, weights) must read it",
        )
        worst = max(worst, far)
    return f"Equal outputs to {max(worst, 1e-9):.0e} on {', '.join(subject.exports)}"


@asked(QUESTIONS, "unit of a regression")
def check_fold(subject: StudentSubject) -> str:
    """A trained regression answers in the unit of the data, or says what is left to be done for it."""
    if "regression" not in subject.able:
        raise NotAsked("It cannot be built for regression")
    scale = Scale(12.5, 1985.0)
    model, batch = subject.build("regression", seed=5).eval(), subject.batch("regression")
    with torch.no_grad():
        before = subject.forward(model, batch).logits.float()
        rest = subject.first.fold(model, scale)
        require(isinstance(rest, Scale), f"fold() gives {type(rest).__name__}, not the armada_cli.targets.Scale that is left")
        after = rest.restore(subject.forward(model, batch).logits.float())
    far = float((after - scale.restore(before)).abs().max())
    require(
        far <= 100 * TOLERANCE,
        f"After fold() its answers, with what it says is left, are not its former ones times {scale.factor:g} plus "
        f"{scale.shift:g} (they differ by {far:.2g}); change the last layer alone (armada_cli.targets.fold_into), or leave the "
        "model as it is and return the scale",
    )
    return "By itself" if rest == NONE else f"Times {rest.factor:g} plus {rest.shift:g} is left, and kept beside the export"


@asked(QUESTIONS, "files")
def check_files(subject: StudentSubject) -> str:
    """An export has weights in safetensors, and nothing that could run code."""
    names: set[str] = set()
    for kind, folder in subject.exports.items():
        files = [path for path in folder.rglob("*") if path.is_file()]
        odd = [path.name for path in files if path.suffix not in KEPT]
        require(
            not odd,
            f"Its export for {kind} holds {', '.join(odd)}; weights belong in *.safetensors (a .bin, .pt or .pkl is a pickle, "
            "which can run code)",
        )
        require(any(path.suffix == ".safetensors" for path in files), f"Its export for {kind} holds no *.safetensors")
        require((folder / "config.json").is_file(), f"Its export for {kind} holds no config.json")
        names |= {path.name for path in files}
    return ", ".join(sorted(names))


@asked(QUESTIONS, "loads without armada")
def check_alone(subject: StudentSubject) -> str:
    """transformers (and peft) alone read an export, and predict the same."""
    jobs, wanted = [], {}
    for kind, folder in subject.exports.items():
        # What the model's own forward knows; anything else is between student and host.
        batch = {name: value for name, value in subject.batch(kind).items() if name not in OWN_INPUTS}
        if kind == "multiple-choice" and "decoder" in subject.card.provides:
            batch = {name: value.flatten(0, 1) for name, value in batch.items()}
        jobs.append({"kind": kind, "folder": str(folder), "inputs": {name: value.tolist() for name, value in batch.items()}})
        with torch.no_grad():
            wanted[kind] = _logits(subject, kind, batch)
    blocked = sorted(
        {"armada_cli", subject.card.target.partition(".")[0].partition(":")[0], subject.entry.partition(".")[0]} - {""}
    )
    listed = subject.folder / "jobs.json"
    listed.write_text(json.dumps([jobs, blocked]), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(Path(alone.__file__)), str(listed)],
        capture_output=True,
        text=True,
        cwd=subject.folder,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )
    if ran.returncode:
        raise Broken(f"The process that loads it ends with: {(ran.stderr.strip().splitlines() or ['nothing'])[-1]}")
    found = json.loads(ran.stdout.strip().splitlines()[-1])
    for kind, said in found.items():
        require(
            "error" not in said,
            f"Its export for {kind} does not load without armada: {said.get('error')}. Write an ordinary transformers or PEFT "
            "folder "
            "with save_pretrained",
        )
        require(said["tokens"] > 0, f"The tokenizer of its export for {kind} reads nothing")
        far = float((torch.tensor(said["logits"]).reshape(wanted[kind].shape) - wanted[kind]).abs().max())
        require(far <= 10 * TOLERANCE, f"Without armada its export for {kind} has other outputs (by {far:.2g})")
    return f"transformers alone has equal outputs on {', '.join(found)}"


@asked(QUESTIONS, "generation")
def check_generation(subject: StudentSubject) -> str:
    """Answers of a batch are those given one by one."""
    if "generation" not in subject.able:
        raise NotAsked("It does not generate")
    model, student = subject.models["generation"], subject.first
    prompts = [texts[0] for texts in subject.texts("generation")]
    for words, decoding in (
        ("most likely", Decoding(max_new_tokens=8)),
        ("drawn", Decoding(max_new_tokens=8, sample=True, top_p=0.9, top_k=20)),
    ):
        streams = [11 + number for number in range(len(prompts))]
        with subject.at_work():
            together = student.generate(model, prompts, decoding, streams)
            single = [
                student.generate(model, [prompt], decoding, [chance])[0]
                for prompt, chance in zip(prompts, streams, strict=True)
            ]
        require(
            isinstance(together, list) and len(together) == len(prompts) and all(isinstance(text, str) for text in together),
            f"generate() gives {type(together).__name__}; it must be a list with one text a prompt",
        )
        at = next((row for row in range(len(prompts)) if together[row] != single[row]), None)
        if at is not None:
            raise Broken(
                f"The {words} answer to prompt {at + 1} is {single[at]!r} alone and {together[at]!r} in a batch; pad on the "
                "left, "
                "mask it, count positions from the first real token, and draw each row from its own stream"
            )
        if not decoding.sample:
            parroted = [row for row, prompt in enumerate(prompts) if together[row].startswith(prompt)]
            require(not parroted, "Its answers begin with the prompt; return what follows it")
    rows = [(prompt, " yes.", " certainly not.") for prompt in prompts]
    with subject.at_work():
        several = student.likelihoods(model, rows)
        ones = [student.likelihoods(model, [row])[0] for row in rows]
    far = float((torch.tensor(several) - torch.tensor(ones)).abs().max())
    require(far <= 10 * TOLERANCE, f"Likelihoods of candidates are others in a batch than alone (by {far:.2g})")
    return "Answers and likelihoods of a batch are those of each prompt alone"


@asked(QUESTIONS, "identity")
def check_identity(subject: StudentSubject) -> str:
    """Options that leave the identity as it is leave the built model as it is."""
    from armada_cli.conformance.variations import varied

    subject.check_identity_is_data()
    own, tried = subject.identity(subject.options), []
    kind = subject.able[0]
    usual = {name: value.clone() for name, value in subject.build(kind).state_dict().items()}
    for name, options in varied(subject.options, subject.environment):
        if subject.identity(options) != own:
            continue
        try:
            with drawn_from(0, "student head"):
                other = subject.make(options).build(subject.problem(kind)).state_dict()
        except Exception:  # this value cannot be had here
            continue
        same = usual.keys() == other.keys() and all(
            usual[key].shape == other[key].shape and torch.equal(usual[key], other[key]) for key in usual
        )
        require(
            same,
            f"Option {name!r} changes the model ({getattr(subject.options, name)!r} against {getattr(options, name)!r}) and "
            "not "
            "the identity: an old trial would pass for a new one. Remove identity=False from it",
        )
        tried.append(name)
    return (
        f"The model stays the same under other values of {', '.join(dict.fromkeys(tried))}"
        if tried
        else "Every option is in it"
    )


@asked(QUESTIONS, "pickling")
def check_pickling(subject: StudentSubject) -> str:
    return subject.check_pickling()


def _answer(output: StudentOutput) -> Tensor:
    return output.loss.reshape(1) if output.loss is not None else output.logits


def _logits(subject: StudentSubject, kind: str, batch: dict[str, Tensor]) -> Tensor:
    """What the model itself says to the inputs, as transformers returns it."""
    model: Any = subject.models[kind]
    return model(**batch).logits.float()
