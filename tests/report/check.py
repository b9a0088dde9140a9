"""Opens a study's report.html in headless Chromium, uses it as a reader would, and exits with 1 where anything is wrong.

usage: check.py REPORT [--screenshots FOLDER]
"""

import pathlib
import sys
import traceback

from chromium import Failure, Page, find

DESKTOP = (1280, 900)
PHONE = (375, 812)

# Waits until the cards in view are drawn with their pictures, and two frames more.
SETTLE = """(async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 20)));
  const { cards, pictures } = window.quantlensGallery;
  const ready = (card) => card.node.dataset.drawn && (card.entry.image === null || pictures.get(card.entry.image));
  const inView = (card) => {
    const { top, bottom } = card.node.getBoundingClientRect();
    return card.node.isConnected && bottom > 0 && top < innerHeight;
  };
  await frame(); await frame();
  const until = performance.now() + 30000;
  while (!cards.filter(inView).every(ready)) {
    if (performance.now() > until) throw new Error("cards in view were not drawn for 30 s");
    await frame();
  }
  await frame(); await frame();
})()"""

# Waits until the page has loaded every picture ahead of printing.
LOADED = """(async () => {
  const { data, loading } = window.quantlensGallery;
  const until = performance.now() + 30000;
  const there = () => [...loading.values()].filter((picture) => picture.naturalWidth > 0).length;
  while (there() < data.images.length) {
    if (performance.now() > until) throw new Error(`${there()} of ${data.images.length} pictures after 30 s`);
    await new Promise((done) => setTimeout(done, 50));
  }
})()"""

# A number that changes with any pixel of a card's canvas.
PIXELS = """((card, which) => {
  const canvas = document.querySelectorAll('.pair')[card].querySelectorAll('canvas')[which];
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let sum = 0;
  for (let i = 0; i < data.length; i++) sum = (sum * 31 + data[i]) %% 4294967291;
  return sum;
})(%d, %d)"""

# What the page computes for every entry with the study's settings, beside what the study recorded.
RECOMPUTED = """(() => {
  const { data, cards, draw } = window.quantlensGallery;
  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  const wrong = [];
  for (const card of cards) {
    draw(card);
    const { entry } = card;
    if (Math.abs(card.rmse - entry.rmse) > 1e-9) wrong.push(`${entry.id}: RMSE ${card.rmse}, recorded ${entry.rmse}`);
    entry.sides.forEach((side, i) => {
      if (!same(card.found[i], side.box)) wrong.push(`${entry.id}: box ${card.found[i]}, recorded ${side.box}`);
    });
  }
  return wrong;
})()"""


class Checks:
    """Counts what passed and says what failed."""

    def __init__(self):
        self.passed, self.failed = 0, 0

    def __call__(self, name, good, found=""):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {name}: {found}", flush=True)


def set_value(page, control, value, event="input"):
    """Sets a control as a reader's choice does."""
    page.run(
        f"(() => {{ const c = document.getElementById({control!r}); c.value = {value!r};"
        f" c.dispatchEvent(new Event({event!r}, {{ bubbles: true }})); }})()"
    )
    page.run(SETTLE)


def shown(page, field):
    """A field of the entries in the order shown."""
    return page.run(
        "(() => { const all = window.quantlensGallery.cards;"
        " return [...document.querySelectorAll('.pair')].map((node) => all.find((c) => c.node === node).entry)"
        f".map((e) => e.{field}); }})()"
    )


def check_loading(page, check):
    count = page.run("window.quantlensGallery.data.entries.length")
    check("cards for all entries", page.run("document.querySelectorAll('.pair').length") == count, count)
    check("there are entries", count >= 4, count)
    tables = page.run("document.querySelectorAll('#tables table').length")
    check("tables", tables >= 12, tables)
    broken = page.run("[...document.links].map((a) => a.hash).filter((h) => h && !document.querySelector(h))")
    check("links lead somewhere", broken == [], broken)
    check("what the page computes", (wrong := page.run(RECOMPUTED)) == [], wrong)
    outside = [url[:80] for url in page.requests if not url.startswith(("file:", "data:"))]
    check("nothing is fetched", outside == [], outside)


def check_sorting(page, check):
    for order, field, key in [
        ("rmse", "rmse", lambda x: -x),
        ("rmse-up", "rmse", lambda x: x),
        ("aligned", "aligned", lambda x: -x),
        ("file", "id", lambda x: x),
    ]:
        set_value(page, "order", order)
        found = shown(page, field)
        check(f"sorted by {order}", found == sorted(found, key=key) and len(found) > 1, found)
    set_value(page, "order", "rmse")


