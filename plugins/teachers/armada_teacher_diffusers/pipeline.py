"""What the diffusion teachers share: loading the parts they need, the device, the noise of a text, what a text says."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from armada_cli import Environment, Teacher, UserError
from armada_cli.devices import pick_device
from armada_cli.models import hub, special_tokens, vocabulary
from armada_cli.models.weights import count_parameters
from armada_teacher_diffusers.options import DiffusionOptions


class Diffusion(Teacher):
    """A pipeline of diffusers that is run in batches and stopped at its latents.

    Each text has noise of its own, drawn on the CPU from a generator that is seeded with the option `seed` and the text, so a
    text's vector depends on its neighbours and on the device by no more than rounding. The scheduler is the checkpoint's. What
    the unconditional half of classifier-free guidance is given is computed once. Nothing is kept from one batch to the next.

    CLIP reads 77 tokens; diffusers drops what follows. How many texts that happened to is said when the teacher is closed.
    """

    name: ClassVar[str]
    unused: ClassVar[tuple[str, ...]] = ()
    """Components of the pipeline that are neither fetched nor loaded."""

    options: Any

    def __init__(self, options: DiffusionOptions, environment: Environment) -> None:
        super().__init__(options, environment)
        self.batch_size = options.batch_size
        self.device = torch.device(pick_device(environment))
        self.seen = self.truncated = 0
        with still(), threads(environment.threads):
            self.pipeline = self.load()
            self._read_special_tokens_as_text()
            self.finish()
            # Cast here, not while loading: the argument for that has changed its name between versions of diffusers.
            self.pipeline.to(self.device, getattr(torch, options.dtype))
            self.pipeline.set_progress_bar_config(disable=True)
            self._unconditional = self._encode_unconditional()

    # ------------------------------------------------------------------------------------------------------- loading

    def load(self) -> Any:
        """The pipeline, without what is not used.

        Raises:
            UserError: it is not there, damaged, or of a class that this teacher cannot drive.
        """
        import diffusers

        place = self._place()
        offline = self.environment.offline
        where: dict[str, Any] = {"revision": self.options.revision, "local_files_only": offline, "trust_remote_code": False}
        try:
            kind = str(diffusers.DiffusionPipeline.load_config(place, **where).get("_class_name"))
        except Exception as error:  # a damaged file raises what its parser happens to stumble over
            raise self.cannot_load("pipeline", error) from error
        if kind not in self.options.pipelines:
            raise UserError(
                f"teacher {self.name} {self.options.model}: is a {kind}",
                f"This teacher drives {' or '.join(self.options.pipelines)}",
            )
        cls = getattr(diffusers, kind)
        parameters = inspect.signature(cls.__init__).parameters
        absent: dict[str, Any] = {part: None for part in self.unused if part in parameters}
        if "requires_safety_checker" in parameters:
            absent["requires_safety_checker"] = False
        try:
            pipeline = cls.from_pretrained(place, use_safetensors=True, **where, **absent)
            if "vae" in absent:
                # The pipeline reads from its VAE how large a latent is; the file that says it is all we need of it.
                config = diffusers.AutoencoderKL.load_config(place, subfolder="vae", **where)
                pipeline.vae_scale_factor = 2 ** (len(config["block_out_channels"]) - 1)
        except Exception as error:
            raise self.cannot_load("weights", error) from error
        self._require_weights(pipeline, hub.local_folder(place))
        return pipeline

    def _require_weights(self, pipeline: Any, folder: Path | None) -> None:
        """What a checkpoint lacks is left empty by diffusers, and drawn at random by transformers with a mere warning."""
        for name, part in pipeline.components.items():
            if not isinstance(part, torch.nn.Module):
                continue
            needed = sum(parameter.numel() for parameter in part.parameters())
            present = count_parameters(folder / name) if folder else needed
            if present < needed or any(parameter.is_meta for parameter in part.parameters()):
                raise UserError(
                    f"teacher {self.name} {self.options.model}: the weights of its {name} lack tensors",
                    "Copy, fetch or save them again",
                )

    def _read_special_tokens_as_text(self) -> None:
        for name, part in list(self.pipeline.components.items()):
            if name.startswith("tokenizer") and part is not None:
                encoder = self.pipeline.components.get(name.replace("tokenizer", "text_encoder"))
                subject = f"teacher {self.name}"
                vocabulary.require_usable(subject, f"{self.options.model}/{name}", part, getattr(encoder, "config", None))
                setattr(self.pipeline, name, special_tokens.as_text(part))

    def finish(self) -> None:
        """What is done to the pipeline before it goes to its device."""

    def _place(self) -> str:
        place = str(hub.local_folder(self.options.model) or self.options.model)
        return hub.loadable(f"teacher {self.name}", place, self.environment, self.options.revision, hub.PIPELINE)

    def cannot_load(self, what: str, error: Exception) -> UserError:
        return hub.cannot_load(f"teacher {self.name}", self.options.model, what, error, self.environment)

    # ---------------------------------------------------------------------------------------------------------- texts

    @property
    def guided(self) -> bool:
        return bool(self.options.guidance > 1)

    def _encode_unconditional(self) -> dict[str, Tensor]:
        """What stands for "no text", or for the negative prompt: argument of the pipeline -> [1, ...]."""
        if not self.guided:
            return {}
        with torch.inference_mode():
            encoded = self.pipeline.encode_prompt(
                prompt="",
                device=self.device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=True,
                negative_prompt=self.options.negative_prompt or None,
            )
        names = ("negative_prompt_embeds", "negative_pooled_prompt_embeds")
        return dict(zip(names, encoded[1::2], strict=False))

    def conditions(self, texts: Sequence[str]) -> dict[str, Any]:
        """The arguments of the pipeline that say what to draw for n texts, and with which noise."""
        texts = [readable(text, self.name) for text in texts]
        self._count_truncated(texts)
        encoded = self.pipeline.encode_prompt(
            prompt=texts, device=self.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        names = ("prompt_embeds", "pooled_prompt_embeds")
        arguments: dict[str, Any] = dict(zip(names, encoded[::2], strict=False))
        for name, value in self._unconditional.items():
            arguments[name] = value.expand(len(texts), *value.shape[1:])
        arguments["generator"] = [noise(self.options.seed, text) for text in texts]
        arguments["num_inference_steps"] = self.options.steps
        arguments["guidance_scale"] = self.options.guidance
        return arguments

    def _count_truncated(self, texts: Sequence[str]) -> None:
        tokenizer = self.pipeline.tokenizer
        self.seen += len(texts)
        self.truncated += sum(len(row) > tokenizer.model_max_length for row in tokenizer(list(texts), verbose=False).input_ids)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """How the networks run: without gradients, quietly, on the threads that the environment allows."""
        with still(), threads(self.environment.threads), torch.inference_mode():
            yield

    def close(self) -> None:
        if self.truncated:
            longest = self.pipeline.tokenizer.model_max_length
            print(
                f"armada: {self.name} read the first {longest} tokens alone of {self.truncated} of {self.seen} texts: "
                "its text encoder takes no more",
                file=sys.stderr,
            )
        self.truncated = 0
        self.pipeline = None
        self._unconditional = {}
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def noise(seed: int, text: str) -> torch.Generator:
    """The generator of a text's noise, on the CPU: the same on every device, and no other text's."""
    digest = hashlib.sha256(f"{seed}\0{text}".encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def readable(text: Any, name: str) -> str:
    """A text as a tokenizer takes it: lone surrogates, which no UTF-8 has, become question marks."""
    if not isinstance(text, str):
        kind = "a file" if isinstance(text, Path) else type(text).__name__
        raise UserError(
            f"teacher {name} draws texts, this task hands it {kind}", "Take a teacher that looks at pictures, as resnet-posters"
        )
    return text.encode("utf-8", "replace").decode("utf-8")


@contextlib.contextmanager
def still() -> Iterator[None]:
    """Without the bars and remarks of transformers and diffusers; a truncated text is counted, not shown in full each time."""
    from diffusers.utils import logging as chatter

    bars = chatter.is_progress_bar_enabled()
    chatter.disable_progress_bar()
    try:
        with hub.quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if bars:
            chatter.enable_progress_bar()


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """So many CPU threads inside, as many as before outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)
