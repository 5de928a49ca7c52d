"""Open every built page in Chromium and say what is wrong with it: `make check`.

Usage: check_pages.py [--html DIR] [--out DIR] [--shots-only] [WORD ...]

With WORDs, only pages whose path contains one of them. Screenshots and report.json go to the output
folder. Exit status: 0 all is well, 1 something failed, 2 nothing could be checked.
"""

import argparse
import json
import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import Error as BrowserError
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # the same result with a network
]
AT_ONCE = min(4, os.cpu_count() or 1)  # browsers
MOST_OFTEN = 5  # how many places of one problem are named

# Each returns a list of what is wrong.
FIND_IMAGES = """() => {
  const images = [...document.images].map(i => [i.alt.trim(), i.getAttribute("src") || ""]);
  const words = t => t.toLowerCase().replace(/\\.\\w+$/, "").replace(/[^a-z0-9]+/g, " ").trim();
  return images.flatMap(([alt, src], k) => {
    const name = src.startsWith("data:") ? "" : src.split("/").pop().split("?")[0];
    if (!alt) return [`image ${name} has no alt text`];
    if (name && words(alt) === words(name) || /\\.(png|svg|jpe?g|gif|webp)$/i.test(alt))
      return [`image ${name} has a file name as alt text`];
    return images.slice(0, k).some(other => other[0] === alt)
      ? [`image ${name} repeats the alt text of another: ${alt}`] : [];
  });
}"""
FIND_MARKUP = """() => {
  const errors = [...document.querySelectorAll("mjx-merror, merror")].map(
    e => "MathJax error: " + (e.getAttribute("data-mjx-error") || e.textContent));
  const bare = [...document.querySelectorAll(".math:not(:has(mjx-container))")].map(
    e => "math that was not typeset: " + e.textContent.trim().slice(0, 60));
  const text = document.body.cloneNode(true);
  const meant = "pre, code, script, style, .math, mjx-container, #search-results";
  text.querySelectorAll(meant).forEach(e => e.remove());
  const left = text.textContent.match(
    /\\$\\$|\\{(eq|numref|ref|doc|term|math|code|cite(:\\w+)?|prf:\\w+)\\}|:::\\s*\\{|\\\\[a-z]+\\{/g);
  return [...errors, ...bare, ...[...new Set(left || [])].map(m => "raw markup in the text: " + m)];
}"""
FIND_OVERFLOW = """() => {
  const root = document.scrollingElement, width = root.clientWidth;
  const name = e => e.tagName.toLowerCase() + (e.id && "#" + e.id) +
    [...e.classList].slice(0, 2).map(c => "." + c).join("");
  const frame = e => !e || e === document.body || e === root ? null
    : getComputedStyle(e).overflowX === "visible" ? frame(e.parentElement) : e;
  const outside = e => {
    const box = e.getBoundingClientRect(), around = frame(e.parentElement);
    if (!box.width || !box.height || !e.checkVisibility({visibilityProperty: true})) return "";
    if (!around) return box.right > width + 1 || box.left < -1
      ? `${name(e)} reaches to ${Math.round(box.right)} of ${width} px` : "";
    const hides = ["hidden", "clip"].includes(getComputedStyle(around).overflowX);
    return hides && e.textContent.trim() && box.right > around.getBoundingClientRect().right + 1
      ? `${name(e)} is cut off by ${name(around)}` : "";
  };
  const unseen = "mjx-assistive-mml, mjx-assistive-mml *, .visually-hidden, .sr-only";
  const found = [...document.querySelectorAll("main *")].filter(e => !e.matches(unseen))
    .map(outside).filter(Boolean);
  return found.length || root.scrollWidth <= width ? found
    : [`the page is ${root.scrollWidth} px wide, the window ${width}`];
}"""
FIND_AXE_VIOLATIONS = """async contrast => {
  const results = await axe.run({
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    rules: {"color-contrast": {enabled: contrast}}, // its slowest rule
    resultTypes: ["violations"],
    preload: false, // it would load style sheets again, from wrong addresses
  });
  return results.violations.flatMap(
    v => v.nodes.map(node => `axe ${v.id}: ${v.help}: ${node.target.join(" ")}`));
}"""
UNFOLD = """() => {
  for (const e of document.querySelectorAll("details")) e.open = true;
  for (const e of document.querySelectorAll("button.toggle-button-hidden")) e.click();
}"""
SETTLE = """async () => {
  await document.fonts.ready;
  await window.MathJax?.startup?.promise;
  await new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)));
}"""


