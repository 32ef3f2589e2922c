#!/usr/bin/env python3
"""Looks at pages with headless Chromium over its DevTools protocol: browser.py BASE-URL OUT-DIR [TOKEN]

Takes pictures (light, dark, French, narrow, print), times the first paint, walks the page with the tab key, computes
the contrast of every text, and follows a change without reloading. Only the standard library is used.
"""
import base64, http.client, json, os, re, socket, statistics, subprocess, sys, tempfile, time, urllib.parse


class Browser:
    def __init__(self):
        self.data = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        flags = ("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
                 "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0").split()
        self.process = subprocess.Popen(["chromium", *flags, f"--user-data-dir={self.data.name}", "about:blank"],
                                        stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        port_file = os.path.join(self.data.name, "DevToolsActivePort")
        until = time.time() + 60
        while not (os.path.exists(port_file) and len(open(port_file).read().split("\n")) >= 2):
            if time.time() > until:
                raise SystemExit("chromium does not begin")
            time.sleep(0.1)
        self.port = int(open(port_file).read().split("\n")[0])
        ask = http.client.HTTPConnection("127.0.0.1", self.port)
        ask.request("PUT", "/json/new?about:blank")
        target = json.loads(ask.getresponse().read())
        path = urllib.parse.urlparse(target["webSocketDebuggerUrl"]).path
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.sendall((f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        self.file = self.socket.makefile("rb")
        while self.file.readline() not in (b"\r\n", b""):
            pass
        self.last, self.events = 0, []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.data.cleanup()

    def send(self, text):
        data, mask = text.encode(), os.urandom(4)
        size = len(data)
        head = bytes([0x81]) + (bytes([0x80 | size]) if size < 126 else bytes([0xFE]) + size.to_bytes(2, "big") if size < 65536
                                else bytes([0xFF]) + size.to_bytes(8, "big"))
        self.socket.sendall(head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data)))

    def receive(self):
        whole = b""
        while True:
            first, size = self.file.read(2)
            size &= 0x7F
            if size > 125:
                size = int.from_bytes(self.file.read(2 if size == 126 else 8), "big")
            part = self.file.read(size)
            if first & 0x0F in (0, 1, 2):
                whole += part
                if first & 0x80:
                    return json.loads(whole)

    def call(self, method, **parameters):
        self.last += 1
        self.send(json.dumps({"id": self.last, "method": method, "params": parameters}))
        while True:
            told = self.receive()
            if told.get("id") == self.last:
                if "error" in told:
                    raise SystemExit(f"{method}: {told['error']}")
                return told["result"]
            self.events.append(told)

    def run(self, code):
        told = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise SystemExit(told["exceptionDetails"])
        return told["result"].get("value")

    def open(self, url):
        self.call("Page.navigate", url=url)
        until = time.time() + 60
        while self.run("document.readyState") != "complete" or self.run("location.href") == "about:blank":
            if time.time() > until:
                raise SystemExit(f"{url} is not loaded")
            time.sleep(0.02)

    def paint(self, url):
        """Milliseconds from the request to the first content on the screen."""
        self.open(url)
        until = time.time() + 30
        while (at := self.run("(performance.getEntriesByName('first-contentful-paint')[0] || {}).startTime")) is None:
            if time.time() > until:
                raise SystemExit(f"nothing of {url} is painted")
            time.sleep(0.02)
        time.sleep(0.05)
        return at

    def media(self, scheme="light", kind="", width=1280, language="en"):
        self.call("Emulation.setEmulatedMedia", media=kind, features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.call("Network.setExtraHTTPHeaders", headers={"Accept-Language": language})

    def picture(self, file, most=4000):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], most), "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        open(file, "wb").write(base64.b64decode(shot["data"]))


# Contrast of every visible text against the nearest background, as WCAG computes it.
CONTRAST = """(() => {
  const parts = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = c => { const [r, g, b] = parts(c).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
    if (parts(c).length < 4 || parts(c)[3] > 0) return c; } return "rgb(255,255,255)"; };
  const bad = []; let least = 99, n = 0;
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let t; t = walk.nextNode();) { const e = t.parentElement;
    if (!t.data.trim() || ["STYLE", "SCRIPT", "TITLE", "DESC"].includes(e.tagName) || e.closest("title,desc") || !e.getClientRects().length) continue;
    const s = getComputedStyle(e), c = e.closest("svg") ? s.fill : s.color, a = light(c), b = light(ground(e));
    const k = (Math.max(a, b) + .05) / (Math.min(a, b) + .05); n++; least = Math.min(least, k);
    if (k < 4.5) bad.push(k.toFixed(2) + " " + t.data.trim().slice(0, 40)); }
  return {texts: n, least, bad}; })()"""

