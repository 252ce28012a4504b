#!/usr/bin/env python3
"""Opens report pages in headless Chromium and looks for what a reader would stumble over.

  browser_test.py --make made_up_pages      pages of made-up runs
  browser_test.py report.html...            pages that are there

For each page, in light and dark, at 1280 and 390 px: no console error, no request but the page itself, no horizontal
scrolling of the page, no violation found by axe-core; sorting and zoom work; without script the page is complete.
Talks to the browser through its debugging pipe: nothing but Python and Chromium is needed. Exit code 77: no Chromium.
"""

import argparse
import fcntl
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"]


class Browser:
    def __init__(self, program, profile):
        to_read, self.out = os.pipe()
        self.inp, to_write = os.pipe()
        # The child's ends must be 3 and 4: first out of the way, then in place.
        child_read = fcntl.fcntl(to_read, fcntl.F_DUPFD, 10)
        child_write = fcntl.fcntl(to_write, fcntl.F_DUPFD, 10)

        def place():
            os.dup2(child_read, 3)
            os.dup2(child_write, 4)

        self.process = subprocess.Popen([program, *FLAGS, f"--user-data-dir={profile}"], preexec_fn=place, close_fds=False,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for fd in (to_read, to_write, child_read, child_write):
            os.close(fd)
        self.buffer = b""
        self.number = 0
        self.session = None
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(domain + ".enable")

    def message(self, deadline):
        while b"\0" not in self.buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.inp], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self.inp, 1 << 20)
            if not piece:
                raise RuntimeError("the browser has ended")
            self.buffer += piece
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        self.number += 1
        number = self.number
        request = {"id": number, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        data = json.dumps(request).encode() + b"\0"
        while data:
            data = data[os.write(self.out, data):]
        deadline = time.monotonic() + 60
        while True:
            answer = self.message(deadline)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def open(self, path):
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        deadline = time.monotonic() + 60
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self.message(deadline))

    def faults(self):
        self.evaluate("new Promise((done) => setTimeout(done, 50))")
        faults = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                faults.append("exception: " + json.dumps(params["exceptionDetails"])[:400])
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                faults.append("console: " + json.dumps(params["args"])[:400])
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                faults.append("log: " + params["entry"]["text"][:400])
            elif method == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("file:", "data:")):
                    faults.append("request: " + url)
        return faults

    def close(self):
        try:
            self.call("Browser.close")
        except (RuntimeError, TimeoutError, OSError):
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.out)
        os.close(self.inp)


AXE_RUN = """axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.map((v) =>
  v.id + " (" + v.impact + "): " + v.help + " at " + v.nodes.slice(0, 3).map((n) => n.target.join(" ") + " " +
  (n.any[0] ? n.any[0].message : "")).join("; ")))"""

SORT = """(() => {
  const table = document.querySelector("table.sortable");
  if (!table) return "no table";
  const column = (n) => [...table.tBodies[0].rows].map((row) => row.cells[n].textContent);
  const button = table.tHead.rows[0].cells[0].querySelector("button");
  if (!button) return "no button";
  button.click();
  const down = column(0);
  button.click();
  const up = column(0);
  const head = table.tHead.rows[0].cells[0].getAttribute("aria-sort");
  return JSON.stringify([...down].reverse()) === JSON.stringify(up) && head === "ascending" ? "ok" : "not sorted";
})()"""

ZOOM = """(() => {
  const button = [...document.querySelectorAll("button.tool")].find((b) => b.textContent === "Zoom");
  if (!button) return "no zoom";
  button.click();
  const figure = button.closest("figure");
  const open = figure.querySelectorAll("canvas").length === 1 && figure.querySelector(".plot").hidden;
  [...figure.querySelectorAll("button.tool")].find((b) => b.textContent === "Zoom in").click();
  const narrow = document.documentElement.scrollWidth <= document.documentElement.clientWidth;
  button.click();
  const closed = !figure.querySelector("canvas") && !figure.querySelector(".plot").hidden;
  return open && closed && narrow ? "ok" : JSON.stringify({ open, closed, narrow });
})()"""


def check(browser, page, axe):
    faults = []
    for scheme in ("light", "dark"):
        for width in (1280, 390):
            where = f"{page.name}, {scheme}, {width} px: "
            browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
            browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            browser.open(page)
            found = browser.faults()
            inner, outer = browser.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            if inner > outer or outer > width:
                wide = browser.evaluate("[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > "
                                        "document.documentElement.clientWidth + 1 && !e.closest('.scroll')).slice(0, 5)"
                                        ".map((e) => e.tagName + '.' + e.getAttribute('class'))")
                found.append(f"the page scrolls sideways: {inner} > {outer}: {wide}")
            browser.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
            inner = browser.evaluate("document.documentElement.scrollWidth")
            if inner > outer:
                found.append(f"the page scrolls sideways with everything open: {inner} > {outer}")
            browser.evaluate(axe)
            found += browser.evaluate(AXE_RUN)
            if browser.evaluate("document.querySelectorAll('figure.chart svg').length") > 0:
                result = browser.evaluate(SORT)
                if result not in ("ok", "no table"):
                    found.append("sorting: " + result)
                result = browser.evaluate(ZOOM)
                if result != "ok":
                    found.append("zoom: " + result)
            found += browser.faults()
            faults += [where + f for f in dict.fromkeys(found)]
    # Without script.
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(page)
    root = browser.call("DOM.getDocument")["root"]["nodeId"]

    def count(selector):
        return len(browser.call("DOM.querySelectorAll", nodeId=root, selector=selector)["nodeIds"])

    if count("main section") < 5 or count("button") > 0:
        faults.append(f"{page.name}, without script: {count('main section')} sections, {count('button')} buttons")
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--make", help="program that writes pages into a folder")
    parser.add_argument("pages", nargs="*", type=pathlib.Path)
    args = parser.parse_args()
    program = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    if not program:
        print("skipped: chromium is not installed")
        return 77
    axe = (ROOT / "third_party/axe-core/axe.min.js").read_text() + "\n;0"
    with tempfile.TemporaryDirectory() as temporary:
        pages = list(args.pages)
        if args.make:
            subprocess.run([args.make, temporary], check=True)
            pages += sorted(pathlib.Path(temporary).glob("*.html"))
        if not pages:
            parser.error("no page")
        browser = Browser(program, os.path.join(temporary, "profile"))
        faults = []
        try:
            for page in pages:
                faults += check(browser, page, axe)
        finally:
            browser.close()
    for fault in faults:
        print(fault)
    print(f"{len(pages)} pages, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
