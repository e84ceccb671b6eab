"""What Ray Tune is given; needs no cluster."""

import math
import pickle
import random

import numpy as np
import pytest
from ray import cloudpickle

from deepscan.errors import ConfigError
from deepscan.recipe import Choice, Range
from deepscan.tuning.journal import Epoch, Trial, read
from deepscan.tuning.search import SCHEDULERS, Recorder, domains, importances, scheduler, searcher
from deepscan.tuning.space import Space

SPACE = Space(
    ranges={
        "recipe.optimizer.lr": Range(low=1e-4, high=1e-1, log=True),
        "recipe.batch_size": Range(low=4, high=7),
        "recipe.epochs": Choice(values=(2, 4)),
        "model.dropout": Range(low=0.0, high=0.5),
    },
    whole=frozenset({"recipe.batch_size", "recipe.epochs"}),
)
ONE = Space(ranges={"x": Range(low=-1.0, high=1.0)}, whole=frozenset())


def draws(domain, count=400):
    return [domain.sample() for _ in range(count)]


def test_draws_lie_within_the_space_and_reach_its_ends():
    for name, domain in domains(SPACE).items():
        within = SPACE.ranges[name]
        drawn = draws(domain)
        if isinstance(within, Choice):
            assert set(drawn) == set(within.values)
        else:
            assert within.low <= min(drawn) <= max(drawn) <= within.high
    assert set(draws(domains(SPACE)["recipe.batch_size"])) == {4, 5, 6, 7}


def test_a_log_range_is_drawn_by_its_logarithm():
    drawn = np.log10(draws(domains(SPACE)["recipe.optimizer.lr"], 2000))
    assert np.mean(drawn) == pytest.approx(-2.5, abs=0.1)


def played(kind, seed, known=(), trials=16):
    """Let a searcher look for the place where (x - .3)² is least; return where it looked."""
    proposing = searcher(kind, trials, seed, known)
    proposing.set_search_properties("auc", "max", domains(ONE))
    places = []
    for number in range(trials):
        place = proposing.suggest(str(number))["x"]
        places.append(place)
        proposing.on_trial_complete(str(number), {"auc": -((place - 0.3) ** 2), "training_iteration": 1})
    return places


def test_an_epoch_that_a_resumed_trial_repeats_is_nothing_to_warn_of(recwarn):
    proposing = searcher("tpe", 4, 1, ())
    proposing.set_search_properties("auc", "max", domains(ONE))
    proposing.suggest("a")
    for epoch in (1, 2, 2):
        proposing.on_trial_result("a", {"auc": 0.5, "training_iteration": epoch})
    proposing.on_trial_complete("a", {"auc": 0.5, "training_iteration": 2})
    assert not recwarn.list
    assert [each.value for each in proposing._ot_study.trials] == [0.5]


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_the_same_seed_proposes_the_same(kind):
    assert played(kind, 1) == played(kind, 1) != played(kind, 2)


def test_the_estimators_look_where_it_was_good():
    def distance(kind):
        return np.mean(
            [abs(place - 0.3) for seed in range(5) for place in played(kind, seed, trials=32)[16:]]
        )

    assert distance("tpe") < 0.6 * distance("random")


def test_what_is_known_from_before_guides_the_first_proposals():
    known = [({"x": x}, -((x - 0.3) ** 2)) for x in np.linspace(-1, 1, 21).tolist()]
    warm = np.mean([abs(place - 0.3) for seed in range(5) for place in played("tpe", seed, known)[:4]])
    cold = np.mean([abs(place - 0.3) for seed in range(5) for place in played("tpe", seed)[:4]])
    assert warm < 0.5 * cold


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_every_scheduler_counts_epochs_and_can_be_kept_for_a_resume(kind):
    made = scheduler(kind, SPACE, 16)
    assert kind == "none" or made._time_attr == "epoch"
    cloudpickle.loads(cloudpickle.dumps(made))