@dataclass(frozen=True)
class Finding:
    page: str
    theme: str  # and what else says how the page was opened
    what: str

    def __str__(self):
        return f"{self.page} | {self.theme} | {self.what}"


class Report:
    """Counts checks and keeps what they found."""

    def __init__(self):
        self.findings: list[Finding] = []
        self.passed = self.failed = 0

    def add(self, page: str, theme: str, problems: list[str]) -> None:
        """Note one check; it failed if it found problems, of which the first few are named."""
        if not problems:
            self.passed += 1
            return
        self.failed += 1
        distinct = list(dict.fromkeys(problems))
        self.findings += [Finding(page, theme, problem) for problem in distinct[:MOST_OFTEN]]
        if len(distinct) > MOST_OFTEN:
            rest = f"and {len(distinct) - MOST_OFTEN} more of this kind"
            self.findings.append(Finding(page, theme, rest))

    def merge(self, other: "Report") -> None:
        """Add what another report counted and found."""
        self.findings += other.findings
        self.passed += other.passed
        self.failed += other.failed


# Links: no browser needed


class _Anchors(HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.links = set(), []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])


def find_pages(html: Path) -> list[str]:
    """All pages of the book, as paths relative to its folder."""
    paths = (path.relative_to(html) for path in html.rglob("*.html"))
    return sorted(p.as_posix() for p in paths if not any(part.startswith("_") for part in p.parts))


def broken_links(html: Path, page: str, cache: dict[str, _Anchors]) -> list[str]:
    """Links of a page to files or anchors that the book does not have."""

    def anchors(path: str) -> _Anchors:
        if path not in cache:
            cache[path] = _Anchors()
            cache[path].feed((html / path).read_text("utf-8"))
        return cache[path]

    problems = []
    for link in anchors(page).links:
        url = urlsplit(urljoin(page, link))
        target = unquote(url.path)
        if url.scheme or url.netloc:
            continue
        if not (html / target).is_file():
            problems.append(f"link to {link}: no such file")
        elif url.fragment and unquote(url.fragment) not in anchors(target).ids:
            problems.append(f"link to {link}: no such place in that page")
    return problems


# Browser


def find_browser() -> str | None:
    """The Chromium to use: $NTKBOOK_CHROMIUM, or the first on the path."""
    asked = os.environ.get("NTKBOOK_CHROMIUM")
    names = [asked] if asked else ["chromium", "chromium-browser", "google-chrome"]
    return next(filter(None, map(shutil.which, names)), None)


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


class Visit:
    """One page in one tab; keeps what is wrong with its requests and what its console says."""

    def __init__(self, context, base: str, path: str):
        self.requests: list[str] = []
        self.messages: list[str] = []
        self.base = base
        self.tab = tab = context.new_page()
        tab.on("request", self._request)
        tab.on("requestfailed", lambda r: self.requests.append(f"failed: {r.url} {r.failure}"))
        tab.on("response", self._response)
        tab.on("console", self._console)
        tab.on("pageerror", lambda error: self.messages.append(f"script error: {error.message}"))
        tab.goto(base + path)
        tab.wait_for_load_state("networkidle")
        tab.evaluate(SETTLE)

    def _request(self, request):
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.requests.append(f"request leaves the host: {request.url}")

    def _response(self, response):
        if response.status >= 400:
            self.requests.append(f"status {response.status}: {response.url}")

    def _console(self, message):
        named = message.text.startswith("Failed to load resource")  # by _response, with its address
        if message.type in ("error", "warning") and not named:
            self.messages.append(f"console {message.type}: {message.text}")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.tab.close()


