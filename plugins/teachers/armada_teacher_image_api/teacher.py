"""Text -> picture of a service -> image encoder -> features."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from armada_cli import Environment, Teacher, Unanswered, UserError
from armada_cli.corpora.prompts import shorten
from armada_cli.credentials import is_variable
from armada_cli.models.pictures import BadPicture, PictureEncoder, TooManyPixels, read_picture
from armada_teacher_image_api.endpoint import Endpoint, Fault
from armada_teacher_image_api.ledger import BudgetSpent, Ledger, key_of
from armada_teacher_image_api.options import NO_VARIABLE, SMOKE, ImageApiOptions
from armada_teacher_image_api.painter import Painter
from armada_teacher_image_api.threads import FirstAlone, Pause, PromptQueue, join_all

NAME = "teacher image-api"
HOPELESS = 4
"""When the first so many texts of a batch get no picture for one reason, the service is taken to be out of order."""

HOPELESS_REFUSALS = 16
"""The same for a reason that lies in the text, such as its content, while not one text has ever got a picture."""

GRACE_SECONDS = 1.0
"""After Ctrl-C: what arrives in this time is kept."""


class ImageApi(Teacher):
    """What a black-box service paints.

    Every picture is on the disk as soon as it has come, before the next step is taken; so are the count of calls (before each
    is sent) and the reasons of failures. A batch that is interrupted, by Ctrl-C, by an error or by the death of the
    process, therefore pays for nothing again. Calls that were under way when the process died are lost unless the service
    honours ``Idempotency-Key``: every further call for the same text carries the same one, until the service has answered it.
    An answer that cannot be read is kept as well, and is read by the next run if that one can.

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
        self._pause = Pause()
        self._format = options.response_format
        self._format_lock = threading.Lock()
        self._first_call = FirstAlone()

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
        words = shorten(_encodable(text).strip(), self.options.max_prompt)
        return _encodable(self.options.prompt).replace("{text}", words) if words else None

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
        batch = PromptQueue(prompts)

        def work() -> None:
            while (item := batch.next()) is not None:
                end: BaseException | None
                try:
                    fault = self._obtain(endpoint, *item, batch.stop)
                    end = batch.note(item[0], fault, self._is_systematic)
                except BaseException as error:
                    end = error
                if end is not None:
                    batch.end(end)

        # Daemons: a name that does not resolve keeps its thread, and must not keep the process.
        threads = [
            threading.Thread(target=work, name=f"image-api {number}", daemon=True)
            for number in range(min(self.options.concurrency, len(prompts)))
        ]
        for thread in threads:
            thread.start()
        try:
            while not join_all(threads, 1.0):
                pass
        except KeyboardInterrupt:
            batch.stop.set()
            print(
                f"armada: {NAME}: leaving; calls that are under way may be paid for, the next run asks with the same key",
                file=sys.stderr,
            )
            join_all(threads, GRACE_SECONDS)
            endpoint.leave()
            join_all(threads, GRACE_SECONDS)
            raise
        finally:
            self.ledger.write_failures()
        if batch.ends:
            raise batch.ends[0]
        faults = batch.faults
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

    def _is_systematic(self, fault: Fault, alike: int, came: int) -> UserError | None:
        """The end of a batch in which `alike` texts had the same fault and `came` pictures came; None while there is hope."""
        if came or alike < (HOPELESS if fault.again or fault.form else HOPELESS_REFUSALS):
            return None
        if not (fault.again or fault.form) and self.ledger.has_answers():
            return None
        return UserError(
            f"{NAME}: the first {alike} texts got no picture from {self.options.address()} for one reason: {fault}; no others "
            f"are asked for, all are listed in {self.ledger.failures_file}",
            "Every picture that came before is kept; the same command goes on from there",
        )

    def _obtain(self, endpoint: Endpoint, key: bytes, prompt: str, stop: threading.Event) -> Fault | None:
        """Get one picture onto the disk, with further calls where they may help. Returns the last fault when none did.

        Raises:
            UserError: no text will get a picture any more.
        """
        with self.ledger.claim(key, stop) as mine:
            if not mine or self._picture(key) is not None:
                return None
            if (waiting := self.ledger.unread(key)) is not None:
                unread = self._read_again(endpoint, key, *waiting)
                if unread is None:
                    return None
                if waiting[1] == self._asked():
                    self.ledger.fail(key, prompt, str(unread), refused=False)
                    return unread
            for attempt in range(self.options.retries + 1):
                if not self._pause.over(stop):
                    return None
                try:
                    self._ask(endpoint, key, prompt)
                    return None
                except Fault as fault:
                    last = fault
                if endpoint.left:
                    return None
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
                with _settled():
                    answer = endpoint.generate(self._body(prompt), token)
                    if answer.content is not None:
                        self._check(answer.content)
                        self.ledger.keep(key, answer.content, number)
                        return
                    url = answer.url
            except Fault as fault:
                told = self._keep_unread(key, fault)
                self.ledger.settle(number, fault.fate)
                raise told from None
            assert url is not None
            self.ledger.keep_address(key, number, url)
        try:
            with _settled():
                content = endpoint.fetch(url)
        except Fault as fault:
            if not fault.again:
                self.ledger.drop_address(key)
            raise
        try:
            with _settled():
                self._check(content)
        except Fault as fault:
            told = self._keep_unread(key, fault)
            self.ledger.drop_address(key)
            raise told from None
        self.ledger.keep(key, content)

    def _check(self, content: bytes) -> None:
        limit = self.options.max_picture_bytes
        if len(content) > limit:
            # The same is to be expected of the next one, and it would be paid for as well.
            reason = f"its picture is too large ({len(content):,} bytes; max_picture_bytes is {limit:,})"
            raise Fault(reason, fate="useless", body=content, form=True, hint="Raise max_picture_bytes")
        try:
            read_picture(content, self.options.max_pixels)
        except TooManyPixels as error:
            reason = f"its picture cannot be used: {error}"
            raise Fault(reason, fate="useless", body=content, form=True, hint="Raise max_pixels") from None
        except BadPicture as error:
            raise Fault(f"its picture cannot be used: {error}", again=True, fate="useless", body=content) from None

    def _asked(self) -> str:
        """What decides in which form a picture is answered."""
        return str(self.options.response_format)

    def _keep_unread(self, key: bytes, fault: Fault) -> Fault:
        """Keep what was paid for and cannot be read; the fault, with the place."""
        if fault.body is None:
            return fault
        suffix = ".json" if fault.body[:1] in (b"{", b"[") else ".picture"
        path = self.ledger.keep_unread(key, fault.body, suffix, self._asked(), wait=fault.form)
        return self._with_place(fault, path)

    def _with_place(self, fault: Fault, path: Path) -> Fault:
        told = f"{fault}; it is kept in {path}"
        if fault.form:
            others = [str(value or "null") for value in ("b64_json", "url", None) if value != self.options.response_format]
            told += f". {fault.hint or f'Set response_format to {others[0]} or {others[1]}'}, or delete the file to ask again"
        return Fault(told, again=fault.again, fate=fault.fate, kind=fault.kind, form=fault.form)

    def _read_again(self, endpoint: Endpoint, key: bytes, path: Path, asked: str) -> Fault | None:
        """Read an answer of an earlier call; None when it holds a picture now, as with larger limits."""
        try:
            with _settled():
                content: bytes | None = path.read_bytes()
                if path.suffix == ".json" and content is not None:
                    content = endpoint.read(content).content
                if content is None:
                    raise Fault("its answer holds no picture", form=True)
                self._check(content)
        except Fault as fault:
            return self._with_place(fault, path)
        self.ledger.keep(key, content)
        return None

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
        return min(max(delay, fault.wait or 0.0), threading.TIMEOUT_MAX)

    def _connect(self) -> Endpoint:
        """The endpoint, with the key from the environment.

        Raises:
            UserError: the variable is not set, or holds what cannot be a key.
        """
        if self._endpoint is None:
            key, name = None, self.options.key_variable
            if name is not None and not is_variable(name):
                raise UserError(f"{NAME}: key_variable: {NO_VARIABLE}")
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


@contextlib.contextmanager
def _settled() -> Iterator[None]:
    """Whatever an answer does to us is a failed call, not an error that comes back at every run."""
    try:
        yield
    except (Fault, UserError, MemoryError):
        raise
    except Exception as error:
        told = "".join(letter if letter.isprintable() else "?" for letter in f"{type(error).__name__}: {error}")[:150]
        raise Fault(f"its answer cannot be used ({told})", fate="unknown") from error


def _encodable(text: str) -> str:
    """A text without lone surrogates."""
    return text.encode("utf-8", "replace").decode()


__all__ = ["ImageApi"]
