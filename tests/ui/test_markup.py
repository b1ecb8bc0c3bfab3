"""Text of unknown origin stays text: nothing in it becomes markup, nothing in it stays invisible."""

import re
from html.parser import HTMLParser

import pytest

from ui import markup
from ui.markup import node

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![pic](https://example.com/x.png)",
    "[link](javascript:alert(1))",
    "\x1b[31mred\x1b[0m",
    "\u202egnp.exe\u202c",
    ":red[x] :material/home: $x^2$ `code` **b**",
    '"><b onmouseover="alert(1)">',
    "a" * 100_000,
    "</div></style><script>1</script>",
    "\x00\x07\x9b\ufeff\u200b",
]


class Reader(HTMLParser):
    """Collects what a browser would see: tags with attributes, and text."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


@pytest.mark.parametrize("text", HOSTILE)
def test_a_string_is_never_a_tag(text):
    found = read(markup.render(node("span", text, title=text)))
    assert [tag for tag, _ in found.tags] == ["span"]
    assert set(found.tags[0][1]) == {"title"}
    assert found.text == markup.visible(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_stays_invisible(text):
    shown = markup.visible(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", shown)
    assert [c for c in text if c.isalnum()] == [c for c in shown if c.isalnum()] or "⟨" in shown


def test_tab_and_line_feed_stay():
    assert markup.visible("a\tb\nc") == "a\tb\nc"


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_marks_are_all_escaped(text):
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", markup.md(text))
    assert not re.search(r"[!-/:-@\[-`{-~]", bare)
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markup.md(text)) == markup.visible(text).replace("\n", " ")


def test_clipping_says_how_much_is_left_out():
    assert markup.clip("abc", 3) == "abc"
    assert markup.clip("abcdef", 2) == "ab… (4 more characters)"
    assert markup.line("a \n b\u202e c", 40) == "a b⟨RLO⟩ c"
    assert len(markup.line("x" * 10_000, 40)) == 40


def test_half_characters_become_signs_that_can_be_sent():
    text = b"rows-\xff\xe9.jsonl".decode("utf-8", "surrogateescape") + "\ud800"
    shown = markup.visible(text)
    shown.encode("utf-8")
    assert shown == "rows-⟨FF⟩⟨E9⟩.jsonl⟨U+D800⟩"
