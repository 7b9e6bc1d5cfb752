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
    manifold, options = entry.get("manifold"), entry.get("options")
    translated = {key: value for key, value in entry.items() if key != "manifold"}
    if manifold:
        name = manifold.get("name") if isinstance(manifold, dict) else manifold
        translated.setdefault("components", {"manifold": name})
    if isinstance(options, dict) and "control" in entry:
        translated["options"] = {key: value for key, value in options.items() if key != "control"}
    return translated


def translate_result(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """A ``result.json``: `fits` by role in the place of four keys, parameters of a method's own models by role, and those of
    modules that a student keeps for its answers apart from the heads that are thrown away."""
    translated = {key: value for key, value in result.items() if key not in _FITS}
    translated.setdefault("fits", {role: result[key] for key, role in _FITS.items() if result.get(key)})
    parameters = result.get("parameters")
    if isinstance(parameters, dict) and "own" not in parameters:
        own = {"aligner": parameters.get("aligner")}
        kept = {key: count for key, count in parameters.items() if key not in ("extra", "aligner")}
        translated["parameters"] = {**kept, "heads": parameters.get("extra", 0), "own": own}
    elif isinstance(parameters, dict) and result.get("needs_armada") and "inference" not in parameters:
        translated["parameters"] = {**parameters, "heads": 0, "inference": parameters.get("heads", 0)}
    return translated
