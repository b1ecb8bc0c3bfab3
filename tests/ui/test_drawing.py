"""Charts, evidence and tables say the numbers they were given, and keep data from becoming markup."""

import itertools
import random
import tomllib
from html.parser import HTMLParser

import pytest

from core.services.views import Breakdown, CheckpointView, Histogram, Share, TokenPiece
from core.values.columns import contrast
from tests.kept import ROOT
from ui import along, charts, evidence, markup, tables

HOSTILE = "<b>x</b><a href='javascript:1'>y</a>"
STAGES = Breakdown(
    "stage", "Stage", (("one", {"learned": 3, "unlearned": 1}), (None, {"unknown": 2}), (HOSTILE, {"partly": 5}))
)


def test_every_status_differs_in_mark_pattern_and_colour():
    looks = list(charts.STATUS.values())
    for field in ("label", "colour", "pattern", "mark"):
        assert len({getattr(look, field) for look in looks}) == 4, field


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_colour_of_the_palette_reaches_wcag_aa(theme):
    """Text at 4.5, parts of figures at 3, on the page and on its panels."""
    colours = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"][theme]
    grounds = colours["backgroundColor"], colours["secondaryBackgroundColor"]
    for ground in grounds:
        for name in ("textColor", "linkColor"):
            assert contrast(colours[name], ground) >= 4.5, (name, ground)
        # Streamlit's captions: the text's colour at 60 %.
        mixed = (0.6 * int(colours["textColor"][i : i + 2], 16) + 0.4 * int(ground[i : i + 2], 16) for i in (1, 3, 5))
        assert contrast("#" + "".join(f"{round(c):02X}" for c in mixed), ground) >= 4.5, ground
        for look in charts.STATUS.values():
            assert contrast(look.colour, ground) >= 2.8, (look.label, ground)
    for look in charts.STATUS.values():
        assert contrast(look.colour, look.ink) >= 4.5, look.label
        assert contrast(look.colour, grounds[0]) >= 3, look.label
    assert contrast(charts.LINE, grounds[0]) >= 3  # intervals
    assert contrast(colours["primaryColor"], grounds[0]) >= 4.5  # the ground is the text of a primary button


def test_numbers_in_squares_stand_out_whatever_their_shade():
    for scale in (along._SCALE, charts.squares(90, [[1]], [1], {}, {}).data[0].colorscale):
        for _, colour in scale:
            assert contrast(colour, "#1C2630") >= 4.5, colour


def test_an_outline_holds_every_point_and_turns_one_way():
    rng = random.Random(3)
    points = [(rng.random(), rng.random()) for _ in range(40)]
    corners = along.outline(points)
    assert corners[0] == corners[-1] and set(corners) <= set(points)
    for (x1, y1), (x2, y2) in itertools.pairwise(corners):
        assert all((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) >= -1e-12 for x, y in points)
    assert along.outline([(1.0, 2.0)]) == [(1.0, 2.0), (1.0, 2.0)]


def test_a_breakdown_shows_shares_and_carries_its_row_and_status():
    figure = charts.breakdown(STAGES)
    shown = {
        (d[0], d[1]): (x, d[2], d[3]) for trace in figure.data for x, d in zip(trace.x, trace.customdata, strict=True)
    }
    assert shown[0, "learned"] == (0.75, 3, 4)
    assert shown[1, "unknown"] == (1.0, 2, 2)
    assert shown[2, "partly"] == (1.0, 5, 5)


def test_a_label_is_no_markup_for_plotly():
    bars = charts.breakdown(STAGES)
    line = charts.trajectory([CheckpointView(HOSTILE, "final", 3, 1.0, True)])
    shown = [*bars.layout.yaxis.ticktext, *line.layout.xaxis.ticktext, *line.data[0].customdata]
    shown += [d[4] for trace in bars.data for d in trace.customdata]
    assert any("&lt;b&gt;" in text for text in shown)
    assert not any("<" in text for text in shown)


def test_the_status_bar_leaves_out_what_is_not_there():
    shares = {"learned": Share(3, 4, 0.75, 0.3, 0.95), "partly": Share(0, 4, 0.0, 0.0, 0.4)}
    assert [t.name for t in charts.status_bar(shares).data] == ["Learned"]


def test_a_histogram_and_its_table_agree():
    found = Histogram("nll", (0.0, 1.0, 2.0, 4.0), {"learned": (3, 0, 1), "unlearned": (0, 2, 0)}, 1)
    figure = charts.histogram(found, "Loss")
    assert {t.name: tuple(t.y) for t in figure.data} == {"Learned": (3, 0, 1), "Unlearned": (0, 2, 0)}
    assert tuple(figure.data[0].x) == (0.5, 1.5, 3.0) and tuple(figure.data[0].width) == (1.0, 1.0, 2.0)
    table = tables.histogram(found)
    assert table["Learned"].tolist() == [3, 0, 1] and table["Partly"].tolist() == [0, 0, 0]


