"""What is scheduled: declared once in code, once as YAML for a server of one's own, and both the same."""

from __future__ import annotations

import importlib
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.xdist_group("prefect")


def test_the_deployments_of_two_models() -> None:
    from flows.deployments import deployments

    made = deployments({"rain": timedelta(hours=1), "fraud": timedelta(minutes=5)})
    assert [(d.name, d.entrypoint, [s.schedule.interval for s in d.schedules or ()]) for d in made] == [
        ("monitor fraud", "flows.monitor.monitor", [timedelta(minutes=5)]),
        ("release fraud", "flows.release.release", []),
        ("watch fraud", "flows.release.watch", []),
        ("monitor rain", "flows.monitor.monitor", [timedelta(hours=1)]),
        ("release rain", "flows.release.release", []),
        ("watch rain", "flows.release.watch", []),
    ]
    assert {d.parameters["model"] for d in made} == {"rain", "fraud"}
    for deployment in made:
        assert deployment.tags == ["selfheal", deployment.parameters["model"]]
    limits = {d.name: d.concurrency_limit for d in made}
    assert limits["monitor rain"] == 1
    assert made[0].concurrency_options is not None
    assert made[0].concurrency_options.collision_strategy.value == "CANCEL_NEW"


def test_prefect_yaml_declares_the_same(root: Path) -> None:
    from prefect import Flow

    from flows.deployments import deployments

    declared = yaml.safe_load((root / "prefect.yaml").read_text())["deployments"]
    made = deployments({"fraud": timedelta(minutes=5)})
    assert [d["name"] for d in declared] == [d.name for d in made]
    for yamled, coded in zip(declared, made, strict=True):
        assert yamled["parameters"] == coded.parameters
        assert yamled["tags"] == coded.tags
        assert [s["interval"] for s in yamled.get("schedules", ())] == [
            s.schedule.interval.total_seconds() for s in coded.schedules or ()
        ]
        file, _, name = yamled["entrypoint"].partition(":")
        assert f"{file.removesuffix('.py').replace('/', '.')}.{name}" == coded.entrypoint
        flow = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
        assert isinstance(flow, Flow)
        assert set(yamled["parameters"]) <= set(flow.parameters.properties)
        assert yamled["work_pool"] == {"name": "selfheal"}
