"""A service of the OpenAI images protocol that misbehaves, for tests: which calls it spoils, and how, follows from a seed.

What was *paid for* is a call that was answered completely and well, or whose answer got lost after the charge. With
`idempotent`, a call whose ``Idempotency-Key`` was paid for before gets the same answer and is not charged.
"""

from __future__ import annotations

import base64
import json
import random
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULTS = (
    "busy",
    "busy until a date",
    "broken",
    "overloaded",
    "no json",
    "other json",
    "cut body",
    "cut picture",
    "not a picture",
    "huge body",
    "endless body",
    "silence",
    "drip",
    "dripping headers",
    "endless continue",
    "lost answer",
    "lost body",
    "hang up",
    "compressed",
)
"""Everything that can go wrong with one call and be well the next time."""

SLOW = ("silence", "drip", "dripping headers", "endless continue")
"""Faults that take as long as the client waits."""

UNREADABLE = ("no base64", "bomb", "other form")
"""Answers that are whole, paid for, and no use; the next one would be the same."""

UNDERWAY = ("busy", "busy until a date", "broken", "overloaded", "cut body", "lost answer", "lost body", "hang up", *SLOW)
"""Faults that strike whether or not the service knows the answer already."""


def paint(prompt: str, side: int = 8) -> bytes:
    """A small PNG of one colour that the prompt decides, written here by hand to be quick."""
    colour = sha256(prompt.encode("utf-8", "replace")).digest()[:3]
    return _png(side, side, (b"\0" + colour * side) * side)


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 3.6 billion pixels."""
    return _png(60_000, 60_000, b"\0" * 100)


def _png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


@dataclass
class ImageServer:
    """The service. Use it in a ``with``.

    Attributes:
        rate: share of calls that are spoiled by one of `faults`, drawn from `seed`, prompt and count of that prompt's calls.
        plan: prompt -> what happens to its calls, one after the other (``""`` is well); after that all are well.
        always: what happens to every call, in place of all else.
        urls: answer with an address in place of the picture.
        spell: how a picture is written into the answer, in place of plain base64 as ``b64_json``.
        knows_format: whether ``response_format`` is a setting of the service; where not, a call with it is refused.
        key: what a call must carry as its bearer token.
        delay: seconds that a call takes.
        raw: fault -> all bytes that are answered to it.
        slow: seconds of ``silence`` and between the bytes of ``drip``; longer than the client's patience.
    """

    rate: float = 0.0
    seed: int = 0
    faults: tuple[str, ...] = FAULTS
    plan: dict[str, list[str]] = field(default_factory=dict)
    always: str = ""
    urls: bool = False
    spell: Callable[[bytes], dict[str, str]] | None = None
    knows_format: bool = True
    key: str | None = None
    idempotent: bool = False
    delay: float = 0.0
    slow: float = 1.0
    retry_after: str = "0"
    raw: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.asked: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.charged: set[str] = set()
        self.fetched: Counter[str] = Counter()
        self.requests: list[dict[str, Any]] = []
        self.under_way = self.most_under_way = 0
        self.times: list[float] = []
        self.gone: set[str] = set()
        self.closing = threading.Event()

    def __enter__(self) -> ImageServer:
        service = self

        class Handler(_Handler):
            server_state = service

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.block_on_close = False
        self.root = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.base_url = f"{self.root}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def fault(self, prompt: str, count: int) -> str:
        """What happens to the call of that number, from 0, for a prompt."""
        if self.always:
            return self.always
        if prompt in self.plan:
            planned = self.plan[prompt]
            return planned[count] if count < len(planned) else ""
        generator = random.Random(f"{self.seed} {count} {prompt}")
        return generator.choice(self.faults) if generator.random() < self.rate else ""

    @property
    def calls(self) -> int:
        return sum(self.asked.values())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server_state: ImageServer

    def do_POST(self) -> None:
        state = self.server_state
        content = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            asked = json.loads(content)
        except ValueError:  # the client was killed while it asked
            self.close_connection = True
            return
        prompt = asked["prompt"]
        with state.lock:
            count = state.asked[prompt]
            state.asked[prompt] += 1
            state.requests.append({**asked, "path": self.path, "headers": dict(self.headers)})
            state.times.append(time.monotonic())
            state.under_way += 1
            state.most_under_way = max(state.most_under_way, state.under_way)
        try:
            state.closing.wait(state.delay)
            if state.key is not None and self.headers.get("Authorization") != f"Bearer {state.key}":
                sent = self.headers.get("Authorization", "")
                self._error(401, "invalid_api_key", f"Incorrect API key provided: {sent.removeprefix('Bearer ')}")
            elif "response_format" in asked and not state.knows_format:
                self._error(400, "unknown_parameter", "Unknown parameter: 'response_format'.", param="response_format")
            else:
                fault = state.fault(prompt, count)
                paid = state.idempotent and self.headers.get("Idempotency-Key", "") in state.charged
                # The answer to a call that was paid for is known and well; it can still be kept from arriving.
                self._act("" if paid and fault not in UNDERWAY else fault, prompt)
        finally:
            with state.lock:
                state.under_way -= 1

    def do_GET(self) -> None:
        state = self.server_state
        name = self.path.split("?")[0].rsplit("/", 1)[1]
        with state.lock:
            count = state.fetched[name]
            state.fetched[name] += 1
            state.requests.append({"path": self.path, "headers": dict(self.headers)})
        fault = state.fault(f"fetch {name}", count)
        content = paint(bytes.fromhex(name).decode())
        if name in state.gone or fault == "gone":
            self._send(404, b"no such picture", "text/plain")
        elif fault == "broken":
            self._send(503, b"not now", "text/plain")
        elif fault == "cut body":
            self._send(200, content, "image/png", whole=False)
        elif fault == "elsewhere":
            self._send(302, b"", "text/plain", Location=f"/again/{name}")
        elif fault == "to a file":
            self._send(302, b"", "text/plain", Location="file:///etc/hostname")
        else:
            self._send(200, content, "image/png")

    def _act(self, fault: str, prompt: str) -> None:
        """Answer one call, well or not."""
        state = self.server_state
        picture = base64.b64encode(paint(prompt)).decode()
        if fault == "":
            self._pay(prompt, picture)
        elif fault == "busy":
            self._error(429, "rate_limit_exceeded", "Slow down", **{"Retry-After": state.retry_after})
        elif fault == "busy until a date":
            self._error(429, "rate_limit_exceeded", "Slow down", **{"Retry-After": formatdate(time.time() + 0.5, usegmt=True)})
        elif fault == "broken":
            self._error(500, "server_error", "Something\nwent wrong")
        elif fault == "overloaded":
            self._send(503, b"<html>overloaded</html>", "text/html")
        elif fault == "no json":
            self._send(200, b'{"data": [{"b64_json": "abc', "application/json")
        elif fault == "other json":
            self._send(200, b'{"data": []}', "application/json")
        elif fault == "no base64":
            self._json({"data": [{"b64_json": "*" + picture[1:]}]})
        elif fault == "cut body":
            self._send(200, json.dumps({"data": [{"b64_json": picture}]}).encode(), "application/json", whole=False)
        elif fault == "lost answer":
            self._charge(prompt)
            self.close_connection = True
        elif fault == "lost body":
            self._charge(prompt)
            self._send(200, json.dumps({"data": [{"b64_json": picture}]}).encode(), "application/json", whole=False)
        elif fault == "other form":
            self._charge(prompt)
            self._json({"images": [{"content": picture}]})
        elif fault in state.raw:
            self._write(state.raw[fault])
            self.close_connection = True
        elif fault == "dripping headers":
            self._drip_forever(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n")
        elif fault == "endless continue":
            self._drip_forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n")
        elif fault == "cut picture":
            self._json({"data": [{"b64_json": base64.b64encode(paint(prompt)[:50]).decode()}]})
        elif fault == "not a picture":
            self._json({"data": [{"b64_json": base64.b64encode(b"<svg/>").decode()}]})
        elif fault == "huge body":
            self._send(200, b"", "application/json", length=10**12)
        elif fault == "endless body":
            self._endless()
        elif fault == "bomb":
            self._json({"data": [{"b64_json": base64.b64encode(bomb()).decode()}]})
        elif fault == "silence":
            state.closing.wait(state.slow)
            self.close_connection = True
        elif fault == "drip":
            self._drip()
        elif fault == "hang up":
            self.close_connection = True
        elif fault == "compressed":
            self._send(200, zlib.compress(b"0" * 1000), "application/json", **{"Content-Encoding": "deflate"})
        elif fault == "refused":
            self._error(400, "content_policy_violation", "Your request was rejected by the safety system")
        elif fault == "bad request":
            self._error(400, "invalid_size", "The size is not supported")
        elif fault == "no credit":
            self._error(429, "insufficient_quota", "You exceeded your current quota")
        elif fault == "unknown model":
            self._error(404, "model_not_found", "The model does not exist")
        elif fault == "moved":
            self._send(301, b"", "text/html", Location="https://example.org/")
        elif fault == "file":
            self._json({"data": [{"url": "file:///etc/hostname"}]})
        else:
            raise AssertionError(fault)

    def _pay(self, prompt: str, picture: str) -> None:
        """Answer well. The books are kept before the last byte leaves, so that nothing is delivered and not in them."""
        state = self.server_state
        self._charge(prompt)
        item = (
            {"url": f"{state.root}/pictures/{prompt.encode().hex()}?secret=signature"} if state.urls else {"b64_json": picture}
        )
        if state.spell is not None:
            item = state.spell(paint(prompt))
        self._json({"created": 1, "data": [item]})

    def _charge(self, prompt: str) -> None:
        state = self.server_state
        token = self.headers.get("Idempotency-Key", "")
        with state.lock:
            if not (state.idempotent and token in state.charged):
                state.paid[prompt] += 1
                state.charged.add(token)

    def _error(self, status: int, code: str, message: str, *, param: str | None = None, **headers: str) -> None:
        body = json.dumps({"error": {"code": code, "message": message, "type": "error", "param": param}}).encode()
        self._send(status, body, "application/json", **headers)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), "application/json")

    def _send(
        self, status: int, body: bytes, kind: str, *, whole: bool = True, length: int | None = None, **headers: str
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if whole and length is None:
            self._write(body)
        else:
            self._write(body[: len(body) // 2])
            self.close_connection = True

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        while self._write(b" " * 65536) and not self.server_state.closing.is_set():
            pass

    def _drip(self) -> None:
        """A byte now and then: no single wait is long, the whole is."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.close_connection = True
        end = time.monotonic() + 10 * self.server_state.slow
        while self._write(b" ") and time.monotonic() < end and not self.server_state.closing.wait(0.05):
            pass

    def _drip_forever(self, start: bytes, part: bytes) -> None:
        """Something now and then that is never the end: neither is one wait long, nor is there any answer."""
        self.close_connection = True
        end = time.monotonic() + 10 * self.server_state.slow
        self._write(start)
        while self._write(part) and time.monotonic() < end and not self.server_state.closing.wait(0.05):
            pass

    def _write(self, content: bytes) -> bool:
        try:
            self.wfile.write(content)
            self.wfile.flush()
            return True
        except OSError:
            self.close_connection = True
            return False

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the client went away
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on standard error."""
