"""Who comes to a server under load: sessions over Streamlit's WebSocket, one real Chromium, uploads that stall."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from bench import pages

RUN, OTHER = 1, 2
PATIENCE = 60.0
WARM = 20.0  # seconds of walking before anything is counted: modules are imported, the database's pages are read
Step = tuple[str, str, dict[str, str] | None]


def walk(rng: random.Random, samples: int) -> Iterator[Step]:
    """A person's way: what the step is called, the page, its address; without an address "Next" is pressed."""
    run = {"run": str(RUN)}
    while True:
        query = run | {"nll": f"..{rng.randrange(30, 90)}", "n_target": f"{rng.randrange(4, 8)}.."}
        yield "overview", "overview", query
        yield "samples", "samples", query
        yield "filter", "samples", query | {"status": rng.choice(("unlearned", "partly", "learned"))}
        yield "page turn", "samples", None
        yield "page turn", "samples", None
        yield "sample", "samples", query | {"sample": f"row-{rng.randrange(samples)}"}
        yield "compare", "compare", run | {"other": str(OTHER)}
        yield "jobs", "jobs", run


class Record:
    """Seconds of every step, and what went wrong."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.errors: list[str] = []
        self.counts_from = time.monotonic() + WARM

    def took(self, name: str, seconds: float) -> None:
        if time.monotonic() - seconds >= self.counts_from:
            self.seconds.setdefault(name, []).append(seconds)

    def summary(self) -> dict[str, Any]:
        together = [s for values in self.seconds.values() for s in values]
        steps = {name: pages.summary(values) for name, values in sorted(self.seconds.items())}
        every = pages.summary(together) if together else None
        return {"all": every, "steps": steps, "errors": len(self.errors), "first": self.errors[:5]}


class Session:
    """One browser's session over Streamlit's WebSocket: ``BackMsg`` goes there, ``ForwardMsg`` comes back."""

    def __init__(self, port: int, record: Record, rng: random.Random, samples: int) -> None:
        self.port, self.record, self.rng, self.samples = port, record, rng, samples
        self.polls: dict[str, float] = {}  # a fragment that draws itself again, and its seconds
        self.hashes: dict[str, str] = {}
        self.page, self.query, self.turn, self.drawn = "", "", "", 0

    async def run(self, until: float, think: tuple[float, float]) -> None:
        """Walks until the moment; a connection that is lost is an error, and is made again."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import WebSocketException

        steps = walk(self.rng, self.samples)
        await asyncio.sleep(self.rng.uniform(0, think[1]))
        while time.monotonic() < until:
            origin = f"http://127.0.0.1:{self.port}"
            try:
                async with connect(
                    f"{origin.replace('http', 'ws')}/_stcore/stream", origin=origin, subprotocols=["streamlit"],
                    max_size=None, open_timeout=PATIENCE,
                ) as self.socket:  # fmt: skip
                    while time.monotonic() < until:
                        name, page, query = next(steps)
                        began = time.perf_counter()
                        await asyncio.wait_for(self.visit(page, query), PATIENCE)
                        self.record.took(name, time.perf_counter() - began)
                        await self.think(self.rng.uniform(*think))
            except (OSError, TimeoutError, WebSocketException) as error:
                self.record.errors.append(f"{self.page}: {type(error).__name__}: {error}")
                await asyncio.sleep(1.0)

    async def visit(self, page: str, query: dict[str, str] | None) -> None:
        """Asks for a page, or presses "Next", and takes in all that comes until the script has ended."""
        from streamlit.proto.BackMsg_pb2 import BackMsg
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        message = BackMsg()
        state = message.rerun_script
        if query is not None:
            self.page, self.query = page, urlencode(query)
        elif self.turn:
            pressed = state.widget_states.widgets.add()
            pressed.id, pressed.trigger_value = self.turn, True
        state.query_string = self.query
        if page in self.hashes:
            state.page_script_hash = self.hashes[page]
        else:
            state.page_name = page
        self.polls, self.turn, self.drawn = {}, "", 0
        await self.socket.send(message.SerializeToString())
        while await self.take() != ForwardMsg.FINISHED_SUCCESSFULLY:
            pass
        if self.drawn < 10:
            self.record.errors.append(f"{self.page}: only {self.drawn} elements were drawn")

    async def take(self) -> int | None:
        """The next message; the status where it says that the script has ended."""
        from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

        message = ForwardMsg.FromString(await self.socket.recv())
        kind = message.WhichOneof("type")
        if kind == "delta":
            element = message.delta.new_element
            what = element.WhichOneof("type")
            self.drawn += 1
            if what == "button" and element.button.label == "Next" and not element.button.disabled:
                self.turn = element.button.id
            if what == "exception":
                self.record.errors.append(f"{self.page}: {element.exception.type}: {element.exception.message[:200]}")
            if what == "alert" and element.alert.format == element.alert.ERROR:
                self.record.errors.append(f"{self.page}: {element.alert.body[:200]}")
        elif kind == "navigation":
            self.hashes = {p.url_pathname or p.page_name: p.page_script_hash for p in message.navigation.app_pages}
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "auto_rerun":
            self.polls[message.auto_rerun.fragment_id] = message.auto_rerun.interval
        elif kind == "page_not_found":
            self.record.errors.append(f"{self.page}: not found")
        return message.script_finished if kind == "script_finished" else None

    async def think(self, seconds: float) -> None:
        """Reads; what draws itself again is asked for meanwhile, as the page does it."""
        from streamlit.proto.BackMsg_pb2 import BackMsg

        until = time.monotonic() + seconds
        due = {name: time.monotonic() + every for name, every in self.polls.items()}
        while (left := min([until, *due.values()]) - time.monotonic()) > 0 or time.monotonic() < until:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.take(), max(left, 0.001))
            for name in [n for n, moment in due.items() if moment <= time.monotonic()]:
                message = BackMsg()
                message.rerun_script.fragment_id = name
                message.rerun_script.is_auto_rerun = True
                message.rerun_script.query_string = self.query
                message.rerun_script.page_script_hash = self.hashes.get(self.page, "")
                await self.socket.send(message.SerializeToString())
                due[name] = time.monotonic() + self.polls.get(name, 1.0)


