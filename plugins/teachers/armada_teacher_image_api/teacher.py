"""Text -> picture of a service -> image encoder -> features."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from armada_cli import Environment, Teacher, Unanswered, UserError
from armada_cli.pictures import BadPicture, PictureEncoder, read_picture
from armada_teacher_image_api.endpoint import Endpoint, Fault
from armada_teacher_image_api.ledger import BudgetSpent, Ledger, key_of
from armada_teacher_image_api.options import SMOKE, ImageApiOptions
from armada_teacher_image_api.painter import Painter

NAME = "teacher image-api"
HOPELESS = 4
"""When not one of so many texts of a batch gets a picture, the service is taken to be out of order."""


class ImageApi(Teacher):
    """What a black-box service paints.

    Every picture is on the disk as soon as it has come, before the next step is taken; so are the count of calls (before each
    is sent) and the reasons of failures. A batch that is interrupted, by Ctrl-C, by an error or by the death of the
    process, therefore pays for nothing again. Calls that were under way when the process died are lost unless the service
    honours ``Idempotency-Key``: the next call for the same text carries the same one.

    A text with nothing in it is not sent. An even grey picture takes its place.
    """

    options: ImageApiOptions

    def __init__(self, options: ImageApiOptions, environment: Environment) -> None:
        super().__init__(options, environment)
        self.batch_size = max(64, 4 * options.concurrency)
        self.encoder = PictureEncoder(
            options.encoder, environment, subject=NAME, revision=options.encoder_revision, dtype=options.dtype
        )
        self.ledger = Ledger(options.folder(environment), options.source())
        self._endpoint: Endpoint | None = None
        self._painter: Painter | None = None
        self._pause = _Pause()
        self._format = options.response_format
        self._format_lock = threading.Lock()
        self._first_call = _FirstAlone()

    def close(self) -> None:
        if self._endpoint is not None:
            self._endpoint.close()
        if self._painter is not None:
            self._painter.close()
        self.ledger.close()

    def represent(self, inputs: Sequence[str]) -> np.ndarray:
        """inputs: n texts -> float32 [n, width of the encoder].

        Raises:
            Unanswered: some texts got no picture; the others' are there.
            UserError: the budget is used up, the key or the address is wrong, or the service answers nothing at all. What has
                come is kept.
        """
        prompts = [self.prompt(text) for text in inputs]
        keys = [None if prompt is None else key_of(prompt) for prompt in prompts]
        wanted = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key is not None and prompt is not None}
        failed = self._collect({key: prompt for key, prompt in wanted.items() if self._picture(key) is None})
        vectors, reasons = self.encoder.encode(partial(self._open, key, failed) for key in keys)
        if reasons or vectors is None:
            raise Unanswered(vectors, reasons, str(self.ledger.failures_file) if failed else "")
        return vectors

    def prompt(self, text: str) -> str | None:
        """What the service is asked for; None for a text with nothing in it."""
        if not isinstance(text, str):
            raise UserError(f"{NAME} paints texts, and the task hands over {text}", "Take resnet-posters for given pictures")
        words = shorten(text.encode("utf-8", "replace").decode(), self.options.max_prompt)
        return self.options.prompt.replace("{text}", words) if words else None

    def _picture(self, key: bytes) -> Path | str | None:
        """The file of a picture, ``grey`` for one that is not to be had and need not be, None when it must be asked for."""
        if path := self.ledger.picture(key):
            return path
        return "grey" if self.options.refused == "grey" and self.ledger.was_refused(key) else None

    def _open(self, key: bytes | None, failed: dict[bytes, str]) -> Image.Image:
        if key in failed:
            raise BadPicture(failed[key])
        path = "grey" if key is None else self._picture(key)
        if not isinstance(path, Path):
            return Image.new("RGB", (256, 256), (128, 128, 128))
        try:
            return read_picture(path, self.options.max_pixels)
        except BadPicture as error:
            raise BadPicture(f"its picture {path} cannot be used, {error}; delete it to ask for another") from None

    # ------------------------------------------------------------------------------------------------- asking

    def _collect(self, prompts: dict[bytes, str]) -> dict[bytes, str]:
        """Get the pictures of prompts, several at once. Returns the reasons of those that failed for this run."""
        if not prompts:
            return {}
        endpoint = self._connect()
        stop = threading.Event()
        faults: dict[bytes, Fault] = {}
        ends: list[UserError] = []

        def work(key: bytes, prompt: str) -> None:
            try:
                fault = self._obtain(endpoint, key, prompt, stop)
            except UserError as error:
                ends.append(error)
                stop.set()
                return
            if fault is not None:
                faults[key] = fault

        pool = ThreadPoolExecutor(self.options.concurrency, thread_name_prefix="image-api")
        try:
            futures = [pool.submit(work, key, prompt) for key, prompt in prompts.items()]
            wait(futures)
            for future in futures:
                future.result()  # raises what nobody foresaw
        except KeyboardInterrupt:
            stop.set()
            print(f"armada: {NAME}: waiting for the pictures that are under way, they may be paid for", file=sys.stderr)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self.ledger.write_failures()
        if ends:
            raise ends[0]
        reasons = {key: str(fault) for key, fault in faults.items()}
        if len(faults) == len(prompts) >= HOPELESS and not all(fault.refused for fault in faults.values()):
            raise UserError(
                f"{NAME}: not one of {len(prompts)} texts got a picture from {self.options.address()}; the first: "
                f"{next(iter(reasons.values()))}; all are listed in {self.ledger.failures_file}",
                "Every picture that came before is kept; run again when the service is well",
            )
        if self.options.refused == "grey":
            return {key: reason for key, reason in reasons.items() if not faults[key].refused}
        return reasons

    def _obtain(self, endpoint: Endpoint, key: bytes, prompt: str, stop: threading.Event) -> Fault | None:
        """Get one picture onto the disk, with further calls where they may help. Returns the last fault when none did.

        Raises:
            UserError: no text will get a picture any more.
        """
        with self.ledger.claim(key, stop) as mine:
            if not mine or self._picture(key) is not None:
                return None
            for attempt in range(self.options.retries + 1):
                if not self._pause.over(stop):
                    return None
                try:
                    self._ask(endpoint, key, prompt)
                    return None
                except Fault as fault:
                    last = fault
                delay = self._delay(attempt, last)
                if last.fatal or not last.again or delay is None or attempt == self.options.retries:
                    break
                if stop.wait(delay):
                    break
            self.ledger.fail(key, prompt, str(last), refused=last.refused)
            if last.fatal:
                raise UserError(f"{NAME}: {self.options.address()} answers {last}", last.hint)
            return last

    def _ask(self, endpoint: Endpoint, key: bytes, prompt: str) -> None:
        """`_call`, and once more where the service does not know `response_format`, which it is then never sent again.

        The first call of all is made alone, so that a service that refuses the setting refuses it once and not for each text.

        Raises:
            Fault: it brought no picture.
        """
        with self._first_call:
            sent = self._format
            try:
                self._call(endpoint, key, prompt)
                return
            except Fault as fault:
                if fault.setting != "response_format" or sent is None:
                    raise
                self._leave_out_format(fault)
        self._call(endpoint, key, prompt)

    def _leave_out_format(self, fault: Fault) -> None:
        with self._format_lock:
            told, self._format = self._format is None, None
        if not told:
            print(
                f"armada: {NAME}: {self.options.address()} answers {fault}; response_format is left out from here on. "
                "Write response_format: null into the recipe to save this call",
                file=sys.stderr,
            )

    def _call(self, endpoint: Endpoint, key: bytes, prompt: str) -> None:
        """One call, and its picture on the disk. A picture that was paid for and is only to be fetched is no call.

        Raises:
            Fault: it brought none.
        """
        if (url := self.ledger.address(key)) is None:
            try:
                number, token = self.ledger.reserve(key, self.options.max_calls)
            except BudgetSpent:
                raise UserError(
                    f"{NAME}: max_calls is {self.options.max_calls}, and so many calls have been made to "
                    f"{self.options.address()} for {self.options.model} {self.options.size}",
                    f"Raise max_calls to go on; the pictures that came are kept in {self.ledger.folder}",
                ) from None
            try:
                answer = endpoint.generate(self._body(prompt), token)
                if answer.content is not None:
                    self._check(answer.content)
                    self.ledger.keep(key, answer.content)
            except Fault as fault:
                self.ledger.settle(number, fault.fate)
                raise
            if answer.url is None:
                self.ledger.settle(number, "answered")
                return
            url = answer.url
            self.ledger.keep_address(key, number, url)
        try:
            content = endpoint.fetch(url)
        except Fault as fault:
            if not fault.again:
                self.ledger.drop_address(key)
            raise
        try:
            self._check(content)
        except Fault:
            self.ledger.drop_address(key)
            raise
        self.ledger.keep(key, content)

    def _check(self, content: bytes) -> None:
        if len(content) > self.options.max_picture_bytes:
            raise Fault(f"its picture is too large (over {self.options.max_picture_bytes:,} bytes)", again=True)
        try:
            read_picture(content, self.options.max_pixels)
        except BadPicture as error:
            raise Fault(f"its picture cannot be used: {error}", again=True) from None

    def _body(self, prompt: str) -> dict[str, object]:
        body: dict[str, object] = {"model": self.options.model, "prompt": prompt, "size": self.options.size, "n": 1}
        if self._format is not None:
            body["response_format"] = self._format
        return body

    def _delay(self, attempt: int, fault: Fault) -> float | None:
        """Seconds before the next call for this text; None when the service asks for more than `max_wait`. What it asks for
        holds for every text."""
        if fault.wait is not None:
            if fault.wait > self.options.max_wait:
                return None
            self._pause.until(time.monotonic() + fault.wait)
        delay = min(self.options.max_wait, self.options.backoff * 2.0**attempt) * random.uniform(0.5, 1.0)
        return max(delay, fault.wait or 0.0)

    def _connect(self) -> Endpoint:
        """The endpoint, with the key from the environment.

        Raises:
            UserError: the variable is not set, or holds what cannot be a key.
        """
        if self._endpoint is None:
            key, name = None, self.options.key_variable
            if name is not None:
                key = os.environ.get(name, "").strip()
                if not key:
                    hint = (
                        f"Put the key of {self.options.address()} into it, or set key_variable: null for a service without one"
                    )
                    raise UserError(f"{NAME}: the environment variable {name} is not set", hint)
                if not (key.isascii() and key.isprintable() and " " not in key):
                    raise UserError(
                        f"{NAME}: the environment variable {name} holds no key", "Set it anew, without blanks in it"
                    )
            address = self.options.address()
            if self.options.base_url == SMOKE:
                self._painter = Painter()
                address = self._painter.base_url
            self._endpoint = Endpoint(
                address,
                key,
                timeout=self.options.timeout,
                max_bytes=self.options.max_picture_bytes,
                connections=self.options.concurrency,
            )
        return self._endpoint


class _FirstAlone:
    """The first thread to enter is alone until it leaves, however it leaves; after that nobody waits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = False
        self._holder: int | None = None

    def __enter__(self) -> None:
        if self._over:
            return
        self._lock.acquire()
        if self._over:
            self._lock.release()
        else:
            self._holder = threading.get_ident()

    def __exit__(self, *_: object) -> None:
        if self._holder == threading.get_ident():
            self._over, self._holder = True, None
            self._lock.release()


class _Pause:
    """The time before which the service wants to hear from nobody."""

    def __init__(self) -> None:
        self._until = 0.0

    def until(self, moment: float) -> None:
        self._until = max(self._until, moment)

    def over(self, stop: threading.Event) -> bool:
        """Wait for the end of the pause; False when `stop` was set."""
        while (rest := self._until - time.monotonic()) > 0 and not stop.is_set():
            stop.wait(rest)
        return not stop.is_set()


def shorten(text: str, limit: int) -> str:
    """A text without blanks around it, of at most `limit` characters, cut at a word where there is one."""
    text = text.strip()
    if len(text) <= limit:
        return text
    for place in range(limit, 0, -1):
        if text[place].isspace():
            return text[:place].rstrip()
    return text[:limit]


__all__ = ["ImageApi", "shorten"]
