"""How often 95 % intervals hold the truth, counted over many made-up data sets whose truth is known."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from deepscan.metrics import bootstrap
from deepscan.metrics.fairness import disparity
from deepscan.metrics.figures import cumulative, ranking_figures
from deepscan.metrics.paired import compare
from tests.metrics.samples import clustered, judged

TRIALS, REPLICATES = 400, 1000
SHIFT = 1.2
TRUTH = norm.cdf(SHIFT / math.sqrt(2))
"""AUC of normal logits of variance 1 a ``SHIFT`` apart: fakes and real files are never of one source."""


def holds(figure, truth):
    return figure.low <= truth <= figure.high


def area(files):
    return lambda weight: {"auc": ranking_figures(*cumulative(files, weight))["auc"]}


@pytest.mark.slow
def test_intervals_over_sources_hold_the_true_auc_and_those_over_files_do_not():
    rng = np.random.default_rng(11)
    held = {"sources": 0, "files": 0}
    for _ in range(TRIALS):
        (files,) = clustered(rng, sources=80, files=5, shift=SHIFT)
        alone = np.arange(len(files.label)).astype(str)
        for name, source in (("sources", files.source), ("files", alone)):
            found = bootstrap.figures(area(files), source, rng, REPLICATES)["auc"]
            held[name] += holds(found, TRUTH)
    assert 0.92 <= held["sources"] / TRIALS <= 0.98
    assert held["files"] / TRIALS < 0.8


@pytest.mark.slow
def test_intervals_over_sources_hold_the_true_difference_of_two_detectors_and_delong_does_not():
    rng = np.random.default_rng(12)
    held = {"sources": 0, "files": 0}
    surprised = 0
    for _ in range(TRIALS):
        first, second = clustered(rng, sources=80, files=5, shift=SHIFT, detectors=2)
        found = compare(first, second, (0.5, 0.5), rng, REPLICATES)
        held["sources"] += holds(found.bootstrap.figure, 0)
        held["files"] += holds(found.delong.figure, 0)
        surprised += found.bootstrap.p < 0.05
    assert 0.92 <= held["sources"] / TRIALS <= 0.98
    assert held["files"] / TRIALS < 0.8
    assert 0.02 <= surprised / TRIALS <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize("more_errors", [0.0, 0.2])
def test_intervals_of_the_worst_gap_hold_the_truth_also_where_there_is_none(more_errors):
    rng = np.random.default_rng(13)
    trials, held = 200, 0
    rates = np.array([0.1, 0.1, 0.1, 0.1 + more_errors])
    sources, files = 30, 4
    for _ in range(trials):
        # Each source errs at a rate of its own around that of its group.
        group = np.arange(4).repeat(sources)
        rate = rng.beta(rates[group] * 4, (1 - rates[group]) * 4).repeat(files)
        wrong = rng.random(len(rate)) < rate
        files_of = judged(
            np.zeros(len(rate), int),
            np.where(wrong, 1.0, -1.0),
            np.arange(len(group)).repeat(files).astype(str),
            g=group.repeat(files).astype(str),
        )
        gap = disparity(files_of, "g", 0.5, rng, 200).gaps["real_called_fake"]
        held += holds(gap.difference, more_errors)
    # The interval holds for all pairs of groups at once, so it may be wider than it need be for one.
    assert held / trials >= 0.92
