"""One request for a picture, and all that can go wrong with it."""

from __future__ import annotations

import json
import re
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import LocationValueError

from armada_teacher_image_api.answers import LONGEST_WAIT, decode_picture, is_data_url, is_long_json, read_error, retry_after
from armada_teacher_image_api.connection import CONNECT_SECONDS, Connections, CutOff, Exchange

CHUNK = 1 << 16
REDIRECTS = 3
AGAIN = frozenset({408, 409, 425, 429})
"""Statuses below 500 that another try may mend."""

NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
NO_MODEL = frozenset({"model_not_found", "invalid_model", "model_not_available", "unknown_model"})
REFUSALS = ("content_policy_violation", "moderation_blocked", "content_filter", "safety", "content policy", "moderation")
"""In the code, type or message of a 400, 403 or 422: the text is refused for its content."""

REPLAYED = ("Idempotent-Replayed", "Idempotency-Replayed")
"""Headers of an answer that the service had noted for the token and repeats."""


@dataclass(eq=False)
class Fault(Exception):
    """A call that brought no picture.

    Attributes:
        reason: why, in one line, without the key.
        again: another try may help. fatal: no text will get a picture, so why ask on. refused: for its content.
        fate: what `Ledger.settle` is told.
        wait: seconds that the service asks to wait.
        hint: what the user can do, of a fatal one.
        setting: the option that the service does not know, or not with this value; empty where it says nothing of the kind.
        kind: the reason without what differs from text to text.
        body: the whole answer, of a service that charged for it and whose picture could not be read.
        form: the answer is written in a way that is not known here, as the next one would be.
    """

    reason: str
    again: bool = field(default=False, kw_only=True)
    fatal: bool = field(default=False, kw_only=True)
    refused: bool = field(default=False, kw_only=True)
    fate: str = field(default="failed", kw_only=True)
    wait: float | None = field(default=None, kw_only=True)
    hint: str = field(default="", kw_only=True)
    setting: str = field(default="", kw_only=True)
    kind: str = field(default="", kw_only=True)
    body: bytes | None = field(default=None, kw_only=True)
    form: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__init__(self.reason)
        self.kind = self.kind or re.sub(r"[\d,.]+", "0", self.reason)[:60]

    __str__ = Exception.__str__


@dataclass(frozen=True)
class Answer:
    """A picture, or where it can be fetched."""

    content: bytes | None = None
    url: str | None = None


