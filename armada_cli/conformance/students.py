"""What a student is asked, on every kind of task that it can be built for."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from armada_cli.conformance import exports
from armada_cli.conformance.asking import Broken, NotAsked, asked, quoted, require
from armada_cli.conformance.inputs import AWKWARD
from armada_cli.conformance.problems import OUTPUTS
from armada_cli.conformance.student_subject import LENGTH, ROWS, TOLERANCE, StudentSubject, answer_of
from armada_cli.conformance.subject import shared_questions, single_line
from armada_cli.contracts import Decoding, Term
from armada_cli.errors import UserError
from armada_cli.training.objective import task_loss
from armada_cli.training.pull import anchor, measure
from armada_cli.training.scales import UNKNOWN
from armada_cli.training.seeds import drawn_from

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
    denied = [kind for kind in able if hasattr(subject.options, "cannot_learn") and subject.options.cannot_learn(kind)]
    require(
        not denied,
        f"cannot_learn() of its options keeps it from {', '.join(denied)}, and it can be built for that; a recipe is refused",
    )
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
        far = float((answer_of(output) - answer_of(usual)).abs().max())
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


asked(QUESTIONS, "new head")(exports.check_new_head)


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


asked(QUESTIONS, "saved and loaded")(exports.check_saved)
asked(QUESTIONS, "unit of a regression")(exports.check_fold)
asked(QUESTIONS, "files")(exports.check_files)
asked(QUESTIONS, "loads without armada")(exports.check_alone)


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
