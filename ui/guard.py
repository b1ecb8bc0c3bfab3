"""What stands before every answer of the web process: who may frame a page, and who may open its WebSocket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from streamlit.web.server.server_util import is_allowed_origin

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

# No page of another origin may show Lacuna in a frame and have its buttons clicked unseen.
HEADERS = (
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
)
# WebSocket close code 1008: policy violation (RFC 6455, section 7.4.1).
POLICY = 1008


class Guard:
    """ASGI middleware. Streamlit takes a WebSocket from every port of this machine; this takes its own page's only."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and not is_own_origin(scope["headers"]):
            await receive()  # the handshake; refused before it is answered
            await send({"type": "websocket.close", "code": POLICY, "reason": "another origin"})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def is_own_origin(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether the request's Origin is the host it was sent to, or one that ``server.corsAllowedOrigins`` names.

    A proxy that gives its own name to the server makes the two differ. A client that names no origin is no browser.
    """
    values = {name.lower(): value.decode("latin-1") for name, value in headers}
    origin = values.get(b"origin")
    return origin is None or urlsplit(origin).netloc == values.get(b"host") or is_allowed_origin(origin)
