"""Learning to fuse, against scikit-learn, SciPy and simulated detectors."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from deepscan.calibration import OperatingPoint, decide
from deepscan.errors import DataError
from deepscan.fitting import MIN_TOGETHER, RIDGE, Member, Panel, fit, fused, learn
from deepscan.fusion import Attention, FusionPolicy, fuse

METHODS = ("log-odds", "mean", "majority", "maximum", "minimum", "attention", "stack")
POINT = OperatingPoint()


def panel(files=400, skills=(1.5, 1.0, 0.0), absent=0.0, seed=0):
    """Detectors that see independent traces; ``skills`` is how far apart they hold the classes."""
    rng = np.random.default_rng(seed)
    label = np.arange(files) % 2
    trace = rng.normal(np.outer(2 * label - 1, skills) / 2, 1)
    # The optimal probability of each: the log-odds of two unit normals ``skill`` apart.
    probability = expit(trace * np.array(skills))
    probability[rng.random(probability.shape) < absent] = np.nan
    members = tuple(Member(bundle=f"m{i}-0", detector=f"m{i}", point=POINT) for i in range(len(skills)))
    return Panel(members=members, probability_NM=probability, label_N=label, source_N=np.arange(files) // 2)


def fitted(method, data=None, rate=0.05):
    return fit(data or panel(), FusionPolicy(method=method), np.random.default_rng(1), rate)


def platt(label):
    fake, real = label.sum(), (label == 0).sum()
    return np.where(label == 1, (fake + 1) / (fake + 2), 1 / (real + 2))


def test_a_stack_agrees_with_logistic_regression():
    data = panel(skills=(1.5, 1.0))
    odds, target = logit(data.probability_NM), platt(data.label_N)
    expected = LogisticRegression(C=np.inf, tol=1e-10).fit(
        np.tile(odds, (2, 1)), np.repeat([1, 0], len(odds)), np.concatenate([target, 1 - target])
    )
    line = next(line for line in learn(data, FusionPolicy(method="stack")).lines if len(line.members) == 2)
    assert line.weights == pytest.approx(expected.coef_[0], rel=1e-3)
    assert line.offset == pytest.approx(expected.intercept_[0], abs=1e-3)


def test_a_detector_that_is_wrong_has_no_say_instead_of_being_turned_round():
    data = panel(skills=(1.5, 1.0))
    wrong = Panel(
        members=data.members,
        probability_NM=np.column_stack([data.probability_NM[:, 0], 1 - data.probability_NM[:, 1]]),
        label_N=data.label_N,
        source_N=data.source_N,
    )
    lines = {line.members: line.weights for line in learn(wrong, FusionPolicy(method="stack")).lines}
    assert lines["m0-0", "m1-0"][1] == lines["m1-0",][0] == 0
    weights = learn(wrong, FusionPolicy()).weights
    assert weights["m0-0"] > 0 == weights["m1-0"]


def test_a_stack_learns_only_sets_that_judged_enough_files_together():
    data = panel(files=200)
    data.probability_NM[2 * MIN_TOGETHER - 1 :, 1] = np.nan
    data.probability_NM[: 2 * MIN_TOGETHER - 1, 2] = np.nan
    sets = {line.members for line in learn(data, FusionPolicy(method="stack")).lines}
    assert sets == {("m0-0",), ("m1-0",), ("m2-0",), ("m0-0", "m2-0")}
    assert not np.isnan(fused(data, learn(data, FusionPolicy(method="stack")))).any()


def test_attention_finds_the_optimum_of_the_likelihood_that_fuse_computes():
    data = panel(files=60, skills=(1.5, 0.5), absent=0.2, seed=3)
    voted = ~np.isnan(data.probability_NM).all(axis=1)
    data = data.only(voted)
    target = platt(data.label_N)

    def loss(learnt):
        attention = Attention(scores={"m0-0": learnt[0], "m1-0": learnt[1]}, decidedness=learnt[2])
        pooled = logit(fused(data, FusionPolicy(method="attention", attention=attention)))
        return np.mean(np.logaddexp(0, pooled) - target * pooled) + RIDGE * learnt @ learnt

    attention = learn(data, FusionPolicy(method="attention")).attention
    found = np.array([*attention.scores.values(), attention.decidedness])
    searched = minimize(loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-9})
    assert loss(found) == pytest.approx(searched.fun, abs=1e-6)
    assert found == pytest.approx(searched.x, abs=0.01)


def test_attention_listens_to_the_better_detector():
    scores = learn(panel(skills=(2.0, 0.2)), FusionPolicy(method="attention")).attention.scores
    assert scores["m0-0"] > scores["m1-0"] + 0.5


def test_weights_are_the_log_odds_of_the_balanced_accuracy():
    probability = np.array([[0.1], [0.9], [0.2], [0.9], [0.8], [0.4], [np.nan]])
    label = np.array([0, 0, 0, 1, 1, 1, 1])
    data = Panel(
        members=(Member(bundle="a", detector="a", point=POINT),),
        probability_NM=probability,
        label_N=label,
        source_N=np.arange(7),
    )
    # Two right of three in each class, and half a file more of each kind: 2.5 of 4.
    assert learn(data, FusionPolicy()).weights == {"a": pytest.approx(logit(2.5 / 4))}


@pytest.mark.parametrize("method", ["log-odds", "mean", "majority"])
def test_weights_that_are_given_are_kept(method):
    given = FusionPolicy(method=method, weights={"m0": 1.0, "m1": 2.0}, threshold=0.4, min_models=2)
    policy = fit(panel(), given, np.random.default_rng(0))
    assert (policy.weights, policy.threshold, policy.min_models) == ({"m0": 1.0, "m1": 2.0}, 0.4, 2)


@pytest.mark.parametrize("method", ["log-odds", "mean", "majority", "attention", "stack"])
def test_fusion_beats_its_best_member(method):
    skills = (1.2, 1.2, 1.2, 0.0)
    policy, fresh = fitted(method, panel(skills=skills)), panel(files=2000, skills=skills, seed=9)
    best = max(roc_auc_score(fresh.label_N, p) for p in fresh.probability_NM.T)
    assert roc_auc_score(fresh.label_N, fused(fresh, policy)) > best + 0.03


@pytest.mark.parametrize("method", METHODS)
def test_probabilities_of_new_files_are_calibrated_also_where_members_are_absent(method):
    policy = fitted(method, panel(files=600, absent=0.3))
    fresh = panel(files=1500, absent=0.3, seed=7)
    probability = fused(fresh, policy)
    judged = ~np.isnan(probability)
    assert judged.mean() > 0.9
    p, label = probability[judged], fresh.label_N[judged]
    assert p.mean() == pytest.approx(label.mean(), abs=0.03)
    for low, high in ((0, 0.3), (0.3, 0.7), (0.7, 1)):
        held = (p >= low) & (p < high)
        if held.sum() > 200:
            assert p[held].mean() == pytest.approx(label[held].mean(), abs=0.08)


@pytest.mark.parametrize("method", ["log-odds", "attention", "stack"])
def test_the_stated_rate_holds_on_new_files_also_for_what_was_learnt(method):
    wrong = []
    for seed in range(8):
        policy = fitted(method, panel(files=160, seed=seed), rate=0.1)
        fresh = panel(files=600, seed=100 + seed)
        called = np.array([decide(p, policy.operating) for p in fused(fresh, policy)])
        wrong.append(
            [(called[fresh.label_N == 0] == "fake").mean(), (called[fresh.label_N == 1] == "real").mean()]
        )
    assert (np.mean(wrong, axis=0) <= 0.1 + 0.02).all()
    assert (np.mean(wrong, axis=0) > 0.02).all(), "a band that calls nothing keeps every promise"


def test_decisions_are_those_of_the_fitted_policy():
    policy = fitted("stack")
    assert (policy.operating.real, policy.operating.fake) == (200, 200)
    assert sum(policy.reliability.files) == 400
    votes = panel().votes(3)
    probability, uncertainty, label = fuse(votes, policy)
    assert label == decide(probability, policy.operating)
    assert uncertainty.files == policy.reliability.uncertainty(probability).files


def test_sources_are_never_divided_between_learning_and_measuring(monkeypatch):
    from deepscan import fitting

    data, seen = panel(files=60), []
    original = fitting.learn
    monkeypatch.setattr(fitting, "learn", lambda part, policy: seen.append(part) or original(part, policy))
    fit(data, FusionPolicy(), np.random.default_rng(0))
    *parts, whole = seen
    assert len(parts) == 5
    assert len(whole.label_N) == 60
    for part in parts:
        kept = set(part.source_N.tolist())
        assert len(part.label_N) == 2 * len(kept) < 60
        assert set(part.label_N.tolist()) == {0, 1}


def test_the_same_seed_fits_the_same_policy():
    assert fitted("attention") == fitted("attention")


@pytest.mark.parametrize("method", METHODS)
def test_too_few_sources_are_refused_with_advice(method):
    one = panel(files=8)
    for data in (one.only(one.label_N == 0), one.only(one.source_N == 0)):
        with pytest.raises(DataError, match="at least two sources"):
            fitted(method, data)


def test_a_panel_nobody_judged_is_refused():
    with pytest.raises(DataError, match=r"one class only|both classes"):
        fitted("attention", panel(absent=1.0))
    with pytest.raises(DataError, match="both classes"):
        fitted("maximum", panel(absent=1.0))
