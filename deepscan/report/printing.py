"""A report as PDF, printed by the Chromium of this machine."""

import os
import pathlib
import shutil
import subprocess
import tempfile

from deepscan.errors import NoBrowserError, StorageError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
PATIENCE_S = 120


def browser() -> str:
    """Return the browser that prints.

    Raises:
        NoBrowserError: There is none on the path.
    """
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        msg = (
            f"No browser that prints PDF was found (looked for {', '.join(BROWSERS)}). Install chromium, or "
            "leave out the PDF and print the HTML page from any browser."
        )
        raise NoBrowserError(msg)
    return found


def print_pdf(html: str, path: pathlib.Path) -> None:
    """Print a page and write it to ``path``.

    The page is a file without scripts and without a way to the network, by its own content policy.

    Raises:
        NoBrowserError: No browser that prints is on this machine.
        StorageError: The browser did not write the file.
    """
    program = browser()
    with tempfile.TemporaryDirectory(prefix="deepscan-") as folder:
        page, printed = pathlib.Path(folder, "report.html"), pathlib.Path(folder, "report.pdf")
        page.write_text(html, encoding="utf-8")
        _run([program, *_options(folder), f"--print-to-pdf={printed}", page.as_uri()])
        if not printed.is_file() or not printed.stat().st_size:
            msg = f"{program} ended without a PDF; print the HTML page by hand."
            raise StorageError(msg)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(printed, path)
        except OSError as error:
            msg = f"{path} cannot be written ({error}); name a file in a folder that can."
            raise StorageError(msg) from error


def _options(folder: str) -> list[str]:
    options = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-pdf-header-footer"]
    options += ["--disable-background-networking", "--no-first-run", f"--user-data-dir={folder}/profile"]
    # Chromium refuses its sandbox to root; the page has no scripts that it would have to hold.
    return options + (["--no-sandbox"] if os.geteuid() == 0 else [])


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"{command[0]} did not print ({error}); print the HTML page by hand."
        raise StorageError(msg) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        msg = f"{command[0]} failed ({said[-1] if said else done.returncode}); print the HTML page by hand."
        raise StorageError(msg)