def check_page(context, base: str, page: str, theme: str, out: Path, report: Report | None) -> int:
    """Check one page in one theme at both widths; gives the number of its live figures."""
    query = "?q=kernel" if page == "search.html" else ""
    shot = f"{out / page.removesuffix('.html').replace('/', '-')}-{theme}"
    with Visit(context, base, page + query) as visit:
        tab = visit.tab
        tab.screenshot(path=f"{shot}.png", full_page=True)
        tab.evaluate(UNFOLD)
        if report is not None:
            report.add(page, theme, _at_rest(tab, FIND_AXE_VIOLATIONS, True))
            report.add(page, theme, tab.evaluate(FIND_IMAGES))
            report.add(page, theme, tab.evaluate(FIND_MARKUP))
        tab.set_viewport_size(PHONE)
        tab.screenshot(path=f"{shot}-390.png", full_page=True)
        if report is not None:
            report.add(page, f"{theme} 390 px", _at_rest(tab, FIND_OVERFLOW))
            report.add(page, f"{theme} 390 px", _at_rest(tab, FIND_AXE_VIOLATIONS, False))
            report.add(page, theme, visit.requests)
            report.add(page, theme, visit.messages)
        return tab.locator(".live-figure").count()


def _at_rest(tab, find: str, *arguments) -> list[str]:
    """What a script finds once a resize is answered and what was unfolded has faded in."""
    problems = tab.evaluate(find, *arguments)
    if problems:
        tab.wait_for_timeout(500)
        problems = tab.evaluate(find, *arguments)
    return problems


# Live figures


def check_live(context, base: str, page: str, report: Report) -> set[str]:
    """Move every slider of a page and compare with Python; gives the figures' modules."""
    how, modules = base.partition(":")[0], set()
    with Visit(context, base, page) as visit:
        for number, figure in enumerate(visit.tab.locator(".live-figure").all(), 1):
            figure.scroll_into_view_if_needed()
            check = _numbers(figure)
            if check is None:
                report.add(page, how, [f"live figure {number} has no value.check"])
                continue
            modules.add(check["module"])
            report.add(page, how, differences(check))
            for slider in figure.locator("input[type=range]").all():
                report.add(page, how, _move(figure, slider, number))
            for choice in figure.locator("select").all():
                report.add(page, how, _choose(figure, choice, number))
        report.add(page, how, visit.requests + visit.messages)
    return modules


def _numbers(figure) -> dict | None:
    return figure.evaluate("e => e.value?.check ?? null")


def _move(figure, slider, number: int) -> list[str]:
    """Press keys on a slider: each must redraw the curves, and rightly."""
    label = slider.evaluate("e => e.ariaLabel || e.labels[0]?.textContent || e.name")
    where = f"live figure {number}, slider {label.strip()!r}"
    problems = []
    moved = False
    for key in ("ArrowRight", "Home", "ArrowRight", "End"):
        value, curves = slider.input_value(), _drawn(figure)
        slider.press(key)
        figure.page.evaluate(SETTLE)
        if slider.input_value() == value:
            continue  # it stands at that end
        moved = True
        if _drawn(figure) == curves:
            problems.append(f"{where}: {key} does not change what is drawn")
        problems += [f"{where}: {problem}" for problem in differences(_numbers(figure))]
    return problems if moved else [f"{where}: no key moves it"]


def _choose(figure, choice, number: int) -> list[str]:
    """Take each option of a choice: the curves must be right for it."""
    problems = []
    for option in choice.locator("option").all():
        name = option.get_attribute("value")
        choice.select_option(name)
        figure.page.evaluate(SETTLE)
        wrong = differences(_numbers(figure))
        problems += [f"live figure {number}, option {name!r}: {problem}" for problem in wrong]
    return problems


def _drawn(figure) -> list[str]:
    shapes = "svg :is(path, polyline, line, circle, rect)"
    return figure.evaluate("(e, q) => [...e.querySelectorAll(q)].map(s => s.outerHTML)", shapes)


