"""A service of the OpenAI images protocol inside this process, for `--smoke`: its pictures are drawn from the prompt's hash."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image, ImageDraw


def paint(prompt: str, size: str = "64x64") -> bytes:
    """A PNG of coloured shapes, the same for the same prompt, another for another."""
    width, height = (max(1, min(int(side), 4096)) for side in size.split("x"))
    digest = hashlib.sha512(prompt.encode("utf-8", "replace")).digest()
    picture = Image.new("RGB", (width, height), tuple(digest[:3]))
    pen = ImageDraw.Draw(picture)
    for start in range(3, 59, 7):
        left, top, wide, high = (share / 255 for share in digest[start : start + 4])
        corners = (left * width, top * height, (left + wide / 2) * width, (top + high / 2) * height)
        shape = pen.ellipse if digest[start] % 2 else pen.rectangle
        shape(corners, fill=tuple(digest[start + 4 : start + 7]))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


class Painter:
    """The service on a free port of the loopback interface; `base_url` is its address."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="painter", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        picture = base64.b64encode(paint(asked["prompt"], asked["size"])).decode()
        body = json.dumps({"created": 0, "data": [{"b64_json": picture}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing on standard error."""
