"""What a manifold loss is asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from armada_cli.conformance.asking import Broken, NotAsked, asked, quoted, require
from armada_cli.conformance.subject import Subject, shared_questions, single_line

WIDTH = 768
ROWS = 6
STEP = 1e-5
"""Of the finite differences, in float64."""


class LossSubject(Subject):
    """A loss, and pairs of projections."""

    def make(self, options: Any = None, **changes: Any) -> Any:
        with self.at_work():
            return self.card.load()(self.options if options is None else options)

    def value(self, p_ts: Tensor, p_s: Tensor) -> Tensor:
        with self.at_work():
            return self.first(p_ts, p_s)

    def pair(self, rows: int = ROWS, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Two batches of projections, float64 [rows, 768], unlike each other."""
        chance = torch.Generator().manual_seed(seed)
        p_ts = torch.randn(rows, WIDTH, generator=chance, dtype=torch.float64)
        return p_ts, 0.5 * p_ts.flip(0) + torch.randn(rows, WIDTH, generator=chance, dtype=torch.float64)

    @property
    def minimum(self) -> float | None:
        """What the loss says it is where both batches are equal; None for one that says of itself that it has no bound."""
        least = getattr(self.first, "minimum", 0.0)
        return None if least is None else float(least)


SUBJECT = LossSubject
QUESTIONS = shared_questions()


@asked(QUESTIONS, "scalar")
def check_scalar(subject: LossSubject) -> str:
    """One finite number, for batches of one row and of many."""
    for rows in (1, 2, ROWS):
        for dtype in (torch.float32, torch.float64):
            p_ts, p_s = (part.to(dtype) for part in subject.pair(rows))
            value = subject.value(p_ts, p_s)
            require(isinstance(value, Tensor), f"It returns {type(value).__name__}, not a tensor; keep the value in torch")
            require(
                value.ndim == 0,
                f"It returns shape {list(value.shape)} for {rows} pairs, not a scalar; end with .mean() or .sum()",
            )
            require(
                bool(torch.isfinite(value)),
                f"It is {float(value)} for {rows} random {'pair' if rows == 1 else 'pairs'}; look for a division by zero (a "
                "standard deviation of one row is none)",
            )
    return f"{float(subject.value(*subject.pair())):.4g} on random projections; one number for 1, 2 and {ROWS} pairs"


@asked(QUESTIONS, "gradient")
def check_gradient(subject: LossSubject) -> str:
    """The gradient in either argument is that of finite differences, in float64."""
    worst = 0.0
    for number, name in enumerate(("p_ts", "p_s")):
        pair = [part.clone().requires_grad_(number == place) for place, part in enumerate(subject.pair())]
        value = subject.value(*pair)
        require(
            value.requires_grad,
            f"No gradient flows to {name}; do not detach, do not leave torch, and do not use torch.no_grad",
        )
        (gradient,) = torch.autograd.grad(value, pair[number], allow_unused=True)
        if gradient is None:
            raise Broken(f"No gradient flows to {name}; the loss must depend on both of its arguments")
        for seed in range(3):
            way = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            # Twice along the gradient's own direction: a random one in 4,608 dimensions hardly sees it.
            way = way if seed else gradient / gradient.norm().clamp_min(1e-30)
            step = STEP if value.dtype == torch.float64 else 1e-1
            with torch.no_grad():
                ends = []
                for sign in (1, -1):
                    moved = [part.detach() + sign * step * way if place == number else part for place, part in enumerate(pair)]
                    ends.append(float(subject.value(*moved)))
            numeric, own = (ends[0] - ends[1]) / (2 * step), float((gradient * way).sum())
            far = abs(numeric - own) / max(abs(numeric), abs(own), 1e-6)
            allowed = 1e-4 if value.dtype == torch.float64 else 5e-2
            require(
                far <= allowed,
                f"Its gradient at {name} is {own:.6g} where finite differences have {numeric:.6g}; something on the way is "
                "detached, rounded or not differentiable",
            )
            worst = max(worst, far)
    return f"As finite differences have it, to {max(worst, 1e-9):.0e}"


