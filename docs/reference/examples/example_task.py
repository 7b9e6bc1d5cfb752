"""A task: whether a sentence is about the sea or about the mountains."""

from armada_cli import Component, Split, Task, hookimpl

ROWS = {
    "train": [
        ("the ferry left the harbour before dawn", 0),
        ("fog lay on the glacier all morning", 1),
        ("two gulls followed the fishing boat", 0),
        ("the hut below the summit was full", 1),
        ("waves broke over the pier at noon", 0),
        ("goats crossed the pass in single file", 1),
        ("a lighthouse keeper counted the sails", 0),
        ("the rope held when the ledge gave way", 1),
    ],
    "validation": [
        ("the tide took the sandcastle", 0),
        ("snow closed the road to the valley", 1),
        ("an anchor rusted on the beach", 0),
        ("the climbers waited out the avalanche", 1),
    ],
}


class SeaOrMountains(Task):
    kind = "classification"
    metric = "accuracy"

    def split(self, name):
        texts, labels = zip(*ROWS[name], strict=True)
        return Split([(text,) for text in texts], labels, texts)

    def labels(self):
        return ["sea", "mountains"]

    def score(self, outputs, labels):
        """outputs: [n, 2]; labels: n class numbers -> percent of the answers that are right."""
        return {"accuracy": 100 * float((outputs.argmax(1) == list(labels)).mean())}


@hookimpl
def armada_tasks():
    return [
        Component(
            "sea-or-mountains",
            "What a sentence is about",
            "example_task:SeaOrMountains",
            provides={"classification"},
            light=True,  # it imports nothing heavy, so `armada check` may load it to count its texts
        )
    ]
