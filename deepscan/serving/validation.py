"""Checks a Serve configuration before it is deployed: Ray drops options that it does not know without a word.

The words are those of Ray's own schema in the version that is installed, and those of ``ServeArgs``; neither
is written down here a second time.
"""

import copy
import dataclasses
import pathlib
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pydantic
import yaml
from pydantic import BaseModel
from ray.runtime_env import RuntimeEnv
from ray.serve.config import AutoscalingPolicy
from ray.serve.schema import ServeApplicationSchema, ServeDeploySchema

from deepscan.bundle import Bundle
from deepscan.ensemble import select
from deepscan.errors import BundleError, ConfigError
from deepscan.registry import nearest
from deepscan.serving.access import read_keys
from deepscan.serving.config import ServeArgs, Stage, parse

BUILDER = "deepscan.serving.app:build"
"""Import path of the applications whose arguments are known here; those of others are left alone."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a service is going to run, as far as it is known.

    Attributes:
        cpus: CPUs of the cluster; None = not checked.
        gpus: GPUs of the cluster; None = not checked.
        files: Look at the bundles, plugins and key files that are named; relative paths begin here.
    """

    cpus: float | None = None
    gpus: float | None = None
    files: bool = True


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: the path of its key in the file, and what to do about it."""

    where: str
    what: str


def check(path: pathlib.Path, place: Place) -> tuple[Finding, ...]:
    """Return all that is wrong with a Serve configuration, or with one inside of a KubeRay RayService.

    Raises:
        ConfigError: The file cannot be read as YAML, or holds something else altogether.
    """
    values = _load(path)
    findings = [*_unknown(values, ServeDeploySchema, ""), *_misled(values)]
    for said in _malformed(values, ServeDeploySchema, ""):
        # What was found inside of a section makes Ray complain of the section too.
        if not any(each.where.startswith(said.where) or each.what == said.what for each in findings):
            findings.append(said)
    needed = {"CPUs": 0.0, "GPUs": 0.0}
    for where, args in _arguments(values):
        if any(finding.where.startswith(where) for finding in findings):
            continue
        try:
            parsed = parse(args)
        except ConfigError as error:
            findings.append(Finding(where, str(error)))
            continue
        found, preps = _files(parsed, where) if place.files else ([*_fusion(parsed, where)], 1)
        findings += found
        for resource, amount in _reserved(parsed, preps).items():
            needed[resource] += amount
    return (*findings, *_missing(needed, place))


class _OneKeyOnce(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            problem = f"the key {twice!r} stands twice in one place"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def _load(path: pathlib.Path) -> dict[str, Any]:
    try:
        values = _parsed(path.read_text(encoding="utf-8"))
        if isinstance(values, dict) and values.get("kind") == "RayService":
            values = _parsed(str((values.get("spec") or {}).get("serveConfigV2", "")))
    except (OSError, ValueError, yaml.YAMLError) as error:
        msg = (
            f"{path} cannot be read as YAML ({' '.join(str(error).split())}); check the path and the indents."
        )
        raise ConfigError(msg) from error
    if not isinstance(values, dict) or "applications" not in values:
        msg = f"{path} is no Serve configuration: it has no key 'applications'; see serve_configs/image.yaml."
        raise ConfigError(msg)
    return values


def _parsed(text: str) -> Any:
    return yaml.load(text, Loader=_OneKeyOnce)  # noqa: S506, it is a SafeLoader


def _applications(values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the applications, each with its place."""
    applications = values["applications"]
    for i, application in enumerate(applications if isinstance(applications, list) else ()):
        if isinstance(application, Mapping):
            yield f"applications[{i}]", application


def _misled(values: Mapping[str, Any]) -> Iterator[Finding]:
    for where, application in _applications(values):
        path = str(application.get("import_path"))
        if path.startswith("deepscan.") and path != BUILDER:
            yield Finding(f"{where}.import_path", f"Nothing can be served from {path!r}; write {BUILDER}.")