@asked(QUESTIONS, "zero")
def check_zero(subject: LossSubject) -> str:
    """It has its minimum where both are equal."""
    least = subject.minimum
    if least is None:
        raise NotAsked("With these options it says of itself that it has no minimum where both are equal (minimum = None)")
    for rows in (1, ROWS):
        same = subject.pair(rows)[0]
        value = float(subject.value(same, same.clone()))
        require(
            abs(value - least) <= 1e-6,
            f"It is {value:.4g} where both batches are equal, not {least:g}; a student that has arrived would still be pushed. "
            "A loss whose least value is another says so with an attribute `minimum` (None for one without)",
        )
    return f"{least:g} where both are equal"


@asked(QUESTIONS, "never below")
def check_not_below(subject: LossSubject) -> str:
    least = subject.minimum
    if least is None:
        raise NotAsked("With these options it says of itself that it has no bound (minimum = None)")
    for seed in range(4):
        p_ts, p_s = subject.pair(seed=seed)
        for scale in (1e-3, 1.0, 1e3):
            for other in (p_s, -p_ts, p_ts * 2, torch.zeros_like(p_s)):
                value = float(subject.value(p_ts * scale, other * scale))
                require(
                    value >= least - 1e-6,
                    f"It is {value:.4g}, below its minimum of {least:g}; a distance is not negative. A loss whose least value "
                    "is another says so with an attribute `minimum`",
                )
    return f"At least {least:g} on 48 pairs"


@asked(QUESTIONS, "gradient at rest")
def check_rest(subject: LossSubject) -> str:
    """Where both are equal, or zero, the gradient is finite."""
    for what, point in (
        ("where both are equal", subject.pair()[0]),
        ("where both are zero", torch.zeros(ROWS, WIDTH).double()),
    ):
        moving = point.clone().requires_grad_()
        value = subject.value(point, moving)
        (gradient,) = torch.autograd.grad(value, moving, allow_unused=True)
        require(
            bool(torch.isfinite(value)) and (gradient is None or bool(torch.isfinite(gradient).all())),
            f"Its value or gradient is NaN or infinite {what}; a square root has an infinite slope at zero: use .norm(), or "
            "add "
            "a small number under the root",
        )
    return "Finite where both are equal, and where both are zero"


@asked(QUESTIONS, "shapes")
def check_shapes(subject: LossSubject) -> str:
    """Batches that do not belong together are an error."""
    p_ts, p_s = subject.pair()
    for words, left, right in (
        (f"[{ROWS}, {WIDTH}] against [{ROWS}, {WIDTH - 1}]", p_ts, p_s[:, 1:]),
        (f"[{ROWS}, {WIDTH}] against [{ROWS - 1}, {WIDTH}]", p_ts, p_s[1:]),
        (f"[{ROWS}, {WIDTH}] against [1, {WIDTH}]", p_ts, p_s[:1]),
        (f"[{ROWS}, {WIDTH}] against [{ROWS}, 1]", p_ts, p_s[:, :1]),
    ):
        try:
            subject.value(left, right)
        except Exception as error:
            if not str(error).strip():
                raise Broken(
                    f"For {words} it raises {type(error).__name__} without a word; say which shapes were given"
                ) from None
            require(
                single_line(error), f"For {words} its {type(error).__name__} has several lines; one with both shapes is enough"
            )
            said = quoted(error)
            continue
        raise Broken(
            f"For {words} it returns a number: broadcasting compares the wrong rows. Begin with `if p_ts.shape != p_s.shape: "
            "raise "
            "ValueError(...)`"
        )
    return said


@asked(QUESTIONS, "order")
def check_order(subject: LossSubject) -> str:
    """The order of the pairs in a batch does not matter."""
    p_ts, p_s = subject.pair()
    first, second = float(subject.value(p_ts, p_s)), float(subject.value(p_ts.flip(0), p_s.flip(0)))
    require(
        abs(first - second) <= 1e-9 * max(1.0, abs(first)),
        f"The same pairs in another order give {second:.6g} instead of {first:.6g}; rows of a batch have no order",
    )
    again = float(subject.value(p_ts, p_s))
    require(again == first, f"The same batch gives {again:.6g} after {first:.6g}; a loss keeps nothing and draws nothing")
    return "The same in any order, and every time"


@asked(QUESTIONS, "pickling")
def check_pickling(subject: LossSubject) -> str:
    return subject.check_pickling()
