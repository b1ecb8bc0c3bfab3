"""Signing in, with a real provider on this machine: nothing answers before it, and everything says who it was after."""

import json
import shutil
import socket
import sqlite3
import urllib.error
import urllib.request

import pytest
from playwright.sync_api import expect

from tests import oidc_provider
from tests.browser.conftest import serving


@pytest.fixture
def provider():
    with oidc_provider.serving() as provider:
        yield provider


@pytest.fixture
def closed(provider, diagnosed, world, tmp_path, monkeypatch):
    """A server that asks people to sign in, and lets in addresses of example.org."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    secrets = tmp_path / "secrets.toml"
    secrets.write_text(
        f'[auth]\nredirect_uri = "http://127.0.0.1:{port}/oauth2callback"\ncookie_secret = "{"s" * 40}"\n'
        f'client_id = "{oidc_provider.CLIENT}"\nclient_secret = "shared"\n'
        f'server_metadata_url = "{provider.url}/.well-known/openid-configuration"\n'
    )
    monkeypatch.setenv("STREAMLIT_SECRETS_FILES", str(secrets))
    monkeypatch.setenv("LACUNA_LOGIN_ALLOWED", "@example.org")
    data = tmp_path / "served" / "data"
    shutil.copytree(diagnosed, data)
    with serving(data, world.folder.parent, port) as site:
        yield site


def status(site, path, cookie=""):
    request = urllib.request.Request(f"{site.url}{path}", headers={"Cookie": cookie})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_nothing_answers_before_the_login_and_what_is_done_after_it_has_a_name(chromium, closed, provider):
    context = chromium.new_context(base_url=closed.url)
    page = context.new_page()
    export = f"/api/runs/{closed.run}/verdicts.jsonl"
    page.goto(f"/overview?run={closed.run}")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_text("unlearned")).to_have_count(0)
    assert status(closed, export) == 401
    assert status(closed, export, "_streamlit_user=forged") == 401

    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Signed in as ada@example.org")).to_be_visible()
    assert context.request.get(export).status == 200

    page.goto(f"/samples?run={closed.run}&sample=r40")
    page.get_by_text("Your review").first.click()
    author = page.get_by_label("Author").first
    expect(author).to_be_disabled()
    expect(author).to_have_value("ada@example.org")

    token = next(c["value"] for c in context.cookies() if "xsrf" in c["name"])
    begun = context.request.post(
        "/api/uploads", data=json.dumps({"name": "a.jsonl", "size": 3}),
        headers={"X-Xsrftoken": token, "Origin": closed.url, "Content-Type": "application/json"},
    )  # fmt: skip
    assert begun.ok, begun.text()
    with sqlite3.connect(closed.data / "lacuna.db") as conn:
        assert conn.execute("select author from uploads").fetchall() == [("ada@example.org",)]

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert context.request.get(export).status == 401

    provider.claims = {"sub": "2", "email": "eve@elsewhere.test", "email_verified": True}
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("may not use this server")).to_be_visible()
    assert context.request.get(export).status == 401
    context.close()
