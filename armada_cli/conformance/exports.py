"""What a student is asked about the models that it saves, and builds again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from armada_cli.conformance import alone
from armada_cli.conformance.asking import Broken, NotAsked, quoted, require
from armada_cli.conformance.student_subject import TOLERANCE, StudentSubject, answer_of
from armada_cli.conformance.subject import single_line
from armada_cli.errors import UserError
from armada_cli.targets import NONE, Scale
from armada_cli.training.seeds import drawn_from

KEPT = {".safetensors", ".json", ".txt", ".model", ".jinja", ".md", ".spm", ".vocab", ".merges"}
"""Files of an exported student: weights, configuration, tokenizer, notes. None of them can run code."""


OWN_INPUTS = ("labels", "prompt_mask", "special_tokens_mask")
"""Inputs that are between a student and the host, and that the saved model does not know."""


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


def check_saved(subject: StudentSubject) -> str:
    """What was saved is loaded again, with equal predictions."""
    worst = 0.0
    for kind, folder in subject.exports.items():
        loaded = subject.build(kind, weights=folder, seed=9).eval()
        with torch.no_grad():
            batch = subject.batch(kind)
            first, second = (answer_of(subject.forward(model, batch)) for model in (subject.models[kind], loaded))
        far = float((first - second).abs().max())
        require(
            far <= TOLERANCE,
            f"On {kind} the model that was saved and loaded again has other outputs (by {far:.2g}); save() must write "
            "everything "
            "that is trained, and build(problem, weights) must read it",
        )
        worst = max(worst, far)
    return f"Equal outputs to {max(worst, 1e-9):.0e} on {', '.join(subject.exports)}"


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
    answers = json.loads(ran.stdout.strip().splitlines()[-1])
    for kind, said in answers.items():
        require(
            "error" not in said,
            f"Its export for {kind} does not load without armada: {said.get('error')}. Write an ordinary transformers or PEFT "
            "folder "
            "with save_pretrained",
        )
        require(said["tokens"] > 0, f"The tokenizer of its export for {kind} reads nothing")
        far = float((torch.tensor(said["logits"]).reshape(wanted[kind].shape) - wanted[kind]).abs().max())
        require(far <= 10 * TOLERANCE, f"Without armada its export for {kind} has other outputs (by {far:.2g})")
    return f"transformers alone has equal outputs on {', '.join(answers)}"


def _logits(subject: StudentSubject, kind: str, batch: dict[str, Tensor]) -> Tensor:
    """What the model itself says to the inputs, as transformers returns it."""
    model: Any = subject.models[kind]
    return model(**batch).logits.float()
