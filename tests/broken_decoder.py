"""Decoders that write what they should not; apart from the others, as they need torch to be defined."""

from __future__ import annotations

import dataclasses

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


class Mute(Decoder):
    """Says nothing of tokens."""

    def forward(self, model, batch, hidden_states=False, attentions=False, tokens=False):
        return super().forward(model, batch, hidden_states, attentions)


class Wordy(Decoder):
    """Hands the tokens out with every pass."""

    def forward(self, model, batch, hidden_states=False, attentions=False, tokens=False):
        return super().forward(model, batch, hidden_states, attentions, tokens=True)


class Late(Decoder):
    """Gives the logits of the next place."""

    def forward(self, model, batch, hidden_states=False, attentions=False, tokens=False):
        output = super().forward(model, batch, hidden_states, attentions, tokens)
        if output.tokens is not None:
            output.tokens.logits = output.tokens.logits.roll(-1, 0)
        return output


class Astray(Decoder):
    """Counts rows from 1."""

    def forward(self, model, batch, hidden_states=False, attentions=False, tokens=False):
        output = super().forward(model, batch, hidden_states, attentions, tokens)
        said = output.tokens
        return dataclasses.replace(output, tokens=said and dataclasses.replace(said, rows=said.rows + 1))
