"""How fast the studio is in a real browser: first photo, next photo, 200 thumbnails, 10,000 people, layout shift.

    python benchmarks/studio.py [--photos 240] [--people 10000] [--repeats 5] [--width 1280] [--record]

One API process (SQLite, a simulated base model, no worker) and Debian's Chromium, which Playwright drives by its path.
The photos are the built-in pictures, cropped differently. Every first photo is in a fresh browser, with nothing cached.
"Next photo" is from the key to the decoded picture in its place; a person looks at each for `--look` seconds, in which
the page fetches what comes next. Thumbnails are measured twice: the first visit makes them, the second finds them made.
The list of people (as `paaplus bench seed` makes them) is scrolled to its end and back, and people are found in it by
name. Aims are those that the project has set itself; nothing fails if one is missed, as the machine may be busy: the
load average is printed. --record keeps the result in benchmarks/results.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from cohort import simulated_base
from playwright.sync_api import Browser, Page, sync_playwright
from recording import record_rows

from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.tables import FeaturesRow, JobRow
from paaplus.db.types import utcnow
from paaplus.processes import api_command
from paaplus.services.images import uploads
from paaplus.services.images.features import features_digest
from paaplus.services.operations import seed
from paaplus.services.operations.seed import SeedPlan
from paaplus.services.registry import base_models
from paaplus.services.users import sessions, users
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from paaplus.studio import tour

APPLICATION, TASTE_DIM = "bench", 64
NUM_THUMBNAILS = 200
WALL_PX = 1_800  # height of a window in which, and in twice as much below it, 200 thumbnails fit
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SHIFTS = """() => { window.shift = 0; new PerformanceObserver((list) => {
  for (const each of list.getEntries()) if (!each.hadRecentInput) window.shift += each.value;
}).observe({ type: 'layout-shift', buffered: true }); }"""
NEXT_MS = """(key) => new Promise((resolve) => {
  const old = document.querySelector('#stage > img').src, began = performance.now();
  const look = () => {
    const image = document.querySelector('#stage > img');
    if (image && image.src !== old && image.complete && image.naturalWidth) {
      image.decode().then(() => requestAnimationFrame(() => resolve(performance.now() - began)));
    } else requestAnimationFrame(look);
  };
  document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
  look();
})"""
ALL_LOADED_MS = """async (number) => {
  const all = [...document.querySelectorAll('.wall img')].slice(0, number);
  while (!all.every((each) => each.dataset.filled)) await new Promise((resume) => requestAnimationFrame(resume));
  await Promise.all(all.map((each) => each.decode()));
  return performance.now();
}"""
SCROLL = """async () => {
  const frames = [], pages = [], people = document.querySelector('#people'), body = people.tBodies[0];
  const frame = () => new Promise((resume) => requestAnimationFrame(resume));
  const isWhole = () => people.ariaRowCount !== '-1';
  let most = 0;
  while (!isWhole()) {
    const before = document.body.scrollHeight, began = performance.now();
    window.scrollTo(0, before);
    while (document.body.scrollHeight === before && !isWhole()) await frame();
    pages.push(performance.now() - began);
    most = Math.max(most, body.rows.length);
  }
  await frame();
  for (let place = 0, last = performance.now(); place < 240; place++) {
    window.scrollBy(0, place < 120 ? -1500 : 1500);
    await frame();
    const now = performance.now();
    frames.push(now - last);
    last = now;
  }
  window.scrollTo(0, document.body.scrollHeight / 2);
  await frame();
  await frame();
  const links = [...body.querySelectorAll('a')].map((each) => each.getBoundingClientRect());
  const isFilled = links.some((each) => each.top < innerHeight / 2 && each.bottom + 60 > innerHeight / 2);
  return { pages, frames, people: Number(people.ariaRowCount) - 1, most, isFilled };
}"""
FIND_MS = """async (name) => {
  const field = document.querySelector('#find'), began = performance.now();
  field.value = name;
  field.dispatchEvent(new Event('input', { bubbles: true }));
  const isThere = () => {
    const all = [...document.querySelectorAll('#people tbody a')];
    return all.length === 1 && all[0].textContent === name;
  };
  while (!isThere()) await new Promise((resume) => requestAnimationFrame(resume));
  return performance.now() - began;
}"""


class Platform:
    """A running API with photos of one person, and people to watch."""

    def __init__(self, home: Path, num_photos: int, num_people: int) -> None:
        self.settings = Settings(home=home, log_level="WARNING", user_uploads_per_day=0)
        migrate.upgrade(self.settings.resolved_database_url)
        self.database = Database(self.settings.resolved_database_url)
        self.blobs = BlobStore(self.settings.resolved_storage_url)
        self.base = simulated_base(TASTE_DIM, features_are_taste=True)
        with self.database.session() as session:
            base_models.register(session, self.blobs, self.base, {"extractor": "none"}, {})
            self.person = users.create(session, application=APPLICATION, external_id="me")[0].id
        seed.seed(self.database, SeedPlan(application="crowd", num_users=num_people))
        self.add_photos(num_photos)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        environment = {**os.environ, "PAAPLUS_HOME": str(home), "PAAPLUS_API_PORT": str(port)}
        environment |= {"PAAPLUS_LOG_LEVEL": "WARNING", "PAAPLUS_USER_REQUESTS_PER_MINUTE": "0"}
        self.process = subprocess.Popen(api_command(), env=environment, stdout=sys.stderr)
        for _ in range(1200):
            if self.is_ready():
                break
            time.sleep(0.1)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def add_photos(self, number: int) -> None:
        """Crops of the built-in pictures, with features."""
        rng = np.random.default_rng(0)
        sources = [picture.load(1280) for picture in tour.pictures()]
        added: list[UUID] = []
        for place in range(number):
            picture = sources[place % len(sources)]
            left, top = (int(side * rng.uniform(0, 0.2)) for side in picture.size)
            crop = picture.crop((left, top, left + int(0.8 * picture.width), top + int(0.8 * picture.height)))
            buffer = BytesIO()
            crop.save(buffer, "JPEG", quality=90)
            row = uploads.add(
                self.database, self.blobs, self.settings, application=APPLICATION, owner_id=self.person,
                data=buffer.getvalue(), name=f"photo {place}.jpg",
            ).row  # fmt: skip
            added.append(row.id)
        with self.database.session() as session:
            session.execute(
                sa.delete(JobRow)
            )  # extractions: a job that waits makes the pages say that no worker is there
            for image_id in added:
                data = rng.normal(size=TASTE_DIM).astype(np.float16).tobytes()
                digest = features_digest(self.base.extractor_digest, image_id, data)
                session.add(
                    FeaturesRow(
                        image_id=image_id,
                        extractor_digest=self.base.extractor_digest,
                        data=data,
                        sha256=digest,
                        created_at=utcnow(),
                    )
                )

    def link(self, *, admin: bool = False) -> str:
        with self.database.session() as session:
            code = sessions.operator_link(session) if admin else sessions.invite(session, self.person, actor="bench")
        return f"{self.url}/studio/enter?code={code}"

    def processor_s(self) -> float:
        """Processor time of the API process so far, user and system, from Linux's `/proc`."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.database.dispose()


