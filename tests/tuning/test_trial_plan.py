import pytest

from deepscan.cluster import DATA_CPUS
from deepscan.errors import ResourceError
from deepscan.tuning.plan import DRIVER_CPUS, Share, plan_trials


@pytest.mark.parametrize(
    ("share", "cpus", "gpus", "concurrent", "each", "threads"),
    [
        (Share(trials=9), 2, 0, 2, (1, 0), 1),
        (Share(trials=1), 2, 0, 1, (1, 0), 1),
        (Share(trials=9, cpus=2), 7, 0, 3, (2, 0), 2),
        (Share(trials=9, cpus=0.1), 1, 0, 9, (0.1, 0), 1),
        (Share(trials=99, cpus=0.1), 0.3, 0, 3, (0.1, 0), 1),
        (Share(trials=9), 16, 2, 2, (1, 1), 1),
        (Share(trials=9, gpus=0.25), 16, 2, 8, (1, 0.25), 1),
        (Share(trials=9, gpus=0), 4, 2, 4, (1, 0), 1),
        (Share(trials=9, workers=2), 2, 0, 1, (2, 0), 2),
        (Share(trials=9, workers=2), 9, 0, 3, (3, 0), 3),
        (Share(trials=9, workers=2), 9, 4, 2, (3, 2), 3),
        (Share(trials=9, workers=2, cpus=4), 9, 0, 2, (4, 0), 4),
    ],
)
def test_trials_share_a_cluster_as_worked_out_by_hand(share, cpus, gpus, concurrent, each, threads):
    plan = plan_trials(share, cpus, gpus)
    assert (plan.concurrent, (plan.cpus, plan.gpus), plan.threads) == (concurrent, each, threads)
    assert plan.concurrent * plan.cpus <= cpus + 1e-9
    assert plan.concurrent * plan.gpus <= gpus
    assert f"{concurrent} trial(s) at a time" in str(plan)


def test_a_trial_of_several_workers_keeps_its_stream_and_its_starter_within_its_share():
    plan = plan_trials(Share(trials=4, workers=2), 6, 4)
    within = plan.resources
    assert within.workers * within.worker_cpus + within.data_cpus + DRIVER_CPUS == pytest.approx(plan.cpus)
    assert within.data_cpus >= DATA_CPUS
    assert within.worker_gpus == 1
    assert plan_trials(Share(trials=4), 6, 4).resources is None
    assert "2 workers of" in str(plan)


@pytest.mark.parametrize(
    ("share", "cpus", "gpus", "figures"),
    [
        (Share(trials=1, cpus=4), 2, 0, "4 CPUs and 0 GPUs does not fit into a cluster of 2 CPUs"),
        (Share(trials=1, gpus=1), 2, 0, "1 CPUs and 1 GPUs does not fit into a cluster of 2 CPUs and 0 GPUs"),
        (Share(trials=1, workers=12), 2, 0, "12 workers"),
    ],
)
def test_a_trial_that_cannot_fit_is_refused_with_the_figures(share, cpus, gpus, figures):
    with pytest.raises(ResourceError, match=figures):
        plan_trials(share, cpus, gpus)


def test_a_trial_of_one_process_lies_on_one_node():
    share = Share(trials=9, cpus=2)
    assert plan_trials(share, 6, 0).concurrent == 3
    assert plan_trials(share, 6, 0, [3, 3]).concurrent == 2
    with pytest.raises(ResourceError, match="cluster of 6 CPUs and 0 GPUs, at most 3 CPUs on a node"):
        plan_trials(Share(trials=9, cpus=4), 6, 0, [3, 3])


def test_an_autoscaler_is_told_what_one_trial_takes():
    assert Share(trials=9).machines == [{"CPU": 1.0}]
    assert Share(trials=9, workers=2, gpus=2).machines == [{"CPU": 1.0, "GPU": 1.0}] * 2
    assert Share(trials=9, cpus=4).machines == [{"CPU": 4.0}]
