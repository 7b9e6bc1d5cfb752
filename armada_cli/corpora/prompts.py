"""Texts as models are asked: the template of instruction data, and the cut of what is too long."""

from __future__ import annotations

PROMPT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)
"""The template of Alpaca, in which instruction data are asked; LLM-Adapters and MiniLLM use the same words."""

PROMPT_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
"""The same for an instruction with an input of its own."""


def instruction_prompt(instruction: str, text: str = "") -> str:
    """An instruction, and its input where there is one, in Alpaca's template."""
    # Not str.format: an instruction may hold braces.
    if text:
        return PROMPT_WITH_INPUT.replace("{input}", text, 1).replace("{instruction}", instruction, 1)
    return PROMPT.replace("{instruction}", instruction, 1)


def shorten(text: str, limit: int) -> str:
    """A text of at most `limit` characters, cut at a word where there is one."""
    if len(text) <= limit:
        return text
    for place in range(limit, 0, -1):
        if text[place].isspace():
            return text[:place].rstrip()
    return text[:limit]
