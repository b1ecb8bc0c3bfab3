"""Pictures of every page, light and dark, for the documentation.

    .venv/bin/python bench/screenshots.py --data FOLDER [--run 1] [--other 2] [--out docs/images] [--only overview ...]
    .venv/bin/python bench/screenshots.py --data FOLDER --out /tmp/pictures --widths 1440 1280 768 --whole   # to judge

``FOLDER`` is a data folder with a judged run that has a base and a trajectory; ``--other`` is a run of the same dataset
to compare it with. Groups are found first where none were. Each picture is 1280 pixels wide, as high as its page up to
a limit, and stored with as many colours as keep it under 150 kB. Of several widths each picture's name says its own.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
WIDTH, LOWEST, HIGHEST, BYTES = 1280, 720, 1500, 150_000
# Higher than any page of the demo.
WHOLE = 5000
# The script ran to its end, nothing drawn is out of date, no placeholder stands for a part that still loads, and each
# figure is there.
SETTLED = """() => document.querySelector('[data-test-script-state="notRunning"]')
  && !document.querySelector('[data-stale="true"], [data-testid="stSkeleton"]')
  && [...document.querySelectorAll('.js-plotly-plot')].every(p => p.style.visibility !== 'hidden')"""
HEIGHT = "document.querySelector('[data-testid=stMainBlockContainer]').scrollHeight"


def places(run: int, other: int) -> dict[str, str]:
    """Page name to its address."""
    from core.filters import from_query
    from core.services import contradictions, runs, samples
    from core.services.routes import runs as routes
    from core.types import Filter

    columns = runs.get_run(run).columns
    first = samples.page(run, from_query("cause=base_conflict&sort=-confidence", columns), None, 1).rows[0]["sid"]
    found = {
        "start": "",
        "overview": f"overview?run={run}",
        "samples": f"samples?run={run}&status=unlearned&sort=-confidence",
        "row": f"samples?run={run}&sample={first}",
        "clusters": f"clusters?run={run}&cluster=1",
        "knowledge": f"knowledge?run={run}",
        "dynamics": f"dynamics?run={run}",
        "mitigation": f"mitigation?run={run}&cause=base_conflict",
        "compare": f"compare?run={run}&other={other}",
        "selftest": f"selftest?run={run}",
        "jobs": f"jobs?run={run}",
        "review": f"review?run={run}",
        "storage": f"storage?run={run}",
    }
    if contradictions.groups(run, Filter(), "size", 0, 1).total:
        found["contradictions"] = f"contradictions?run={run}"
    asked = [r.id for r in routes.list_routes()]
    found["routes"] = f"routes?run={run}" + (f"&routes={asked[0]}" if asked else "")
    return found


def find_groups(run: int) -> None:
    """Asks the server's worker for groups where none were found yet."""
    from core.services import clusters
    from core.types import Filter

    if clusters.grouping(run, Filter()) is None:
        clusters.request(run, clusters.WORDS)
        until(lambda: clusters.grouping(run, Filter()) is not None, 120)


def until(true: Callable[[], Any], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"waited {seconds:.0f} s in vain")
        time.sleep(0.2)


def _open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def compressed(png: bytes) -> bytes:
    """The picture with as many colours as keep it small."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (256, 128, 64, 32, 16):
        out = io.BytesIO()
        image.quantize(colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
            out, "PNG", optimize=True
        )
        if out.tell() < BYTES:
            break
    return out.getvalue()


def take(url: str, pages: Mapping[str, str], out: Path, widths: Sequence[int], highest: int) -> None:
    from playwright.sync_api import sync_playwright

    flags = ["--headless", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path="/usr/bin/chromium", args=[*flags, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        )
        for width, scheme in itertools.product(widths, ("light", "dark")):
            context = browser.new_context(viewport={"width": width, "height": LOWEST}, color_scheme=scheme)
            context.set_default_timeout(60_000)
            page = context.new_page()
            for name, address in pages.items():
                page.set_viewport_size({"width": width, "height": LOWEST})
                page.goto(f"{url}/{address}")
                page.locator("[data-testid=stMain] h1").wait_for()
                page.wait_for_function(SETTLED)
                if name == "mitigation":
                    page.get_by_role("button", name="Preview").click()
                    done = page.get_by_text(re.compile("rows from .* samples$"))
                    done.or_(page.get_by_role("alert")).first.wait_for()
                page.set_viewport_size({"width": width, "height": highest})
                page.wait_for_function(SETTLED)
                page.locator("[data-testid=stMain]").evaluate("part => part.scrollTo(0, 0)")
                height = min(max(int(page.evaluate(HEIGHT)), LOWEST), highest)
                page.set_viewport_size({"width": width, "height": height})
                page.wait_for_function(SETTLED)
                page.wait_for_timeout(1000)  # figures move to their places
                picture = compressed(page.screenshot(animations="disabled"))
                file = f"{name}-{scheme}.png" if len(widths) == 1 else f"{name}-{width}-{scheme}.png"
                (out / file).write_bytes(picture)
                print(f"{file}  {width} x {height}  {len(picture) / 1000:.0f} kB", file=sys.stderr)
            context.close()
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="data folder with the runs")
    parser.add_argument("--run", type=int, default=1)
    parser.add_argument("--other", type=int, default=2, help="run to compare with")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/images")
    parser.add_argument("--only", nargs="+", help="these pages alone")
    parser.add_argument("--widths", nargs="+", type=int, default=[WIDTH], help="pixels")
    parser.add_argument("--whole", action="store_true", help="pages to their end")
    args = parser.parse_args()
    os.environ["LACUNA_DATA_DIR"] = str(args.data.resolve())
    os.environ["LACUNA_DEMO"] = "0"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "core", "serve", "--port", str(port)], cwd=ROOT)
    try:
        until(lambda: _open(port), 60)
        find_groups(args.run)
        pages = places(args.run, args.other)
        args.out.mkdir(parents=True, exist_ok=True)
        chosen = {n: a for n, a in pages.items() if n in (args.only or pages)}
        take(f"http://127.0.0.1:{port}", chosen, args.out, args.widths, WHOLE if args.whole else HIGHEST)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


if __name__ == "__main__":
    main()
