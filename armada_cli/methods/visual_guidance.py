"""Visual guidance: words look up pictures of the training texts, which the student attends to (Zhang et al. 2021)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from armada_cli.contracts import Batch, Component, Method, Planned, Setup, StudentOutput, Term, option
from armada_cli.methods.inside import Reading, first, require_layers_apart, watch, with_first
from armada_cli.methods.kinds import WITH_LOGITS

if TYPE_CHECKING:
    from torch import Tensor, nn

READ_AT_ONCE = 512
"""Training rows whose tokens are read at once."""

FILTERS = (2, 3, 4, 5)
"""Widths of the convolution's filters in the official variant."""


@dataclass(frozen=True)
class VisualGuidanceOptions:
    needs_teacher: ClassVar[bool] = True

    guided_by: str = option(
        "words",
        "words: each word piece has the vectors of training texts that it stands out in; text: the text's own vector for all",
        choices=("words", "text"),
    )
    top_words: int = option(5, "Word pieces of a training text that it is looked up by, the first by TF-IDF", minimum=1)
    pictures_each: int = option(3, "Vectors of one word piece at most, drawn once", minimum=1)
    common_share: float = option(
        0.2, "A word piece in more than this share of the training texts is a stop word", above=0, maximum=1
    )
    variant: str = option(
        "paper",
        "paper: attention, then a gate; official: a convolution over what was attended to, beside the pooled output",
        choices=("paper", "official"),
    )

    def check(self, trial: Planned) -> None:
        require_layers_apart("visual-guidance", trial.student)

    def features_at_inference(self) -> bool:
        """The dictionary is of training texts; a text's own vector has to be asked for."""
        return self.guided_by == "text"


