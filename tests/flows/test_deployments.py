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
        assert deployment.concurrency_limit is None  # the database's lease keeps runs apart


@pytest.mark.usefixtures("prefect")
def test_a_limit_of_a_former_release_is_taken_away() -> None:
    """A run that was killed would hold its slot for five minutes, and for ever where the server went with it."""
    from prefect import get_client

    from flows.deployments import deployments

    made = deployments({"rain": timedelta(hours=1)})[0]
    before = made.model_copy(update={"concurrency_limit": 1})
    for deployment, limit in ((before, 1), (made, None)):
        key = deployment.apply()
        with get_client(sync_client=True) as client:
            kept = client.read_deployment(key).global_concurrency_limit
        assert (kept and kept.limit) == limit


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
