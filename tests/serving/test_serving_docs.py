"""What docs/serving.md shows is run and looked up."""

import pathlib
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from PIL import Image

from deepscan import errors
from deepscan.serving import local
from deepscan.serving.answers import HTTP_STATUS, status_of
from deepscan.serving.config import ServeArgs
from deepscan.serving.forms import FIELDS
from deepscan.serving.predicting import SOUND
from deepscan.verdict import Verdict

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(curl .*?)  # (\d+)$", TEXT, flags=re.MULTILINE)
ERROR_ROWS = re.findall(r"^\| (\w+Error) \| (\d+) \|", TEXT, flags=re.MULTILINE)
VERDICT_TABLE, FORM_TABLE = TEXT.split("| form field |")
VERDICT_ROWS = re.findall(r"^\| `(\w+)` \|", VERDICT_TABLE, flags=re.MULTILINE)
FORM_ROWS = re.findall(r"^\| `(\w+)` \| (.*?) \|", FORM_TABLE, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def port(make_bundle) -> Iterator[int]:
    api = local.build(ServeArgs(bundles=[str(make_bundle("documented").path)], device="cpu"))
    server = uvicorn.Server(uvicorn.Config(api, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Holds the files that the commands name."""
    folder = tmp_path_factory.mktemp("files")
    Image.linear_gradient("L").convert("RGB").save(folder / "photo.jpg")
    whole = (folder / "photo.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("notes")
    return folder


def test_there_are_commands_to_run():
    assert len(COMMANDS) == TEXT.count("\ncurl ") >= 7


@pytest.mark.parametrize(("command", "status"), COMMANDS)
def test_a_documented_command_has_its_documented_status(command, status, port, folder):
    words = shlex.split(command.replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
    words += ["--noproxy", "*", "-o", "answer.json", "-w", "%{http_code}"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == status, (folder / "answer.json").read_text()


def test_the_table_of_errors_is_the_one_in_the_code():
    assert {getattr(errors, name) for name, _ in ERROR_ROWS} == set(HTTP_STATUS)
    assert [(name, status_of(getattr(errors, name))) for name, _ in ERROR_ROWS] == [
        (name, int(status)) for name, status in ERROR_ROWS
    ]


def test_every_field_of_a_verdict_is_explained():
    assert list(Verdict.__dataclass_fields__) == VERDICT_ROWS


def test_every_field_of_a_form_is_explained():
    settings = [(name, field.allowed.replace("`", "")) for name, field in FIELDS.items()]
    told = [(name, values.replace("`", "")) for name, values in FORM_ROWS]
    assert told == [("file", "a file"), (SOUND, "a file"), *settings]
