"""One request for a picture, and all that can go wrong with it."""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationValueError

CHUNK = 1 << 16
CONNECT_SECONDS = 15.0
REDIRECTS = 3
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
AGAIN = frozenset({408, 409, 425, 429})
"""Statuses below 500 that another try may mend."""

NO_MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
REFUSALS = ("content_policy_violation", "moderation_blocked", "content_filter", "safety", "content policy", "moderation")
"""In the code, type or message of a 400: the text is refused for its content."""


class Fault(Exception):
    """A call that brought no picture; the message says why in one line, without the key.

    Args:
        again: another try may help. fatal: no text will get a picture, so why ask on. refused: for its content.
        fate: what `Ledger.settle` is told.
        wait: seconds that the service asks to wait.
        hint: what the user can do, of a fatal one.
        setting: the option that the service does not know, or not with this value; empty where it says nothing of the kind.
    """

    def __init__(
        self,
        reason: str,
        *,
        again: bool = False,
        fatal: bool = False,
        refused: bool = False,
        fate: str = "failed",
        wait: float | None = None,
        hint: str = "",
        setting: str = "",
    ) -> None:
        super().__init__(reason)
        self.setting = setting
        self.again, self.fatal, self.refused, self.fate, self.wait, self.hint = again, fatal, refused, fate, wait, hint


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
        timeout: seconds that a request may take in all.
        max_bytes: of a picture.
        connections: requests under way at once, at most.
    """

    def __init__(self, base_url: str, key: str | None, *, timeout: float, max_bytes: int, connections: int) -> None:
        self.url = f"{base_url}/images/generations"
        self.timeout, self.max_bytes = timeout, max_bytes
        self._key = key
        self._connections = connections
        self._pools: dict[str, Any] = {}

    def close(self) -> None:
        for pool in self._pools.values():
            pool.clear()

    def generate(self, body: Mapping[str, Any], token: str) -> Answer:
        """Ask for a picture.

        Raises:
            Fault: there is none.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Idempotency-Key": token}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        reply = self._request("POST", self.url, headers, json.dumps(body).encode(), self.max_bytes * 3 + (64 << 10))
        if reply.status != 200:
            raise self._explain(reply)
        try:
            value = json.loads(reply.body)
            item = value["data"][0]
            text, url = item.get("b64_json"), item.get("url")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            raise Fault("its answer is not the JSON of the protocol", again=True) from None
        content = decode_picture(text) if isinstance(text, str) and text else None
        if content is not None:
            return Answer(content=content)
        if isinstance(url, str) and _fetchable(url):
            return Answer(url=url)
        if isinstance(url, str) and _is_data_url(url) and (content := decode_picture(url)) is not None:
            return Answer(content=content)
        if text or (isinstance(url, str) and _is_data_url(url)):
            raise Fault("the picture in its answer is not base64", again=True)
        raise Fault("its answer holds no picture", again=True)

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
                url = urljoin(url, reply.headers.get("Location", ""))
                if _fetchable(url):
                    continue
                raise Fault("the picture's address leads to no http address", again=False)
            again = reply.status >= 500 or reply.status in AGAIN
            reason = f"its address at {urlsplit(url).hostname} answers with status {reply.status}"
            raise Fault(reason, again=again, wait=retry_after(reply.headers))
        raise Fault("the picture's address leads round in circles", again=False)

    def _request(self, method: str, url: str, headers: dict[str, str], body: bytes | None, limit: int) -> _Reply:
        """One exchange within `timeout`; a body over `limit` bytes is not read."""
        deadline = time.monotonic() + self.timeout
        response = None
        try:
            response = self._pool(url).request(
                method,
                url,
                body=body,
                headers={**headers, "User-Agent": "armada-cli", "Accept-Encoding": "identity"},
                timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, self.timeout), read=self.timeout),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            encoding = response.headers.get("Content-Encoding", "identity")
            if encoding != "identity":  # a few kilobytes may unfold to gigabytes, and we asked for it plain
                raise Fault(f"its answer is compressed ({encoding[:20]}), unasked", again=True)
            length = response.headers.get("Content-Length", "")
            if length.isdigit() and int(length) > limit:
                raise Fault(f"its answer is too large ({int(length):,} bytes; {limit:,} are allowed)", again=True)
            content = bytearray()
            while part := response.read1(CHUNK, decode_content=False):
                content += part
                if len(content) > limit:
                    raise Fault(f"its answer is too large (over {limit:,} bytes)", again=True)
                if time.monotonic() > deadline and response.length_remaining != 0:
                    raise Fault(f"no whole answer in {self.timeout:g} s", again=True, fate="unknown")
        except Fault:
            if response is not None:
                response.close()  # with what was not read
            raise
        except ConnectTimeoutError as error:
            raise Fault(f"it cannot be reached ({self._clean(error)})", again=True, fate="unsent") from None
        except urllib3.exceptions.TimeoutError:
            raise Fault(f"no answer in {self.timeout:g} s", again=True, fate="unknown") from None
        except (LocationValueError, UnicodeError) as error:
            raise Fault(f"that is no address ({self._clean(error)})", again=False, fate="unsent") from None
        except (HTTPError, OSError) as error:
            raise Fault(f"the connection broke ({self._clean(error)})", again=True, fate="unknown") from None
        response.release_conn()
        return _Reply(response.status, response.headers, bytes(content))

    def _pool(self, url: str) -> Any:
        """The pool of connections for an address, through the proxy that the environment names for it."""
        parts = urlsplit(url)
        proxy = None
        if parts.hostname and parts.hostname not in LOOPBACK and not urllib.request.proxy_bypass(parts.hostname):
            proxy = urllib.request.getproxies().get(parts.scheme)
        name = proxy or ""
        if name not in self._pools:
            size = self._connections
            self._pools[name] = urllib3.ProxyManager(proxy, maxsize=size) if proxy else urllib3.PoolManager(maxsize=size)
        return self._pools[name]

    def _explain(self, reply: _Reply) -> Fault:
        """What a status other than 200 means."""
        status = reply.status
        code, message, parameter = _error(reply.body)
        said = self._clean(message)
        told = f"status {status}" + (f": {said}" if said else "")
        if code in NO_MONEY or status == 402:
            return Fault(told, fatal=True, hint="There is no credit left; run again when there is")
        if status in (401, 403):
            return Fault(told, fatal=True, hint="Check the key in the variable that key_variable names, and what it is allowed")
        if status == 404:
            return Fault(told, fatal=True, hint="Check base_url and model")
        if status in AGAIN or status >= 500:
            # Turned away before anything was done; a 500 may be the end of an attempt, and be repeated for the same token.
            fate = "failed" if status == 500 else "declined"
            return Fault(told, again=True, fate=fate, wait=retry_after(reply.headers))
        if 300 <= status < 400:
            return Fault(f"{told}, a redirection", fatal=True, hint="Set base_url to the address of the service itself")
        for setting in ("response_format", "size") if status in (400, 422) else ():
            if setting == parameter or (setting == "response_format" and setting.encode() in reply.body):
                hint = f"Change the option {setting}" + (", or set it to null" if setting == "response_format" else "")
                return Fault(told, fatal=True, hint=hint, setting=setting)
        refused = status == 400 and any(word in f"{code} {message}".lower() for word in REFUSALS)
        return Fault(told, refused=refused)

    def _clean(self, error: object) -> str:
        """One line of at most 200 characters, without the key, addresses of memory, and the rest of an address's query."""
        text = " ".join(str(error).split())
        if self._key:
            text = text.replace(self._key, "***")
        text = re.sub(r"<[^<>]* object at 0x[0-9a-f]+>:? ?|\b\w+\(host='[^']*', port=\d+\):? ?", "", text)
        return re.sub(r"(/[^\s?'\"]*)\?[^\s'\"]+", r"\1?...", text)[:200]