@dataclass(frozen=True)
class _Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Endpoint:
    """A service that speaks the OpenAI images protocol.

    Args:
        base_url: requests go to ``base_url/images/generations``.
        key: sent as a bearer token; None sends none. It is in no message and no representation of this object.
        timeout: seconds that a request may take in all, by the wall clock, from the name of the host to the last byte.
        max_bytes: of a picture.
        connections: requests under way at once, at most.
    """

    def __init__(self, base_url: str, key: str | None, *, timeout: float, max_bytes: int, connections: int) -> None:
        self.url = f"{base_url}/images/generations"
        self.timeout, self.max_bytes = timeout, max_bytes
        self._key = key
        self._connections = Connections(connections)
        self._exchanges: set[Exchange[_Reply]] = set()
        self._lock = threading.Lock()
        self._left = False

    def close(self) -> None:
        self._connections.close()

    @property
    def left(self) -> bool:
        return self._left

    def leave(self) -> None:
        """Cut off all that is under way, and send nothing more."""
        with self._lock:
            self._left = True
            exchanges = list(self._exchanges)
        for exchange in exchanges:
            exchange.cut()

    def generate(self, body: Mapping[str, Any], token: str) -> Answer:
        """Ask for a picture.

        Raises:
            Fault: there is none.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Idempotency-Key": token}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        reply = self._request("POST", self.url, headers, json.dumps(body).encode(), self.max_bytes * 3 + (64 << 10))
        if reply.status not in (200, 201):
            raise self._explain(reply)
        return self.read(reply.body)

    def read(self, body: bytes) -> Answer:
        """The picture in the body of an answer, or its address.

        Raises:
            Fault: there is none.
        """

        def fault(reason: str, *, form: bool = False) -> Fault:
            return Fault(reason, again=not form, fate="useless", body=body, form=form)

        try:
            value = json.loads(body)
            item = value["data"][0]
            text, url = item.get("b64_json"), item.get("url")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            # Cut short or garbled, it may be well the next time. Long JSON without the protocol's names is a form of its own.
            raise fault("its answer is not the JSON of the protocol", form=is_long_json(body)) from None
        content = decode_picture(text) if isinstance(text, str) and text else None
        if content is not None:
            return Answer(content=content)
        if isinstance(url, str) and _fetchable(url):
            return Answer(url=url)
        if isinstance(url, str) and is_data_url(url) and (content := decode_picture(url)) is not None:
            return Answer(content=content)
        if text or (isinstance(url, str) and is_data_url(url)):
            raise fault("the picture in its answer is not base64", form=True)
        raise fault("its answer holds no picture", form=is_long_json(body))

    def fetch(self, url: str) -> bytes:
        """Fetch a picture from the address that the service gave. The key is not sent there.

        Raises:
            Fault: it cannot be had; with ``again=False`` there is nothing at this address any more.
        """
        for _ in range(REDIRECTS + 1):
            reply = self._request("GET", url, {"Accept": "image/*"}, None, self.max_bytes)
            if reply.status == 200:
                return reply.body
            if reply.status in (301, 302, 303, 307, 308):
                try:
                    url = urljoin(url, reply.headers.get("Location", ""))
                except ValueError:
                    url = ""
                if _fetchable(url):
                    continue
                raise Fault("the picture's address leads to no http address", again=False)
            again = reply.status >= 500 or reply.status in AGAIN
            reason = f"its address at {urlsplit(url).hostname} answers with status {reply.status}"
            raise Fault(reason, again=again, wait=retry_after(reply.headers))
        raise Fault("the picture's address leads round in circles", again=False)

    def _request(self, method: str, url: str, headers: dict[str, str], body: bytes | None, limit: int) -> _Reply:
        """One exchange within `timeout`; a body over `limit` bytes is not read. Whatever goes wrong is a `Fault`."""
        exchange = Exchange(lambda: self._exchange(method, url, headers, body, limit))
        with self._lock:
            if self._left:
                raise Fault("it was not asked: the run is being left", fate="unsent")
            self._exchanges.add(exchange)
        try:
            return exchange.run(self.timeout)
        except Fault as fault:
            if fault.fate == "failed" and method == "POST":
                fault.fate = "unknown"  # there was an answer, and it was not read
            raise
        except Exception as error:
            raise self._broken(error, exchange) from None
        finally:
            with self._lock:
                self._exchanges.discard(exchange)

    def _exchange(self, method: str, url: str, headers: dict[str, str], body: bytes | None, limit: int) -> _Reply:
        wait = min(self.timeout, LONGEST_WAIT)
        response = self._connections.pool(url).request(
            method,
            url,
            body=body,
            headers={**headers, "User-Agent": "armada-cli", "Accept-Encoding": "identity"},
            timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, wait), read=wait),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        whole = False
        try:
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding != "identity":  # a few kilobytes may unfold to gigabytes, and we asked for it plain
                raise Fault(f"its answer is compressed ({self._clean(encoding)[:20]}), unasked", again=True)
            length = re.fullmatch(r"0*([0-9]{1,18})\s*", response.headers.get("Content-Length", ""))
            if length and int(length[1]) > limit:
                raise Fault(f"its answer is too large ({int(length[1]):,} bytes; {limit:,} are allowed)", again=True)
            content = bytearray()
            while part := response.read1(CHUNK, decode_content=False):
                content += part
                if len(content) > limit:
                    raise Fault(f"its answer is too large (over {limit:,} bytes)", again=True)
            whole = True
        finally:
            if not whole:
                response.close()  # with what was not read
        response.release_conn()
        return _Reply(response.status, response.headers, bytes(content))

    def _broken(self, error: Exception, exchange: Exchange[_Reply]) -> Fault:
        """What an exchange that brought no answer means. A call whose first byte was never sent is not paid for."""
        fate = "unknown" if exchange.sent else "unsent"
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
            cause = _cause(cause)
        if cause is not None:
            return Fault(
                f"its certificate fails verification ({self._clean(getattr(cause, 'verify_message', cause))})",
                fatal=True,
                fate="unsent",
                hint="Check base_url; name the file of your own authority's certificate in the variable SSL_CERT_FILE",
            )
        if self._left:
            return Fault("the run was left while it was under way", fate=fate)
        if isinstance(error, (CutOff, urllib3.exceptions.TimeoutError)) and exchange.sent:
            return Fault(f"no whole answer in {self.timeout:g} s", again=True, fate=fate)
        if isinstance(error, CutOff):
            return Fault(f"it cannot be reached (no connection in {self.timeout:g} s)", again=True, fate=fate)
        if isinstance(error, (LocationValueError, UnicodeError)) and not exchange.sent:
            return Fault(f"that is no address ({self._clean(error)})", again=False, fate=fate)
        if not exchange.sent:
            return Fault(f"it cannot be reached ({self._clean(error)})", again=True, fate=fate)
        return Fault(f"the connection broke ({self._clean(error)})", again=True, fate=fate)

    def _explain(self, reply: _Reply) -> Fault:
        """What a status other than 200 means."""
        status = reply.status
        code, message, parameter = read_error(reply.body)
        said = self._clean(message)
        told = f"status {status}" + (f": {said}" if said else "")
        replayed = any(reply.headers.get(name, "").strip().lower() == "true" for name in REPLAYED)
        kind = f"status {status} {code}"

        def fault(fate: str = "declined", **what: Any) -> Fault:
            return Fault(told, fate="replayed" if replayed else fate, kind=kind, **what)

        refused = status in (400, 403, 422) and any(word in f"{code} {message}".lower() for word in REFUSALS)
        if refused:
            return fault(refused=True)
        if code in NO_MONEY or status == 402:
            return fault(fatal=True, hint="There is no credit left; run again when there is")
        if status in (401, 403):
            return fault(fatal=True, hint="Check the key in the variable that key_variable names, and what it is allowed")
        if status == 404 or code in NO_MODEL or (status in (400, 422) and parameter == "model"):
            return fault(fatal=True, hint="Check base_url and model")
        if status in AGAIN or status == 503:
            return fault(again=True, wait=retry_after(reply.headers))
        if status >= 500 or status < 200:
            # What stands between us and the service (502, 504) does not know what the service did.
            return fault("failed" if status == 500 else "unknown", again=True, wait=retry_after(reply.headers))
        if 300 <= status < 400:
            return Fault(
                f"{told}, a redirection", fatal=True, fate="declined", hint="Set base_url to the address of the service itself"
            )
        for setting in ("response_format", "size") if status in (400, 422) else ():
            if setting == parameter or (setting == "response_format" and setting.encode() in reply.body):
                hint = f"Change the option {setting}" + (", or set it to null" if setting == "response_format" else "")
                return fault(fatal=True, hint=hint, setting=setting)
        return fault("declined" if status >= 400 else "unknown")

    def _clean(self, error: object) -> str:
        """One line of at most 200 characters that can be printed and stored, without the key, addresses of memory, and the rest
        of an address's query."""
        text = " ".join(str(error)[:10_000].split())
        text = "".join(letter if letter.isprintable() else "?" for letter in text)  # a lone surrogate is none
        if self._key:
            text = text.replace(self._key, "***")
        text = re.sub(r"<[^<>]* object at 0x[0-9a-f]+>:? ?|\b\w+\(host='[^']*', port=\d+\):? ?", "", text)
        return re.sub(r"(/[^\s?'\"]*)\?[^\s'\"]+", r"\1?...", text)[:200]


def _cause(error: BaseException) -> BaseException | None:
    """The error that another one wraps: libraries hand it over as an argument, or as Python's own cause."""
    inner = next((part for part in getattr(error, "args", ()) if isinstance(part, BaseException) and part is not error), None)
    return inner or getattr(error, "reason", None) or error.__cause__


def _fetchable(url: str) -> bool:
    try:
        if not url.isprintable():
            return False
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None and len(url) < 8192
    except ValueError:
        return False
