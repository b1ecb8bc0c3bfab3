"""Markers in templates that have none: nothing else changes, and they say what TRL's own variants say."""

import pytest

from core.rendering import templates
from core.rendering.markers import with_generation_markers
from core.rendering.templates import Chat, Text, render_chats
from tests.presets import families as fam

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Indented, white space cut by hand, the end of a turn an output of its own, and plain text behind it.
INDENTED = """{{ bos_token }}
{%- for m in messages %}
    {%- set content = m.content | trim %}
    {{- '<|' ~ m.role ~ '|>\\n' ~ content }}{{ eos_token }}
    done
{%- endfor %}
"""
LINES = """{% for message in messages %}
  {{ message['role'] + ': ' + message['content'] + ' }}%} <end>' }}

{% endfor %}
{# {{ message['content'] }} is said above #}
"""
# The turn is no loop variable, and content may be missing.
INDEXED = """{% for i in range(messages | length) %}{{ '<' + messages[i]['role'] + '>' }}
{{ messages[i]['content'] if messages[i]['content'] else '' }}{{ '<end>' }}
{% endfor %}"""


def known(name):
    return (fam.TRL_TEMPLATES / f"{name}.jinja").read_text()


TAKEN = {"chatml": CHATML, "indented": INDENTED, "lines": LINES, "indexed": INDEXED, "olmo2": fam.OLMO2_TEMPLATE,
         "llama2": fam.LLAMA2_TEMPLATE, **{name: known(name) for name in ("llama3_1", "qwen2_5")}}  # fmt: skip
ENDS = {"chatml": "<|im_end|>", "qwen2_5": "<|im_end|>", "llama3_1": "<|eot_id|>", "indented": "</s>\n    done",
        "lines": "}}%} <end>", "indexed": "<end>"}  # fmt: skip
TALKS = [
    [("user", "Why?"), ("assistant", "Because.\n\n  It is so.")],
    [("user", "東京?"), ("assistant", "é {{ 7 }}"), ("user", "{% if %}"), ("assistant", "Then "), ("user", "No.")],
    [("system", "Short."), ("user", "2 + 2"), ("assistant", "4")],
]


def rendered(template, talks=TALKS, prompt=False):
    chats = [Chat([{"role": role, "content": text} for role, text in talk], prompt) for talk in talks]
    return render_chats(template, chats, variables={"bos_token": "<s>", "eos_token": "</s>"})


@pytest.mark.parametrize("name", TAKEN)
def test_texts_stay_and_every_answer_is_marked_to_the_end_of_its_turn(name):
    marked = with_generation_markers(TAKEN[name])
    for prompt in (False, True):
        for talk, was, now in zip(TALKS, rendered(TAKEN[name], prompt=prompt), rendered(marked, prompt=prompt),
                                  strict=True):  # fmt: skip
            if not isinstance(was, Text):  # this template takes no system turn
                assert was == now
                continue
            assert was.text == now.text
            written = [now.text[a:b] for a, b in now.generation if a < b]
            answers = [text for role, text in talk if role == "assistant"]
            assert len(written) == len(answers)
            endings = {w[len(a.strip()) :].strip() for w, a in zip(written, answers, strict=True)}
            assert all(w.startswith(a.strip()) for w, a in zip(written, answers, strict=True)) and len(endings) == 1
            assert endings == {ENDS.get(name, "</s>")}


def trls_own():
    return sorted(p.name.removesuffix("_training.jinja") for p in fam.TRL_TEMPLATES.glob("*_training.jinja"))


def test_they_mark_what_trl_s_own_variants_mark():
    agreed = []
    for name in trls_own():
        source = (fam.TRL_TEMPLATES / f"{name}.jinja").read_text()
        own = (fam.TRL_TEMPLATES / f"{name}_training.jinja").read_text()
        marked = with_generation_markers(source)
        if marked is None:
            continue
        for ours, theirs in zip(rendered(marked), rendered(own), strict=True):
            if not isinstance(ours, Text) or not isinstance(theirs, Text) or ours.text != theirs.text:
                continue  # their variant renders something else there, or refuses a role
            both = [[r.text[a:b].strip() for a, b in r.generation if r.text[a:b].strip()] for r in (ours, theirs)]
            # Some of theirs begin with the name of the role.
            assert all(whole.endswith(written) for written, whole in zip(*both, strict=True))
            agreed.append(name)
    assert {"cohere", "deepseekv3", "gemma", "lfm2"} <= set(agreed)


REFUSED = {
    "empty": "",
    "no loop": "{{ messages[1]['content'] }}",
    "no end": fam.BARE_TEMPLATE,
    "an end for all but the last":
        "{% for m in messages %}{{ m['content'] }}{% if not loop.last %}{{ eos_token }}{% endif %}{% endfor %}",
    "an end with the next question":
        "{% for m in messages %}{{ m['content'] }}{% if m.role == 'assistant' %}.{% else %}{{ eos_token }}{% endif %}"
        "{% endfor %}",
    "next header":
        "Human: {% for m in messages %}{% if m.role == 'user' %}{{ m.content }} Bot: {% else %}{{ m.content }}\nHuman: "
        "{% endif %}{% endfor %}",
    "surrogate": CHATML.replace("Be kind.", "\ud800"),
    "ternary": "{% for m in messages %}{{ 'a' + m.content if m.content else 'b' }}{{ eos_token }}{% endfor %}",
    "end behind a statement":
        "{% for message in messages %}{{ message['content'] }}{% if true %}<end>{% endif %}{% endfor %}",
    "looser than a sum": "{% for m in messages %}<{{ m.role }}>{{ m.name or '' + m.content + '<end>' }}{% endfor %}",
    "raw": CHATML + "{% raw %}{% endraw %}",
    "open": "{% for message in messages %}{{ message['content'] ",
    "error": "{% for message in messages %}{{ message['content'] }}{{ 1 / 0 }}{% endfor %}",
    "many": CHATML + "{% for m in [] %}" + "{{ m.content }}{% set x = 1 %}" * 60 + "{% endfor %}",
    "long": CHATML + "{#" + " " * 100_000 + "#}",
    "braces": "{{" * 40_000,
    "nested": "{" * 99_000 + "{% for message in messages %}{{ message['content'",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_kept_gets_none(name):
    assert with_generation_markers(REFUSED[name]) is None


def test_a_template_without_an_end_is_waited_for_once(monkeypatch):
    monkeypatch.setattr(templates, "SECONDS", 0.2)
    asked, ask = [], templates._process.ask
    monkeypatch.setattr(templates._process, "ask", lambda request: asked.append(1) or ask(request))
    endless = CHATML.replace("{% endfor %}", "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}"
                             "{% endfor %}{% endfor %}", 1)  # fmt: skip
    assert with_generation_markers(endless) is None and len(asked) == 1