def _fetchable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None and len(url) < 8192
    except ValueError:
        return False


def _error(body: bytes) -> tuple[str, str, str]:
    """Code (or type), message and parameter of an error's body, empty where it has none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return "", "", ""
    error = value.get("error", value) if isinstance(value, dict) else value
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or ""
        return str(error.get("code") or error.get("type") or ""), str(message), str(error.get("param") or "")
    return "", str(error) if isinstance(error, str) else "", ""


def _is_data_url(text: str) -> bool:
    return text.lstrip()[:5].lower() == "data:"


def decode_picture(text: str) -> bytes | None:
    """The bytes that a service wrote as text, in any of the spellings that services use; None when it is none of them.

    Base64 of either alphabet (RFC 4648, sections 4 and 5), with or without padding, line breaks and percent escapes; or a
    ``data:`` URL (RFC 2397), with any parameters, of such base64 or of percent-encoded bytes.
    """
    if not _is_data_url(text):
        return _decode_base64(text)
    head, comma, payload = text.lstrip().partition(",")
    if not comma:
        return None
    content = _decode_base64(payload)
    if content is None and not re.search(r";\s*base64\s*\Z", head, re.IGNORECASE):
        content = unquote_to_bytes(payload)
    return content or None


def _decode_base64(text: str) -> bytes | None:
    if "%" in text:  # no letter of either alphabet
        text = unquote_to_bytes(text).decode("latin-1")
    letters = "".join(text.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True) or None
    except (binascii.Error, ValueError):
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` asks to wait, given as seconds or as a date (by the service's own clock); None without."""
    text = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    then = _date(text)
    if then is None:
        return None
    now = _date(headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (then - now).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