def _arguments(values: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the arguments of our applications, each with its place."""
    for where, application in _applications(values):
        args = application.get("args") or {}
        if application.get("import_path") == BUILDER and isinstance(args, Mapping):
            yield f"{where}.args", args


def _unknown(value: Any, kind: Any, where: str) -> Iterator[Finding]:
    """Yield the keys that no schema has, of what is given for an annotation."""
    if isinstance(value, list):
        for i, each in enumerate(value):
            yield from _unknown(each, kind, f"{where}[{i}]")
    schemas = _schemas(kind)
    if not isinstance(value, Mapping) or not schemas:
        return
    fields = {name: inner for schema in schemas for name, inner in _fields(schema, value).items()}
    for key, inner in value.items():
        place = f"{where}.{key}" if where else str(key)
        if key not in fields:
            yield Finding(
                place, f"Unknown key.{nearest(str(key), fields)} Known: {', '.join(sorted(fields))}."
            )
        elif _may_be_plain(fields[key]) and isinstance(inner, Mapping):
            found = list(_unknown(inner, fields[key], place))
            yield from found or (
                f for schema in _schemas(fields[key]) for f in _malformed(inner, schema, place)
            )
        else:
            yield from _unknown(inner, fields[key], place)


def _malformed(value: Mapping[str, Any], schema: Any, where: str) -> Iterator[Finding]:
    """Yield what a schema itself says of values, save for unknown keys, which were found already."""
    if not issubclass(schema, BaseModel):
        return
    try:
        schema.model_validate(copy.deepcopy(dict(value)))
    except pydantic.ValidationError as error:
        for problem in error.errors():
            if problem["type"] != "extra_forbidden":
                yield Finding(_dotted(where, problem["loc"]), f"{problem['msg']}.")
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        # Some of Ray's schemas import what a path names while they check it, and let its errors through.
        yield Finding(where or "the file", f"What it names cannot be imported: {error}.")


def _dotted(where: str, steps: Sequence[int | str]) -> str:
    for step in steps:
        where += f"[{step}]" if isinstance(step, int) else f".{step}" if where else step
    return where or "the file"


def _schemas(kind: Any) -> list[Any]:
    """Return the classes with known fields that an annotation allows."""
    if isinstance(kind, type) and (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind)):
        return [kind]
    return [schema for inner in typing.get_args(kind) for schema in _schemas(inner)]


def _may_be_plain(kind: Any) -> bool:
    """Tell whether Ray takes any mapping where it has a schema too, so that its schema checks nothing."""
    return dict in {typing.get_origin(inner) or inner for inner in typing.get_args(kind)}


def _fields(schema: Any, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return the annotations of a schema's fields, by all names that a field may be given by."""
    if not issubclass(schema, BaseModel):
        return typing.get_type_hints(schema)
    fields: dict[str, Any] = {}
    for name, field in schema.model_fields.items():
        fields |= {each: field.annotation for each in (name, field.alias) if each}
    known = {"runtime_env": _RUNTIME_ENV, "autoscaling_policy": AutoscalingPolicy}
    if schema is ServeApplicationSchema and value.get("import_path") == BUILDER:
        known["args"] = ServeArgs
    return {name: known.get(name, kind) for name, kind in fields.items()}


# Ray has names for these fields and no schema.
_RUNTIME_FIELDS: dict[str, Any] = dict.fromkeys(RuntimeEnv.known_fields, (Any, None))
_RUNTIME_ENV = pydantic.create_model("RuntimeEnvironment", **_RUNTIME_FIELDS)


def _fusion(args: ServeArgs, where: str) -> Iterator[Finding]:
    try:
        select((), args.fusion)
    except ConfigError as error:
        yield Finding(f"{where}.fusion", str(error))


def _files(args: ServeArgs, where: str) -> tuple[list[Finding], int]:
    """Return what is wrong with the files that are named, and how many distinct preparations there are."""
    findings = [
        Finding(f"{where}.plugins", f"{plugin} is no file; name a Python file that registers a model.")
        for plugin in args.plugins
        if not pathlib.Path(plugin).is_file()
    ]
    preps = {""}
    try:
        chosen = select([pathlib.Path(path) for path in args.bundles], args.fusion)
        preps = {Bundle.read(path).card.prep_digest for path in chosen.bundles}
    except (BundleError, ConfigError) as error:
        findings.append(Finding(f"{where}.bundles", str(error)))
    try:
        if args.gate.keys_file:
            read_keys(pathlib.Path(args.gate.keys_file))
    except ConfigError as error:
        findings.append(Finding(f"{where}.gate.keys_file", str(error)))
    return findings, len(preps)


def _reserved(args: ServeArgs, preps: int) -> dict[str, float]:
    """Return what the least replicas of all stages reserve."""
    stages: list[tuple[Stage, int]] = [
        (getattr(args, name), count) for name, count in args.deployments(preps).items()
    ]
    return {
        "CPUs": sum(count * stage.min_replicas * stage.cpus for stage, count in stages),
        "GPUs": sum(count * stage.min_replicas * stage.gpus for stage, count in stages),
    }


def _missing(needed: Mapping[str, float], place: Place) -> Iterator[Finding]:
    for resource, there in (("CPUs", place.cpus), ("GPUs", place.gpus)):
        # Ray counts in ten-thousandths.
        if there is not None and needed[resource] > there + 1e-4:
            yield Finding(
                "applications",
                f"The least replicas reserve {needed[resource]:g} {resource}, and there are {there:g}: Ray "
                "would wait for ever. Lower cpus, gpus or min_replicas, or add nodes.",
            )
