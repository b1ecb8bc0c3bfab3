"""The streaming routes on a real server: only our own page may change anything, and nothing half-sent stays."""

import errno
import hashlib
import http.client
import json
import os
import socket
import sqlite3
import threading
import time

import pytest
import uvicorn
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from streamlit.web.server.starlette.starlette_app_utils import generate_xsrf_token_string

from core.errors import UserError
from core.filters import from_query
from core.services import uploads
from core.settings import settings
from core.types import Column
from db import jobs
from db import uploads as upload_table
from db.session import database
from ui import routes

TOKEN = generate_xsrf_token_string()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The port of a server with nothing but our routes."""
    data = tmp_path_factory.mktemp("routes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LACUNA_DATA_DIR", str(data))
        settings.cache_clear()
        sock = socket.create_server(("127.0.0.1", 0))
        app = Starlette(routes=routes.all_routes())
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        yield sock.getsockname()[1]
        server.should_exit = True
        thread.join()
        sock.close()
        database().close()
    settings.cache_clear()


@pytest.fixture
def port(served):
    return served


@pytest.fixture
def data_dir(served):
    """The folder of this test: the server runs in this process and reads its settings anew for each request."""
    return settings().data_dir


def ask(port, method, path, body=None, **headers):
    """(status, headers, body) of one request; the page's own origin and token unless given otherwise."""
    host = headers.pop("Host", f"127.0.0.1:{port}")
    sent = {"Host": host, "Origin": f"http://{host}", "X-Xsrftoken": TOKEN, "Cookie": f"_streamlit_xsrf={TOKEN}"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request(method, path, body, {k: v for k, v in sent.items() if v is not None})
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def begin(port, name="rows.jsonl", size=3, **headers):
    return ask(port, "POST", "/api/uploads", json.dumps({"name": name, "size": size}), **headers)


def files(data_dir):
    return sorted(p.name for p in (data_dir / "uploads").glob("*")) if (data_dir / "uploads").exists() else []


def test_a_file_reaches_the_disk_as_it_was_sent(port, data_dir):
    data = os.urandom(3_000_001)
    status, _, body = begin(port, "müll <b>.jsonl", len(data))
    assert status == 201
    token = json.loads(body)["id"]
    status, _, body = ask(port, "PUT", f"/api/uploads/{token}", data)
    assert status == 200
    assert json.loads(body) == {
        "id": token, "name": "müll <b>.jsonl", "size": len(data), "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
    assert uploads.get(token).path.read_bytes() == data
    assert ask(port, "DELETE", f"/api/uploads/{token}")[0] == 204
    assert files(data_dir) == []


def test_a_file_is_never_whole_in_memory(port, data_dir, monkeypatch):
    """The writer gets many small parts, the first one before the last one was sent."""
    seen, first = [], threading.Event()
    write = uploads.Writer.write

    def record(self, part):
        seen.append(len(part))
        first.set()
        write(self, part)

    monkeypatch.setattr(uploads.Writer, "write", record)
    size = 8_000_000
    token = json.loads(begin(port, size=size)[2])["id"]

    def parts():
        for i in range(8):
            if i == 7:
                assert first.wait(20)
            yield b"x" * 1_000_000

    status, _, _ = ask(port, "PUT", f"/api/uploads/{token}", parts(), Content_Length=str(size))
    assert status == 200
    assert sum(seen) == size and max(seen) < 2_000_000


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": None},
        {"Origin": None, "Referer": "http://evil.example/page"},
        {"X_Xsrftoken": None},
        {"X_Xsrftoken": generate_xsrf_token_string()},
        {"Cookie": None},
        {"X_Xsrftoken": None, "Cookie": None},
        {"Host": "evil.example"},
    ],
)
def test_another_page_changes_nothing(port, data_dir, headers):
    token = json.loads(begin(port)[2])["id"]
    for method, path, body in (
        ("POST", "/api/uploads", json.dumps({"name": "a", "size": 1})),
        ("PUT", f"/api/uploads/{token}", b"abc"),
        ("DELETE", f"/api/uploads/{token}", None),
    ):
        status, _, answer = ask(port, method, path, body, **headers)
        assert status == 403
        assert set(json.loads(answer)) == {"what", "why", "todo"}
    assert files(data_dir) == []
    assert uploads.get(token).state != "done"


def test_the_referer_stands_in_for_a_missing_origin(port):
    assert begin(port, Origin=None, Referer=f"http://127.0.0.1:{port}/samples?run=1")[0] == 201


