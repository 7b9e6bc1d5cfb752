"""What a recipe can choose about `image-api`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from armada_cli import Environment, option
from armada_cli.credentials import is_variable
from armada_cli.models import hub, pictures, tiny

SMOKE = "smoke:"
"""In the place of an address: pictures are drawn here, by a server of this process on the loopback interface."""


NO_VARIABLE = "that is no name of an environment variable; put the key into one, and name it here"
"""Said of a `key_variable` that may be the key itself. It does not show it."""


@dataclass(frozen=True)
class ImageApiOptions:
    """Options of `image-api`.

    The key is read from the environment when a picture is missing, and goes nowhere but into the request. A *call* is one
    request for a picture. Pictures and calls belong to the endpoint, the model and the size, below ``image-api/`` in the runs
    folder: another encoder looks at the same pictures, and they are not paid for again.
    """

    base_url: str = option(
        "https://api.openai.com/v1", "Address of the service; requests go to BASE_URL/images/generations", identity=False
    )
    model: str = option("dall-e-2", "Name of the model, as the service calls it")
    size: str = option("256x256", "Width and height of a picture, as the service spells it")
    prompt: str = option("{text}", "What is asked for; {text} is the text")
    max_prompt: int = option(1000, "Characters of a text at most; a longer one is cut at a word", minimum=1)
    refused: str = option(
        "fail",
        "What becomes of a text that the service refuses for its content: fail (listed, and tried again by the next run), or "
        "grey (an even grey picture takes the place)",
        choices=("fail", "grey"),
    )
    encoder: str = option(
        "microsoft/resnet-50",
        "Image encoder: a model id of the hub, or a local folder in transformers format",
        identity=False,
        place=True,
    )
    encoder_revision: str | None = option(None, "Branch, tag or commit of a hub encoder; null is its main branch")
    dtype: str = option("float32", "Arithmetic of the encoder", choices=pictures.DTYPES)
    key_variable: str | None = option(
        "OPENAI_API_KEY",
        "Environment variable that holds the key; null for a service without one",
        identity=False,
        secret=True,
    )
    response_format: str | None = option(
        "b64_json",
        "How pictures are asked for: b64_json or url; null leaves it to the service (some models know no such setting)",
        choices=("b64_json", "url", None),
        identity=False,
    )
    max_calls: int | None = option(
        None,
        "Calls to this endpoint, model and size that may ever be made from this runs folder, failed ones included; null is no "
        "limit",
        minimum=0,
        identity=False,
    )
    concurrency: int = option(4, "Calls under way at once, in each process", minimum=1, maximum=256, identity=False)
    timeout: float = option(
        180.0, "Seconds a call may take, from the name of the host to the last byte of its answer", above=0, identity=False
    )
    retries: int = option(5, "Further calls for a text after a failed one, in one run", minimum=0, maximum=100, identity=False)
    backoff: float = option(
        1.0, "Seconds before the first further call; doubled each time, with jitter", minimum=0, identity=False
    )
    max_wait: float = option(
        120.0,
        "Seconds between two calls at most; when the service asks for a longer pause, the text is left to the next run",
        minimum=0,
        identity=False,
    )
    max_picture_bytes: int = option(32 << 20, "Bytes of a picture at most", minimum=1, identity=False)
    max_pixels: int | None = option(
        None,
        "Width times height of a picture at most; null is what the memory of this machine allows, at most 64 million",
        minimum=1,
        identity=False,
    )

    def address(self) -> str:
        """The base URL in one spelling."""
        return self.base_url.strip().rstrip("/")

    def source(self) -> dict[str, str]:
        """What decides, with the prompt, how a picture looks."""
        return {"base_url": self.address(), "model": self.model, "size": self.size}

    def folder(self, environment: Environment) -> Path:
        """Where the pictures of this source and its calls are kept."""
        digest = hashlib.sha256(json.dumps(self.source(), sort_keys=True).encode()).hexdigest()[:16]
        return environment.runs / "image-api" / digest

    def identity(self, environment: Environment) -> dict[str, Any]:
        return {"base_url": self.address(), "weights": hub.identity(self.encoder)}

    def problems(self, environment: Environment) -> Iterable[str]:
        if self.base_url != SMOKE:
            yield from _address_problems(self.address())
        if "{text}" not in self.prompt:
            yield "prompt: it does not contain {text}; every text would get one picture"
        if self.key_variable is not None and not is_variable(self.key_variable):
            # Whoever writes the key itself here must not see it again in a message.
            yield f"key_variable: {NO_VARIABLE}"
        yield from hub.problems(self.encoder)

    def downloads(self, environment: Environment) -> Iterable[str]:
        return hub.downloads(self.encoder, self.encoder_revision)

    def smoke(self, folder: Path) -> Self:
        """Pictures from a server inside this process, seen by a random ResNet of 24 features; nothing is paid."""
        place = tiny.once(folder / "tiny-resnet", pictures.save_tiny_encoder)
        return dataclasses.replace(
            self,
            base_url=SMOKE,
            size="64x64",
            key_variable=None,
            response_format="b64_json",
            max_calls=None,
            encoder=str(place),
            encoder_revision=None,
            dtype="float32",
        )


def _address_problems(address: str) -> Iterable[str]:
    try:
        parts = urlsplit(address)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        yield "base_url: that is no address; it is like https://api.openai.com/v1"
        return
    if parts.scheme not in ("http", "https") or not host:
        yield "base_url: that is no http or https address; it is like https://api.openai.com/v1"
    elif parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        yield "base_url: it holds more than an address; put the key into the environment (key_variable)"