WIDE = """(() => { const d = document.documentElement; return d.scrollWidth - d.clientWidth; })()"""

FOCUSED = """(() => { const e = document.activeElement, s = getComputedStyle(e);
  return e === document.body ? null : {name: (e.innerText || e.getAttribute("aria-label") || e.getAttribute("aria-labelledby") || "").trim().slice(0, 50),
    tag: e.tagName, ring: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2,
    at: [e.getBoundingClientRect().top + scrollY, e.getBoundingClientRect().left]}; })()"""


def walk(browser):
    """Every stop of the tab key; each must show where it is."""
    stops = []
    for _ in range(300):
        for kind in ("rawKeyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        stop = browser.run(FOCUSED)
        if stop is None or (len(stops) > 2 and stop == stops[0]):
            break
        stops.append(stop)
    return stops


def main():
    base, out, token = sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None
    os.makedirs(out, exist_ok=True)
    browser, faults = Browser(), []
    try:
        browser.media()
        browser.open(f"{base}/reports")
        if token:
            browser.picture(f"{out}/login.png")
            faults += [f"login: contrast {b}" for b in browser.run(CONTRAST)["bad"]]
            browser.run(f"document.getElementById('token').value = {json.dumps(token)}; document.querySelector('form').submit()")
            until = time.time() + 20
            while browser.run("document.querySelector('table') === null"):
                if time.time() > until:
                    raise SystemExit("the form lets nobody in")
                time.sleep(0.1)
            if browser.run("location.pathname") != "/reports":
                faults.append("the form does not lead to where one wanted to go")
        newest = browser.run("document.querySelector('tbody th a').getAttribute('href')")
        run = None
        browser.open(f"{base}/runs")
        run = browser.run("(document.querySelector('main li a') || {getAttribute: () => null}).getAttribute('href')")
        pages = {"overview": "/", "reports": "/reports", "report": newest, **({"run": run} if run else {})}
        ways = {"light": {}, "dark": {"scheme": "dark"}, "french": {"language": "fr"}, "narrow": {"width": 390},
                "print": {"kind": "print", "width": 720}}
        for name, path in pages.items():
            for way, how in ways.items():
                browser.media(**how)
                browser.open(base + path)
                browser.picture(f"{out}/{name}-{way}.png")
                contrast, wide = browser.run(CONTRAST), browser.run(WIDE)
                print(f"{name:9} {way:7} {contrast['texts']:5} texts, least contrast {contrast['least']:.2f}, {wide} px too wide")
                faults += [f"{name} {way}: contrast {b}" for b in contrast["bad"]]
                if wide > 0 and way != "print":
                    faults.append(f"{name} {way}: {wide} px wider than the screen")
            browser.media()
            browser.open(base + path)
            stops = walk(browser)
            order = [s["at"] for s in stops]
            up = sum(1 for a, b in zip(order, order[1:]) if b[0] < a[0] - 60 and b[1] <= a[1])
            print(f"{name:9} keyboard {len(stops)} stops, {up} upwards; first: {[s['name'] for s in stops[:5]]}")
            faults += [f"{name}: no ring at {s['tag']} {s['name']}" for s in stops if not s["ring"]]
            faults += [f"{name}: no name for {s['tag']}" for s in stops if not s["name"]]
            if up:
                faults.append(f"{name}: the tab key goes upwards {up} times")
        open(f"{out}/report.pdf", "wb").write(base64.b64decode(browser.call("Page.printToPDF", printBackground=True)["data"])) \
            if not browser.open(base + newest) else None
        # A line of plain text takes the browser as long as nothing can be faster than.
        for name, path, most in (("a line of text", "/livez", None), ("a year", "/", 100)):
            paints = sorted(browser.paint(base + path) for _ in range(25))
            median = statistics.median(paints)
            print(f"first paint of {name}: fastest {paints[0]:.0f}, median {median:.0f}, slowest of {len(paints)} {paints[-1]:.0f} ms")
            if most and median > most:
                faults.append(f"the first paint takes longer than {most} ms")
        for event in browser.events:
            if event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
                text = event["params"]["entry"]["text"]
                url = event["params"]["entry"].get("url", "")
                if "401" not in text and not url.endswith("/favicon.ico"):
                    faults.append(f"console: {text} {url}")
            if event["method"] == "Network.requestWillBeSent":
                url = event["params"]["request"]["url"]
                if not url.startswith((base, "data:", "about:")):
                    faults.append(f"something from elsewhere: {url}")
                if token and token in url:
                    faults.append("the token is in an address")
    finally:
        browser.close()
    for fault in faults:
        print(f"FAULT {fault}")
    sys.exit(1 if faults else 0)


main()
