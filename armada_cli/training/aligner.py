"""The TS Aligner F_ts and the student's extra heads (section 3, Table 1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from armada_cli.training.projection import OrthogonalMap

PROJECTION = 768
"""Width of the shared manifold: P_ts and P_s map onto R^768 (Table 1)."""


@dataclass
class AlignerOutput:
    """o: [n, c]; p: [n, 768]; aux: [n, c]."""

    o: Tensor
    p: Tensor
    aux: Tensor

    def detached(self) -> AlignerOutput:
        return AlignerOutput(self.o.detach(), self.p.detach(), self.aux.detach())


class TSAligner(nn.Module):
    """h_t [n, 128] -> F~_ts -> h'_ts [n, h] -> O_ts -> o_ts [n, c];  h'_ts -> P_ts -> p_ts [n, 768] -> O_aux_ts -> [n, c].

    F~_ts is one hidden layer with a non-linearity (GELU: ours, the paper names none). With h = 896 and 768 wide
    projections it has about 0.8M parameters, the paper's figure.
    """

    def __init__(self, width: int, hidden: int, outputs: int, projection: int) -> None:
        super().__init__()
        self.F = nn.Sequential(nn.Linear(width, hidden), nn.GELU())
        self.O = nn.Linear(hidden, outputs)
        self.P = OrthogonalMap(hidden, projection)
        self.O_aux = nn.Linear(projection, outputs)

    def forward(self, h_t: Tensor) -> AlignerOutput:
        h = self.F(h_t)
        p = self.P(h)
        return AlignerOutput(self.O(h), p, self.O_aux(p))


class StudentHeads(nn.Module):
    """h'_s [n, d] -> P_s -> p_s [n, 768] -> O_aux_s -> o_aux_s [n, c]. Thrown away after training.

    For multiple choice h'_s is [n, choices, d]: one auxiliary output per choice, as the student's own head has, and p_s is
    the mean over the choices, since the teacher sees the question with all its choices at once.

    A student without a pooler of its own gets F~_s here, h_s [n, d] -> h'_s [n, d]: one layer with a non-linearity, used for
    these heads alone.
    """

    def __init__(self, d: int, outputs: int, projection: int, per_choice: bool, own_pooler: bool = True) -> None:
        super().__init__()
        self.F = None if own_pooler else nn.Sequential(nn.Linear(d, d), nn.GELU())
        self.P = OrthogonalMap(d, projection)
        self.O_aux = nn.Linear(projection, 1 if per_choice else outputs)
        self.per_choice = per_choice

    def trained_with_student(self) -> dict[str, nn.Module]:
        """What is optimised like the student itself; P_s moves on its manifold."""
        return {"O_aux_s": self.O_aux} | ({} if self.F is None else {"F_s": self.F})

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Returns p_s [n, 768] and o_aux_s [n, c]."""
        if self.F is not None:
            pooled = self.F(pooled)
        p = self.P(pooled)
        aux = self.O_aux(p)
        if self.per_choice:
            return p.mean(1), aux.squeeze(-1)
        return p, aux
