"""Campaigns on Ray: the whole way once, then what may happen on it."""

import dataclasses
import json
import logging
import os
import pathlib
import shutil
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

from deepscan.datasets.dataset import Origin
from deepscan.errors import ConfigError, TrainingError
from deepscan.training.record import read_history
from deepscan.training.run import Order
from deepscan.training.settings import read_recipe
from deepscan.tuning import journal
from deepscan.tuning import run as module
from deepscan.tuning.campaign import Campaign
from deepscan.tuning.journal import Trial
from deepscan.tuning.run import run_campaign
from deepscan.watch import LogWatch

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]
PLUGIN = pathlib.Path(__file__).parents[1] / "plugins" / "tiny.py"
LR, WIDTH = "recipe.optimizer.lr", "model.width"
SPACE = {LR: {"low": 1e-3, "high": 1e-1, "log": True}, WIDTH: {"low": 4, "high": 12}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with small noisy pictures, the fakes smoother, and with a search space."""
    folder = tmp_path_factory.mktemp("tune")
    rng = np.random.default_rng(0)
    for i in range(48):
        label = ("real", "fake")[i % 2]
        noise = rng.normal(0, 40 if label == "real" else 25, (32, 32, 3))
        (folder / "data" / label).mkdir(parents=True, exist_ok=True)
        pixels = np.clip(128 + rng.normal(0, 20) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "data" / label / f"{i:03}.png")
    (folder / "space.json").write_text(json.dumps(SPACE), encoding="utf-8")
    return folder


def campaign_of(place, out, overrides=(), workers=1, **changes):
    order = Order(
        model="tiny",
        plugin=PLUGIN,
        out=out,
        overrides=overrides,
        workers=workers,
        origin=Origin(path=place / "data", store=place / "store", fractions=(0.5, 0.25, 0.25)),
    )
    settings = {"trials": 5, "epochs": 2, "space": place / "space.json", **changes}
    return Campaign(order=order, **settings)


def resumed(campaign):
    return dataclasses.replace(campaign, order=dataclasses.replace(campaign.order, resume=True))


def trials_of(campaign):
    return journal.read(campaign.order.out / "trials.jsonl")


@pytest.fixture
def no_winner(monkeypatch):
    """The winner is not trained; returns the orders that would have been."""
    orders = []
    monkeypatch.setattr(module, "train", lambda order, watch: orders.append(order))
    return orders


@pytest.fixture(scope="module")
def finished(ray_cluster, place, tmp_path_factory):
    # As many threads as the winner's run will have: kernels differ, and with them the last digits.
    campaign = campaign_of(place, tmp_path_factory.mktemp("runs") / "whole", share=(2.0, None))
    return campaign, run_campaign(campaign, LogWatch())


def test_a_campaign_leaves_what_it_promises(finished):
    campaign, found = finished
    out = campaign.order.out
    assert len(found.trials) == 5
    assert {trial.state for trial in found.trials} <= {"finished", "stopped"}
    assert all(found.space.holds(trial.best.settings) for trial in found.trials)
    assert len({trial.best.settings[LR] for trial in found.trials}) == 5
    assert found.outcome.bundle.path == out / "best" / "bundle"
    page = (out / "campaign.html").read_text(encoding="utf-8")
    assert all(trial.id in page for trial in found.trials)
    assert not list((out / "ray").glob("*/result.json")), "Ray Tune keeps no second record"


def test_the_winner_is_trained_with_the_settings_of_the_best_trial(finished):
    campaign, found = finished
    best = found.ranked[0].best
    assert best.rank == max(trial.best.rank for trial in found.trials)
    card = found.outcome.bundle.card
    assert card.recipe["optimizer"]["lr"] == best.settings[LR]
    assert card.model_config["width"] == best.settings[WIDTH]
    assert card.recipe["epochs"] == 2
    recipe = json.loads((campaign.order.out / "best.json").read_text(encoding="utf-8"))
    width = {WIDTH: 8}  # the default, which is left out of a recipe that happens to have it
    assert width | recipe | {"recipe.epochs": 2} == {**best.settings, "recipe.epochs": 2}
    assert found.outcome.bundle.card.metrics["test"], "it is calibrated and measured like any other"


def test_the_winner_repeats_what_its_trial_saw(finished):
    """A trial makes its batches itself, a run streams them: the same Examples in the same order."""
    _, found = finished
    tried = found.ranked[0].epochs
    assert len(found.outcome.history) == len(tried)
    for again in found.outcome.history:
        before = tried[int(again["epoch"])].metrics
        for name in ("train_loss", "val_loss", "val_auc", "lr"):
            assert again[name] == pytest.approx(before[name], rel=1e-5), name


def test_a_finished_campaign_is_not_run_again(finished):
    campaign, found = finished
    with pytest.raises(ConfigError, match="--resume"):
        run_campaign(campaign, LogWatch())
    started = time.monotonic()
    again = run_campaign(resumed(campaign), LogWatch())
    assert time.monotonic() - started < 30
    assert again.trials == found.trials
    assert again.outcome.bundle.card == found.outcome.bundle.card


def test_a_campaign_is_resumed_with_its_own_settings_only(finished, tmp_path):
    campaign, _ = finished
    with pytest.raises(ConfigError, match="seed differ"):
        run_campaign(resumed(dataclasses.replace(campaign, seed=9)), LogWatch())
    elsewhere = dataclasses.replace(campaign.order, out=tmp_path / "new")
    with pytest.raises(ConfigError, match="no campaign to resume"):
        run_campaign(resumed(dataclasses.replace(campaign, order=elsewhere)), LogWatch())


def test_the_recipe_of_the_winner_is_one_that_train_takes(finished):
    campaign, found = finished
    overrides = read_recipe(campaign.order.out / "best.json")
    assert f"{LR}={found.ranked[0].best.settings[LR]!r}" in overrides


def test_a_campaign_learns_from_an_earlier_one(finished, place, tmp_path, no_winner, caplog):
    campaign, found = finished
    caplog.set_level(logging.INFO, "deepscan")
    warm = campaign_of(place, tmp_path / "warm", trials=2, warm_start=campaign.order.out, scheduler="none")
    run_campaign(warm, LogWatch())
    assert f"Learning from 5 of {len(found.ranked)} earlier trials" in caplog.text
    assert len(trials_of(warm)) == 2
    assert "earlier trials" in (warm.order.out / "campaign.html").read_text(encoding="utf-8")
    wrong = campaign_of(place, tmp_path / "wrong", (f"{WIDTH}=8",), warm_start=campaign.order.out)
    with pytest.raises(ConfigError, match="none of them within"):
        run_campaign(wrong, LogWatch())


def test_a_population_takes_over_the_state_of_its_best(ray_cluster, place, tmp_path, no_winner):
    run = campaign_of(place, tmp_path / "pbt", scheduler="pbt", trials=4, epochs=4)
    run_campaign(run, LogWatch())
    trials = trials_of(run)
    assert [sorted(trial.epochs) for trial in trials] == [[1, 2, 3, 4]] * 4
    rates = {trial.id: [e.settings[LR] for e in trial.epochs.values()] for trial in trials}
    changed = [trial for trial in trials if len(set(rates[trial.id])) > 1]
    assert changed
    first = {trial.epochs[1].settings[WIDTH] for trial in trials}
    for trial in changed:
        for number, epoch in trial.epochs.items():
            assert 1e-3 <= epoch.settings[LR] <= 1e-1
            assert epoch.settings[WIDTH] in first, "the weights that were taken over have a width"
            assert epoch.metrics["epoch"] == number


def test_a_trial_that_diverges_has_failed_and_the_others_go_on(ray_cluster, place, tmp_path, no_winner):
    space = tmp_path / "space.json"
    space.write_text(json.dumps({LR: [1e30, 1e-2]}), encoding="utf-8")
    wild = ("recipe.optimizer.name=sgd", "recipe.clip_norm=0")
    run = campaign_of(
        place, tmp_path / "out", wild, space=space, search="random", scheduler="median", trials=6
    )
    run_campaign(run, LogWatch())
    trials = trials_of(run)
    assert len(trials) == 6
    failed = [trial for trial in trials if trial.state == "failed"]
    assert failed
    assert all("Lower recipe.optimizer.lr" in trial.why for trial in failed)
    assert all(trial.best.settings[LR] == 1e-2 for trial in trials if trial not in failed)
    [order] = no_winner
    assert f"{LR}=0.01" in order.overrides or not any(text.startswith(LR) for text in order.overrides)


def test_a_campaign_without_a_winner_says_why():
    failed = Trial(id="a", state="failed", epochs={}, why="it diverged")
    with pytest.raises(TrainingError, match=r"None of 1 trials.*it diverged"):
        module._winner((failed,))
    with pytest.raises(TrainingError, match=r"None of 0 trials.*time budget"):
        module._winner(())


def test_ctrl_c_ends_the_search_and_resume_goes_on_from_its_storage(ray_cluster, place, tmp_path, no_winner):
    run = campaign_of(place, tmp_path / "out", scheduler="none", trials=6, epochs=60)
    stored = dataclasses.replace(run.order, storage=str(tmp_path / "storage"))
    run = dataclasses.replace(run, order=stored)

    def interrupt():
        while sum(trial.ended for trial in trials_of(run)) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    hand = threading.Thread(target=interrupt, daemon=True)
    hand.start()
    with pytest.raises(KeyboardInterrupt):
        run_campaign(run, LogWatch())
    assert signal.getsignal(signal.SIGINT) is before
    done = {trial.id: trial for trial in trials_of(run) if trial.ended}
    assert 2 <= len(done) < 6
    shutil.rmtree(run.order.out)
    run_campaign(resumed(run), LogWatch())
    trials = {trial.id: trial for trial in trials_of(run)}
    assert len(trials) == 6
    assert {trial.state for trial in trials.values()} == {"finished"}
    assert all(trials[name] == trial for name, trial in done.items()), "what was finished is not run again"
    assert len(no_winner) == 1


def test_a_time_budget_ends_the_search_and_the_best_so_far_wins(ray_cluster, place, tmp_path, no_winner):
    run = campaign_of(place, tmp_path / "out", scheduler="none", trials=500, epochs=30, time_budget_s=20)
    run_campaign(run, LogWatch())
    assert 1 <= len(trials_of(run)) < 500
    assert all(trial.ended for trial in trials_of(run))
    assert len(no_winner) == 1


def test_a_trial_of_two_workers_is_a_run_of_its_own(ray_cluster, place, tmp_path, no_winner):
    run = campaign_of(place, tmp_path / "out", workers=2, scheduler="none", trials=1, epochs=2)
    run_campaign(run, LogWatch())
    [trial] = trials_of(run)
    assert (trial.state, sorted(trial.epochs)) == ("finished", [1, 2])
    folder = run.order.out / "trials" / trial.id
    assert [e["val_auc"] for e in read_history(folder / "history.jsonl")] == [
        epoch.metrics["val_auc"] for epoch in trial.epochs.values()
    ]
    assert no_winner[0].workers == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheduler": "pbt", "search": "tpe"}, "leave --search out"),
        ({"workers": 2}, "cannot be stopped"),
        ({"workers": 2, "scheduler": "none", "time_budget_s": 9}, "cannot be stopped"),
        ({"scheduler": "pbt", "trials": 1}, "at least 2"),
        ({"search": "random", "warm_start": pathlib.Path("x")}, "learn nothing"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        campaign_of(tmp_path, tmp_path / "out", **changes)