def test_reading_is_refused_under_a_foreign_name(port):
    """A name rebound by DNS to this machine must not read a run."""
    assert ask(port, "GET", "/api/runs/1/samples.jsonl", Host="evil.example")[0] == 403
    assert ask(port, "GET", "/api/runs/1/samples.jsonl", Origin=None, Cookie=None)[0] == 404


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("", "run-7-samples.jsonl"),
        ("cause=missing_knowledge", "run-7-samples-missing_knowledge.jsonl"),
        ("status=unlearned&cause=pipeline:bos", "run-7-samples-pipeline-bos.jsonl"),
        ("cause=missing_knowledge,base_conflict", "run-7-samples.jsonl"),
        ("cause=~", "run-7-samples.jsonl"),
        ("cause!=missing_knowledge", "run-7-samples.jsonl"),
        ("cause=%22%0D%0Ax", "run-7-samples----x.jsonl"),
    ],
)
def test_the_files_of_two_causes_are_told_apart(query, name):
    columns = [Column("cause", "category", "Cause"), Column("status", "category", "Status")]
    assert routes.file_name(7, "samples", "jsonl", from_query(query, columns)) == name


@pytest.mark.parametrize(
    "path", ["samples.jsonl", "manifest.json", "verdicts.jsonl", "worklist.csv", "contradictions.csv"]
)
def test_no_such_run_is_a_clear_answer(port, path):
    status, headers, body = ask(port, "GET", f"/api/runs/77/{path}")
    assert status == 404
    assert "77" in json.loads(body)["what"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("name", ["mitigation.jsonl", "..%2F..%2Flacuna.db", "%2Fetc%2Fpasswd"])
def test_files_of_an_export_are_those_it_wrote(port, name):
    folder = settings().data_dir / "mitigations"
    with database().writing() as conn:
        job = jobs.add(conn, "short", "mitigate", {})
        jobs.claim(conn, "short", "w", 60.0, job)
        jobs.finish(conn, job, "w", {"files": {"manifest.json": 2}})
    (folder / str(job)).mkdir(parents=True)
    (folder / str(job) / "manifest.json").write_text("{}")
    (folder / str(job) / "mitigation.jsonl").write_text("not named by the job")
    status, headers, body = ask(port, "GET", f"/api/mitigations/{job}/manifest.json")
    assert (status, body) == (200, b"{}")
    # A configuration names the files beside it, so they keep their names.
    assert headers["content-disposition"] == 'attachment; filename="manifest.json"'
    assert ask(port, "GET", f"/api/mitigations/{job}/{name}")[0] == 404
    assert ask(port, "GET", f"/api/mitigations/{job + 99}/manifest.json")[0] in (400, 404)
    assert ask(port, "GET", f"/api/mitigations/{job}/manifest.json", Host="evil.example")[0] == 403


@pytest.mark.parametrize(
    "body", ["", "[]", "{", '{"name": 3, "size": 1}', '{"name": "a"}', '{"name": "a", "size": -1}',
             '{"name": "a", "size": true}', '{"name": "a", "size": 1.5}'],
)  # fmt: skip
def test_a_garbled_announcement_is_refused(port, body):
    assert ask(port, "POST", "/api/uploads", body)[0] == 400


def test_too_large_is_413_and_names_the_limit(port, data_dir):
    status, _, body = begin(port, size=settings().max_upload_bytes + 1)
    assert status == 413
    assert "LACUNA_MAX_UPLOAD_GB" in json.loads(body)["todo"]
    assert ask(port, "POST", "/api/uploads", b"x" * 100_000)[0] == 413


def test_no_room_on_the_disk_is_507(port, data_dir, monkeypatch):
    monkeypatch.setattr(uploads.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10})())
    status, _, body = begin(port, size=1000)
    assert status == 507
    assert "10 B" in json.loads(body)["why"]


def test_a_disk_that_fills_up_on_the_way_is_507_and_leaves_nothing(port, data_dir, monkeypatch):
    def full(self, part):
        raise OSError(errno.ENOSPC, "No space left on device")

    token = json.loads(begin(port)[2])["id"]
    monkeypatch.setattr(uploads.Writer, "write", full)
    status, _, body = ask(port, "PUT", f"/api/uploads/{token}", b"abc")
    assert status == 507
    assert json.loads(body)["what"].startswith("The disk")
    assert files(data_dir) == []


