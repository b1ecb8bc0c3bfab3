"""The streaming routes beside Streamlit's own: uploads go to disk, exports come from the database, neither is held.

A request that changes something must come from our own page: same origin, and the double-submitted token that
Streamlit's own upload route asks for. Errors are JSON ``{what, why, todo}``.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlparse

from anyio import CancelScope, move_on_after
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from streamlit import config
from streamlit.url_util import make_url_path
from streamlit.web.server.server_util import is_xsrf_enabled
from streamlit.web.server.starlette.starlette_app_utils import validate_xsrf_token
from streamlit.web.server.starlette.starlette_server_config import XSRF_COOKIE_NAME
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

from core.errors import UserError
from core.filters import from_query
from core.services import (
    bundles,
    contradiction_list,
    contradictions,
    exports,
    labels,
    mitigation,
    report,
    review,
    runs,
    uploads,
    worklist,
)
from core.services.environment import hindrance, is_full
from core.services.routes import answers
from core.settings import settings
from core.types import Filter, Run
from ui import errors, login

log = logging.getLogger("lacuna.web")

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}
JSON_LIMIT = 64 * 1024
BLOCK = 256 * 1024
# A browser that is still there sends something within this time, even over a bad line; a tab that was closed in its
# sleep never does. Half or double the time changes only how long a dead upload is listed.
IDLE_SECONDS = 60.0
# Ids of database rows are 64 bits wide; no row has a larger one.
LARGEST_ID = 2**63 - 1

# Lines of each export of a run, under one filter.
_STREAMS: Mapping[str, Callable[[int, Filter], Iterable[bytes]]] = {
    "samples": exports.lines,
    "verdicts": exports.verdict_lines,
    "labels": labels.lines,
    "decisions": contradictions.decision_lines,
}
CSV = "text/csv"
_LISTS: Mapping[str, Callable[[int, Filter], Iterable[bytes]]] = {
    "worklist": worklist.lines,
    "contradictions": contradiction_list.lines,
}


_STATUSES: Mapping[type[UserError], int] = {uploads.Unknown: 404, uploads.Taken: 409, uploads.TooLarge: 413}


class Refused(UserError):
    """A request turned away before any work, with its HTTP status."""

    def __init__(self, status: int, what: str, why: str = "", todo: str = "") -> None:
        super().__init__(what, why, todo)
        self.status = status


def address(path: str) -> str:
    """The path of a route on this server, under ``server.baseUrlPath`` where one is set."""
    return make_url_path(config.get_option("server.baseUrlPath") or "", path)


def all_routes() -> list[Route]:
    """Every route of ours."""
    return [
        _route("api/uploads", _begin, "POST"),
        _route("api/uploads/{id}", _receive, "PUT"),
        _route("api/uploads/{id}", _discard, "DELETE"),
        _route("api/runs/{run:int}/manifest.json", _manifest, "GET"),
        *(
            _route(f"api/runs/{{run:int}}/{name}.jsonl", partial(_stream, source=source, name=name), "GET")
            for name, source in _STREAMS.items()
        ),
        *(
            _route(f"api/runs/{{run:int}}/{name}.csv", partial(_stream, source=source, name=name, media=CSV), "GET")
            for name, source in _LISTS.items()
        ),
        _route("api/runs/{run:int}/report.html", _report, "GET"),
        _route("api/runs/{run:int}/queue.jsonl", _queue, "GET"),
        _route("api/bundles/{job:int}", _bundle, "GET"),
        _route("api/routes/{routes:int}/answers.jsonl", _answers, "GET"),
        _route("api/mitigations/{job:int}/{name}", _mitigation, "GET"),
    ]


# ------------------------------------------------------------------------------------------------------- guarding


def _route(path: str, handler: Handler, method: str) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            _check(request, method)
            response = await handler(request)
        except UserError as error:
            response = JSONResponse(error.as_dict(), status_code=_status(error))
        except ClientDisconnect:
            response = Response(status_code=499)  # nobody is left to read it
        except Exception as error:
            if (reason := hindrance(error)) is not None:
                full = UserError(*errors.stopped_by(reason))
                return JSONResponse(full.as_dict(), status_code=507 if is_full(error) else 503, headers=HEADERS)
            code = secrets.token_hex(4)
            log.exception("%s %s failed, id %s", method, request.url.path, code)
            what = "Something went wrong in Lacuna itself."
            why = f"This is a bug. Its traceback is in the server's log under the id {code}."
            response = JSONResponse(UserError(what, why, "Try again.").as_dict(), status_code=500)
        response.headers.update(HEADERS)
        return response

    return Route(address(path), endpoint, methods=[method])


def _status(error: UserError) -> int:
    cause = error.__cause__
    if isinstance(error, Refused):
        return error.status
    for kind, status in _STATUSES.items():
        if isinstance(error, kind):
            return status
    return 507 if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT) else 400


def _check(request: Request, method: str) -> None:
    if any(isinstance(value, int) and value > LARGEST_ID for value in request.path_params.values()):
        raise Refused(404, "There is nothing of that number.", "", "Follow a link on the page.")
    host = request.headers.get("host")
    if not is_host_allowed(host):
        raise Refused(403, f"The host {host!r} is not allowed.", "See server.allowedHosts in .streamlit/config.toml.")
    if not login.admitted(request.cookies):
        raise Refused(401, "This server asks people to sign in.", "", "Open the page and sign in, then try again.")
    if method == "GET":
        return
    origin = request.headers.get("origin") or request.headers.get("referer")
    if origin is None or urlparse(origin).netloc != host:
        raise Refused(403, "This request came from another page.", "Only this server's own pages may change anything.")
    if is_xsrf_enabled() and not validate_xsrf_token(
        request.headers.get("x-xsrftoken"), request.cookies.get(XSRF_COOKIE_NAME)
    ):
        raise Refused(
            403, "The page's token is missing or wrong.", "Tokens change with the server.", "Reload the page."
        )


# -------------------------------------------------------------------------------------------------------- uploads


def _length(request: Request, limit: int) -> int:
    text = request.headers.get("content-length", "")
    if not text.isdigit():
        raise Refused(411, "The request does not say how long it is.", "Content-Length is missing or not a number.")
    if int(text) > limit:
        raise Refused(413, f"{int(text):,} bytes are too many.", f"At most {limit:,} bytes are taken here.")
    return int(text)


async def _begin(request: Request) -> Response:
    _length(request, JSON_LIMIT)
    try:
        asked = json.loads(await request.body())
        name, size = asked["name"], asked["size"]
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(400, "The upload was not announced properly.", "It takes JSON with name and size.") from error
    if not isinstance(name, str) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise Refused(400, "The upload was not announced properly.", "name is a text, size a number of bytes.")
    try:
        upload = await run_in_threadpool(uploads.begin, name, size)
    except UserError as error:
        too_large = size > settings().max_upload_bytes
        raise Refused(413 if too_large else 507, error.what, error.why, error.todo) from error
    return JSONResponse({"id": upload}, status_code=201)


@asynccontextmanager
async def _writer(upload: str) -> AsyncGenerator[uploads.Writer, None]:
    """The upload's writer, opened and closed in a thread; it removes the partial file when anything fails.

    No thread is held while bytes are on their way: threads are few and every page needs them.
    """
    manager = uploads.open_writer(upload)
    writer = await run_in_threadpool(manager.__enter__)
    try:
        yield writer
    except BaseException as error:
        with CancelScope(shield=True):  # the file goes, also where the server is stopping
            await run_in_threadpool(manager.__exit__, type(error), error, error.__traceback__)
        raise
    await run_in_threadpool(manager.__exit__, None, None, None)


async def _receive(request: Request) -> Response:
    _length(request, settings().max_upload_bytes)
    upload, body = request.path_params["id"], request.stream()
    async with _writer(upload) as writer:
        while True:
            with move_on_after(IDLE_SECONDS) as wait:
                chunk = await anext(body, None)
            if wait.cancelled_caught:
                text = f"Nothing came for {IDLE_SECONDS:.0f} seconds."
                raise Refused(408, "The upload stalled.", text, "Send the file again.")
            if chunk is None:
                break
            await run_in_threadpool(writer.write, chunk)
    stored = await run_in_threadpool(uploads.finish, upload)
    return JSONResponse({"id": stored.id, "name": stored.name, "size": stored.size, "sha256": stored.sha256})


async def _discard(request: Request) -> Response:
    await run_in_threadpool(uploads.discard, request.path_params["id"])
    return Response(status_code=204)


# -------------------------------------------------------------------------------------------------------- exports


async def _look_up(call: Callable[..., T], *args: Any) -> T:
    """What the address names; 404 where there is no such thing."""
    try:
        return await run_in_threadpool(call, *args)
    except UserError as error:
        raise Refused(404, error.what, error.why, error.todo) from error


async def _judged(request: Request) -> tuple[Run, Filter]:
    """The run and the filter. An export of a run without verdicts would be an empty file that looks complete."""
    run = await _look_up(runs.get_run, request.path_params["run"])
    selection = from_query(request.url.query, run.columns)
    if run.state != "judged":
        what, why = f"Run {run.id} is not finished.", "Its verdicts are written at the end."
        raise Refused(409, what, why, "Wait for it; the page Jobs shows how far it is.")
    return run, selection


def _blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines gathered into blocks: one thread switch for many lines, memory bounded by a block and a line."""
    block = bytearray()
    for line in lines:
        block += line
        if len(block) >= BLOCK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


