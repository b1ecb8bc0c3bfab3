"""Signing in with an OpenID provider, where ``.streamlit/secrets.toml`` has a section ``[auth]``; else there is none.

Streamlit does the protocol and keeps a signed cookie. Here stands who may pass: before the first page is drawn, and
before a streaming route answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import streamlit as st
from streamlit.auth_util import get_cookie_with_chunks, get_secrets_auth_section, is_authlib_installed
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from core.services import who
from core.settings import settings
from ui import markup

# Who sent the request to a streaming route; pages ask Streamlit.
_SENDER: ContextVar[str] = ContextVar("sender", default="")


def configured() -> bool:
    """Whether people have to sign in."""
    return bool(get_secrets_auth_section())


def name_of(claims: Mapping[str, Any]) -> str:
    """What a signed-in person is called: the e-mail address, else what the provider gives to tell people apart."""
    return next((str(claims[key]) for key in ("email", "preferred_username", "sub") if claims.get(key)), "")


def may_pass(claims: Mapping[str, Any]) -> bool:
    """Whether a signed-in person is one of ``LACUNA_LOGIN_ALLOWED``; everyone is where that is empty.

    An address counts only where the provider does not say that it is unverified.
    """
    allowed = settings().login_allowed
    if not allowed:
        return True
    if claims.get("email_verified") is False:
        return False
    address = str(claims.get("email") or "").casefold()
    return any(address == entry or (entry.startswith("@") and address.endswith(entry)) for entry in allowed)


def claims_in(cookies: Mapping[str, str]) -> Mapping[str, Any]:
    """What the signed cookie says of the person; empty for none, a forged or an old one."""
    secret = get_cookie_secret()

    def part(name: str) -> bytes | None:
        value = cookies.get(name)
        return None if value is None else decode_signed_value(secret, name, value.encode("latin-1", "replace"))

    raw = get_cookie_with_chunks(part, USER_COOKIE_NAME)
    try:
        claims = json.loads(raw) if raw else {}
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) and claims.get("is_logged_in") is True else {}


def admitted(cookies: Mapping[str, str]) -> bool:
    """Whether a request with these cookies may be answered; notes who sent it."""
    if not configured():
        return True
    claims = claims_in(cookies)
    _SENDER.set(name_of(claims))
    return bool(claims) and may_pass(claims)


def name() -> str:
    """Who is signed in; empty without a login."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return _SENDER.get()
    return name_of(st.user.to_dict()) if configured() and st.user.is_logged_in else ""


def gate() -> bool:
    """Whether the page may be drawn; else draws what to do instead."""
    if not configured():
        return True
    if not st.user.is_logged_in:
        st.title("Lacuna", anchor=False)
        st.write("What a fine-tuned model did not learn. This server asks people to sign in.")
        if not is_authlib_installed():
            st.error("Signing in needs a package: `pip install -r requirements-login.txt`, then start Lacuna again.")
        elif st.button("Sign in", type="primary", icon=":material/login:"):
            st.login()
        return False
    if not may_pass(st.user.to_dict()):
        st.title("Lacuna", anchor=False)
        st.error(
            f"{markup.md(name())} is signed in, but may not use this server. Whoever runs it can add the address to "
            "`LACUNA_LOGIN_ALLOWED`."
        )
        if st.button("Sign out", icon=":material/logout:"):
            st.logout()
        return False
    return True


def signed_in() -> None:
    """In the menu: who is signed in, and the way out; nothing without a login."""
    if not (person := name()):
        return
    st.caption(f"Signed in as {markup.md(markup.line(person, 60))}")
    if st.button("Sign out", type="tertiary", icon=":material/logout:"):
        st.logout()


who.ask(name)
