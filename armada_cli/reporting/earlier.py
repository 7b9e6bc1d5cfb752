"""Names that runs of earlier versions have in their files, translated into today's. The only place that knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FITS = {
    "aligner": "aligner",
    "aligner_fit": "aligner",
    "aligner_auxiliary": "aligner auxiliary",
    "aligner_auxiliary_fit": "aligner auxiliary",
}


def translate_entry(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """A trial of ``run.json``: `components` in the place of `manifold`, and no `control` among the method's options."""
    found = dict(entry)
    loss = found.pop("manifold", None)
    if "components" not in found and loss:
        found["components"] = {"manifold": loss.get("name") if isinstance(loss, dict) else loss}
    options = found.get("options")
    if isinstance(options, dict):
        found["options"] = {key: value for key, value in options.items() if key != "control" or "control" not in found}
    return found


def translate_result(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """A ``result.json``: `fits` by role in the place of four keys, and parameters of a method's own models by role."""
    found = dict(result)
    fits = {role: scores for key, role in _FITS.items() if (scores := found.pop(key, None))}
    found.setdefault("fits", fits)
    parameters = found.get("parameters")
    if isinstance(parameters, dict) and "own" not in parameters:
        own = {"aligner": parameters["aligner"]} if parameters.get("aligner") else {}
        kept = {key: parameters[key] for key in ("student", "trained") if key in parameters}
        found["parameters"] = {**kept, "heads": parameters.get("extra", 0), "own": own}
    return found