def test_a_population_changes_what_its_state_survives_and_stays_within_the_space():
    made = scheduler("pbt", SPACE, 16)
    assert set(made._hyperparam_mutations) == {"recipe.optimizer.lr", "recipe.batch_size"}
    point = {"recipe.optimizer.lr": 0.09, "recipe.batch_size": 7, "recipe.epochs": 4, "model.dropout": 0.5}
    random.seed(0)
    from ray.tune.schedulers.pbt import _explore

    for _ in range(50):
        changed, _ = _explore(point, made._hyperparam_mutations, 0.25, (1.2, 0.8), made._custom_explore_fn)
        assert SPACE.holds(changed)
        assert (changed["model.dropout"], changed["recipe.epochs"]) == (0.5, 4)


def test_a_population_without_anything_to_change_is_refused():
    space = Space(ranges={"model.dropout": Range(low=0, high=1)}, whole=frozenset())
    with pytest.raises(ConfigError, match=r"model\.dropout can not be changed"):
        scheduler("pbt", space, 4)


class Told:
    """As much of a trial of Ray Tune as the recorder looks at."""

    trial_id = "t"

    def __init__(self, finished=True, error=None, **last):
        self.last_result = {"finished": finished} | last
        self.error = error

    def get_pickled_error(self):
        return self.error

    def get_error(self):
        return None


@pytest.mark.parametrize(("finished", "state"), [(True, "finished"), (False, "stopped")])
def test_the_recorder_tells_an_end_from_a_stop(tmp_path, finished, state):
    recorder = pickle.loads(pickle.dumps(Recorder(tmp_path / "j")))
    told = Told(finished)
    metrics = {"epoch": 1.0, "val_auc": 0.5, "val_loss": 1.0}
    recorder.on_trial_start(1, [], told)
    recorder.on_trial_result(1, [], told, {"settings": {"a": 1}, "metrics": metrics})
    recorder.on_trial_complete(1, [], told)
    [trial] = read(tmp_path / "j")
    assert (trial.state, trial.best.settings, trial.best.metrics) == (state, {"a": 1}, metrics)


def test_the_recorder_notes_a_trial_that_diverged_and_no_figure_of_it(tmp_path):
    told = Told(finished=False, failed="The loss became nan.")
    Recorder(tmp_path / "j").on_trial_result(1, [], told, told.last_result)
    Recorder(tmp_path / "j").on_trial_complete(1, [], told)
    [trial] = read(tmp_path / "j")
    assert (trial.state, trial.why, trial.epochs) == ("failed", "The loss became nan.", {})


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (
            ValueError("Traceback:\n  somewhere\n\nTrainingError: it diverged.\n"),
            "TrainingError: it diverged.",
        ),
        (None, "it ended without a word"),
    ],
)
def test_the_recorder_keeps_the_last_line_of_an_error(tmp_path, error, why):
    Recorder(tmp_path / "j").on_trial_error(1, [], Told(error=error))
    [trial] = read(tmp_path / "j")
    assert (trial.state, trial.why) == ("failed", why)


def scored(count, auc):
    rng = np.random.default_rng(0)
    trials = []
    for number in range(count):
        settings = {"x": float(rng.uniform()), "y": float(rng.uniform())}
        metrics = {"epoch": 1.0, "val_auc": auc(**settings), "val_loss": 1.0}
        trials.append(
            Trial(id=str(number), state="finished", epochs={1: Epoch(settings=settings, metrics=metrics)})
        )
    return trials


PLANE = Space(ranges={"x": Range(low=0, high=1), "y": Range(low=0, high=1)}, whole=frozenset())


def test_what_makes_the_difference_is_found():
    shares = importances(scored(40, lambda x, y: 0.5 + 0.4 * x), PLANE)
    assert shares["x"] > 0.9
    assert math.fsum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(("count", "auc"), [(3, lambda x, y: x), (8, lambda x, y: 0.5)])
def test_too_few_or_equal_trials_tell_nothing(count, auc):
    assert importances(scored(count, auc), PLANE) == {}
