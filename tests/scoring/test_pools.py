import pytest

from deepscan.errors import ConfigError, ResourceError
from deepscan.scoring.plan import Work, plan_pools


@pytest.mark.parametrize(
    ("work", "cpus", "gpus", "expected"),
    [
        ({}, 2, 0, ("cpu", 2, 0, 1, 0)),
        ({"actors": 1}, 8, 0, ("cpu", 1, 0, 8, 0)),
        ({"actors": 1, "prepare_cpus": 1}, 2, 0, ("cpu", 1, 0, 1, 1)),
        ({}, 16, 4, ("cuda", 4, 1, 1, 14)),
        ({"device": "cpu"}, 16, 4, ("cpu", 16, 0, 1, 0)),
        ({"device": "cuda", "actors": 1, "prepare_cpus": 0}, 16, 4, ("cuda", 1, 1, 16, 0)),
        ({}, 1, 1, ("cuda", 1, 1, 1, 0)),
    ],
)
def test_a_cluster_is_divided(work, cpus, gpus, expected):
    pools = plan_pools(Work(**work), cpus, gpus)
    assert (pools.device, pools.actors, pools.gpus, pools.threads, pools.preparers) == expected


@pytest.mark.parametrize(
    ("work", "cpus", "gpus", "complaint"),
    [
        ({"actors": 5}, 2, 0, "5 actors of 0.5 CPUs, and 0 CPUs to prepare files, do not fit into 2 CPUs"),
        ({"actors": 2, "prepare_cpus": 2}, 2, 0, "and 2 CPUs to prepare files, do not fit into 2 CPUs"),
        ({"device": "cuda"}, 2, 0, "and a GPU"),
        ({"actors": 3}, 64, 2, "3 actors of 0.5 CPUs and a GPU"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_figures(work, cpus, gpus, complaint):
    with pytest.raises(ResourceError, match=complaint):
        plan_pools(Work(**work), cpus, gpus)


def test_a_device_of_a_number_is_refused():
    with pytest.raises(ConfigError, match="'cuda:1' is no device here"):
        Work(device="cuda:1")