def _attachment(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


async def _stream(
    request: Request, source: Callable[[int, Filter], Iterable[bytes]], name: str, media: str = "application/x-ndjson"
) -> Response:
    run, selection = await _judged(request)
    blocks = _blocks(source(run.id, selection))
    # The first block is read before the answer begins, so that an error still gets its own status.
    first = await run_in_threadpool(next, blocks)

    async def body() -> AsyncGenerator[bytes, None]:
        yield first
        async for block in iterate_in_threadpool(blocks):
            yield block

    ending = "csv" if media == CSV else "jsonl"
    told = file_name(run.id, name, ending, selection)
    return StreamingResponse(body(), media_type=media, headers=_attachment(told))


def file_name(run: int, name: str, ending: str, selection: Filter) -> str:
    """The name of an export; with the cause where all its rows have one."""
    causes = [t.values for t in selection.terms if t.column == "cause" and t.op == "in"]
    cause = causes[0][0] if len(causes) == 1 and len(causes[0]) == 1 else None
    of = "-" + re.sub(r"[^0-9A-Za-z_]", "-", str(cause)) if cause is not None else ""
    return f"run-{run}-{name}{of}.{ending}"


async def _report(request: Request) -> Response:
    run, selection = await _judged(request)
    text = await run_in_threadpool(report.report, run.id, selection)
    return Response(text, media_type="text/html", headers=_attachment(f"run-{run.id}-report.html"))


async def _queue(request: Request) -> Response:
    run = await _look_up(runs.get_run, request.path_params["run"])
    number = dict(parse_qsl(request.url.query)).get("round", "")
    asked = int(number) if number.isascii() and number.isdigit() and len(number) < 9 else None
    data = await run_in_threadpool(lambda: b"".join(review.lines(run.id, asked)))
    return Response(data, media_type="application/x-ndjson", headers=_attachment(f"run-{run.id}-queue.jsonl"))


async def _answers(request: Request) -> Response:
    number = request.path_params["routes"]
    data = await _look_up(lambda routes: b"".join(answers.lines(routes)), number)
    return Response(data, media_type="application/x-ndjson", headers=_attachment(f"routes-{number}-answers.jsonl"))


async def _manifest(request: Request) -> Response:
    run, selection = await _judged(request)
    manifest = await run_in_threadpool(exports.manifest, run.id, selection)
    text = json.dumps(manifest, ensure_ascii=False, indent=2, default=asdict)
    return Response(text, media_type="application/json", headers=_attachment(f"run-{run.id}-manifest.json"))


async def _bundle(request: Request) -> Response:
    job = request.path_params["job"]
    path = await _look_up(bundles.written_file, job)
    return FileResponse(path, media_type="application/octet-stream", headers=_attachment(f"run-{job}.lacuna"))


async def _mitigation(request: Request) -> Response:
    job = request.path_params["job"]
    path = await _look_up(mitigation.exported_file, job, request.path_params["name"])
    # Its own name: the configurations of an export name the files beside them.
    return FileResponse(path, media_type="application/octet-stream", headers=_attachment(path.name))
