"""X-adapter: a frozen language model with small adapters that read the teacher's vector (Zhang et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from armada_cli.contracts import Batch, Component, Method, Planned, Setup, StudentOutput, Term, option
from armada_cli.errors import UserError
from armada_cli.methods.inside import Reading, first, require_layers_apart, watch, with_first
from armada_cli.methods.kinds import WITH_LOGITS
from armada_cli.methods.text_teacher import depth_of

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class XAdapterOptions:
    needs_teacher: ClassVar[bool] = True
    features_at_inference: ClassVar[bool] = True

    bottleneck: int = option(64, "Width of an adapter", minimum=1)
    adapted: int = option(2, "How many of the top layers have an adapter behind them", minimum=1)
    pseudo_tokens: int = option(8, "Into how many tokens the teacher's one vector is mapped for the attention", minimum=1)

    def check(self, trial: Planned) -> None:
        require_layers_apart("x-adapter", trial.student)
        if (layers := depth_of(trial.student)) is not None:
            require_layers(self.adapted, layers)


def require_layers(adapted: int, layers: int) -> None:
    """Raises UserError: more layers are to have adapters than there are."""
    if layers < adapted:
        raise UserError(f"method 'x-adapter' adapts {adapted} layers, and the student has {layers}", "Say a smaller `adapted`")


class XAdapter(Method):
    """L = L_T(Y, o_s), o_s of the frozen student with h + up(gelu(z + attention(z, tokens(h_t)))), z = down(h), behind each of
    its top layers.

    Embeddings and layers are frozen; the adapters, and what stands behind the top layer (pooler, head), are trained. The
    up-projection begins at 0, so the first forward pass is the frozen student's, to the bit.

    Source: the paper's abstract and descriptions by others; no code was found. Known: the language model is frozen, only what
    is added is trained, and experts fuse CLIP's features of pictures or of texts. **Ours**, since the sections on them were not
    seen: the bottleneck of 64, its place behind the top two layers, the form of the cross-attention, and the rate of 1e-3.
    **What differs, and why**: CLIP gives tokens to attend to, a black box one vector, which a learned linear map makes into
    `pseudo_tokens`; over a single one attention would be constant. The first phase (masked words on captions, adapters alone)
    is left out: a student with modules of its method cannot be begun from yet.

    The student reads the teacher's vector of every text that it answers, so the validation texts are represented too, and the
    exported student needs armada and the teacher. Checked: the frozen student's outputs to the bit at an up-projection of 0, an
    adapter against its formula in float64, and that no frozen weight changes. Not verified: the paper's numbers. Controls:
    `features: {control: shuffled}` or `noise`, which act on the validation rows too.
    """

    def __init__(self, options: Any, setup: Setup) -> None:
        from torch import nn

        from armada_cli.training.seeds import drawn_from

        super().__init__(options, setup)
        if setup.feature_width is None:
            raise ValueError("x-adapter needs a teacher's features")
        course = watch(setup.student, setup.hidden)
        require_layers(options.adapted, len(course.layers))
        freeze(setup.student.module, course.behind)
        self.reading = Reading()
        sizes = (setup.hidden, setup.feature_width, options.bottleneck, options.pseudo_tokens)
        with drawn_from(setup.seed, "adapters"):
            self.adapters = nn.ModuleList(make_adapter(*sizes) for _ in range(options.adapted)).to(setup.device)
        for layer, adapter in zip(course.layers[-options.adapted :], self.adapters, strict=True):
            layer.register_forward_hook(self._adapt(adapter))

    def _adapt(self, adapter: nn.Module) -> Any:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> Any:
            states = first(output)
            rows = self.reading.rows_of(states)
            assert self.reading.batch is not None
            assert self.reading.batch.features is not None
            h_t = self.reading.spread(self.reading.batch.features, rows)
            return with_first(output, adapter(rows, h_t).to(states.dtype).reshape(states.shape))

        return hook

    def student_modules(self) -> dict[str, nn.Module]:
        return {"adapters": self.adapters}

    def inference_modules(self) -> dict[str, nn.Module]:
        return {"adapters": self.adapters}

    def before_forward(self, batch: Batch) -> None:
        self.reading.batch = batch

    def terms(self, batch: Batch, output: StudentOutput) -> list[Term]:
        from armada_cli.training.objective import task_loss

        return [Term("task", 1.0, task_loss(self.setup.problem.kind, output.logits, batch.labels), task=True)]


def freeze(module: nn.Module, besides: list[nn.Module]) -> None:
    """Freeze a module but for the weights of some of its parts; what is frozen already stays so."""
    trained = {parameter for part in besides for parameter in part.parameters(recurse=False) if parameter.requires_grad}
    for parameter in module.parameters():
        parameter.requires_grad_(parameter in trained)


def make_adapter(hidden: int, width: int, bottleneck: int, tokens: int) -> nn.Module:
    """h + up(gelu(z + softmax(q(z) k(t)^T / sqrt(b)) v(t))), z = down(h), t = tokens(h_t).

    A module of (h [m, tokens, hidden], h_t [m, width]) -> [m, tokens, hidden].
    """
    import torch
    from torch import nn
    from torch.nn.functional import gelu

    class Adapter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Linear(hidden, bottleneck), nn.Linear(bottleneck, hidden)
            self.tokens = nn.Linear(width, tokens * bottleneck)
            self.query, self.key, self.value = (nn.Linear(bottleneck, bottleneck, bias=False) for _ in range(3))
            nn.init.zeros_(self.up.weight)
            nn.init.zeros_(self.up.bias)

        def forward(self, h: Tensor, h_t: Tensor) -> Tensor:
            z, t = self.down(h), self.tokens(h_t).view(len(h_t), tokens, bottleneck)
            scores = self.query(z) @ self.key(t).transpose(1, 2) / bottleneck**0.5
            return h + self.up(gelu(z + torch.softmax(scores, -1) @ self.value(t)))

    return Adapter()


CARD = Component(
    "x-adapter",
    "A frozen student with small adapters that read the teacher's vector, also when it answers",
    "armada_cli.methods.x_adapter:XAdapter",
    XAdapterOptions,
    WITH_LOGITS,
    defaults={"lr": 1e-3},
    reference="Zhang et al. 2023, X-adapter, arXiv 2305.07358",
    formula="L_T(Y, o_s), behind the top layers of a frozen student h + up(gelu(z + attention(z, tokens(h_t)))), z = down(h)",
)
