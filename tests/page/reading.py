"""The page as a reader meets it: gives files, waits, and tells what is there."""

import dataclasses
import pathlib
from typing import Any

ENDED = ".badge.real, .badge.fake, .badge.inconclusive, .badge.error"
PATIENCE_S = 60


@dataclasses.dataclass
class Reader:
    """One browser at one address."""

    browser: Any
    address: str
    folder: pathlib.Path

    def open(self) -> None:
        self.browser.get(self.address)
        self.browser.execute_script("sessionStorage.clear()")
        self.until(lambda: "Detectors" in self.text("#service"))
        self.browser.get_log("browser")

    def until(self, condition: Any) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.browser, PATIENCE_S, poll_frequency=0.05).until(lambda _: condition())

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements("css selector", selector)

    def one(self, selector: str) -> Any:
        return self.until(lambda: self.all(selector))[0]

    def text(self, selector: str) -> str:
        """The text of the first match as a script reads it, white space made plain."""
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        return " ".join(self.browser.execute_script(script, selector).split())

    def give(self, *names: str) -> None:
        self.one("#chosen").send_keys("\n".join(str(self.folder / name) for name in names))

    def judged(self, *names: str) -> None:
        """Give files and wait until each has ended."""
        count = len(self.all(ENDED)) + len(names)
        self.give(*names)
        self.until(lambda: len(self.all(ENDED)) == count)

    def run(self, script: str, *given: object) -> Any:
        """Run the body of an asynchronous function in the page."""
        wrapped = (
            "const done = arguments[arguments.length - 1];"
            f"(async (...given) => {{{script}}})(...arguments).then(done, (e) => done(String(e)))"
        )
        return self.browser.execute_async_script(wrapped, *given)

    def complaints(self) -> list[str]:
        """What the console says, but for the statuses that a refused request leaves there."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["source"] != "network"]

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        chain = ActionChains(self.browser, duration=0)
        for key in keys:
            chain.send_keys(key)
        chain.perform()

    @property
    def focused(self) -> Any:
        return self.browser.switch_to.active_element
