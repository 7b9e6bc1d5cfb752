"""Decoders that write what they should not; apart from the others, as they need torch to be defined."""

from __future__ import annotations

from armada_student_decoders.student import Decoder


class Crowded(Decoder):
    """Draws all answers of a batch from the first one's stream."""

    def generate(self, model, prompts, decoding, streams):
        return super().generate(model, prompts, decoding, [streams[0]] * len(prompts))


class Parrot(Decoder):
    """Says the prompt again before it answers."""

    def generate(self, model, prompts, decoding, streams):
        said = super().generate(model, prompts, decoding, streams)
        return [prompt + answer for prompt, answer in zip(prompts, said, strict=True)]


class Listing(Decoder):
    """Likelihoods that depend on how many rows are compared."""

    def likelihoods(self, model, rows):
        return [[value / len(rows) for value in row] for row in super().likelihoods(model, rows)]
