"""Arguments from variables, and the table of docs/deploying.md that lists them."""

import pathlib
import re

import pytest
from typer.testing import CliRunner

from deepscan import cli
from deepscan.errors import ConfigError
from deepscan.serving import environment, local
from deepscan.serving.config import ServeArgs, Stage
from deepscan.serving.environment import PREFIX, from_environment, variables

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deploying.md").read_text(encoding="utf-8")
ROWS = re.findall(rf"^\| `({PREFIX}\w+)` \| ([^|]+) \|", PAGE, re.MULTILINE)
STAGES = [name for name in ServeArgs.model_fields if isinstance(ServeArgs.model_fields[name].default, Stage)]
BUNDLES = {"DEEPSCAN_SERVE_BUNDLES": "a"}


def made(given=None, env_file=None, **texts):
    """Makes arguments of variables that are named without their prefix."""
    environ = {PREFIX + name: text for name, text in texts.items()}
    return from_environment(BUNDLES | environ, env_file, given)


@pytest.fixture
def dotenv(tmp_path):
    def write(text):
        path = tmp_path / "serve.env"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_nothing_but_bundles_gives_the_defaults():
    assert made() == ServeArgs(bundles=("a",))


def test_every_kind_of_setting_can_be_made():
    args = made(
        BUNDLES="a, b,c",
        DEVICE="cpu",
        MAX_BYTES="1000",
        MAX_DURATION_S="12.5",
        MAX_PIXELS="77",
        THRESHOLD="0.7",
        BATCH_SIZE="3",
        BATCH_WAIT_S="0.002",
        API_KEYS="/keys",
        ANONYMOUS="true",
        REQUESTS_PER_MINUTE="90",
        CORS_ORIGINS="https://a.example,https://b.example",
        REPLICA__MAX_REPLICAS="4",
        REPLICA__GPUS="0.5",
    )
    assert (args.bundles, args.device, args.fusion) == (("a", "b", "c"), "cpu", ("threshold=0.7",))
    assert (args.limits.max_bytes, args.limits.max_duration_s, args.limits.max_pixels) == (1000, 12.5, 77)
    assert (args.batch_size, args.batch_wait_s) == (3, 0.002)
    assert (args.gate.keys_file, args.gate.anonymous, args.gate.requests_per_minute) == ("/keys", True, 90)
    assert args.gate.cors_origins == ("https://a.example", "https://b.example")
    default = ServeArgs(bundles=("a",)).replica
    assert args.replica == default.model_copy(update={"max_replicas": 4, "gpus": 0.5})


def test_every_setting_has_one_variable_and_every_variable_reaches_its_setting():
    known = variables()
    assert len(set(known.values())) == len(known)
    assert {setting[0] for setting in known.values()} == set(ServeArgs.model_fields)
    for name, (*section, field) in known.items():
        values = (
            {"bundles": ["a"], field: "?"} if not section else {"bundles": ["a"], section[0]: {field: "?"}}
        )
        made_of = environment._values({name: "?"})
        found = (made_of[section[0]] if section else made_of)[field]
        assert found in ("?", ["?"]), values


def test_an_item_that_holds_commas_is_written_as_json():
    assert made(FUSION='["weights={\\"a\\": 1, \\"b\\": 2}", "min_models=2"]').fusion == (
        'weights={"a": 1, "b": 2}',
        "min_models=2",
    )
    with pytest.raises(ConfigError, match=r"DEEPSCAN_SERVE_FUSION begins like a list in JSON but is none"):
        made(FUSION="[a")


def test_the_environment_goes_before_the_file_and_what_was_given_before_both(dotenv):
    file = dotenv(
        "DEEPSCAN_SERVE_DEVICE=cuda\nDEEPSCAN_SERVE_BATCH_SIZE=2\nDEEPSCAN_SERVE_MAX_BYTES=5\n"
        "DEEPSCAN_SERVE_PREPARE__CPUS=1\nDEEPSCAN_SERVE_FUSION=min_models=2\n"
    )
    given = {"batch_size": 4, "limits": {"max_pixels": 9}, "fusion": ["threshold=0.8"]}
    args = made(given, file, DEVICE="cpu", BATCH_SIZE="3", MAX_PIXELS="8", THRESHOLD="0.3")
    assert (args.device, args.batch_size) == ("cpu", 4)
    assert (args.limits.max_bytes, args.limits.max_pixels) == (5, 9)
    assert args.prepare.cpus == 1
    assert args.fusion == ("min_models=2", "threshold=0.3", "threshold=0.8"), "of a name the last one counts"
    assert made({"bundles": ["given"]}).bundles == ("given",)


