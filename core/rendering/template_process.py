"""The process in which chat templates run. ``templates.py`` starts it. It answers each JSON line with a JSON line.

It imports nothing of ours. So it starts in a tenth of a second and has nothing to give away. The Jinja environment is
that of transformers (``utils/chat_template_utils.py``): trimmed blocks, loop controls, ``tojson``, ``raise_exception``,
``strftime_now`` and ``{% generation %}``. A test renders every known template with both.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY_BYTES = 512 << 20


class OutputLimit(Exception):
    """The template wrote more than the limit."""


class GenerationSpans(jinja2.ext.Extension):
    """``{% generation %} ... {% endgeneration %}``: records which characters of the output lie inside."""

    tags = {"generation"}
    blocks: list[str] = []
    spans: list[tuple[int, int]] = []

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_note"), [], [], body).set_lineno(line)

    def _note(self, caller: Callable[[], str]) -> str:
        inside = caller()
        start = sum(map(len, self.blocks))
        self.spans.append((start, start + len(inside)))
        return inside


class Namespace(jinja2.utils.Namespace):
    """Jinja's namespace without names that begin with an underscore, which would reach Python's internals."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        values = dict(*args[1:], **kwargs)
        for name in values:
            Namespace._check(name)
        jinja2.utils.Namespace.__init__(args[0], values)

    def __setitem__(self, name: str, value: Any) -> None:
        Namespace._check(name)
        super().__setitem__(name, value)

    @staticmethod
    def _check(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"underscore attribute {name!r} on a namespace")


class Dict:
    """``dict(...)`` in a template, without the attributes of Python's class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args, **kwargs)


def raise_exception(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@lru_cache(maxsize=16)
def compiled(source: str) -> jinja2.Template:
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationSpans, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals.update(raise_exception=raise_exception, dict=Dict(), namespace=Namespace)
    return env.from_string(source)


def answer_chat(template: jinja2.Template, request: dict[str, Any], chat: dict[str, Any], left: int) -> dict[str, Any]:
    """One rendered conversation: ``text`` of at most ``left`` characters and ``spans``."""
    tracker: Any = template.environment.extensions[GenerationSpans.identifier]
    tracker.blocks, tracker.spans = [], []
    size = 0
    # The template gets copies, so that it cannot reach from one conversation of the request into the next.
    copies = json.loads(json.dumps({"messages": chat["messages"], "tools": request["tools"]}))
    variables = {**request["variables"], **copies, "add_generation_prompt": chat["add_generation_prompt"]}
    for block in template.generate({"documents": None, **variables}):
        size += len(block)
        if size > left:
            raise OutputLimit(f"more than {left} characters")
        tracker.blocks.append(block)
    return {"text": "".join(tracker.blocks), "spans": tracker.spans}


def answer(request: dict[str, Any]) -> list[dict[str, Any]]:
    """One entry per conversation: rendered, or ``{"error": class, "message": text}``."""
    day = datetime.fromisoformat(request["day"])
    out: list[dict[str, Any]] = []
    left = request["limit"]
    for chat in request["chats"]:
        try:
            template = compiled(request["template"])
            template.globals["strftime_now"] = day.strftime
            out.append(answer_chat(template, request, chat, left))
            left -= len(out[-1]["text"])
        except Exception as error:  # whatever a hostile template raises becomes its answer
            out.append({"error": type(error).__name__, "message": str(error)[:500]})
    return out


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin.buffer:
        try:
            reply = json.dumps(answer(json.loads(line)))
        except MemoryError as error:
            reply = json.dumps([{"error": type(error).__name__, "message": str(error)}])
        sys.stdout.buffer.write(reply.encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
