"""A real browser: Chromium, driven through ChromeDriver by the WebDriver protocol, which is JSON over HTTP."""

from __future__ import annotations

import base64
import http.client
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Browser:
    """One window of a headless Chromium."""

    def __init__(self, port: int, downloads: Path) -> None:
        self._port = port
        chromium = {
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            "prefs": {"download.default_directory": str(downloads)},
        }
        wanted = {"goog:chromeOptions": chromium, "goog:loggingPrefs": {"browser": "ALL"}}
        self._session = ""
        session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{session['sessionId']}"

    def open(self, url: str) -> None:
        self._ask("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """The value that a function's body in JavaScript returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": arguments})

    def wait_for(self, script: str, accept: Callable[[Any], bool] = bool, timeout_s: float = 20) -> Any:
        """Evaluate an expression until its value is accepted."""
        end_s = time.monotonic() + timeout_s
        while not accept(value := self.run(f"return {script}")):
            assert time.monotonic() < end_s, f"{script} stayed {value!r}"
            time.sleep(0.05)
        return value

    def click(self, css: str) -> None:
        """Click as a person does: it fails where something covers the element."""
        found = self._ask("POST", "/element", {"using": "css selector", "value": css})
        self._ask("POST", f"/element/{next(iter(found.values()))}/click", {})

    def devtools(self, command: str, **parameters: Any) -> Any:
        return self._ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def show_as(self, width: int, height: int, *, scheme: str = "light", phone: bool = False) -> None:
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )
        self.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self) -> bytes:
        """What the window shows, as a PNG."""
        return base64.b64decode(self._ask("GET", "/screenshot"))

    def errors(self) -> list[str]:
        """What the console has complained about since the last call."""
        entries = self._ask("POST", "/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in ("WARNING", "SEVERE")]

    def close(self) -> None:
        self._ask("DELETE", "")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(method, self._session + path, None if body is None else json.dumps(body))
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise RuntimeError(f"{value['error']}: {value['message']}")
        return value


@contextmanager
def open_browser(chromedriver: str, downloads: Path) -> Iterator[Browser]:
    """Start ChromeDriver and a window; both are gone when the block ends."""
    driver = subprocess.Popen([chromedriver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = next(
            int(found[1]) for line in driver.stdout if (found := re.search(r"successfully on port (\d+)", line))
        )
        browser = Browser(port, downloads)
        try:
            yield browser
        finally:
            browser.close()
    finally:
        driver.terminate()
        driver.communicate()