def check_filters(page, check):
    everything = shown(page, "rmse")
    middle = sorted(everything)[len(everything) // 2]
    set_value(page, "least", str(middle))
    found = shown(page, "rmse")
    check("RMSE from", found and min(found) >= middle and len(found) < len(everything), found)
    set_value(page, "least", "")
    set_value(page, "most", str(middle))
    found = shown(page, "rmse")
    check("RMSE to", found and max(found) <= middle and len(found) < len(everything), found)
    set_value(page, "most", "")
    outcomes = shown(page, "outcome")
    for outcome in sorted(set(outcomes)):
        set_value(page, "outcome", outcome)
        found = shown(page, "outcome")
        check(f"right class {outcome}", found == [outcome] * outcomes.count(outcome), found)
    set_value(page, "outcome", "")
    names = shown(page, "sides[0].class")
    set_value(page, "class", names[0].upper())
    found = shown(page, "sides[0].class")
    check("class", 0 < len(found) and names[0] in found, found)
    set_value(page, "class", "no class is called so")
    said = page.run("document.getElementById('count').textContent")
    check("class that no pair has", shown(page, "rmse") == [] and said == f"0 of {len(everything)} pairs", said)
    set_value(page, "class", "")
    set_value(page, "network", "0")
    check("network", set(shown(page, "network")) == {0})
    page.run("document.getElementById('reset').click()")
    page.run(SETTLE)
    check("reset shows all again", shown(page, "rmse") == everything)


def check_sliders(page, check):
    page.run("document.getElementById('pairs').scrollIntoView()")
    page.run(SETTLE)
    pixels = lambda: [page.run(PIXELS % (0, which)) for which in range(3)]
    before = pixels()
    set_value(page, "blend", "90")
    blended = pixels()
    changed = [a != b for a, b in zip(before, blended)]
    check("blend changes the maps and leaves the picture", changed == [False, True, True], changed)
    set_value(page, "blend", "50")
    check("blend and back", pixels() == before)
    set_value(page, "threshold", "0.85")
    changed = [a != b for a, b in zip(before, pixels())]
    check("threshold moves the boxes", changed[0] is False and any(changed[1:]), changed)
    for control, value in [("signs", "mean"), ("colours", "inferno")]:
        set_value(page, control, value)
        check(f"{control} change the maps", pixels()[1:] != before[1:])
    page.run("document.getElementById('reset').click()")
    page.run(SETTLE)
    check("reset draws as at first", pixels() == before)


def check_keyboard(page, check):
    """Tab reaches every control and shows where it is; arrows move a slider."""
    page.run("document.getElementById('network').focus()")
    reached = []
    for _ in range(15):
        reached.append(page.run("document.activeElement.id"))
        page.key("Tab", "Tab", 9)
        outline = page.run("getComputedStyle(document.activeElement).outlineStyle")
        if page.run("document.activeElement.closest('#gallery') !== null"):
            check("focus is visible", outline not in ("none", ""), page.run("document.activeElement.id"))
    wanted = ["network", "outcome", "class", "least", "most", "order", "signs", "colours", "otsu", "align", "boxes"]
    wanted += ["reset", "threshold", "blend"]
    check("tab goes through the controls", reached[: len(wanted)] == wanted, reached)
    page.run("document.getElementById('threshold').focus()")
    page.key("ArrowRight", "ArrowRight", 39)
    page.run(SETTLE)
    found = page.run("document.getElementById('threshold-value').textContent")
    check("an arrow moves the threshold", found == "0.21", found)
    page.run("document.getElementById('reset').click()")


def check_widths(page, check, url):
    for width, height in (PHONE, (320, 640), DESKTOP):
        page.open(url, width, height, scale=2 if width < 500 else 1, mobile=width < 500)
        page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        page.run(SETTLE)
        found = page.run("[document.documentElement.scrollWidth, document.body.scrollWidth]")
        check(f"no horizontal scroll at {width} pixels", max(found) <= width, found)


def check_print(page, check, url):
    page.open(url, *DESKTOP)
    page.run(SETTLE)
    page.run(LOADED)
    page.send("Emulation.setEmulatedMedia", media="print")
    hidden = page.run("getComputedStyle(document.getElementById('controls')).display")
    check("controls are not printed", hidden == "none", hidden)
    page.run("window.dispatchEvent(new Event('beforeprint'))")
    blank = page.run(
        "[...document.querySelectorAll('.pair canvas')].filter((canvas) => {"
        " const d = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;"
        " return d.every((x, i) => x === d[i % 4]); }).length"
    )
    check("every picture is printed", blank == 0, f"{blank} are blank")
    page.send("Emulation.setEmulatedMedia", media="")


def take_screenshots(page, url, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, (width, height), dark in [("desktop", DESKTOP, False), ("dark", DESKTOP, True), ("phone", PHONE, False)]:
        page.open(url, width, height, mobile=name == "phone", dark=dark)
        for anchor in ("glance", "figures", "tables", "gallery", "pairs"):
            page.run(f"document.getElementById({anchor!r}).scrollIntoView()")
            page.run(SETTLE)
            page.screenshot(folder / f"{name}-{anchor}.png")


def main(arguments):
    browser = find()
    if browser is None:
        sys.exit("no chromium here: apt-get install chromium")
    report = pathlib.Path(arguments[0]).resolve()
    url, check = report.as_uri(), Checks()
    check("size", report.stat().st_size <= 25_000_000, report.stat().st_size)
    with Page(browser) as page:
        try:
            page.open(url, *DESKTOP)
            page.run(SETTLE)
            check_loading(page, check)
            check_sorting(page, check)
            check_filters(page, check)
            check_sliders(page, check)
            check_keyboard(page, check)
            check_widths(page, check, url)
            check_print(page, check, url)
            if "--screenshots" in arguments:
                take_screenshots(page, url, pathlib.Path(arguments[arguments.index("--screenshots") + 1]))
        except Failure:
            check("the page answers", False, traceback.format_exc())
        check("no errors in the console", page.problems == [], page.problems)
    print(f"{check.passed} passed, {check.failed} failed")
    sys.exit(1 if check.failed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