def differences(check: dict) -> list[str]:
    """Where the numbers behind the curves are not those that Python computes."""
    from ntkbook import live  # imports JAX, which pages without a live figure do not need

    expected, tolerance = live.reference(check["module"], check["state"]), 1e-6
    if check["module"] in live.INTEGRATED:
        tolerance = live.INTEGRATED[check["module"]]
    if expected.keys() != check["curves"].keys():
        return [f"curves {sorted(check['curves'])}; Python has {sorted(expected)}"]
    problems = []
    for name, wanted in expected.items():
        drawn, wanted = check["curves"][name], [float(x) for x in wanted]
        if len(drawn) != len(wanted):
            problems.append(f"curve {name} has {len(drawn)} points; Python has {len(wanted)}")
        near_zero = 1e-12 if tolerance <= 1e-6 else tolerance * max(map(abs, wanted))
        for i, (a, b) in enumerate(zip(drawn, wanted, strict=False)):
            if a is None or not math.isclose(a, b, rel_tol=tolerance, abs_tol=near_zero):
                problems.append(f"curve {name}, point {i}: {a}; Python has {b} ({check['state']})")
                break
    return problems


# All of it


def run(html: Path, out: Path, browser_path: str, words: list[str], shots_only: bool) -> Report:
    """Check the pages that contain one of the words, or all, with a browser for each core."""
    pages = [p for p in find_pages(html) if not words or any(word in p for word in words)]
    by_size = sorted(pages, key=lambda page: -(html / page).stat().st_size)
    shares = [share for i in range(AT_ONCE) if (share := by_size[i::AT_ONCE])]
    report, modules = Report(), set()
    check = partial(_check_share, html, out, browser_path, shots_only=shots_only)
    if len(shares) < 2:
        results = map(check, shares)
    else:
        with ProcessPoolExecutor(len(shares), mp_context=get_context("spawn")) as pool:
            results = list(pool.map(check, shares))
    for checked, shown in results:
        report.merge(checked)
        modules |= shown
    report.findings.sort(key=lambda finding: pages.index(finding.page))
    if not shots_only and not words:
        sources = {path.stem for path in (ROOT / "ntkbook" / "live").glob("*.js")}
        sources.remove("kit")  # what they share
        missing = sorted(sources - modules)
        report.add("all pages", "live", [f"no page shows the figure {name}" for name in missing])
    return report


def _check_share(html, out, browser_path, pages, *, shots_only) -> tuple[Report, set[str]]:
    """What is wrong with some of the pages, and which live figures they show."""
    report, links, live, modules = Report(), {}, [], set()
    with serve(html) as base, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=FLAGS)
        for theme in ("light", "dark"):
            with browser.new_context(color_scheme=theme, viewport=DESKTOP) as context:
                context.add_init_script(path=AXE_FILE_PATH)
                for page in pages:
                    note = None if shots_only else report
                    if check_page(context, base, page, theme, out, note) and theme == "light":
                        live.append(page)
        if not shots_only:
            for page in pages:
                report.add(page, "links", broken_links(html, page, links))
            with browser.new_context(viewport=DESKTOP) as context:
                for page in live:
                    for address in (base, html.as_uri() + "/"):
                        modules |= check_live(context, address, page, report)
        browser.close()
    return report, modules


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only pages whose path has it")
    parser.add_argument("--html", type=Path, default=ROOT / "_build" / "html", metavar="DIR")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "check", metavar="DIR")
    parser.add_argument("--shots-only", action="store_true", help="only take the screenshots")
    options = parser.parse_args(arguments)
    html, out = options.html.resolve(), options.out.resolve()
    if not (html / "index.html").is_file():
        print(f"check_pages: no book in {html}; run `make book` first", file=sys.stderr)
        return 2
    browser = find_browser()
    if browser is None:
        print(
            "check_pages: no Chromium; install it (Debian, Ubuntu: apt-get install chromium) "
            "or set NTKBOOK_CHROMIUM to its path",
            file=sys.stderr,
        )
        return 2

    os.environ["JAX_ENABLE_X64"] = "1"  # the browser computes in float64
    start = time.monotonic()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    try:
        report = run(html, out, browser, options.words, options.shots_only)
    except BrowserError as error:
        print(f"check_pages: {browser} failed: {error.message.splitlines()[0]}", file=sys.stderr)
        return 2
    seconds = round(time.monotonic() - start, 1)
    findings = [asdict(finding) for finding in report.findings]
    summary = {"passed": report.passed, "failed": report.failed, "seconds": seconds}
    (out / "report.json").write_text(json.dumps(summary | {"findings": findings}, indent=1))
    for finding in report.findings:
        print(finding)
    print(f"screenshots and report.json are in {out} ({seconds} s)")
    if not options.shots_only:
        print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
