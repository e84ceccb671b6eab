"""The image, as far as it can be without building it: what it copies, installs and runs is there."""

import http.server
import json
import pathlib
import re
import subprocess
import sys
import threading
import tomllib

import pytest
import typer.main

from deepscan.cli import app
from deepscan.serving.environment import from_environment

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORED = [
    line
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def instructions():
    """Returns every instruction with its text, lines that go on joined, comments left out."""
    lines = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines()]


def variables():
    [text] = all_of("ENV")
    return dict(re.findall(r"(\w+)=(\S+)", text))


def all_of(name):
    return [text for instruction, text in instructions() if instruction == name]


def sent(path):
    """Tells whether a path gets to the builder: the last line of .dockerignore that fits decides."""
    kept = True
    for line in IGNORED:
        pattern = line.removeprefix("!").strip("/")
        fits = pattern == "*" or path == pattern or path.startswith(f"{pattern}/")
        fits |= pattern.startswith("**/") and pattern.removeprefix("**/") in path.split("/")
        kept = line.startswith("!") if fits else kept
    return kept


def test_what_is_copied_exists_and_is_sent_to_the_builder():
    sources = [source for text in all_of("COPY") for source in text.split()[:-1]]
    assert {"deepscan", "jobs", "serve_configs", "pyproject.toml", "constraints.txt"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert [source for source in sources if not sent(source)] == []


def test_what_the_build_of_the_package_needs_is_copied_before_it():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {project["project"]["readme"], *project["project"]["license-files"]}
    needed |= set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    order = instructions()
    [install] = [n for n, (name, text) in enumerate(order) if name == "RUN" and "pip install" in text]
    copied = {s for name, text in order[:install] if name == "COPY" for s in text.split()[:-1]}
    assert needed <= copied
    assert "--constraint constraints.txt" in order[install][1]
    [extra] = re.findall(r"'\.\[(\w+)\]'", order[install][1])
    assert extra in project["project"]["optional-dependencies"]


@pytest.mark.parametrize(
    "path", [".git/config", "runs/x/model.safetensors", "data/a.jpg", "tests/test_cli.py"]
)
def test_nothing_else_is_sent(path):
    assert not sent(path)
    assert not sent("deepscan/__pycache__/x.pyc")


def test_the_base_can_be_chosen_and_has_a_python_that_the_project_supports():
    assert all_of("ARG")[0].startswith("BASE=python:3.")
    assert all_of("FROM") == ["${BASE}"]
    minor = int(re.search(r"BASE=python:3\.(\d+)", TEXT)[1])
    assert 11 <= minor <= 13


def test_it_runs_as_somebody_who_is_not_root_with_a_number_that_kubernetes_can_check():
    *_, user = all_of("USER")
    assert int(user) == 1000
    assert f"useradd --create-home --uid {user}" in TEXT
    assert dict(instructions())["USER"] == user


def test_what_it_runs_is_a_command_that_exists():
    [text] = all_of("CMD")
    program, command, *words = json.loads(text)
    assert program == "deepscan"
    context = typer.main.get_command(app).commands[command].make_context(command, words)
    assert context.params["host"] == "0.0.0.0", "the port of a container is published from outside of it"
    assert str(context.params["port"]) == all_of("EXPOSE")[0]
    assert not context.params["bundle"], "an option would go before the variable of whoever runs it"
    assert from_environment(variables()).bundles == ("/bundle",)


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_asks_the_service_whether_it_is_ready(status, code):
    class Service(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/api/health" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    [text] = all_of("HEALTHCHECK")
    python, *words = json.loads(text[text.index("[") :])
    assert python == "python"
    with http.server.HTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        words = [word.replace(":8000/", f":{server.server_port}/") for word in words]
        done = subprocess.run([sys.executable, *words], capture_output=True, timeout=30)
    assert done.returncode == code


def test_login_shells_find_the_programs_too():
    [environment] = all_of("ENV")
    path = re.search(r"PATH=(\S+)", environment)[1]
    assert any(f"PATH={path}" in text and "/etc/profile.d/" in text for text in all_of("RUN"))


def test_the_lines_that_it_shows_build_it_with_arguments_that_it_takes():
    shown = " ".join(re.findall(r"^#(   .*)$", TEXT, re.MULTILINE))
    assert shown.count("docker build") == 2
    assert set(re.findall(r"--build-arg (\w+)=", shown)) == {text.split("=")[0] for text in all_of("ARG")}
    commands = re.findall(r"docker run [^#]*? deepscan deepscan (\w+)", shown)
    assert commands
    assert set(commands) <= set(typer.main.get_command(app).commands)