def chromium(port: int, record: Record, until: float, think: tuple[float, float], samples: int) -> None:
    """A real browser on the same walk; each address is opened anew, which also starts a session."""
    rng, path = random.Random("chromium"), ""
    with pages.watching(os.getpid()) as watch:
        page = watch.page
        page.on("pageerror", lambda error: record.errors.append(f"script: {error}"))

        def answered(response: Any) -> None:
            # Streamlit's page looks for its server under its own address first, and takes the 404 for an answer.
            looked_for = response.status == 404 and f"/{path}/_stcore/" in response.url
            if response.status >= 400 and not looked_for:
                record.errors.append(f"{response.status} {response.url}")

        page.on("response", answered)
        for name, path, query in walk(rng, samples):
            if time.monotonic() > until:
                break
            began = time.perf_counter()
            try:
                if query is None:
                    page.get_by_role("button", name="Next").click(timeout=PATIENCE * 1000)
                    page.wait_for_timeout(50)
                else:
                    page.goto(f"http://127.0.0.1:{port}/{path}?{'&'.join(f'{k}={v}' for k, v in query.items())}")
                    page.wait_for_function("() => document.querySelector('h1, h2, h3')", timeout=PATIENCE * 1000)
                page.wait_for_function(pages.SETTLED, timeout=PATIENCE * 1000)
                record.took(name, time.perf_counter() - began)
                for box in page.locator("[data-testid=stException], [data-testid=stAlertContentError]").all():
                    record.errors.append(f"{path}: {box.inner_text()[:200]}")
            except Exception as error:
                record.errors.append(f"{path}: {type(error).__name__}: {str(error)[:200]}")
            page.wait_for_timeout(1000 * rng.uniform(*think))


# ---------------------------------------------------------------------------------------------------------- uploads


class Stalls:
    """Uploads that were begun and do not come: each is begun anew where the server ends it."""

    def __init__(self, port: int) -> None:
        self.port, self.open, self.ended = port, 0, Counter[str]()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health") as answer:
            self.cookie = str(answer.headers["Set-Cookie"]).split(";")[0]

    def head(self, method: str, path: str, length: int) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", f"Origin: http://127.0.0.1:{self.port}"]
        lines += [f"Cookie: {self.cookie}", f"X-Xsrftoken: {self.cookie.partition('=')[2]}"]
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()

    async def hold(self, until: float, trickles: bool) -> None:
        while time.monotonic() < until:
            body = json.dumps({"name": "rows.jsonl", "size": 1 << 20}).encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(self.head("POST", "/api/uploads", len(body)) + body)
            answer = await reader.readuntil(b"}")
            upload = json.loads(answer.rpartition(b"\r\n")[2])["id"]
            writer.write(self.head("PUT", f"/api/uploads/{upload}", 1 << 20))
            self.open += 1
            status = asyncio.ensure_future(reader.readline())
            while not status.done() and time.monotonic() < until:
                if trickles:
                    writer.write(b"x")
                await asyncio.wait([status], timeout=2.0)
            self.open -= 1
            if status.done():
                self.ended[status.result().decode(errors="replace").strip() or "closed"] += 1
            status.cancel()
            writer.close()