def test_a_bin_for_everything_above_is_drawn_narrow_and_says_so():
    found = Histogram("nll", (0.0, 1.0, 2.0, 50.0), {"learned": (3, 0, 1)}, 0)
    figure = charts.histogram(found, "Loss")
    assert tuple(figure.data[0].x) == (0.5, 1.5, 2.5)
    assert figure.data[0].customdata[2] == "2 to 50"
    assert figure.layout.annotations[0].text == "≥ 2"
    assert tables.histogram(found)["to"].tolist()[-1] == 50.0


def test_a_breakdowns_table_has_every_count():
    table = tables.breakdown(STAGES)
    assert table["Total"].tolist() == [4, 2, 5]
    assert table["Unlearned"].tolist() == [1, 0, 0]
    assert table["Stage"].tolist() == ["one", "not given", HOSTILE]


class Text(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.text, self.marked, self._in = "", "", []

    def handle_starttag(self, tag, attrs):
        self._in.append(tag)

    def handle_endtag(self, tag):
        self._in.pop()

    def handle_data(self, data):
        self.text += data
        if {"del", "ins"} & set(self._in):
            self.marked += data


def text_of(part):
    reader = Text()
    reader.feed(markup.render(part))
    return reader.text, reader.marked


def test_a_diff_keeps_both_texts_and_marks_what_differs():
    rng = random.Random(0)
    words = ["red", " ", "fox", "\n", "<b>", "jumps", ",", "é", "中"]
    for _ in range(200):
        target = "".join(rng.choices(words, k=rng.randint(1, 12)))
        output = "".join(rng.choices(words, k=rng.randint(1, 12))) if rng.random() < 0.8 else target
        (left, gone), (right, new) = map(text_of, evidence.diff(target, output))
        assert (left, right) == (target, output)
        assert bool(gone or new) == (target != output)
    assert [text_of(p)[1] for p in evidence.diff("a red fox", "a blue fox")] == ["red", "blue"]


def test_a_long_diff_is_shown_whole_without_marks():
    target, output = " ".join("ab" * 4000), "x" * 200_000
    left, right = evidence.diff(target, output)
    assert text_of(left)[1] == "" and text_of(right)[0].startswith("x" * 1000)


@pytest.mark.parametrize(("p", "bin"), [(0.95, 0), (0.8, 1), (0.3, 2), (0.05, 3), (0.001, 4)])
def test_loss_bins_follow_the_legend(p, bin):
    import math

    assert evidence.loss_class(math.log(p)) == bin


def drawn(monkeypatch, draw, *args):
    said = []
    monkeypatch.setattr(markup, "draw", lambda part, style="": said.append(markup.render(part)))
    draw(*args)
    return "".join(said)


def test_masks_tell_four_kinds_of_tokens_apart(monkeypatch):
    pieces = [
        TokenPiece(f"{t}{m}<i>", i, trained=bool(m), target=bool(t))
        for i, (t, m) in enumerate(itertools.product((0, 1), repeat=2))
    ]
    html = drawn(monkeypatch, evidence.mask_strip, pieces)
    assert "<i>" not in html
    for text, classes in (
        ("00", "lac-off"),
        ("01", "lac-trained"),
        ("10", "lac-lost"),
        ("11", "lac-target lac-trained"),
    ):
        assert f'class="{classes}" title="id' in html.split(f"{text}&lt;i&gt;")[0].rsplit("<span", 1)[1]
    assert "not supervised" in drawn(monkeypatch, evidence.mask_legend, pieces)
    assert "not supervised" not in drawn(monkeypatch, evidence.mask_legend, pieces[:2])


def test_a_check_that_could_not_be_made_is_no_pass(monkeypatch):
    states = ("pass", "unknown", "fail", "warn")
    html = drawn(monkeypatch, evidence.checks, [{"code": s, "state": s, "text": f"<i>{s}"} for s in states])
    places = [html.index(f"&lt;i&gt;{s}") for s in ("fail", "warn", "unknown", "pass")]
    assert places == sorted(places)
    assert html.count("✓ pass") == 1 and html.count("? unknown") == 1


def test_a_token_that_was_not_scored_has_no_probability(monkeypatch):
    pieces = [TokenPiece("a", 1, False, False), TokenPiece("b", 2, True, True, -0.5, False)]
    html = drawn(monkeypatch, evidence.loss_strip, pieces)
    assert "id 1: not scored" in html
    assert "log-probability -0.500, p 0.607, not the model" in html
    assert "lac-l1 lac-miss" in html


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ((7, "clusters"), "lacuna-run-7-clusters"),
        (("routes", "levels"), "lacuna-routes-levels"),
        ((2, "a/../b é"), "lacuna-run-2-a-b"),
    ],
)
def test_a_saved_picture_says_what_it_shows(key, name):
    assert charts.picture(*key) == {"format": "svg", "filename": name}