def test_the_file_can_be_named_by_a_variable(dotenv, tmp_path):
    file = dotenv("DEEPSCAN_SERVE_BATCH_SIZE=2\n")
    assert made(ENV_FILE=str(file)).batch_size == 2
    assert (
        made(None, dotenv("DEEPSCAN_SERVE_BATCH_SIZE=3\n"), ENV_FILE=str(tmp_path / "none")).batch_size == 3
    )


def test_the_file_is_read_as_others_read_it_and_nothing_gets_into_the_environment(dotenv):
    text = (
        "# ours\nexport DEEPSCAN_SERVE_DEVICE='cpu' # why\nOTHER=1\nDEEPSCAN_SERVE_PLUGINS=\"$HOME/p.py\"\n"
    )
    before = environment.process_environment()
    args = made(None, dotenv(text))
    assert (args.device, args.plugins) == ("cpu", ("$HOME/p.py",))
    assert environment.process_environment() == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("DEEPSCAN_SERVE_DEVICE=cpu\nnot an assignment\n", "line 2 is no assignment"),
        ("DEEPSCAN_SERVE_DEVICE\n", "line 1 is no assignment"),
        ("DEEPSCAN_HOME=/x\n", "line 1: DEEPSCAN_HOME has no effect in this file"),
        ("DEEPSCAN_SERV_DEVICE=cpu\n", "DEEPSCAN_SERV_DEVICE has no effect"),
        ("DEEPSCAN_SERVE_ENV_FILE=x\n", "DEEPSCAN_SERVE_ENV_FILE has no effect"),
        (
            "DEEPSCAN_SERVE_DEVISE=cpu\n",
            "Unknown variable DEEPSCAN_SERVE_DEVISE. Did you mean 'DEEPSCAN_SERVE_DEVICE'",
        ),
    ],
)
def test_a_line_without_effect_is_refused(dotenv, text, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        made(None, dotenv(text))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.env cannot be read"):
        made(None, tmp_path / "none.env")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("REPLICA__MAX_REPLICA", "1", "Did you mean 'DEEPSCAN_SERVE_REPLICA__MAX_REPLICAS'"),
        ("TRESHOLD", "1", "Did you mean 'DEEPSCAN_SERVE_THRESHOLD'"),
        ("MAX_BYTES", "many", "DEEPSCAN_SERVE_MAX_BYTES: Setting 'limits.max_bytes' cannot be 'many'"),
        ("REPLICA__CPUS", "-1", "DEEPSCAN_SERVE_REPLICA__CPUS: Serving setting 'replica.cpus'"),
        ("API_KEYS_FILE", "x", "Unknown variable DEEPSCAN_SERVE_API_KEYS_FILE"),
        ("ANONYMOUS", "perhaps", "DEEPSCAN_SERVE_ANONYMOUS: Serving setting 'gate.anonymous'"),
        ("BATCH_SIZE", "99", "at least twice batch_size"),
    ],
)
def test_a_wrong_variable_is_named(name, text, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        made(**{name: text})


def test_an_empty_variable_is_none():
    assert made(DEVICE="", MAX_BYTES="").device == "auto"
    with pytest.raises(ConfigError, match="No bundle was named"):
        made(BUNDLES="")


@pytest.mark.parametrize("service", ["", "SVC_", "HEAD_SVC_"])
def test_what_kubernetes_tells_of_a_service_is_no_setting(service):
    told = {
        "SERVICE_HOST": "10.0.0.1", "SERVICE_PORT": "8000", "SERVICE_PORT_HTTP": "8000",
        "PORT": "tcp://10.0.0.1:8000", "PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "PORT_8000_TCP_ADDR": "10.0.0.1", "PORT_8000_TCP_PORT": "8000", "PORT_8000_TCP_PROTO": "tcp",
    }  # fmt: skip
    assert made(**{service + name: text for name, text in told.items()}) == made()


def test_variables_of_others_are_left_alone():
    assert from_environment(BUNDLES | {"DEEPSCAN_HOME": "/x", "PATH": "/bin"}) == made()


# --- the command -----------------------------------------------------------------------------------


def test_the_command_takes_what_no_option_says_from_variables(monkeypatch, dotenv):
    calls = []
    monkeypatch.setattr(local, "serve", lambda *given: calls.append(given))
    monkeypatch.setenv("DEEPSCAN_SERVE_DEVICE", "cpu")
    monkeypatch.setenv("DEEPSCAN_SERVE_API_KEYS", "/keys")
    file = dotenv("DEEPSCAN_SERVE_BUNDLES=x\nDEEPSCAN_SERVE_DEVICE=cuda\n")
    words = ["serve", "--local", "--env-file", str(file), "--keys-file", "/others"]
    assert CliRunner().invoke(cli.app, words).exit_code == 0
    assert CliRunner().invoke(cli.app, [*words, "--device", "cuda:1", "--bundle", "y"]).exit_code == 0
    first, second = (args for args, _, _ in calls)
    assert (first.bundles, first.device, first.gate.keys_file) == (("x",), "cpu", "/others")
    assert (second.bundles, second.device) == (("y",), "cuda:1")


def test_the_command_without_a_bundle_says_where_one_can_be_named(monkeypatch):
    monkeypatch.delenv("DEEPSCAN_SERVE_BUNDLES", raising=False)
    done = CliRunner().invoke(cli.app, ["serve", "--local"])
    assert done.exit_code == 2
    assert "give --bundle PATH, or set DEEPSCAN_SERVE_BUNDLES" in done.stderr


@pytest.mark.parametrize(
    ("words", "warned"),
    [("--host 0.0.0.0", True), ("--host ::", True), ("--host 0.0.0.0 --keys-file k", False), ("", False),
     ("--host ::1", False), ("--host localhost", False)],
)  # fmt: skip
def test_a_door_that_stands_open_is_mentioned(monkeypatch, words, warned):
    monkeypatch.setattr(local, "serve", lambda *_: None)
    done = CliRunner().invoke(cli.app, ["serve", "--local", "--bundle", "x", *words.split()])
    assert done.exit_code == 0
    assert ("whoever reaches" in done.stderr) == warned


def test_a_key_is_printed_once_and_added_to_its_file(tmp_path):
    from deepscan.serving.access import digest, read_keys

    path = tmp_path / "keys"
    done = CliRunner().invoke(cli.app, ["api-key", "ann", "--file", str(path), "--requests-per-minute", "30"])
    assert (done.exit_code, done.stdout.count("\n")) == (0, 1)
    (key,) = read_keys(path)
    assert (key.sha256, key.requests_per_minute) == (digest(done.stdout.strip()), 30)
    again = CliRunner().invoke(cli.app, ["api-key", "ann", "--file", str(path)])
    assert (again.exit_code, again.stdout) == (2, "")


def test_without_a_file_the_line_of_the_key_is_printed_too():
    token, line = CliRunner().invoke(cli.app, ["api-key", "ann"]).stdout.splitlines()
    from deepscan.serving.access import digest

    assert line == f"ann:{digest(token)}"


# --- the page --------------------------------------------------------------------------------------


def documented():
    """Returns the variables of the table, where STAGE stands for each of the stages."""
    names = [name for name, _ in ROWS]
    return {
        name.replace("STAGE__", f"{stage.upper()}__")
        for name in names
        for stage in (STAGES if "STAGE__" in name else [""])
    }


def test_the_table_lists_every_variable_and_no_other():
    assert documented() == {*variables(), environment.THRESHOLD, environment.ENV_FILE}


def test_the_table_names_the_settings_as_they_are():
    told = {name: re.findall(r"`([\w.]+)`", setting) for name, setting in ROWS}
    for name, setting in variables().items():
        stage = setting[0] if setting[0] in STAGES else None
        row = name.replace(f"{stage.upper()}__", "STAGE__") if stage else name
        assert told[row] == [".".join(("STAGE", *setting[1:]) if stage else setting)]


def test_the_page_names_every_stage():
    assert [name for name in STAGES if f"`{name.upper()}`" not in PAGE] == []
