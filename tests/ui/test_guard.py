"""What the whole web app answers with: no frame of another site, no WebSocket of another origin."""

import pytest

from ui.guard import POLICY, Guard, is_own_origin


def call(scope, receive=None):
    """Messages that the guard sends for a request; the app behind it answers everything with 200."""
    sent = []

    async def app(scope, receive, send):
        start = "http.response.start" if scope["type"] == "http" else "websocket.accept"
        await send({"type": start, "status": 200, "headers": [(b"x-own", b"1")]})

    async def no_more():
        return {"type": "websocket.connect"}

    async def keep(message):
        sent.append(message)

    # Nothing here ever waits, so one step is all of it, whether or not this thread has an event loop already.
    with pytest.raises(StopIteration):
        Guard(app)(scope, receive or no_more, keep).send(None)
    return sent


def test_no_page_may_be_framed():
    (start,) = call({"type": "http", "headers": []})
    headers = dict(start["headers"])
    assert headers[b"content-security-policy"] == b"frame-ancestors 'none'"
    assert headers[b"x-own"] == b"1"


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        (b"http://127.0.0.1:8501", b"127.0.0.1:8501", True),
        (b"http://127.0.0.1:9999", b"127.0.0.1:8501", False),
        (b"http://localhost:8501", b"127.0.0.1:8501", False),
        (b"https://evil.example", b"127.0.0.1:8501", False),
        (b"null", b"127.0.0.1:8501", False),
        (None, b"127.0.0.1:8501", True),
    ],
)
def test_a_websocket_comes_from_the_page_itself(origin, host, same):
    headers = [(b"Host", host), *([(b"Origin", origin)] if origin is not None else [])]
    assert is_own_origin(headers) is same
    (message,) = call({"type": "websocket", "headers": headers})
    assert (message["type"] == "websocket.accept") is same
    assert same or message["code"] == POLICY


def test_an_origin_that_the_configuration_names_is_let_in(monkeypatch):
    """Behind a proxy with a name of its own."""
    headers = [(b"host", b"127.0.0.1:8501"), (b"origin", b"https://lacuna.example")]
    assert not is_own_origin(headers)
    named = ["https://lacuna.example"]
    monkeypatch.setattr("streamlit.config.get_option", {"server.corsAllowedOrigins": named}.get)
    assert is_own_origin(headers)
    assert not is_own_origin([(b"host", b"127.0.0.1:8501"), (b"origin", b"https://lacuna.example.evil")])
