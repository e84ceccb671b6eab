"""The command that measures bundles: what it measures, compares, keeps and writes."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from deepscan.cli import benchmarking
from deepscan.detector import Detector
from deepscan.errors import ConfigError, StorageError, UnknownNameError
from deepscan.formats import batches
from deepscan.formats.batches import USUAL
from deepscan.media.source import Media
from deepscan.modalities.catalog import load_builtin as load_modalities
from deepscan.models.catalog import load_builtin as load_models
from deepscan.optimize import benchmark, profile, results
from deepscan.optimize.benchmark import LIGHT, Plan, Row, fresh_bundle, machine, variants
from deepscan.optimize.export import export
from deepscan.optimize.measure import Speed
from deepscan.optimize.profile import STAGES, ClockedMedia, stages_of
from tests.test_cli import run as command
from tests.tiny_bundles import FACES, PLUGIN, WHOLE, noise, tiny_bundle, tiny_module


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    """A cache of its own, and memory that is not measured: processes take seconds."""
    monkeypatch.setenv("DEEPSCAN_HOME", str(tmp_path / "home"))
    asked = []
    monkeypatch.setattr(benchmark, "peak_memory_bytes", lambda *given: asked.append(given) or 5_000_000)
    return asked


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_bundle(tmp_path_factory.mktemp("measured") / "bundle").path


@pytest.fixture(scope="module")
def exported(tiny, tmp_path_factory):
    return export(tiny, "onnx", tmp_path_factory.mktemp("exported") / "bundle").bundle.path


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(noise(number))
    (folder / "notes.txt").write_text("no media")
    return folder


def measured(*paths, **fields):
    return benchmark.run(Plan(bundles=paths, device="cpu", rounds=2, budget_s=5, **fields))


def test_a_bundle_is_measured_and_its_best_batch_kept(tiny, quick):
    (row,) = measured(tiny)
    detector = Detector.load(tiny, "cpu")
    assert (row.name, row.bundle, row.way) == ("tiny", detector.bundle.card.id, "eager float32")
    assert [each.batch_size for each in row.speeds] == [1, 8]
    assert row.parameters == sum(each.numel() for each in tiny_module().parameters())
    assert row.flops > 0
    assert row.bytes == (tiny / "weights.safetensors").stat().st_size
    assert row.peak_bytes == 5_000_000
    assert quick == [(tiny, 8, "cpu", None)]
    assert detector.batch_size == row.best.batch_size
    assert (row.ratios, row.stages) == ({}, None)


def test_a_graph_has_no_weights_to_count(exported):
    (row,) = measured(exported)
    assert (row.parameters, row.flops, row.way) == (None, None, "onnx float32")


def test_what_it_is_measured_against_took_turns_with_it(tiny, exported):
    first, other = measured(tiny, against=str(exported))
    assert other.bundle == Detector.load(exported, "cpu").bundle.card.id
    for speed, beside in zip(first.speeds, other.speeds, strict=True):
        assert first.ratios[speed.batch_size] == pytest.approx(beside.p50_ms / speed.p50_ms)
    assert other.ratios == {}
    assert other.peak_bytes is not None


def test_a_model_to_measure_against_is_built_with_the_same_prep(tiny):
    _, other = measured(tiny, against="cnn")
    assert other.name == "cnn"
    assert other.parameters > 1e6
    assert batches.best_size(other.bundle, "cpu") == USUAL, "only bundles that were named are kept in mind"


def test_what_reads_something_else_is_refused(tiny, tmp_path):
    with pytest.raises(ConfigError, match="cannot read what"):
        measured(tiny, against="gru-light")
    other = tiny_bundle(tmp_path / "other", prep=dataclasses.replace(WHOLE, size_px=48)).path
    with pytest.raises(ConfigError, match="something else"):
        measured(tiny, against=str(other))
    with pytest.raises(UnknownNameError, match="xception"):
        measured(tiny, against="xceptoin")


def test_without_a_bundle_light_models_are_measured_one_for_each_modality(monkeypatch):
    models = load_models()
    assert sorted(models.get(name).modality for name in LIGHT) == sorted(load_modalities().names())
    monkeypatch.setattr(benchmark, "LIGHT", ("gru-light", "forensic-mlp"))
    rows = measured()
    assert [row.name for row in rows] == ["gru-light", "forensic-mlp"]
    beside = measured(against="gru-attention")
    assert [row.name for row in beside] == ["gru-light", "gru-attention"]


def test_fresh_weights_are_the_same_in_every_run(tmp_path):
    spec = load_models().get("gru-light")
    paths = [fresh_bundle(tmp_path / name, spec, spec.prep) for name in "ab"]
    assert len({Detector.load(path, "cpu").bundle.card.id for path in paths}) == 1


def test_on_a_gpu_autocast_and_compilation_are_measured_too(monkeypatch):
    network = tiny_module().eval()
    ways = variants(network, "cpu")
    assert list(ways) == ["eager bfloat16", "compiled float32", "compiled bfloat16"]
    assert [each.precision for each in ways.values()] == ["bfloat16", "float32", "bfloat16"]
    assert ways["eager bfloat16"].module is network
    for name in ("compiled float32", "compiled bfloat16"):
        assert isinstance(ways[name].module, torch._dynamo.OptimizedModule)


def test_ways_of_a_gpu_have_rows_of_their_own(tiny, monkeypatch):
    monkeypatch.setattr(benchmark, "pick_device", lambda name: "cuda")
    monkeypatch.setattr(benchmark, "keep_size", lambda *_: None)
    load = Detector.load
    monkeypatch.setattr(benchmark.Detector, "load", lambda path, device: load(path, "cpu"))
    monkeypatch.setattr(
        benchmark, "variants", lambda network, device: {f"half on {device}": lambda inputs: {}}
    )
    first, half, other = measured(tiny, against="cnn")
    assert (first.way, half.way, other.name) == ("eager float32", "half on cuda", "cnn")
    assert half.ratios.keys() == first.ratios.keys() == {1, 8}
    assert (half.peak_bytes, half.best) == (None, None)


def test_stages_of_a_file_add_up(tiny, files):
    (row,) = measured(tiny, media=files)
    assert tuple(row.stages) == STAGES
    assert all(value >= 0 for value in row.stages.values())
    spent = stages_of(files / "1.png", Detector.load(tiny, "cpu"))
    parts = ("probe", "prepare", "features", "model", "fuse")
    assert spent["whole"] == pytest.approx(sum(spent[stage] for stage in parts))
    assert 0 < spent["decode"] < spent["prepare"]
    assert spent["faces"] < 1, "it looks for none"


def test_files_that_cannot_be_judged_have_no_stages(tiny, files, tmp_path):
    detector = Detector.load(tiny, "cpu")
    assert stages_of(files / "notes.txt", detector) is None
    faces = Detector.load(tiny_bundle(tmp_path / "faces", prep=FACES).path, "cpu")
    assert stages_of(files / "1.png", faces) is None, "there is no face"
    assert profile.profile([files / "notes.txt"], detector) is None
    with pytest.raises(ConfigError, match="no folder with files"):
        measured(tiny, media=files / "none")


def test_faces_are_looked_for_where_the_prep_does(tmp_path, files, monkeypatch):
    looked = []
    monkeypatch.setattr(profile, "find_faces", lambda picture, **given: looked.append(given) or [])
    prep = dataclasses.replace(FACES, no_face="center")
    detector = Detector.load(tiny_bundle(tmp_path / "faces", prep=prep).path, "cpu")
    stages_of(files / "1.png", detector)
    assert [each["finder"] for each in looked] == ["haar"]
    assert len(looked[0]["looks_px"]) == 2


def test_a_file_knows_how_long_its_user_waited_for_it(monkeypatch):
    now_s = [0.0]

    def picture(_):
        now_s[0] += 0.25
        return np.zeros((4, 4, 3), np.uint8)

    def frames(*_):
        for number in range(40):
            now_s[0] += 0.01
            yield profile.Frame(number / 10, np.zeros((4, 4, 3), np.uint8))

    monkeypatch.setattr(profile, "time", type("Clock", (), {"perf_counter": lambda: now_s[0]}))
    monkeypatch.setattr(Media, "picture_HWC", property(picture))
    monkeypatch.setattr(Media, "frames", frames)
    media = ClockedMedia(noise(), Media.from_bytes(noise(), "a.png").facts)
    assert media.picture_HWC is media.picture_HWC
    assert media.waited_ms == pytest.approx(250)
    for _ in media.frames(profile.Sampling(count=40)):
        now_s[0] += 1
    assert media.waited_ms == pytest.approx(650)
    assert (media.seen, len(media.pictures)) == (41, profile.MOST_PICTURES)


def test_three_files_are_enough(tiny, files, monkeypatch):
    seen = []
    judged = dict.fromkeys(STAGES, 1.0)
    monkeypatch.setattr(profile, "stages_of", lambda path, _: seen.append(path.name) or judged)
    paths = [files / f"{number}.png" for number in range(4)]
    assert profile.profile(paths, None, rounds=2) == judged
    assert seen == ["0.png", "1.png", "2.png"] * 3


# --- what is written -------------------------------------------------------------------------------


def row_of(**fields):
    speed = Speed(batch_size=1, p50_ms=2.0, p95_ms=3.0, per_s=500.0)
    given = {
        "name": "a|b",
        "bundle": "a-1",
        "way": "eager float32",
        "parameters": 1234,
        "flops": 2_500_000_000,
    }
    return Row(**(given | {"bytes": 5_000_000, "speeds": (speed,), "ratios": {}} | fields))


def test_tables_show_what_there_is():
    assert [each.title for each in results.tables([row_of()])] == ["Speed", "What it takes"]
    full = row_of(ratios={1: 2.5}, stages=dict.fromkeys(STAGES, 1.25), peak_bytes=7_000_000)
    speed, ahead, taken, stages = results.tables([full])
    assert speed.rows == [("a|b", "eager float32", "2.0", "3.0", "-", "-")]
    assert ahead.rows == [("a|b", "eager float32", "2.50")]
    assert taken.rows == [("a|b", "eager float32", "1,234", "2.50", "5.0 MB", "7 MB")]
    assert stages.rows == [("a|b", "eager float32", *["1.2"] * len(STAGES))]
    assert all(
        len(row) == len(table.columns) for table in (speed, ahead, taken, stages) for row in table.rows
    )
    bare = results.tables([row_of(parameters=None, flops=None)])[1]
    assert bare.rows[0][2:] == ("-", "-", "5.0 MB", "-")


def test_the_page_and_the_json_tell_command_machine_and_figures():
    found = results.Results(command="deepscan benchmark x", machine=machine("cpu"), rows=[row_of()])
    page = results.as_page(found)
    assert "deepscan benchmark x" in page
    assert f"torch {torch.__version__.partition('+')[0]}" in page
    assert found.machine["processor"] in page
    assert "| a\\|b | eager float32 | 2.0 | 3.0 | - | - |" in page
    told = json.loads(results.as_json(found))
    assert told["command"] == "deepscan benchmark x"
    assert told["machine"]["versions"]["python"]
    assert told["rows"][0]["speeds"] == [{"batch_size": 1, "p50_ms": 2.0, "p95_ms": 3.0, "per_s": 500.0}]


def test_where_results_cannot_be_written_the_error_says_so(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"):
        results.save(tmp_path, "text")


def test_the_command_prints_tables_and_writes_both_files(tiny, files, tmp_path):
    words = ("--device", "cpu", "--rounds", 1, "--seconds", 2, "--plugin", PLUGIN, "--media", files)
    out = ("--json", tmp_path / "out" / "a.json", "--page", tmp_path / "out" / "a.md")
    for name in ((), ("model",)):
        done = command("benchmark", *name, tiny, *words, *out)
        assert done.exit_code == 0, done.stderr
        assert "Speed" in done.stdout
        assert "tiny" in done.stdout
        told = json.loads((tmp_path / "out" / "a.json").read_text())
        assert told["rows"][0]["stages"]["whole"] > 0
        assert (tmp_path / "out" / "a.md").read_text().startswith("# Results")
        shutil.rmtree(tmp_path / "out")


def test_what_names_no_command_is_measured(monkeypatch, tmp_path):
    plans = []
    monkeypatch.setattr(benchmark, "run", lambda plan: plans.append(plan) or [row_of()])
    for words in ((), ("--against", "xception"), (tmp_path, "--device", "cpu")):
        assert command("benchmark", *words).exit_code == 0
    assert [(plan.bundles, plan.against) for plan in plans] == [((), ""), ((), "xception"), ((tmp_path,), "")]
    for words in (["x y", "--rounds", "3"], ["model", "x y", "--rounds", "3"]):
        assert benchmarking._command_line(words) == "deepscan benchmark model 'x y' --rounds 3"
    assert "data" in command("benchmark", "--help").stdout
    assert "--epochs" in command("benchmark", "data", "--help").stdout