class VisualGuidance(Method):
    """L = L_T(Y, o_s), o_s of a student whose top states h are guided: V = linear(mean picture of each token),
    a = out(softmax(h (W V)^T) V), g = sigmoid(W_g [h; a]), and (1 - g) h + g a in the place of h.

    `variant: official`, as in the authors' class for GLUE: no gate; filters of widths 2 to 5 over a, d / 16 each, with ReLU,
    maximum over the tokens and dropout .2 stand beside the pooled output, and the classifier reads both (here: a linear layer
    without bias is added to its logits, which is the same). Padding is attended to, and the table of pictures is trained.

    Source: cooelf/AppleLM (modeling_bert.py, utils_glue.py) and for gate and look-up its sibling cooelf/UVR-NMT, as read in
    the code. Words are word pieces, unknown ones have no picture (zeros), the 5 first by TF-IDF of a caption, up to 3 pictures
    of a word, no 1 / sqrt(d). Whether the GLUE model of the paper gates so was not seen, nor whether the output's map is the
    keys'.

    **What differs, and why.** The authors' dictionary is of Multi30K's captions and photographs. Here the captions are the
    task's training texts and the pictures the teacher's vectors of them. Instead of a list of English stop words those word
    pieces are left out that occur in more than `common_share` of the texts. A word's pictures are drawn once, not once a
    sentence, and their mean is over those that there are. `guided_by: text` gives every token the text's own vector: that
    student then needs the teacher when it answers; otherwise its table is exported with it.

    Checked: the attention, gate and look-up in float64 against their formulas; logits of the text alone with an empty table in
    the official variant; g = .5 for a gate of zeros; padding changes nothing in the paper's variant. Not verified: the paper's
    numbers, whose scripts are incomplete. Controls: `features: {control: shuffled}` or `noise`.
    """

    def __init__(self, options: Any, setup: Setup) -> None:
        import torch

        from armada_cli.training.seeds import drawn_from

        super().__init__(options, setup)
        if setup.features is None or setup.feature_width is None:
            raise ValueError("visual-guidance needs a teacher's features")
        course = watch(setup.student, setup.hidden)
        self.reading, self.official = Reading(), options.variant == "official"
        with drawn_from(setup.seed, "visual guidance"):
            outputs = 1 if setup.problem.kind == "multiple-choice" else setup.problem.outputs
            self.guide = make_guide(setup.hidden, setup.feature_width, outputs if self.official else 0)
        if options.guided_by == "words":
            tokens = self._tokens_of_training_rows(len(setup.features))
            chance = torch.Generator().manual_seed(setup.stream("pictures of words"))
            words, used = make_dictionary(tokens, options.top_words, options.pictures_each, options.common_share, chance)
            self.guide.add_pictures(words, setup.features[used.to(setup.features.device)].cpu(), trained=self.official)
        self.guide.to(setup.device)
        course.layers[-1].register_forward_hook(self._at_top)
        if self.official:
            course.head.register_forward_hook(self._at_head)

    def _tokens_of_training_rows(self, count: int) -> list[list[int]]:
        """The tokens of each training row, of all of its choices together, without padding."""
        tokens: list[list[int]] = []
        for start in range(0, count, READ_AT_ONCE):
            inputs = self.setup.student.inputs(range(start, min(start + READ_AT_ONCE, count)))
            ids = inputs["input_ids"].flatten(1)
            mask = inputs["attention_mask"].flatten(1).bool() if "attention_mask" in inputs else ids == ids
            tokens += [row[kept].tolist() for row, kept in zip(ids.cpu(), mask.cpu(), strict=True)]
        return tokens

    def _attend(self, states: Tensor) -> Tensor:
        """What each token attends to, [m, tokens, d]."""
        reading, rows = self.reading, states
        assert reading.batch is not None
        if self.options.guided_by == "words":
            ids = reading.flat("input_ids", rows)
            assert ids is not None
            pictures = self.guide.look_up(ids)
        else:
            assert reading.batch.features is not None
            own = reading.spread(reading.batch.features, rows)
            pictures = own[:, None].expand(-1, rows.shape[1], -1)
        return self.guide.attend(rows, pictures, None if self.official else reading.flat("attention_mask", rows))

    def _at_top(self, layer: nn.Module, inputs: Any, output: Any) -> Any:
        states = first(output)
        rows = self.reading.rows_of(states)
        attended = self._attend(rows)
        if self.official:
            self.seen = attended
            return output
        return with_first(output, self.guide.gated(rows, attended).to(states.dtype).reshape(states.shape))

    def _at_head(self, head: nn.Module, inputs: Any, logits: Tensor) -> Tensor:
        more = self.guide.convolve(self.seen).to(logits.dtype)
        # A decoder's head answers at every token, and its last one counts.
        return logits + (more.reshape(logits.shape) if more.numel() == logits.numel() else more[:, None])

    def student_modules(self) -> dict[str, nn.Module]:
        return {"guide": self.guide}

    def inference_modules(self) -> dict[str, nn.Module]:
        return {"guide": self.guide}

    def before_forward(self, batch: Batch) -> None:
        self.reading.batch = batch

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.objective import task_loss

        return [Term("task", 1.0, task_loss(self.setup.problem.kind, output.logits, batch.labels), task=True)]


def make_dictionary(rows: Sequence[Sequence[int]], top: int, each: int, common: float, chance: Any) -> tuple[Tensor, Tensor]:
    """Which training texts each token is looked up by.

    Args:
        rows: the tokens of each text.
        top: tokens of a text at most, the first by their count in it times log(texts / texts with the token).
        each: texts of a token at most; more are drawn from with the generator `chance`.
        common: tokens in a larger share of the texts, or in all of them, are left out.

    Returns:
        long [tokens, each], numbers in the second from 1, 0 where there is none; and long [used], numbers of texts.
    """
    import math

    import torch

    counts = [Counter(row) for row in rows]
    spread = Counter(token for count in counts for token in count)
    limit = min(max(1.0, common * len(rows)), len(rows) - 1)
    texts_of: dict[int, list[int]] = {}
    for number, count in enumerate(counts):
        weights = {
            token: times * math.log(len(rows) / spread[token]) for token, times in count.items() if spread[token] <= limit
        }
        for token in sorted(weights, key=lambda token: (-weights[token], token))[:top]:
            texts_of.setdefault(token, []).append(number)
    drawn = {
        token: [texts[at] for at in sorted(torch.randperm(len(texts), generator=chance)[:each].tolist())]
        for token, texts in sorted(texts_of.items())
    }
    used = sorted({number for texts in drawn.values() for number in texts})
    place = {number: at for at, number in enumerate(used, start=1)}
    words = torch.zeros(max(spread, default=0) + 1, each, dtype=torch.long)
    for token, texts in drawn.items():
        words[token, : len(texts)] = torch.tensor([place[number] for number in texts])
    return words, torch.tensor(used, dtype=torch.long)


