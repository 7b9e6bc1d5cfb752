"""A teacher: how often each letter of the alphabet stands in a text."""

from armada_cli import Component, Teacher, hookimpl

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


class Letters(Teacher):
    def represent(self, inputs):
        """inputs: n texts -> float32 [n, 26]."""
        import numpy as np  # here and not above: this file is read on the way to `armada --help`

        counts = [[text.lower().count(letter) for letter in ALPHABET] for text in inputs]
        return np.array(counts, np.float32).reshape(len(inputs), len(ALPHABET))


@hookimpl
def armada_teachers():
    return [Component("letters", "How often each letter occurs", "example_teacher:Letters", provides={"text"})]
