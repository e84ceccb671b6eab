"""`deepscan tune`: what it asks for, what it prints; and the recipe file of `deepscan train`."""

import io
import json
import pathlib
import types

import pytest
from rich.console import Console
from typer.testing import CliRunner

from deepscan import cli
from deepscan.calibration import OperatingPoint
from deepscan.console import show_campaign
from deepscan.metrics import Counts, Figure
from deepscan.recipe import Range
from deepscan.tuning.journal import Epoch, Trial
from deepscan.tuning.space import Space

LR = "recipe.optimizer.lr"


def found(out):
    """What a campaign might have come to, as far as it is printed."""
    card = types.SimpleNamespace(id="tiny-0123", operating=OperatingPoint(real=80, fake=80))
    evaluation = types.SimpleNamespace(
        counts=Counts(files=7, sources=5, real=3, fake=4),
        overall={"auc": Figure(value=0.9, low=0.8, high=1.0)},
    )
    bundle = types.SimpleNamespace(card=card, path=out / "best" / "bundle")
    metrics = {"epoch": 1.0, "val_auc": 0.8125, "val_loss": 0.5}
    good = Trial(id="one", state="stopped", epochs={1: Epoch(settings={LR: 0.00123456}, metrics=metrics)})
    bad = Trial(id="two", state="failed", epochs={}, why="[it] diverged")
    return types.SimpleNamespace(
        campaign=types.SimpleNamespace(order=types.SimpleNamespace(out=out)),
        space=Space(ranges={LR: Range(low=0, high=1)}, whole=frozenset()),
        trials=(good, bad),
        ranked=[good],
        outcome=types.SimpleNamespace(
            bundle=bundle,
            evaluation=evaluation,
            account={"used": 7},
            history=(),
            examination=None,
            against=None,
            seen=None,
        ),
    )


@pytest.fixture
def campaigns(monkeypatch, tmp_path):
    """The search replaced by a note of what was asked."""
    asked = []

    def run_campaign(campaign, watch):
        asked.append(campaign)
        return found(tmp_path)

    monkeypatch.setattr("deepscan.tuning.run.run_campaign", run_campaign)
    return asked


def run(line):
    return CliRunner().invoke(cli.app, line.split())


def test_the_options_reach_the_campaign(campaigns):
    done = run(
        "tune --model cnn --data d --out o --trials 7 --epochs 3 --time-budget 60 --search tpe "
        "--scheduler median --space s.json --set recipe.amp=off --trial-cpus 3 --trial-gpus 0.5 "
        "--warm-start w --seed 4 --weights imagenet --no-materialize --split-seed 5 --calibration none "
        "--resume --name n"
    )
    assert done.exit_code == 0, done.output
    [asked] = campaigns
    assert (asked.trials, asked.epochs, asked.time_budget_s, asked.seed) == (7, 3, 60, 4)
    assert (asked.search, asked.scheduler, asked.share) == ("tpe", "median", (3, 0.5))
    assert (asked.space, asked.warm_start) == (pathlib.Path("s.json"), pathlib.Path("w"))
    assert asked.fixed == ("recipe.amp=off", "recipe.epochs=3")
    order = asked.order
    assert (order.model, order.init, order.name) == ("cnn", "imagenet", "n")
    assert (order.calibration, order.resume, order.origin.keep, order.origin.seed) == ("none", True, False, 5)


def test_without_options_trials_are_stopped_early_and_share_prepared_data(campaigns):
    assert run("tune --model cnn --data d --out o").exit_code == 0
    [asked] = campaigns
    assert (asked.scheduler, asked.search, asked.epochs, asked.time_budget_s) == ("asha", None, None, None)
    assert asked.order.origin.keep


def test_a_trial_may_have_several_workers(campaigns):
    assert run("tune --model cnn --data d --out o --workers 2 --scheduler none").exit_code == 0
    assert campaigns[0].order.workers == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--scheduler pbt --search tpe", "leave --search out"),
        ("--search grid", "Invalid value"),
        ("--trials 0", "Invalid value"),
    ],
)
def test_a_wrong_search_ends_with_code_2(campaigns, words, message):
    done = run(f"tune --model cnn --data d --out o {words}")
    assert done.exit_code == 2
    assert message in done.stderr
    assert campaigns == []


def test_the_best_trials_the_failures_and_the_places_are_printed(tmp_path):
    console = Console(file=io.StringIO(), width=200)
    show_campaign(console, found(tmp_path))
    text = console.file.getvalue()
    row = next(line for line in text.splitlines() if "one" in line)
    assert row.replace("│", " ").split() == ["one", "0.812", "1", "stopped", "0.001235"]
    assert "Trial two failed: [it] diverged" in text
    assert f"Settings: {tmp_path}/best.json\nCampaign: {tmp_path}/campaign.html\n" in text


def test_train_takes_a_recipe_file_before_its_settings(monkeypatch, tmp_path):
    orders = []
    monkeypatch.setattr("deepscan.cli.training._train_one", orders.append)
    (tmp_path / "best.json").write_text(json.dumps({LR: 0.5, "model": {"dropout": 0.1}}), encoding="utf-8")
    done = run(f"train --model cnn --data d --out o --recipe {tmp_path}/best.json --set {LR}=0.25")
    assert done.exit_code == 0, done.output
    assert orders[0].overrides == (f"{LR}=0.5", "model.dropout=0.1", f"{LR}=0.25")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --model cnn --data d --out o --recipe none.json", "The recipe none.json cannot be read"),
        ("train all --data d --out o --recipe none.json", "--recipe is for a single model"),
    ],
)
def test_a_recipe_file_that_is_absent_or_out_of_place_is_refused(words, message):
    done = run(words)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