def make_guide(hidden: int, width: int, outputs: int) -> Any:
    """The modules of `VisualGuidance`.

    Args:
        width: of a picture; outputs: of the student's head where the convolution is beside it, 0 for the gate.
    """
    import torch
    from torch import nn
    from torch.nn.functional import pad

    class Guide(nn.Module):
        words: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.lift, self.key, self.out = nn.Linear(width, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
            if outputs:
                filters = max(1, hidden // 16)
                self.filters = nn.ModuleList(nn.Conv1d(hidden, filters, size) for size in FILTERS)
                self.dropout = nn.Dropout(0.2)
                self.beside = nn.Linear(filters * len(FILTERS), outputs, bias=False)
            else:
                self.gate = nn.Linear(2 * hidden, hidden)

        def add_pictures(self, words: Tensor, pictures: Tensor, *, trained: bool) -> None:
            """words: long [tokens, each], numbers of pictures from 1; pictures: [used, width]."""
            self.register_buffer("words", words)
            self.gallery = nn.Parameter(pictures.float().clone(), requires_grad=trained)

        def look_up(self, tokens: Tensor) -> Tensor:
            """The mean of each token's pictures, zeros where it has none: long [m, tokens] -> [m, tokens, width]."""
            known = tokens < len(self.words)
            numbers = self.words[tokens * known] * known[..., None]
            table = pad(self.gallery, (0, 0, 1, 0))  # number 0 is no picture, whatever is trained
            return table[numbers].sum(-2) / (numbers > 0).sum(-1, keepdim=True).clamp(min=1)

        def attend(self, h: Tensor, pictures: Tensor, mask: Tensor | None) -> Tensor:
            """out(softmax(h (W V)^T) V), V = linear(pictures).

            h: [m, tokens, hidden]; pictures: [m, tokens, width]; mask: [m, tokens], 0 is not attended to.
            """
            values = self.lift(pictures)
            scores = h @ self.key(values).transpose(1, 2)
            if mask is not None:
                scores = scores.masked_fill(mask[:, None] == 0, torch.finfo(scores.dtype).min)
            return self.out(torch.softmax(scores, -1) @ values)

        def gated(self, h: Tensor, attended: Tensor) -> Tensor:
            """(1 - g) h + g attended, g = sigmoid(W [h; attended])."""
            g = torch.sigmoid(self.gate(torch.cat([h, attended], -1)))
            return (1 - g) * h + g * attended

        def convolve(self, attended: Tensor) -> Tensor:
            """What the convolution adds to the logits: [m, tokens, hidden] -> [m, outputs]."""
            columns = pad(attended.transpose(1, 2), (0, max(0, FILTERS[-1] - attended.shape[1])))
            widths = [torch.relu(item(columns)).amax(-1) for item in self.filters]
            return self.beside(self.dropout(torch.cat(widths, -1)))

    return Guide()


CARD = Component(
    "visual-guidance",
    "A student whose words look up the teacher's vectors of training texts, also when it answers",
    "armada_cli.methods.visual_guidance:VisualGuidance",
    VisualGuidanceOptions,
    WITH_LOGITS,
    reference="Zhang et al. 2021, TASLP, doi 10.1109/TASLP.2021.3130972; cooelf/AppleLM",
    formula="L_T(Y, o_s), top states (1 - g) h + g a, a = out(softmax(h (W V)^T) V), V of each word's pictures",
)
