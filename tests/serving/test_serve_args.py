import pathlib
import socket
import typing
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from ray.serve.schema import DeploymentSchema, HTTPOptionsSchema, ServeApplicationSchema, ServeDeploySchema

from deepscan.errors import ConfigError
from deepscan.media.source import Limits
from deepscan.serving import app
from deepscan.serving.app import build
from deepscan.serving.config import ServeArgs, Stage, parse, require_free

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "serve_configs").glob("*.yaml"))


def unknown_keys(values: dict[str, Any]) -> Iterator[str]:
    """Name the keys that Ray's schema would drop without a word."""
    yield from set(values) - set(ServeDeploySchema.model_fields)
    yield from set(values.get("http_options", {})) - set(HTTPOptionsSchema.model_fields)
    for application in values["applications"]:
        yield from set(application) - set(ServeApplicationSchema.model_fields)
        for deployment in application.get("deployments", []):
            yield from set(deployment) - set(DeploymentSchema.model_fields)


def test_one_path_needs_no_list():
    assert parse({"bundles": "a"}).bundles == ("a",)
    assert parse({"bundles": ["a", "b"]}).bundles == ("a", "b")


def test_limits_are_those_of_media():
    limits = parse({"bundles": "a", "limits": {"max_bytes": 5}}).limits
    assert limits == Limits(max_bytes=5)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "bundles"),
        ({"bundles": []}, "bundles"),
        ({"bundles": "a", "batchsize": 4}, "batchsize"),
        ({"bundles": "a", "replica": {"cpu": 1}}, "replica.cpu"),
        ({"bundles": "a", "limits": {"max_byte": 1}}, r"limits.max_byte'. Did you mean 'max_bytes'"),
        ({"bundles": "a", "batch_wait_s": -1}, "batch_wait_s"),
        ({"bundles": "a", "prepare": {"min_replicas": 3, "max_replicas": 2}}, r"max_replicas \(2\) is below"),
        ({"bundles": "a", "batch_size": 9}, "twice batch_size"),
        ({"bundles": "a", "ingress": {"max_queued": 0}}, "ingress.max_queued"),
    ],
)
def test_a_wrong_argument_is_named(values, named):
    with pytest.raises(ConfigError, match=named):
        parse(values)


def reserved(args, preps):
    single = (args.ingress, args.ensemble, args.evidence, *[args.shared] * 3)
    stages = (*single, *(args.prepare, args.replica) * preps)
    return sum(stage.cpus * stage.min_replicas for stage in stages)


@pytest.mark.parametrize("preps", [1, 2, 4, 12])
def test_reservations_are_cut_until_a_service_fits_the_machine(preps):
    args = ServeArgs(bundles=("a",), prepare=Stage(cpus=0.3, min_replicas=2, max_replicas=2))
    fitted = args.fitted(preps, cpus=2.0)
    assert reserved(fitted, preps) == pytest.approx(min(2.0, reserved(args, preps)), abs=0.05)
    assert reserved(fitted, preps) <= 2.0
    assert fitted.prepare.cpus / fitted.replica.cpus == pytest.approx(0.75, abs=0.01)
    assert fitted.prepare.min_replicas == 2


def test_what_fits_is_left_as_it_is():
    args = ServeArgs(bundles=("a",), replica=Stage(cpus=8, max_ongoing=16))
    assert args.fitted(4, cpus=64) is args


def test_ray_itself_refuses_unknown_arguments_too():
    with pytest.raises(ValidationError, match="bundels"):
        ServeArgs.model_validate({"bundles": "a", "bundels": "b"})


def test_a_stage_of_fixed_size_has_replicas_and_no_autoscaling():
    options = Stage(cpus=0.5, gpus=1, min_replicas=2, max_replicas=2, max_ongoing=6, max_queued=9).options()
    assert options == {
        "num_replicas": 2,
        "max_ongoing_requests": 6,
        "max_queued_requests": 9,
        "ray_actor_options": {"num_cpus": 0.5, "num_gpus": 1},
    }


