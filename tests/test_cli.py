import contextlib
import functools
import json
import logging
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import typing

import pytest
import typer.main
from rich.console import Console
from typer.testing import CliRunner

from deepscan import assembly, cli, cluster, console, errors, fusion, verdict
from deepscan.bundle import Bundle
from deepscan.calibration import OperatingPoint
from deepscan.cli import ensembles
from deepscan.datasets import synthetic
from deepscan.ensemble import Ensemble, entry
from deepscan.fusion import FusionPolicy, Line
from deepscan.media.source import Media
from deepscan.media.vocode import VOCODERS
from deepscan.models import MODELS
from deepscan.models.catalog import load_builtin
from deepscan.series import STANDARD, Result
from tests.sounds import speech, wav
from tests.tiny_bundles import FACES, PLUGIN, noise, tiny_bundle

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", PAGES + README, re.DOTALL))
EXAMPLES = re.findall(r"^deepscan ((?:.*\\\n)*.+)", BLOCKS, re.MULTILINE)
OPTION_ROWS = re.findall(r"^\| `(--[\w-]+)` \| ([\w, -]+) \|", DOCUMENT, re.MULTILINE)
ROOT_COMMAND = typer.main.get_command(cli.app)


def leaves(command=ROOT_COMMAND, path=()):
    """Every command that does something, by its words."""
    if not hasattr(command, "commands"):
        return {" ".join(path): command}
    inner = (leaves(child, (*path, name)) for name, child in command.commands.items())
    return {words: leaf for found in inner for words, leaf in found.items()}


COMMANDS = leaves()


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def program(*arguments, code="from deepscan.cli import main; main()", **options):
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, **options)


def parse(text):
    """Find the command that a line calls and let it read its arguments."""
    words, command = shlex.split(text.replace("\\\n", " "), comments=True), ROOT_COMMAND
    while hasattr(command, "commands"):
        name = words.pop(0)
        command = command.commands[name]
    return command, command.make_context(name, words)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("bundle")).path


@pytest.fixture
def files(tmp_path):
    """Two pictures with a broken one between them."""
    names = ("one.png", "half.png", "[two].png")
    for name, data in zip(names, (noise(1), noise(2)[:1500], noise(2)), strict=True):
        (tmp_path / name).write_bytes(data)
    return [tmp_path / name for name in names]


# --- the commands as a whole -----------------------------------------------------------------------


@pytest.mark.parametrize("words", ["", "assets", *COMMANDS])
def test_every_command_has_help(words):
    done = run(*words.split(), "--help")
    assert done.exit_code == 0
    assert "Usage: " in done.stdout


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_and_option_is_explained(words):
    command = COMMANDS[words]
    assert command.help.strip().endswith(".")
    assert [p.name for p in command.params if not (getattr(p, "help", "") or "").strip()] == []


def test_the_exit_codes_of_the_table_are_those_of_the_help():
    told = {int(code) for code in re.findall(r"(?:; |: )(\d+) ", " ".join(cli.__doc__.split()))}
    assert told == {0, *cli.EXIT_CODES.values(), cli.INTERRUPTED}