@contextmanager
def signed_in(browser: Browser, link: str, width: int, height: int | None = None) -> Iterator[Page]:
    """A fresh browser that has followed a link. `height`: of its window, pixels; None: of a usual screen."""
    height = height or (900 if width > 500 else 844)
    context = browser.new_context(viewport={"width": width, "height": height}, locale="en-US")
    try:
        page = context.new_page()
        page.add_init_script(f"({SHIFTS})()")
        page.set_default_timeout(120_000)
        page.goto(link)
        yield page
    finally:
        context.close()


def first_photos_ms(browser: Browser, platform: Platform, repeats: int, width: int) -> list[float]:
    """From opening the rating page to a decoded first photo, each in a fresh browser."""
    found = []
    for _ in range(repeats):
        with signed_in(browser, platform.link(), width) as page:
            page.goto("about:blank")
            page.goto(f"{platform.url}/studio/rate", wait_until="commit")
            page.wait_for_selector("#stage > img")
            found.append(page.evaluate("document.querySelector('#stage > img').decode().then(() => performance.now())"))
    return found


def thumbnails_ms(browser: Browser, platform: Platform, repeats: int, width: int) -> list[float]:
    """From opening the photos to 200 decoded thumbnails, each in a fresh browser whose window wants all of them."""
    found = []
    for _ in range(repeats):
        with signed_in(browser, platform.link(), width, WALL_PX) as page:
            page.goto("about:blank")
            page.goto(f"{platform.url}/studio/photos", wait_until="commit")
            page.wait_for_selector(".wall img")
            found.append(page.evaluate(ALL_LOADED_MS, NUM_THUMBNAILS))
    return found