def test_a_stage_with_room_scales_well_before_its_replicas_are_full():
    scaling = Stage(min_replicas=1, max_replicas=4, max_ongoing=8).options()["autoscaling_config"]
    assert scaling == {
        "min_replicas": 1,
        "max_replicas": 4,
        "target_ongoing_requests": 4.0,
        "upscale_delay_s": 5.0,
        "downscale_delay_s": 300.0,
    }


def test_a_stage_may_rest_altogether_but_not_those_that_take_requests():
    rest = Stage(min_replicas=0).options()["autoscaling_config"]
    assert (rest["min_replicas"], rest["max_replicas"]) == (0, 1)
    with pytest.raises(ConfigError, match=r"ensemble\.min_replicas must be at least 1"):
        parse({"bundles": "a", "ensemble": {"min_replicas": 0}})
    assert parse({"bundles": "a", "replica": {"min_replicas": 0}}).replica.cpus == 0.4


def test_the_defaults_of_two_preparations_fit_on_two_cpus():
    args = ServeArgs(bundles=["a"])
    assert args.ingress.cpus + args.ensemble.cpus + 2 * (args.prepare.cpus + args.replica.cpus) <= 2


def test_there_is_a_configuration_for_pictures_for_an_ensemble_and_for_production():
    assert [path.name for path in CONFIGS] == ["ensemble.yaml", "image.yaml", "production.yaml"]


def test_a_stage_that_is_given_in_part_keeps_the_rest_of_its_own_default():
    args = parse({"bundles": "a", "replica": {"max_replicas": 3}})
    assert args.replica == ServeArgs(bundles=("a",)).replica.model_copy(update={"max_replicas": 3})
    assert args.replica.cpus != Stage().cpus


def test_the_ensemble_of_the_example_may_have_three_preparations_on_two_cpus():
    values = yaml.safe_load((ROOT / "serve_configs" / "ensemble.yaml").read_text())
    args = parse(values["applications"][0]["args"])
    assert args.ingress.cpus + args.ensemble.cpus + 3 * (args.prepare.cpus + args.replica.cpus) <= 2
    assert [pathlib.Path(bundle).suffix for bundle in args.bundles] == [".json"], "one ensemble file"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_is_understood_to_the_last_key(path):
    values = yaml.safe_load(path.read_text())
    deploy = ServeDeploySchema.model_validate(values)
    assert list(unknown_keys(values)) == []
    assert deploy.http_options.host == "127.0.0.1"
    for application in deploy.applications:
        assert application.import_path == "deepscan.serving.app:build"
        args = parse(application.args)
        most = (
            args.ingress.cpus
            + args.ensemble.cpus
            + sum(stage.max_replicas * stage.cpus for stage in (args.prepare, args.replica))
        )
        assert most <= 2


def test_a_misspelt_option_of_a_deployment_is_found():
    values = {"applications": [{"deployments": [{"name": "Ensemble", "max_ongoing_reqests": 3}]}]}
    assert list(unknown_keys(values)) == ["max_ongoing_reqests"]


def test_a_port_that_is_taken_is_refused_and_a_free_one_is_left_free():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}"):
            require_free("127.0.0.1", port)
    require_free("127.0.0.1", port)
    require_free("127.0.0.1", port)


def test_ray_hands_plain_arguments_over_which_variables_complete(monkeypatch, make_bundle):
    """A pydantic model in the signature would be filled by Ray, before a variable could say anything."""
    assert typing.get_type_hints(build)["given"] == dict[str, Any]
    drawn: list[ServeArgs] = []
    monkeypatch.setattr(app, "draw", drawn.append)
    monkeypatch.setenv("DEEPSCAN_SERVE_BUNDLES", "a,b")
    monkeypatch.setenv("DEEPSCAN_SERVE_BATCH_SIZE", "2")
    build({"batch_size": 3})
    assert (drawn[0].bundles, drawn[0].batch_size) == (("a", "b"), 3)
