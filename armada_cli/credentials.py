"""Keys of services that stand where the name of an environment variable belongs, and messages that must not repeat them."""

from __future__ import annotations

import re

HIDDEN = "***"

MAX_NAME = 64
"""Letters of an environment variable's name at most."""

_PREFIXES = (
    r"sk[-_]|pk[-_]|rk[-_]|hf_|gh[opsur]_|github_pat_|glpat-|xai-|gsk_|r8_|nvapi-|AKIA|ASIA|AIza|ya29\.|eyJ|xox[abpr]-|fal-"
    r"|tgp_"
)
"""How keys begin: of OpenAI and its likes, Stripe, Hugging Face, GitHub, GitLab, xAI, Groq, Replicate, NVIDIA, AWS, Google,
fal, Together; and JSON web tokens."""

_KEY = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_PREFIXES})[A-Za-z0-9_.\-]{{12,}}")
_NAMED = re.compile(r"(?i)((?<![A-Za-z_])(?:key_variable|api_?key)[\"']?\s*[:=]\s*[\"'\[{]*)([^\s\"'\[\]{},]+)")


def is_variable(text: str) -> bool:
    """Whether a text can be meant as the name of an environment variable, and does not look like a key."""
    if len(text) > MAX_NAME or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        return False
    if re.match(rf"(?:{_PREFIXES})(?:[a-z]+_)?[A-Za-z0-9]{{8,}}", text):
        return False
    return not any(_is_random(word) for word in text.split("_"))


def _is_random(word: str) -> bool:
    """Whether letters and digits stand as nobody names things: hexadecimal, or digits all through, or long without a break."""
    runs = re.findall(r"[0-9]+", word)
    if len(word) > 24 or (len(word) >= 12 and len(runs) >= 3):
        return True
    if len(word) >= 16 and (runs or re.fullmatch(r"[0-9a-fA-F]+", word)):
        return True
    changes = len(re.findall(r"(?<=[a-z])[A-Z]|(?<=[A-Z])[a-z]", word))
    return len(word) >= 12 and changes > len(word) / 2.5


def hide(text: str) -> str:
    """A message without keys: what begins as the keys of services do, and what stands behind ``key_variable`` or ``api_key``
    and can be no variable's name."""

    def named(match: re.Match[str]) -> str:
        value = match[2]
        return match[0] if is_variable(value) or value in ("null", "~", HIDDEN) else match[1] + HIDDEN

    return _KEY.sub(HIDDEN, _NAMED.sub(named, text))