@pytest.mark.parametrize(("kind", "code"), [(kind, cli.exit_code(kind("x"))) for kind in cli.EXIT_CODES])
def test_an_error_ends_with_its_exit_code_and_one_line(monkeypatch, kind, code):
    def fail(*_):
        raise kind("The file [/x] is :wrong:, " + "very " * 30 + "wrong.")

    monkeypatch.setattr(console, "grid", fail)
    done = run("models")
    assert done.exit_code == code
    assert done.stderr.startswith(f"{kind.__name__}: The file [/x] is :wrong:, very very")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_an_interrupt_is_no_crash(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(console, "grid", interrupt)
    done = run("models")
    assert done.exit_code == cli.INTERRUPTED == 130
    assert "--resume" in done.stderr


def test_what_nobody_expected_keeps_its_traceback(monkeypatch):
    def fail(*_):
        raise RuntimeError("a defect")

    monkeypatch.setattr(console, "grid", fail)
    done = run("models")
    assert done.exit_code == 1
    assert isinstance(done.exception, RuntimeError)


def test_wrong_usage_is_2():
    assert run("models", "--fast").exit_code == 2
    assert run("predict").exit_code == 2
    assert run("modles").exit_code == 2


def test_the_command_line_starts_without_what_it_may_not_need():
    heavy = {"torch", "ray", "numpy", "cv2", "scipy", "pyarrow", "sklearn", "fastapi"}
    code = f"import sys, deepscan.cli; print(sorted({heavy} & set(sys.modules)))"
    assert program(code=code).stdout == "[]\n"


def test_the_program_turns_an_error_into_its_exit_code():
    done = program("assets", "fetch", "yunnet")
    assert done.returncode == 2
    assert "Did you mean 'yunet'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(autouse=True)
def _quiet_again():
    """Logging is a global; leave it as it was."""
    logger = logging.getLogger("deepscan")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.mark.parametrize(("terminal", "level"), [(True, logging.WARNING), (False, logging.INFO)])
def test_without_a_terminal_the_log_tells_how_far_it_is(monkeypatch, terminal, level):
    monkeypatch.setattr(cli, "console", Console(force_terminal=terminal))
    monkeypatch.setattr(cli, "app", lambda: None)
    cli.main()
    assert logging.getLogger("deepscan.watch").getEffectiveLevel() == level
    assert logging.getLogger("httpx").getEffectiveLevel() == logging.WARNING, "others tell only what is wrong"


def test_a_job_is_the_command_with_a_log(monkeypatch):
    calls = []
    monkeypatch.setattr(cli, "app", calls.append)
    cli.run_job("score", ["--data", "x"])
    assert calls == [["score", "--data", "x"]]
    assert logging.getLogger("deepscan.watch").getEffectiveLevel() == logging.INFO


# --- predict ---------------------------------------------------------------------------------------


def test_predict_prints_a_table(files, bundle):
    done = run("predict", files[0], "--bundle", bundle, "--device", "cpu")
    assert done.exit_code == 0
    assert done.stderr == ""
    assert re.search(r"│ one\.png +│ (real|fake) +│ 0\.\d{3} ", done.stdout)


def test_predict_prints_json_a_line_and_goes_on_after_a_broken_file(files, bundle):
    done = run("predict", *files, "--bundle", bundle, "--device", "cpu", "--json")
    assert done.exit_code == 3
    one, half, two = map(json.loads, done.stdout.splitlines())
    assert [line["file"] for line in (one, half, two)] == [str(path) for path in files]
    fields = {"file", *verdict.Verdict.__dataclass_fields__}
    assert set(one) == set(two) == fields
    assert one["probability"] == one["scores"][0]["probability"]
    assert two["media"]["name"] == "[two].png"
    assert set(half) == {"file", "error", "message"}
    assert half["error"] == "CorruptMediaError"
    assert half["message"] in done.stderr


def test_predict_shows_good_files_beside_broken_ones(files, bundle):
    done = run("predict", *files, "no.png", "--bundle", bundle, "--device", "cpu")
    assert done.exit_code == 3
    assert "one.png" in done.stdout
    assert "[two].png" in done.stdout
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [str(files[1]), "no.png"]


def test_predict_of_broken_files_only_prints_no_table(files, bundle):
    done = run("predict", files[1], "--bundle", bundle, "--device", "cpu")
    assert (done.exit_code, done.stdout) == (3, "")


def test_an_abstention_is_an_answer(files, tmp_path):
    faces = tiny_bundle(tmp_path / "faces", prep=FACES, name="faces").path
    done = run("predict", files[0], "--bundle", faces, "--device", "cpu", "--json")
    assert done.exit_code == 0
    line = json.loads(done.stdout)
    assert (line["label"], line["probability"]) == ("inconclusive", None)
    assert line["abstentions"][0]["reason"] == "no-face"


def test_several_bundles_vote(files, bundle, tmp_path):
    other = tiny_bundle(tmp_path / "other", seed=1, name="other").path
    done = run("predict", files[0], "--bundle", bundle, "--bundle", other, "--device", "cpu", "--json")
    assert [score["detector"] for score in json.loads(done.stdout)["scores"]] == ["tiny", "other"]


def test_the_fusion_can_be_set(files, bundle, tmp_path):
    other = tiny_bundle(tmp_path / "other", seed=1, name="other").path
    words = ("predict", files[0], "--bundle", bundle, "--bundle", other, "--device", "cpu", "--json")
    lines = {m: json.loads(run(*words, "--fusion", f"method={m}").stdout) for m in ("maximum", "minimum")}
    asked = [score["probability"] for score in lines["maximum"]["scores"]]
    assert [lines[method]["probability"] for method in ("maximum", "minimum")] == [max(asked), min(asked)]
    assert json.loads(run(*words, "--fusion", "min_models=3").stdout)["probability"] is None
    done = run(*words, "--fusion", "methd=mean")
    assert done.exit_code == 2
    assert "Did you mean 'method'?" in done.stderr


@pytest.fixture
def ensemble(bundle, tmp_path):
    """An ensemble file that says the opposite of a lone member."""
    members = [Bundle.read(bundle), tiny_bundle(tmp_path / "other", seed=1, name="other")]
    path = tmp_path / "both.json"
    lines = [Line(members=(m.card.id,), weights=(0.0,), offset=3.0) for m in members]
    policy = FusionPolicy(method="stack", lines=tuple(lines), operating=OperatingPoint())
    Ensemble(entries=tuple(entry(m, path) for m in members), policy=policy).save(path)
    return path


def test_an_ensemble_file_is_taken_like_a_bundle(files, ensemble):
    done = run("predict", files[0], "--bundle", ensemble, "--device", "cpu", "--json")
    line = json.loads(done.stdout)
    assert [score["detector"] for score in line["scores"]] == ["tiny", "other"]
    assert line["probability"] == pytest.approx(1 / (1 + 2.718281828459045**-3))
    done = run("predict", files[0], "--bundle", ensemble, "--device", "cpu", "--frames", "5")
    assert done.exit_code == 2
    assert "leave out the number of frames" in done.stderr


def test_an_ensemble_is_shown(ensemble):
    done = run("ensemble", "show", ensemble)
    assert done.exit_code == 0
    assert "fused by stack" in done.stdout
    assert run("ensemble", "show", ensemble.with_name("no.json")).exit_code == 6


def test_the_options_of_an_ensemble_arrive(monkeypatch, bundle, tmp_path):
    orders = []

    def take(order, watch):
        orders.append(order)
        raise errors.DataError("stop here")

    monkeypatch.setattr(assembly, "assemble", take)
    monkeypatch.setattr(cluster, "connected", lambda address: contextlib.nullcontext())
    words = ("ensemble", "fit", "--bundle", bundle, "--data", tmp_path, "--out", tmp_path / "e.json")
    words += ("--method", "mean", "--fusion", "min_models=2", "--max-error-rate", "0.1", "--split-seed", 7)
    words += ("--seen", "leave-out")
    assert run(*words, "--device", "cpu", "--where", "a=b", "--store", tmp_path).exit_code == 5
    (order,) = orders
    assert order.policy == FusionPolicy(method="mean", min_models=2)
    assert (order.bundles, order.out, order.max_error_rate) == ((bundle,), tmp_path / "e.json", 0.1)
    assert (order.origin.seed, order.origin.where, order.judging.device) == (7, ("a=b",), "cpu")
    assert order.on_seen == "leave-out"


def test_every_method_can_be_fitted():
    assert set(typing.get_args(ensembles.Method)) == set(typing.get_args(fusion.Method))
    section = DOCUMENT.split("## Several bundles")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `([\w-]+)` \| [^|]+ \|$", section, re.MULTILINE)
    assert tuple(name for name in documented if not name.startswith("--")) == typing.get_args(fusion.Method)


def test_a_clip_and_its_sound_are_joined(monkeypatch, files, bundle):
    monkeypatch.setattr(Media, "joined", lambda pictures, sound: pictures, raising=False)
    words = ("predict", "--bundle", bundle, "--device", "cpu", "--json", "--video", files[0])
    line = json.loads(run(*words, "--audio", files[2]).stdout)
    assert line["file"] == f"{files[0]} + {files[2]}"
    assert line["media"]["name"] == "one.png"
    assert run(*words, "--audio", "no.wav").exit_code == 3, "both halves are read"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--video a.mp4", "give both"),
        ("--audio a.wav", "give both"),
        ("", "nothing to judge"),
        ("a.png --json --timeline", "leave out --timeline"),
        ("one.png --frames 5", "leave out the number of frames"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(words, complaint, bundle):
    done = run("predict", "--bundle", bundle, "--device", "cpu", *words.split())
    assert done.exit_code == 2
    assert complaint in done.stderr


def test_the_timeline_comes_below_the_verdicts(files, bundle):
    done = run("predict", files[0], "--bundle", bundle, "--device", "cpu", "--timeline")
    assert "one.png: 0 of 0 moments look fake" in done.stdout


def test_evidence_is_asked_for_and_comes_below_the_verdicts(files, bundle, tmp_path):
    voice = tmp_path / "voice.wav"
    voice.write_bytes(wav(speech()))
    words = ("predict", files[0], voice, "--bundle", bundle, "--device", "cpu")
    told = [line for line in run(*words, "--explain").stdout.splitlines() if ", voice: " in line]
    assert [line.split(", voice: ")[0] for line in told] == ["voice.wav"]
    lines = [json.loads(line) for line in run(*words, "--explain", "--json").stdout.splitlines()]
    names = [[each["analyzer"] for each in line["evidence"]] for line in lines]
    assert [("voice" in each, "noise" in each) for each in names] == [(False, True), (True, False)]
    assert told[0].endswith(next(e["summary"] for e in lines[1]["evidence"] if e["analyzer"] == "voice"))
    assert [json.loads(line)["evidence"] for line in run(*words, "--json").stdout.splitlines()] == [[], []]


def test_heat_maps_are_drawn_by_name(files, bundle):
    words = ("predict", files[0], "--bundle", bundle, "--device", "cpu", "--json", "--map")
    (evidence,) = json.loads(run(*words, "occlusion").stdout)["evidence"]
    assert (evidence["analyzer"].partition(":")[0], evidence["group"]) == ("occlusion", "model")
    wrong = run(*words, "occlusoin")
    assert wrong.exit_code == 2
    assert "occlusion" in wrong.stderr


def test_pictures_of_a_camera_are_compared_with_the_file(files, bundle, tmp_path):
    folder = tmp_path / "camera"
    folder.mkdir()
    words = ("predict", files[0], "--bundle", bundle, "--device", "cpu", "--json", "--camera", folder)
    assert "at least one picture" in run(*words).stderr
    for number in range(2):
        (folder / f"{number}.png").write_bytes(pathlib.Path(files[0]).read_bytes())
    evidence = json.loads(run(*words).stdout)["evidence"]
    (camera,) = [each for each in evidence if each["analyzer"] == "camera"]
    assert camera["measurements"]["references"] == 2


def test_a_fresh_process_takes_the_model_from_the_plugin(files, bundle):
    words = ("predict", *files, "--bundle", bundle, "--device", "cpu", "--json")
    done = program(*words, "--plugin", PLUGIN)
    assert done.returncode == 3
    here = run(*words)
    assert [_timeless(line) for line in done.stdout.splitlines()] == [
        _timeless(line) for line in here.stdout.splitlines()
    ]
    assert done.stderr == here.stderr


def _timeless(line):
    return json.loads(line) | {"elapsed_ms": None}


def test_without_the_plugin_its_model_is_asked_for(files, bundle, monkeypatch):
    monkeypatch.setattr(MODELS, "_items", {k: v for k, v in MODELS._items.items() if k != "tiny"})
    done = run("predict", files[0], "--bundle", bundle, "--device", "cpu")
    assert done.exit_code == 6
    assert "add --plugin" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        ("predict a.png --bundle nowhere", 6, "nowhere is no bundle"),
        ("predict a.png --bundle nowhere --plugin no.py", 2, "No plug-in at no.py"),
        ("score . --bundle nowhere --out out", 6, "nowhere is no bundle"),
        ("evaluate --bundle nowhere --data . --out out", 6, "nowhere is no bundle"),
        ("prepare --data . --model resnet-5 --out out", 2, "Did you mean 'resnet-50'?"),
        ("train --model xceptoin --data . --out out", 2, "Did you mean 'xception'?"),
        ("train --model cnn --data . --out out --set recipe.optimizer.rl=1", 2, "Did you mean 'lr'?"),
        ("train --model cnn --data . --out out --set recipe.epochs=x", 2, "'epochs' cannot be 'x'"),
        ("train --model cnn --data . --out out --set epochs=1", 2, "is no setting; write one of recipe"),
        ("prepare --data . --model cnn --out out --set prep.sise_px=64", 2, "Did you mean 'size_px'?"),
    ],
)
def test_mistakes_are_told_before_anything_starts(words, code, complaint, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = run(*words.split())
    assert complaint in done.stderr
    assert done.exit_code == code
    assert list(tmp_path.iterdir()) == []


def test_a_service_without_its_bundle_does_not_start():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    done = run("serve", "--local", "--bundle", "nowhere", "--port", port)
    assert done.exit_code == 6
    assert "nowhere is no bundle" in done.stderr


def test_a_device_that_is_none_is_2(files, bundle):
    assert run("predict", files[0], "--bundle", bundle, "--device", "gpu").exit_code == 2


# --- the small commands ----------------------------------------------------------------------------


def test_models_lists_the_registry():
    done = run("models")
    rows = [[c.strip() for c in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    listed = {row[0]: row for row in rows if row[0]}
    assert set(listed) == set(load_builtin().names())
    assert {name: row[2] for name, row in listed.items()} == {
        spec.name: "yes" if spec.imagenet else "no" for spec in load_builtin()
    }


def test_synthesize_writes_a_data_set(tmp_path):
    done = run("synthesize", tmp_path / "set", "--count", 2, "--size-px", 64, "--seed", 3)
    assert done.exit_code == 0
    assert done.stdout == f"Manifest: {tmp_path / 'set' / 'manifest.csv'}\n"
    assert len((tmp_path / "set" / "manifest.csv").read_text().splitlines()) == 3
    assert run("synthesize", tmp_path / "set", "--count", 3).exit_code == 2
    assert run("synthesize", tmp_path, "--count", 2).exit_code == 5


def test_synthesize_makes_the_kind_that_is_named(monkeypatch, tmp_path):
    orders = {}

    def take(kind, order, advance):
        orders[kind] = order
        advance(1, 1)
        return order.out / "manifest.csv"

    for kind in synthetic.KINDS:
        monkeypatch.setitem(synthetic.KINDS, kind, functools.partial(take, kind))
        assert run("synthesize", tmp_path / kind, "--kind", kind).exit_code == 0
    assert orders == {kind: synthetic.Order(out=tmp_path / kind) for kind in synthetic.KINDS}
    words = "--kind copy --count 4 --size-px 128 --seed 7 --recordings mine"
    run("synthesize", "copies", *words.split())
    assert orders["copy"] == synthetic.Order(
        out=pathlib.Path("copies"), count=4, size_px=128, seed=7, recordings=pathlib.Path("mine")
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--kind vidoe", "Did you mean 'video'?"),
        ("--kind audio --size-px 128", "sounds have no pictures"),
        ("--kind copy", "There is nothing to copy"),
        ("--recordings mine", "pictures have no sound"),
    ],
)
def test_synthesize_refuses_what_a_kind_has_no_use_for(words, complaint, tmp_path):
    done = run("synthesize", tmp_path / "set", *words.split())
    assert done.exit_code == 2
    assert complaint in done.stderr
    assert not (tmp_path / "set").exists()


def test_sounds_and_copies_of_them_are_synthesized(tmp_path):
    assert run("synthesize", tmp_path / "a", "--kind", "audio", "--count", 2).exit_code == 0
    done = run("synthesize", tmp_path / "b", "--kind", "copy", "--recordings", tmp_path / "a")
    assert done.stdout == f"Manifest: {tmp_path / 'b' / 'manifest.csv'}\n"
    assert len((tmp_path / "b" / "manifest.csv").read_text().splitlines()) == 2 + len(VOCODERS)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder for DEEPSCAN_ASSETS, and an empty cache."""
    monkeypatch.setenv("DEEPSCAN_ASSETS", str(tmp_path / "mirror"))
    monkeypatch.setenv("DEEPSCAN_HOME", str(tmp_path / "home"))
    (tmp_path / "mirror").mkdir()
    return tmp_path / "mirror"


def test_assets_are_listed_with_what_is_not_here(mirror):
    done = run("assets", "list")
    assert done.exit_code == 0
    assert "yunet" in done.stdout
    assert "not here" in done.stdout


def test_an_altered_asset_is_4_and_is_not_kept(mirror):
    (mirror / "yunet_n_640_640.onnx").write_bytes(b"wrong")
    for words in (("assets", "fetch", "yunet"), ("assets", "list")):
        done = run(*words)
        assert done.exit_code == 4
        assert "is not the asset 'yunet'" in done.stderr
    assert list((mirror.parent / "home").rglob("*.onnx")) == []


@pytest.mark.media
def test_fetching_prints_the_path_on_one_line(mirror):
    from tests.material import shared

    name = "yunet_n_640_640.onnx"
    (mirror / name).write_bytes((shared("assets") / name).read_bytes())
    done = run("assets", "fetch", "yunet")
    assert done.stdout == f"{mirror.parent / 'home' / 'assets' / name}\n"


def test_serving_in_this_process_gets_what_was_given(monkeypatch):
    from deepscan.serving import local

    calls = []
    monkeypatch.setattr(local, "serve", lambda *given: calls.append(given))
    words = "serve --local --bundle a --bundle b --device cpu --plugin p.py --host 127.0.0.2 --port 81"
    assert run(*words.split(), "--fusion", "method=mean").exit_code == 0
    ((args, host, port),) = calls
    assert args.fusion == ("method=mean",)
    assert (args.bundles, args.plugins, args.device) == (("a", "b"), ("p.py",), "cpu")
    assert (host, port) == ("127.0.0.2", 81)


def test_the_options_of_the_data_arrive(monkeypatch, tmp_path):
    from deepscan.training import run as training

    orders = []

    def take(order, watch):
        orders.append(order)
        raise errors.DataError("stop here")

    monkeypatch.setattr(training, "train", take)
    monkeypatch.setenv("DEEPSCAN_HOME", str(tmp_path))
    words = "train --model cnn --data d --out o --where a=b --where c!=d --source-pattern x --max-bad 0.5"
    more = ("--split-seed", 7, "--materialize", "--allow-leaks", "--device", "cuda", "--storage", "runs/x")
    assert run(*words.split(), *more).exit_code == 5
    assert run(*words.split(), "--store", "s", "--storage", "s3://b/x?region=y").exit_code == 5
    assert [order.device for order in orders] == ["cuda", "auto"]
    assert [order.storage for order in orders] == [os.path.abspath("runs/x"), "s3://b/x?region=y"]
    assert [order.origin.allow_leaks for order in orders] == [True, False]
    first, second = (order.origin for order in orders)
    assert (first.where, first.source_pattern, first.max_bad) == (("a=b", "c!=d"), "x", 0.5)
    assert (first.seed, first.keep, first.store) == (7, True, tmp_path / "prepared")
    assert (second.seed, second.keep, second.store) == (0, False, pathlib.Path("s"))
    assert first.fractions is not None


def test_the_demo_replaces_an_earlier_one_and_nothing_else(tmp_path):
    from deepscan import demo

    (tmp_path / "holiday.jpg").touch()
    done = run("demo", "--out", tmp_path)
    assert done.exit_code == 2
    assert "no earlier demo" in done.stderr
    assert (tmp_path / "holiday.jpg").exists()
    (tmp_path / demo.MARK).touch()
    demo._claim(demo.Demo(out=tmp_path))
    demo._claim(demo.Demo(out=tmp_path / "absent"))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [demo.MARK]


@pytest.fixture
def series(monkeypatch):
    """Training several models replaced by a note of what was asked."""
    asked = []

    def train_all(series, watch):
        asked.append(series)
        return Result(outcomes={}, left_out={"voice": "silence"}, assembly=None)

    monkeypatch.setattr("deepscan.series.train_all", train_all)
    return asked


def test_train_all_trains_the_models_that_were_named_or_the_standard_ones(series):
    words = "train all --data d --out o --set cnn:recipe.epochs=2 --fusion method=stack --workers 2 --resume"
    done = run(*words.split())
    assert done.exit_code == 0
    assert "voice was left out: silence" in done.stdout
    assert (
        run("train", "all", "--data", "d", "--out", "o", "--model", "cnn", "--model", "voice").exit_code == 0
    )
    standard, named = series
    assert standard.models == STANDARD
    assert standard.policy == FusionPolicy(method="stack")
    assert standard.order.overrides == ("cnn:recipe.epochs=2",)
    assert (standard.order.workers, standard.order.resume) == (2, True)
    assert named.models == ("cnn", "voice")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --data d --out o", "one --model"),
        ("train --data d --out o --model cnn --model voice", "train all"),
        ("train --data d --out o --model cnn --fusion method=stack", "--fusion is for train all"),
        ("train all --data d --out o --name x", "--name is for a single model"),
        ("train all --data d --out o --weights imagenet", "--weights is for a single model"),
    ],
)
def test_options_of_one_model_and_of_several_are_not_mixed(series, words, message):
    done = run(*words.split())
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert series == []


# --- docs/cli.md -----------------------------------------------------------------------------------


@pytest.mark.parametrize("line", EXAMPLES)
def test_a_documented_line_is_read(line):
    command, context = parse(line)
    assert command in COMMANDS.values()
    named = context.params.get("model") or []
    assert set([named] if isinstance(named, str) else named) <= set(load_builtin().names())


def test_every_command_has_an_example():
    assert {id(parse(line)[0]) for line in EXAMPLES} == {id(command) for command in COMMANDS.values()}


def test_every_option_is_documented_with_its_commands():
    used = {}
    for words, command in COMMANDS.items():
        for parameter in command.params:
            if parameter.opts[0].startswith("--"):
                used.setdefault(parameter.opts[0], []).append(words)
    documented = {option: sorted(commands.split(", ")) for option, commands in OPTION_ROWS}
    assert len(documented) == len(OPTION_ROWS)
    assert documented == {option: sorted(commands) for option, commands in used.items()}


def test_every_option_that_is_mentioned_exists():
    known = {opt for c in COMMANDS.values() for p in c.params for opt in (*p.opts, *p.secondary_opts)}
    assert set(re.findall(r"--[a-z][\w-]*", DOCUMENT)) <= known | {"--help"}


def test_the_exit_codes_are_documented():
    rows = re.findall(r"^\| (\d+) \| ([\w, ]*?) ?\|", DOCUMENT, re.MULTILINE)
    documented = {name: int(code) for code, names in rows for name in names.split(", ") if name}
    assert documented == {kind.__name__: code for kind, code in cli.EXIT_CODES.items()}
    assert {int(code) for code, _ in rows} == {0, *cli.EXIT_CODES.values(), cli.INTERRUPTED}


def test_the_documented_json_is_what_predict_prints(files, bundle):
    good, bad = map(json.loads, re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL))
    done = run("predict", *files[:2], "--bundle", bundle, "--device", "cpu", "--json")
    assert [_form(good), _form(bad)] == [_form(json.loads(line)) for line in done.stdout.splitlines()]


def test_the_documented_score_of_a_clip_has_the_form_of_any_score():
    (score,) = map(json.loads, re.findall(r"```jsonc\n(.*?)```", DOCUMENT, re.DOTALL))
    (picture,) = json.loads(re.findall(r"```json\n(.*?)```", DOCUMENT, re.DOTALL)[0])["scores"]
    assert list(score) == list(picture)
    for part in score["parts"]:
        assert list(part) == list(picture["parts"][0])
        assert list(part["region"]) == list(picture["parts"][0]["region"])


def _form(value):
    if isinstance(value, dict):
        return {key: _form(inner) for key, inner in value.items()}
    return [_form(value[0])] if isinstance(value, list) and value else type(value)
