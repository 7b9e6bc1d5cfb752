"""What students of the transformers library share: how they are loaded, and multiple choice as a batch of its candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from armada_cli.contracts import Environment, Problem, Student, StudentOutput
from armada_cli.errors import UserError
from armada_cli.models import architectures, hub

if TYPE_CHECKING:
    from torch import Tensor

PROBLEM_TYPES = {
    "classification": "single_label_classification",
    "regression": "regression",
    "multilabel": "multi_label_classification",
}
"""What transformers calls a kind of task, for the kinds that its sequence classifiers learn."""


class PretrainedStudent(Student):
    """A student whose tokenizer, configuration and weights `from_pretrained` loads.

    Its options have `place()`, `revision` and `layers` (how many to keep, None for all), and may have `prepare(environment)`,
    which fetches what is missing.
    """

    def __init__(self, options: Any, environment: Environment) -> None:
        super().__init__(options, environment)
        if hasattr(options, "prepare"):
            options.prepare(environment)
        self.place = options.place()
        self.where = {
            "revision": options.revision or "main",
            "local_files_only": environment.offline,
            "trust_remote_code": False,
        }

    def read_tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return self.read(AutoTokenizer, "tokenizer", self.place)

    def read_config(self, place: str) -> Any:
        from transformers import AutoConfig

        return self.read(AutoConfig, "configuration", place)

    def read(self, kind: Any, part: str, place: str, **more: Any) -> Any:
        """What `from_pretrained` of a class gives; its failure as the one line about that part (``tokenizer``, ``weights``)."""
        try:
            return kind.from_pretrained(place, **self.where, **more)
        except Exception as error:  # a damaged file raises what its parser happens to stumble over
            raise self.cannot_load(part, error) from error

    def cut(self, config: Any) -> Any:
        """The configuration of as many layers as the options ask for."""
        if self.options.layers is None:
            return config
        return architectures.with_layers(f"student {self.place}", config, self.options.layers)

    def loadable(self) -> str:
        """The place, or a folder with its weights as safetensors; see `armada_cli.models.hub.loadable`."""
        return hub.loadable("student", self.place, self.environment, self.options.revision)

    def load_model(self, kind: Any, source: str, problem: Problem, *, place: str, new_head: bool, **more: Any) -> Any:
        """A model of transformers with weights from `source`.

        Args:
            kind: a class with `from_pretrained`; more: its further arguments.
            place: how messages name the source.
            new_head: whether the head may be missing there; it is then drawn at random.

        Raises:
            UserError: the weights cannot be read, or are not the whole model's.
        """
        if problem.attentions:
            more["attn_implementation"] = "eager"
        try:
            with hub.quiet():
                model, report = kind.from_pretrained(
                    source,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                    **self.where,
                    **more,
                )
        except Exception as error:
            if "Unrecognized configuration class" in str(error):
                raise UserError(
                    f"student {place}: transformers has no {more['config'].model_type} for {problem.kind}",
                    "Take another model, or a task of another kind",
                ) from error
            raise self.cannot_load("weights", error) from error
        hub.require_weights("student", place, model, report, new_head=new_head)
        return model

    def cannot_load(self, part: str, error: Exception) -> UserError:
        """The one line for a part (``tokenizer``, ``weights``) that cannot be loaded."""
        return hub.cannot_load("student", self.place, part, error, self.environment)


def set_outputs(config: Any, problem: Problem) -> None:
    """Give a configuration the outputs of a problem, where transformers' sequence classifiers learn it."""
    if problem.kind in PROBLEM_TYPES:
        config.num_labels = problem.outputs
        config.problem_type = PROBLEM_TYPES[problem.kind]
        config.id2label = dict(enumerate(problem.labels))
        config.label2id = {label: number for number, label in enumerate(problem.labels)}


def pad_choices(
    examples: Sequence[dict[str, Any]], pad: Callable[[Sequence[dict[str, Any]]], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """A batch of rows, or of rows that hold several candidates each: [n, tokens] or [n, choices, tokens].

    Args:
        pad: makes a batch [rows, tokens] of rows without candidates.
    """
    if not examples or not isinstance(examples[0]["input_ids"][0], list):
        return pad(examples)
    choices = len(examples[0]["input_ids"])
    flat = [{name: value[i] for name, value in row.items()} for row in examples for i in range(choices)]
    return {name: value.view(len(examples), choices, -1) for name, value in pad(flat).items()}


def by_row(output: StudentOutput, tokens: Tensor) -> StudentOutput:
    """The output of a pass over all candidates, [n * choices, ...], as one of rows, [n, choices, ...]; `anchor` stays.

    tokens: what was read, [n, choices, tokens]; where it is [n, tokens] there are no candidates, and the output stays.
    """
    if tokens.ndim != 3:
        return output
    n, choices = tokens.shape[:2]

    def split(layers: tuple[Tensor, ...] | None) -> tuple[Tensor, ...] | None:
        return None if layers is None else tuple(layer.view(n, choices, *layer.shape[1:]) for layer in layers)

    return StudentOutput(
        output.logits.view(n, choices),
        output.pooled.view(n, choices, -1),
        split(output.hidden_states),
        anchor=output.anchor,
        attentions=split(output.attentions),
    )
