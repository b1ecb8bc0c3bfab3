"""Chat templates, rendered within bounds.

A chat template is a program that came with a checkpoint. Jinja's sandbox keeps it away from Python's internals, but it
can still loop for days or ask for a terabyte, and no list of forbidden filters is complete. So templates run in a
process of their own (``template_process.py``), under limits of the operating system: half a GiB of memory, no file
writing, ``SECONDS`` of wall clock per request, and an output of at most eight times the input plus one MiB. A template
that breaks the time or memory limit three times is not run again by this process.

Two things are not covered. On a machine that swaps, the machine's slowness can look like the template's. And some
systems, such as macOS, do not enforce the memory limit RLIMIT_AS.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

SECONDS = 20.0
STRIKES = 3
# The date in the fallback branch of Llama 3.x templates, which other templates have copied.
DEFAULT_DAY = "2024-07-26"


@dataclass(frozen=True, slots=True)
class Chat:
    """One conversation to render. ``messages``: as ``Message.as_dict`` gives them."""

    messages: Sequence[Mapping[str, Any]]
    add_generation_prompt: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A rendered conversation. ``generation``: half-open character ranges inside ``{% generation %}``."""

    text: str
    generation: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a conversation was not rendered.

    Attributes:
        kind: ``refused`` (the template raised an error, or met an unknown field), ``broken`` (it does not compile),
            ``forbidden`` (the sandbox stopped it), ``limit`` (time, memory or output).
        message: the text of the template or of the limit.
    """

    kind: str
    message: str


_KINDS = {
    "TemplateSyntaxError": "broken",
    "TemplateAssertionError": "broken",
    "SecurityError": "forbidden",
    "MemoryError": "limit",
    "OutputLimit": "limit",
    "OverflowError": "limit",
    "RecursionError": "limit",
}


# What a process needs to start and to read text. A template is a stranger's program: it gets no key, no address.
PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "TMPDIR", "SYSTEMROOT")


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


class _Process:
    """The rendering process. It starts at the first request, and again after a limit has ended it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.child: subprocess.Popen[bytes] | None = None
        self.owner = 0
        self.strikes: Counter[str] = Counter()

    def ask(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The answers, one per conversation.

        Raises:
            TimeoutError: no answer within ``SECONDS``.
            EOFError: the process ended, as happens when the memory limit hits the interpreter itself.
        """
        line = json.dumps(request).encode() + b"\n"
        with self.lock:
            stdin, stdout = self._pipes()
            try:
                stdin.write(line)
                stdin.flush()
                answers: list[dict[str, Any]] = json.loads(self._line(stdout.fileno()))
                return answers
            except BrokenPipeError:
                self.stop()
                raise EOFError from None
            except BaseException:  # also Ctrl-C: a late answer must not be read as the next one
                self.stop()
                raise

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        """Its input and its output; starts it where it does not run."""
        if self.child is not None and (self.owner != os.getpid() or self.child.poll() is not None):
            if self.owner == os.getpid():
                self.stop()
            self.child = None  # after a fork the child belongs to the other process
        if self.child is None:
            self.child = subprocess.Popen(
                [sys.executable, "-I", str(Path(__file__).with_name("template_process.py"))],
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C ends us, and our end closes its input
            )
            self.owner = os.getpid()
        if self.child.stdin is None or self.child.stdout is None:
            raise RuntimeError("the rendering process was started without pipes")
        return self.child.stdin, self.child.stdout

    @staticmethod
    def _line(fd: int) -> bytes:
        deadline = time.monotonic() + SECONDS
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        blocks: list[bytes] = []
        while not (blocks and blocks[-1].endswith(b"\n")):
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise TimeoutError
            blocks.append(os.read(fd, 1 << 20))
            if not blocks[-1]:
                raise EOFError
        return b"".join(blocks)

    def stop(self) -> None:
        child, self.child = self.child, None
        if child is not None and self.owner == os.getpid():
            child.kill()
            child.communicate()  # waits, and closes both pipes


_process = _Process()
atexit.register(_process.stop)


def render_chats(
    template: str,
    chats: Sequence[Chat],
    *,
    tools: Sequence[Any] | None = None,
    variables: Mapping[str, Any] | None = None,
    day: str = DEFAULT_DAY,
) -> list[Text | Failure]:
    """Each conversation rendered, or the reason why it was not.

    Args:
        template: Jinja source.
        chats: conversations of one row, rendered in one round trip.
        tools: tool definitions, as the row has them.
        variables: further values for the template: special tokens, the row's own ``chat_template_kwargs``.
        day: the ISO date of ``strftime_now``, so that a row renders the same on any day.
    """
    key = template_hash(template)
    if _process.strikes[key] >= STRIKES:
        return [Failure("limit", f"it was stopped {STRIKES} times and is not run again")] * len(chats)
    request: dict[str, Any] = {
        "template": template,
        "chats": [
            # As in transformers, a key whose value is null counts as absent.
            {
                "messages": [{k: v for k, v in m.items() if v is not None} for m in chat.messages],
                "add_generation_prompt": chat.add_generation_prompt,
            }
            for chat in chats
        ],
        "tools": tools,
        "variables": dict(variables or {}),
        "day": day,
    }
    request["limit"] = 8 * len(json.dumps(request, ensure_ascii=False)) + (1 << 20)
    try:
        answers = _process.ask(request)
    except TimeoutError:
        _process.strikes[key] += 1
        return [Failure("limit", f"no end after {SECONDS:g} s")] * len(chats)
    except EOFError:
        _process.strikes[key] += 1
        return [Failure("limit", "its process ended, most likely because memory ran out")] * len(chats)
    if len(answers) != len(chats):  # memory ran out while the answer itself was written
        answers = [answers[0]] * len(chats)
    if any(a.get("error") == "MemoryError" for a in answers):
        _process.strikes[key] += 1
    return [_read(a) for a in answers]


def _read(answer: Mapping[str, Any]) -> Text | Failure:
    if "error" not in answer:
        return Text(answer["text"], tuple((a, b) for a, b in answer["spans"]))
    name = answer["error"]
    return Failure(_KINDS.get(name, "refused"), answer["message"] or name)


def template_hash(template: str | None) -> str:
    """SHA-256 (hex) of the template's text; empty if there is none."""
    return hashlib.sha256(template.encode("utf-8", "surrogatepass")).hexdigest() if template else ""
