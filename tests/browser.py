"""Chromium without a window, driven by its DevTools protocol: type, press keys, look, listen."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from pipelines import leash

WAIT_SECONDS = 90
ABSENT = "Chromium is not installed: the page was not looked at in a browser"
KEYS = {"Tab": 9, "Enter": 13, "Space": 32, "ArrowRight": 39, "ArrowDown": 40}


def absent() -> str:
    """Why there is no browser, or nothing."""
    return "" if shutil.which("chromium") else ABSENT


class Page:
    """One page of a browser; `heard` are the events that it has sent so far."""

    def __init__(self, line: Any) -> None:
        self.line, self.number, self.heard = line, 0, []
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.tell(f"{domain}.enable")

    def tell(self, method: str, **parameters: Any) -> Any:
        """Send one order of the DevTools protocol; return its answer."""
        self.number += 1
        self.line.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            heard = json.loads(self.line.recv(timeout=WAIT_SECONDS))
            if heard.get("id") == self.number:
                assert "error" not in heard, heard
                return heard["result"]
            self.heard.append(heard)

    def evaluate(self, code: str) -> Any:
        """Return what JavaScript makes on the page."""
        said = self.tell("Runtime.evaluate", expression=code, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def until(self, code: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until what JavaScript makes on the page is true; an element is."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(f"Boolean({code})"):
            assert time.monotonic() < deadline, f"never: {code}\n{self.text()}\n{self.errors()}"
            time.sleep(0.05)

    def text(self) -> str:
        return str(self.evaluate("document.body?.innerText"))

    def visit(self, url: str, dark: bool = False) -> None:
        """Open an address, in light or dark."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.tell("Emulation.setEmulatedMedia", features=[scheme])
        self.tell("Page.navigate", url=url)

    def press(self, key: str, text: str = "") -> None:
        """Press one key, as a person does."""
        code = {"key": " " if key == "Space" else key, "code": key}
        code |= {"windowsVirtualKeyCode": KEYS[key]} | ({"text": text} if text else {})
        self.tell("Input.dispatchKeyEvent", type="keyDown", **code)
        self.tell("Input.dispatchKeyEvent", type="keyUp", **code)

    def type(self, text: str) -> None:
        """Write into what has the focus."""
        self.tell("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click into the middle of an element with the mouse, once it is there and stands still."""
        deadline, before, where = time.monotonic() + WAIT_SECONDS, None, self._middle(selector)
        while where is None or where != before:
            assert time.monotonic() < deadline, f"no {selector}: {self.text()}"
            time.sleep(0.1)
            before, where = where, self._middle(selector)
        at = {"x": where[0], "y": where[1], "button": "left", "clickCount": 1}
        self.tell("Input.dispatchMouseEvent", type="mousePressed", **at)
        self.tell("Input.dispatchMouseEvent", type="mouseReleased", **at)

    def write(self, selector: str, text: str) -> None:
        """Click into a field until it has the focus, and write into it."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
            assert time.monotonic() < deadline, f"no focus in {selector}: {self.text()}"
            self.click(selector)
        self.type(text)

    def _middle(self, selector: str) -> Any:
        return self.evaluate(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)});"
            " if (!one) return null; one.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const box = one.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )

    def errors(self) -> list[str]:
        """What the console has of errors, and what was asked for and not found."""
        found = []
        for event in self.heard:
            said = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(said["exceptionDetails"]))
            elif event["method"] == "Runtime.consoleAPICalled" and said["type"] == "error":
                found.append(str(said["args"]))
            elif event["method"] == "Log.entryAdded" and said["entry"]["level"] == "error":
                found.append(f"{said['entry']['text']} {said['entry'].get('url', '')}")
        return found

    def asked(self) -> list[str]:
        """All addresses that were asked for."""
        sent = [e for e in self.heard if e["method"] == "Network.requestWillBeSent"]
        return [str(event["params"]["request"]["url"]) for event in sent]

    def shot(self, whole: bool = False) -> bytes:
        """Draw the page, or what of it is in the window, as PNG."""
        made = self.tell("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(made["data"])


@contextmanager
def chromium(width: int = 1280, height: int = 900) -> Iterator[Page]:
    """An empty page of a browser without a window."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={profile}", "--remote-debugging-port=0"]
        command += ["--remote-allow-origins=*", "about:blank"]
        log = Path(profile) / "log"
        with log.open("w") as stream:
            browser = subprocess.Popen(command, stderr=stream, start_new_session=True)
        try:
            with connect(_address(log), max_size=None) as line:
                page = Page(line)
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                page.tell("Emulation.setDeviceMetricsOverride", **size)
                yield page
        finally:
            leash.stop(browser)


def _address(log: Path) -> str:
    """Where the browser's first page listens, once it says so."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (
        found := re.findall(r"DevTools listening on ws://127\.0\.0\.1:(\d+)/", log.read_text())
    ):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    with urllib.request.urlopen(f"http://127.0.0.1:{found[0]}/json", timeout=30) as answer:
        tabs = json.loads(answer.read())
    return str(next(tab for tab in tabs if tab["type"] == "page")["webSocketDebuggerUrl"])