@pytest.mark.parametrize(("data", "status"), [(b"ab", 400), (b"abcd", 413)])
def test_more_or_less_than_announced_is_refused_and_leaves_nothing(port, data_dir, data, status):
    token = json.loads(begin(port, size=3)[2])["id"]
    assert ask(port, "PUT", f"/api/uploads/{token}", data)[0] == status
    assert files(data_dir) == []


def test_a_body_without_length_is_refused(port):
    token = json.loads(begin(port)[2])["id"]
    assert ask(port, "PUT", f"/api/uploads/{token}", iter([b"abc"]))[0] == 411


def test_a_broken_connection_leaves_nothing(port, data_dir):
    token = json.loads(begin(port, size=1_000_000)[2])["id"]
    path = uploads.get(token).path
    lines = [f"PUT /api/uploads/{token} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Origin: http://127.0.0.1:{port}"]
    lines += [f"X-Xsrftoken: {TOKEN}", f"Cookie: _streamlit_xsrf={TOKEN}", "Content-Length: 1000000", "", ""]
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall("\r\n".join(lines).encode() + b"x" * 300_000)
        until(path.exists)
    until(lambda: not path.exists())
    with pytest.raises(UserError):
        uploads.get(token)


def until(true, seconds=120):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited too long"
        threading.Event().wait(0.01)


def test_a_bug_shows_an_id_and_no_traceback(port, monkeypatch, caplog):
    def broken(name, size):
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(uploads, "begin", broken)
    status, _, body = begin(port)
    assert status == 500
    assert b"secret detail" not in body
    code = json.loads(body)["why"].rstrip(".").split()[-1]
    assert code in caplog.text and "ZeroDivisionError" in caplog.text


def receiving():
    """Uploads that a request is writing now."""
    with database().reading() as conn:
        return sum(u["state"] == "receiving" for u in upload_table.list_uploads(conn))


def half_sent(port, upload):
    """A connection that sends three of the six bytes that it announces."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    lines = [
        f"PUT /api/uploads/{upload} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Origin: http://127.0.0.1:{port}",
        f"X-Xsrftoken: {TOKEN}", f"Cookie: _streamlit_xsrf={TOKEN}", "Content-Length: 6", "", "abc",
    ]  # fmt: skip
    sock.sendall("\r\n".join(lines).encode())
    return sock


def test_an_upload_is_written_by_one_request_only(port, data_dir):
    _, _, body = begin(port, size=6)
    upload = json.loads(body)["id"]
    slow = half_sent(port, upload)
    until(receiving)
    assert ask(port, "PUT", f"/api/uploads/{upload}", b"ABCDEF")[0] == 409
    slow.sendall(b"def")
    assert slow.recv(1 << 16).startswith(b"HTTP/1.1 200")
    slow.close()
    assert (data_dir / "uploads" / next(n for n in files(data_dir) if upload in n)).read_bytes() == b"abcdef"
    assert ask(port, "PUT", f"/api/uploads/{upload}", b"ABCDEF")[0] == 409


def test_stalled_uploads_hold_no_thread_and_end_by_themselves(port, data_dir, monkeypatch):
    """More of them than there are threads for all requests together (40)."""
    monkeypatch.setattr(routes, "IDLE_SECONDS", 2.0)
    stalled = []
    for _ in range(45):
        upload = json.loads(begin(port, size=6)[2])["id"]
        stalled.append(half_sent(port, upload))
    assert begin(port)[0] == 201  # answered while all of them hang
    for sock in stalled:
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 408")
        sock.close()
    until(lambda: not receiving())


@pytest.mark.parametrize("path", ["/api/runs/9223372036854775808/samples.jsonl", f"/api/mitigations/{10**30}/x"])
def test_a_number_that_no_row_can_have_is_not_found(port, path):
    assert ask(port, "GET", path)[0] == 404


def test_what_is_not_there_is_404(port):
    assert ask(port, "PUT", "/api/uploads/nobodys", b"abc")[0] == 404
    assert ask(port, "GET", "/api/runs/99/verdicts.jsonl")[0] == 404


def test_a_locked_database_is_503_with_the_reason(port, monkeypatch):
    """Not 500: it is no bug, and the page may ask again."""

    def locked(*_):
        cause = sqlite3.OperationalError("database is locked")
        cause.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise OperationalError("BEGIN IMMEDIATE", {}, cause)

    monkeypatch.setattr(upload_table, "add", locked)
    status, _, body = begin(port)
    assert status == 503 and "locked" in json.loads(body)["what"]
