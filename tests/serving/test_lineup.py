import asyncio

import httpx
import pytest

from deepscan.errors import BundleError, ConfigError
from deepscan.monitor.alerts import DEFAULTS
from deepscan.serving import local
from deepscan.serving.config import ServeArgs, parse
from deepscan.serving.journal import read
from deepscan.serving.lineup import lineup


@pytest.fixture(scope="module")
def bundles(make_bundle):
    return [make_bundle("now"), make_bundle("next", seed=1)]


def arguments(bundles, **experiment):
    return ServeArgs(
        bundles=(str(bundles[0].path),), device="cpu", decoding={"processes": 0}, experiment=experiment
    )


def test_variants_have_panels_of_their_own_and_share_bundles(bundles):
    both = [str(bundle.path) for bundle in bundles]
    variant = {"name": "both", "bundles": both, "weight": 0.5, "fusion": ["method=mean"]}
    made = lineup(arguments(bundles, variants=[variant], salt="s"))
    now, after = (bundle.card.id for bundle in bundles)
    assert {name: set(panel.bundles) for name, panel in made.panels.items()} == {
        "main": {now},
        "both": {now, after},
    }
    assert made.panels["both"].policy.method == "mean"
    assert sorted(bundle.card.id for bundle in made.bundles) == sorted([now, after])
    assert [(each.name, each.weight) for each in made.trial.variants] == [("main", 1.0), ("both", 0.5)]
    assert set(made.keeping.references) == {now, after}


def test_other_bundles_or_policies_have_another_digest(bundles):
    plain = lineup(arguments(bundles))
    other = lineup(ServeArgs(bundles=(str(bundles[1].path),)))
    fused = lineup(ServeArgs(bundles=(str(bundles[0].path),), fusion=("threshold=0.6",)))
    assert len({plain.digest, other.digest, fused.digest}) == 3
    assert lineup(arguments(bundles)).digest == plain.digest


@pytest.mark.parametrize(
    ("experiment", "kind", "said"),
    [
        ({"variants": [{"name": "new", "bundles": "nowhere"}], "salt": "s"}, BundleError, "nowhere"),
        ({"variants": [{"name": "main"}], "salt": "s"}, ConfigError, "twice"),
        ({"variants": [{"name": "new"}]}, ConfigError, "salt"),
        ({"variants": [{"name": "a b"}], "salt": "s"}, ConfigError, "'a b'"),
    ],
)
def test_an_experiment_that_cannot_be_run_is_refused_at_the_start(bundles, experiment, kind, said):
    given = [{"bundles": str(bundles[1].path)} | each for each in experiment["variants"]]
    with pytest.raises(kind, match=said):
        lineup(arguments(bundles, **experiment | {"variants": given}))


def test_rules_of_alerts_are_those_of_the_configuration(bundles):
    assert lineup(arguments(bundles)).keeping.rules == DEFAULTS
    slow = {"name": "slow", "figure": "latency_p95_ms", "above": 10}
    args = ServeArgs(bundles=(str(bundles[0].path),), monitoring={"alerts": [slow], "webhook": "http://a/b"})
    keeping = lineup(args).keeping
    assert [(rule.name, rule.above) for rule in keeping.rules] == [("slow", 10.0)]
    assert keeping.webhook.url == "http://a/b"


@pytest.mark.parametrize(
    ("monitoring", "said"),
    [
        ({"alerts": [{"name": "x", "figure": "latency_p95", "above": 1}]}, "latency_p95_ms"),
        ({"webhook": "nowhere"}, "http"),
        ({"every_s": 0}, "every_s"),
    ],
)
def test_alerts_that_can_never_fire_are_refused_at_the_start(monitoring, said):
    with pytest.raises(ConfigError, match=said):
        parse({"bundles": "a", "monitoring": monitoring})


def test_a_shadow_and_the_truth_end_in_the_log(bundles, picture, tmp_path):
    shadow = {"name": "dark", "bundles": str(bundles[1].path), "shadow": True}
    log = str(tmp_path / "log")
    api = local.build(arguments(bundles, variants=[shadow], salt="s", log=log))

    async def talk() -> httpx.Response:
        transport = httpx.ASGITransport(api)
        async with (
            api.router.lifespan_context(api),
            httpx.AsyncClient(transport=transport, base_url="http://test") as client,
        ):
            answer = await client.post("/api/predict", files={"file": ("a.png", picture(0))})
            truth = {"label": "fake", "request_id": answer.headers["x-request-id"]}
            assert (await client.post("/api/feedback", json=truth)).status_code == 202
            while len(asyncio.all_tasks()) > 2:  # this one and the patrol; a shadow is at work
                await asyncio.sleep(0.01)
            return answer

    answer = asyncio.run(talk())
    assert answer.json()["bundles"] == [bundles[0].card.id]
    kept = read(log)
    assert sorted(zip(*(kept.answers[name].to_pylist() for name in ("variant", "shadow")), strict=True)) == [
        ("dark", True),
        ("main", False),
    ]
    assert set(kept.answers["request_id"].to_pylist()) == {answer.headers["x-request-id"]}
    assert kept.feedback["label"].to_pylist() == [1]
