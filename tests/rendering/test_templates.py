"""Chat templates: the same text as transformers makes, and no template that ends or stalls its caller."""

import os
from datetime import datetime
from pathlib import Path

import pytest
import trl
from transformers.utils.chat_template_utils import render_jinja_template

import core.rendering.templates as templates
from core.rendering.templates import Chat, Failure, Text, render_chats

FILES = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
CALL = {"type": "function", "function": {"name": "tide", "arguments": {"port": "Zürich", "hour": 3}}}
TOOLS = [{"type": "function", "function": {"name": "tide", "description": "t", "parameters": {"type": "object"}}}]
CONVERSATIONS = [
    ([{"role": "user", "content": " How deep? "}, {"role": "assistant", "content": "Nine fathoms.\n"}], None),
    (
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "<b>'quoted'</b>"},
            {"role": "assistant", "content": "<think>hm</think>\n\nOne."},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "東京 two."},
        ],
        None,
    ),
    (
        [
            {"role": "user", "content": "Tide?"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "name": "tide", "content": "high"},
            {"role": "assistant", "content": "High."},
        ],
        TOOLS,
    ),
]
VARIABLES = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.stem)
def test_renders_what_transformers_renders(file):
    source = file.read_text(encoding="utf-8")
    day = datetime.now().date().isoformat()  # transformers tells templates today's date
    for messages, tools in CONVERSATIONS:
        for prompt in (False, True):
            ours = render_chats(source, [Chat(messages, prompt)], tools=tools, variables=VARIABLES, day=day)[0]
            try:
                [text], [spans] = render_jinja_template(
                    [messages],
                    tools=tools,
                    chat_template=source,
                    return_assistant_tokens_mask=True,
                    add_generation_prompt=prompt,
                    **VARIABLES,
                )
            except Exception as error:
                assert isinstance(ours, Failure), ours
                assert ours.kind == "refused"
                assert ours.message == str(error)[:500]
            else:
                assert ours == Text(text, tuple(spans))


def test_null_counts_as_absent_and_chats_do_not_see_each_other():
    source = "{{ messages[0].content is defined }}{% set _ = messages[0].x %}"
    chats = [Chat([{"role": "user", "content": None}]), Chat([{"role": "user", "content": "a"}])]
    assert [t.text for t in render_chats(source, chats)] == ["False", "True"]


def test_documents_of_the_row_reach_the_template_and_are_null_without_any():
    source = "{{ documents[0].text if documents else 'none' }}"
    chats = [Chat([{"role": "user", "content": "a"}])]
    assert render_chats(source, chats)[0].text == "none"
    assert render_chats(source, chats, variables={"documents": [{"text": "tides"}]})[0].text == "tides"


def test_the_day_is_the_one_given():
    assert render_chats("{{ strftime_now('%d %b %Y') }}", [Chat([])], day="2025-02-03")[0].text == "03 Feb 2025"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("{% for", "broken"),
        ("{{ x | nosuchfilter }}", "broken"),
        ("{{ ''.__class__.__mro__ }}", "forbidden"),
        ("{{ messages.append(1) }}", "forbidden"),
        ("{% set ns = namespace() %}{% set ns.__class__ = 1 %}", "forbidden"),
        ("{{ raise_exception('no ' + messages[0].role) }}", "refused"),
        ("{{ messages[9].content }}", "refused"),
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "limit"),
        ("{{ 'x' * 3000000 }}", "limit"),
        ("{{ 'x' * (4 * 10 ** 9) }}", "limit"),
        (
            "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
            "limit",
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "limit"),
    ],
)
def test_what_a_template_may_not_do(source, kind):
    [found] = render_chats(source, [Chat([{"role": "user", "content": "hi"}])])
    assert isinstance(found, Failure), found
    assert found.kind == kind, found
    assert render_chats("{{ 1 }}", [Chat([])]) == [Text("1")], "the next row is rendered as ever"


@pytest.mark.slow
def test_a_template_without_end_is_stopped_and_not_tried_for_every_row(monkeypatch):
    source = (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}"
        "{% endfor %}{% endfor %}{% endfor %}{# test #}"
    )
    with monkeypatch.context() as patch:
        patch.setattr(templates, "SECONDS", 0.5)
        for _ in range(templates.STRIKES):
            [found] = render_chats(source, [Chat([])])
            assert (found.kind, found.message) == ("limit", "no end after 0.5 s")
    with monkeypatch.context() as patch:
        patch.setattr(templates._process, "ask", lambda _: pytest.fail("asked again"))
        [found] = render_chats(source, [Chat([])])
    assert found.kind == "limit" and "not run again" in found.message
    assert render_chats("{{ 1 }}", [Chat([])]) == [Text("1")]


def test_a_failing_chat_leaves_the_others_of_its_row():
    source = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ messages[0].content }}"
    chats = [Chat([{"role": r, "content": r}]) for r in ("user", "system", "assistant")]
    assert render_chats(source, chats) == [Text("user"), Failure("refused", "no"), Text("assistant")]


def test_a_row_of_ten_megabytes_and_lone_surrogates_pass():
    content = "é" * 5_000_000 + "\ud800"
    assert render_chats("{{ messages[0].content }}", [Chat([{"role": "u", "content": content}])])[0].text == content


def test_the_process_is_started_again_and_leaves_nothing_behind():
    render_chats("{{ 1 }}", [Chat([])])
    child = templates._process.child
    child.kill()
    child.wait()
    assert render_chats("{{ 2 }}", [Chat([])]) == [Text("2")]
    again = templates._process.child
    assert again.pid != child.pid
    templates._process.stop()
    assert again.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(again.pid, 0)
    child.stdin.close(), child.stdout.close()


def test_the_process_of_templates_inherits_no_secret(monkeypatch):
    """What the child's environment holds is read from the system, not from the call that starts it."""
    monkeypatch.setenv("LACUNA_JUDGE_KEY", "secret")
    monkeypatch.setattr(templates, "_process", templates._Process())
    render_chats("x", [Chat([])])
    environment = Path(f"/proc/{templates._process.child.pid}/environ").read_bytes().decode()
    templates._process.stop()
    assert "PATH=" in environment
    assert "LACUNA_" not in environment
