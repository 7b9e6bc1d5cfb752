"""Exchanges over HTTP that end when they should: within a time by the wall clock, or when somebody cuts them off."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.request
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
CONNECT_SECONDS = 15.0
T = TypeVar("T")


class CutOff(Exception):
    """The exchange was over before it ended by itself.

    Args:
        sent: part of the request may have reached the service.
    """

    def __init__(self, sent: bool) -> None:
        super().__init__("cut off")
        self.sent = sent


class Exchange(Generic[T]):
    """A request and its answer, in a thread of its own.

    A timeout of the socket is about a single wait: headers that drip, endless ``100 Continue`` and the names of hosts are not
    held by it. So whoever waits for the answer waits on a clock, and then shuts the socket down.

    Args:
        perform: does it, with connections of `Connections`.
    """

    def __init__(self, perform: Callable[[], T]) -> None:
        self._perform = perform
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._over = False
        self._socket: Any = None
        self._result: list[T] = []
        self._error: BaseException | None = None
        self.sent = False

    def run(self, seconds: float) -> T:
        """The answer.

        Raises:
            CutOff: it did not come within `seconds`, or `cut` was called.
            Exception: whatever `perform` raised.
        """
        threading.Thread(target=self._work, name="image-api exchange", daemon=True).start()
        self._done.wait(min(seconds, threading.TIMEOUT_MAX))
        with self._lock:
            self._over = True
            if self._result:
                return self._result[0]
            if self._error is not None:
                raise self._error
            self._shut()
            raise CutOff(self.sent)

    def cut(self) -> None:
        """End it now, from another thread."""
        with self._lock:
            self._over = True
            self._shut()
            self._done.set()

    def _work(self) -> None:
        _running.exchange = self
        try:
            result = self._perform()
        except BaseException as error:
            with self._lock:
                if not self._over:
                    self._error = error
        else:
            with self._lock:
                if not self._over:
                    self._result.append(result)
        finally:
            self._done.set()

    def connected(self, connection: Any, *, sending: bool) -> None:
        """A connection is about to be used. Raises `CutOff` when nobody waits for the answer any more: nothing is sent then."""
        with self._lock:
            if self._over:
                raise CutOff(self.sent)
            self._socket = connection.sock
            self.sent = self.sent or sending

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError, AttributeError):
                # Of the socket below TLS: what TLS itself would do is to wait for the other side.
                socket.socket.shutdown(getattr(self._socket, "socket", self._socket), socket.SHUT_RDWR)


_running = threading.local()


class _Watched:
    """What a connection tells the exchange it belongs to."""

    sock: Any

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        _report(self, sending=False)

    def _new_conn(self) -> Any:
        self.sock = super()._new_conn()  # type: ignore[misc]
        _report(self, sending=False)  # before the handshake, which may take for ever
        return self.sock

    def request(self, *arguments: Any, **settings: Any) -> None:
        if self.sock is None:
            self.connect()
        _report(self, sending=True)
        super().request(*arguments, **settings)  # type: ignore[misc]


def _report(connection: Any, *, sending: bool) -> None:
    exchange = getattr(_running, "exchange", None)
    if exchange is not None:
        exchange.connected(connection, sending=sending)


class _Http(_Watched, HTTPConnection):
    pass


class _Https(_Watched, HTTPSConnection):
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _Http


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _Https


class Connections:
    """Connections to services, through the proxies that the environment names.

    Args:
        size: connections kept at once, at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._pools: dict[str, Any] = {}
        self._lock = threading.Lock()

    def pool(self, url: str) -> Any:
        parts = urlsplit(url)
        proxy = None
        if parts.hostname and parts.hostname not in LOOPBACK and not urllib.request.proxy_bypass(parts.hostname):
            proxy = urllib.request.getproxies().get(parts.scheme)
        name = proxy or ""
        with self._lock:
            if name not in self._pools:
                pools = urllib3.ProxyManager(proxy, maxsize=self._size) if proxy else urllib3.PoolManager(maxsize=self._size)
                pools.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
                self._pools[name] = pools
            return self._pools[name]

    def close(self) -> None:
        for pool in self._pools.values():
            pool.clear()
