"""Who may pass where people sign in."""

import pytest

from core.settings import settings
from ui import login


@pytest.fixture
def allowed(monkeypatch):
    def only(text):
        monkeypatch.setenv("LACUNA_LOGIN_ALLOWED", text)
        settings.cache_clear()

    yield only
    settings.cache_clear()


@pytest.mark.parametrize(
    ("claims", "passes"),
    [
        ({"email": "Ada@Example.org"}, True),
        ({"email": "ada@example.org", "email_verified": False}, False),
        ({"email": "ada@notexample.org"}, False),
        ({"email": "ada@sub.example.org"}, False),
        ({"email": "bob@other.test"}, True),
        ({"email": "bob@other.test.evil"}, False),
        ({"sub": "ada@example.org"}, False),
        ({}, False),
    ],
)
def test_addresses_and_domains_pass_and_nobody_else(allowed, claims, passes):
    allowed("@example.org, Bob@Other.test")
    assert login.may_pass(claims) is passes
    allowed("")
    assert login.may_pass(claims)


@pytest.mark.parametrize(
    "cookies", [{}, {"_streamlit_user": "x"}, {"_streamlit_user": "🦊"}, {"_streamlit_user": "chunks-9"}]
)
def test_no_cookie_and_a_forged_one_are_nobody(cookies):
    assert login.claims_in(cookies) == {}


def test_without_a_login_everyone_is_admitted_and_nobody_has_a_name():
    assert login.admitted({}) and login.name() == ""