def next_photos_ms(page: Page, number: int, look_s: float) -> list[float]:
    found = []
    page.wait_for_selector("#stage > img")
    for _ in range(number):
        page.wait_for_timeout(1_000 * look_s)
        found.append(page.evaluate(NEXT_MS, "4"))
    return found


def shift_of(page: Page, address: str, awaited: str) -> float:
    """Cumulative layout shift of a page while it loads and for a second after."""
    page.goto(address)
    page.wait_for_selector(awaited)
    page.wait_for_timeout(1_000)
    return float(page.evaluate("window.shift"))


def measure(browser: Browser, platform: Platform, options: argparse.Namespace) -> list[dict[str, Any]]:
    url, width = platform.url, options.width
    rows = [timed("first photo", first_photos_ms(browser, platform, options.repeats, width), "under 1,000 ms")]
    with signed_in(browser, platform.link(), width) as page:
        # Before the ratings: without a worker the page tells after a while that they wait.
        shifts = {
            path: shift_of(page, f"{url}/studio/{path}", awaited)
            for path, awaited in (("rate", "#stage > img"), ("order", ".tile"))
        }
        page.goto(f"{url}/studio/rate")
        rows.append(
            timed("next photo", next_photos_ms(page, min(20, options.photos - 5), options.look), "under 150 ms")
        )
        rows.append(timed("200 thumbnails, made now", thumbnails_ms(browser, platform, 1, width), ""))
        spent_s = platform.processor_s()
        found = thumbnails_ms(browser, platform, options.repeats, width)
        spent_ms = 1000 * (platform.processor_s() - spent_s) / options.repeats
        rows.append(timed("200 thumbnails, made before", found, "under 1,000 ms"))
        rows.append(timed("the same: processor of the API, with the sign-in", [spent_ms], ""))
        shifts["photos"] = shift_of(page, f"{url}/studio/photos", ".wall img")
    with signed_in(browser, platform.link(admin=True), width) as page:
        page.goto(f"{url}/studio/watch", wait_until="commit")
        page.wait_for_selector("#people tbody tr")
        rows.append(timed("first 60 people", [page.evaluate("performance.now()")], "under 1,000 ms"))
        scrolled = page.evaluate(SCROLL)
        assert scrolled["people"] == options.people + 1, scrolled
        assert scrolled["isFilled"], "the middle of the list is empty"
        shifts["watch, while it scrolls to the end and back"] = float(page.evaluate("window.shift"))
        rows.append(timed("next 60 people", scrolled["pages"], "under 1,000 ms"))
        rows.append(timed(f"a frame while {scrolled['people']:,} people scroll", scrolled["frames"], "under 50 ms"))
        rows.append({"what": "most rows in the document", "num": 1, "median": scrolled["most"], "p95": None, "aim": ""})
        page.evaluate("window.scrollTo(0, 0)")
        names = [page.locator("#people tbody a").nth(place).inner_text() for place in (3, 1, 5, 2, 4)]
        rows.append(timed("a person found by name", [page.evaluate(FIND_MS, name) for name in names], "under 500 ms"))
        shifts["watch"] = shift_of(page, f"{url}/studio/watch", "#people tbody tr")
    rows += [
        {"what": f"layout shift, {path}", "num": 1, "median": round(value, 4), "p95": None, "aim": "0"}
        for path, value in shifts.items()
    ]
    return rows


def timed(what: str, found: list[float], aim: str) -> dict[str, Any]:
    p95 = float(np.quantile(found, 0.95)) if len(found) > 2 else None
    return {
        "what": what, "num": len(found), "median": round(statistics.median(found), 1),
        "p95": round(p95, 1) if p95 is not None else None, "aim": aim,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("photos", 240), ("people", 10_000), ("repeats", 5), ("width", 1_280)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--look", type=float, default=0.7, help="seconds that a person looks at a photo")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("no chromium on the path: apt-get install chromium")
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        platform = Platform(Path(home), options.photos, options.people)
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            rows = measure(browser, platform, options)
        finally:
            browser.close()
            platform.close()
    print(f"Load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors\n")
    print("| what | measured | median | 95 % | aim |\n|---|---|---|---|---|")
    for row in rows:
        high = "" if row["p95"] is None else f"{row['p95']:g}"
        print(f"| {row['what']} | {row['num']} | {row['median']:g} | {high} | {row['aim']} |")
    if options.record:
        command = f"python benchmarks/studio.py --photos {options.photos} --people {options.people}"
        record_rows("studio", f"{command} --width {options.width}", rows)


if __name__ == "__main__":
    main()
