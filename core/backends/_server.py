"""Requests to a model server: which addresses may be asked, how often, how long, and what an error says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from core.backends._base import Interrupted, stop_asked
from core.errors import UserError
from core.settings import server_address, settings

T = TypeVar("T")

# Seconds for a connection, and without a byte of the answer: a long answer comes in one piece, at its end.
CONNECT, SILENCE = 10.0, 300.0
# Seconds before each further try; a server that restarts is back within minutes, one that is gone is not.
WAITS: tuple[float, ...] = (0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
# Longest wait that a server may ask for by Retry-After.
MOST_WAIT = 60.0
# The server is busy: the same request is right later.
BUSY = frozenset({429, 503})
# The server failed at this request: a smaller one may do, or another try.
FAILED = frozenset({408, 500, 502, 504})
# Bytes of an answer; log-probabilities of 8,192 tokens with two others each are about 2 MB.
MOST_BYTES = 64 << 20
# How often a waiting caller looks whether it was asked to stop, in seconds.
LOOK = 0.2

_named_here: set[str] = set()


def allow(url: str) -> str:
    """Lets this process ask the server at ``url``, which a person typed on its command line; returns the address.

    Raises:
        UserError: it is not the address of a server.
    """
    address = server_address("--server", url)
    _named_here.add(address)
    return address


def check_allowed(url: str) -> None:
    """Raises UserError unless LACUNA_SERVERS or the command line names the address: a form may name none of its own."""
    if url not in settings().servers and url not in _named_here:
        raise UserError(
            f"The server {url} may not be asked.",
            f"LACUNA_SERVERS names: {', '.join(settings().servers) or 'none'}.",
            f"Start Lacuna with LACUNA_SERVERS={url} (several separated by spaces).",
        )


class Refused(Exception):
    """An answer other than 200, or one that cannot be read (status 200)."""

    def __init__(self, address: str, status: int, text: str) -> None:
        super().__init__(f"{address} answered with status {status}: {text}")
        self.address, self.status, self.text = address, status, text

    def error(self) -> UserError:
        """What a person reads."""
        if self.status == 200:
            what = f"{self.address} gave an answer that cannot be read."
            return UserError(what, self.text, "Check that the address is that of an OpenAI-compatible server.")
        what = f"{self.address} answered with status {self.status}."
        why = f"It says: {self.text}"
        todo = "The server's log says more. Start again afterwards; what was measured is kept."
        if 300 <= self.status < 400:
            todo = "Redirects are not followed: give the address that it points to."
        elif self.status in (401, 403):
            todo = "Set LACUNA_SERVER_KEY to the server's key."
        elif self.status == 404:
            todo = "Check the address (it often ends in /v1) and the model's name."
        return UserError(what, why, todo)


class Client:
    """One server. Several requests run at a time; each is tried again where that can help.

    Args:
        url: address before ``/completions``.
    """

    def __init__(self, url: str) -> None:
        import httpx2

        check_allowed(url)
        self.url = url
        self._key = settings().server_key
        # Rows and key go to this address only: to no proxy from the environment, to no redirect.
        timeout = httpx2.Timeout(SILENCE, connect=CONNECT)
        limits = httpx2.Limits(max_connections=settings().server_requests)
        self._http = httpx2.Client(timeout=timeout, limits=limits, trust_env=False, follow_redirects=False)
        self._threads = ThreadPoolExecutor(settings().server_requests, "server")
        self._closed = threading.Event()

    def close(self) -> None:
        self._closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    @property
    def root(self) -> str:
        """The address without a final ``/v1``, where a server's own ways of asking are."""
        return self.url.removesuffix("/v1")

    def get(self, path: str) -> Any:
        """What the server says at ``path``; raises as ``ask``, and a server that fails at it is not asked again."""
        return self.ask(self.url + path, None, stopped=self._closed, alone=False)

    def all(self, work: Sequence[Callable[[threading.Event], T]]) -> list[T]:
        """What each piece of work returns, in order; they run side by side and end at the first error.

        Raises:
            Interrupted: the job was asked to stop; requests under way are left to themselves.
            UserError: as raised by the work.
        """
        stop, ended = stop_asked(), threading.Event()
        futures = [self._threads.submit(piece, ended) for piece in work]
        try:
            left = set(futures)
            while left:
                done, left = wait(left, LOOK, FIRST_EXCEPTION)
                for future in done:
                    future.result()
                if left and stop():
                    raise Interrupted
            return [future.result() for future in futures]
        finally:
            ended.set()
            for future in futures:
                future.cancel()

    def ask(self, address: str, body: Mapping[str, Any] | None, stopped: threading.Event, alone: bool = True) -> Any:
        """The JSON that the server answers.

        Args:
            body: sent as JSON; None asks with GET.
            stopped: ends waiting.
            alone: whether the request cannot be cut in two; only then is a failure of the server tried again.

        Raises:
            Refused: an answer that is no good, after all tries.
            UserError: the server cannot be reached.
            Interrupted: ``stopped`` was set.
        """
        for wait_s in (*WAITS, None):
            if stopped.is_set():
                raise Interrupted
            pause = wait_s
            try:
                status, after, received = self._send(address, body)
            except _Unreachable as error:
                if wait_s is None or (error.slow and not alone):
                    if error.slow and not alone:
                        raise Refused(address, 504, str(error)) from error
                    raise self._unreachable(address, error) from error
            else:
                if status == 200:
                    try:
                        return json.loads(received)
                    except (ValueError, RecursionError):
                        failure = Refused(address, 200, f"It begins: {self._excerpt(received)}")
                else:
                    failure = Refused(address, status, self._excerpt(received))
                again = status in BUSY or (alone and status in FAILED)
                if wait_s is None or not again:
                    raise failure
                pause = min(MOST_WAIT, max(wait_s, after))
            stopped.wait(pause or 0.0)
        raise AssertionError("the last try returns or raises")

    def _send(self, address: str, body: Mapping[str, Any] | None) -> tuple[int, float, bytes]:
        """Status, seconds of Retry-After and body of one request."""
        import httpx2

        # Without compression the limit counts what arrives, so a small body cannot unpack into a large one.
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        content = None if body is None else json.dumps(body).encode()
        received, end = bytearray(), time.monotonic() + CONNECT + SILENCE
        try:
            method = "GET" if content is None else "POST"
            with self._http.stream(method, address, content=content, headers=headers) as answer:
                for piece in answer.iter_raw():
                    received += piece
                    if len(received) > MOST_BYTES:
                        return 200, 0.0, b"more than %d bytes" % MOST_BYTES
                    # The client limits each read. Many small reads could go on for ever.
                    if time.monotonic() > end:
                        raise httpx2.ReadTimeout("too slow")
                return answer.status_code, _seconds(answer.headers.get("Retry-After", "")), bytes(received)
        except httpx2.TimeoutException as error:
            raise _Unreachable(f"It did not answer within {SILENCE:g} seconds.", slow=True) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, RuntimeError) as error:  # RuntimeError: closed meanwhile
            if self._closed.is_set():
                raise Interrupted from error
            raise _Unreachable(self._masked(str(error)) or type(error).__name__) from error

    def _unreachable(self, address: str, error: Exception) -> UserError:
        return UserError(
            f"{address} cannot be reached.",
            f"{error} It was tried {len(WAITS) + 1} times.",
            "Start the server, or correct its address. What was measured is kept.",
        )

    def _excerpt(self, received: bytes) -> str:
        text = " ".join(self._masked(received[:2000].decode("utf-8", "replace")).split())
        text = "".join(c for c in text if c.isprintable())
        return text[:300] + "…" * (len(text) > 300) if text else "nothing."

    def _masked(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text


class _Unreachable(Exception):
    """No answer. ``slow``: the server took the request and did not answer in time."""

    def __init__(self, text: str, slow: bool = False) -> None:
        super().__init__(text)
        self.slow = slow


def _seconds(text: str) -> float:
    """Of a Retry-After header; a date, which few servers send, counts as nothing."""
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0
