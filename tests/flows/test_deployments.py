"""What is scheduled: declared once in code, once as YAML for a server of one's own, and both the same."""

from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import yaml

from selfheal.steering import Workspace
from selfheal.steering.leases import hold, monitor_lease
from tests.steering.given import NAME

REMEDY = "SELFHEAL_RULES names the folder, selfheal init writes a first one"
pytestmark = pytest.mark.xdist_group("prefect")


def test_the_deployments_of_two_models() -> None:
    from flows.deployments import deployments

    made = deployments({"rain": timedelta(hours=1), "fraud": timedelta(minutes=5)})
    assert [(d.name, d.entrypoint, [s.schedule.interval for s in d.schedules or ()]) for d in made] == [
        ("monitor fraud", "flows.monitor.monitor", [timedelta(minutes=5)]),
        ("release fraud", "flows.release.release", []),
        ("maintain fraud", "flows.maintain.maintain", [timedelta(days=1)]),
        ("watch fraud", "flows.release.watch", []),
        ("monitor rain", "flows.monitor.monitor", [timedelta(hours=1)]),
        ("release rain", "flows.release.release", []),
        ("maintain rain", "flows.maintain.maintain", [timedelta(days=1)]),
        ("watch rain", "flows.release.watch", []),
    ]
    assert {d.parameters["model"] for d in made} == {"rain", "fraud"}
    for deployment in made:
        assert deployment.tags == ["selfheal", deployment.parameters["model"]]
        assert deployment.concurrency_limit is None  # the database's lease keeps runs apart


def test_what_is_said_to_our_server_is_what_prefect_knows_and_the_environment_goes_first(monkeypatch) -> None:
    from prefect.settings import Settings as OfPrefect

    from selfheal.settings import Settings
    from selfheal.up.services import AT_REST, prefect_server

    for name in AT_REST:
        monkeypatch.delenv(name, raising=False)
    usual = OfPrefect().to_environment_variables()
    for name, value in AT_REST.items():
        monkeypatch.setenv(name, value)
    asked = OfPrefect().to_environment_variables()
    assert {name for name in usual if asked[name] != usual[name]} == set(AT_REST)
    name = next(iter(AT_REST))
    monkeypatch.setenv(name, "7")
    said = prefect_server(Settings.from_env(), "127.0.0.1", 4200).environ
    assert {each: said[each] for each in AT_REST} == AT_REST | {name: "7"}


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


@pytest.mark.usefixtures("prefect")
def test_late_runs_collapse_into_the_one_that_is_at_work(ws: Workspace) -> None:
    """After a pause; what a person asked for and what is still to come stay."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
    from prefect.flow_engine import run_flow
    from prefect.states import Pending

    from flows.deployments import deployments
    from flows.monitor import monitor
    from flows.runs import drop_late

    key = deployments({NAME: timedelta(hours=1)})[0].apply()
    now = datetime.now(UTC)
    span = {"start_time": (now - timedelta(hours=5)).isoformat(), "end_time": (now + timedelta(hours=2.5)).isoformat()}
    with get_client(sync_client=True) as client:
        client.request("POST", "/deployments/{id}/schedule", path_params={"id": key}, json=span | {"min_runs": 7})
        asked = client.create_flow_run_from_deployment(key)

        def kept() -> dict[UUID, datetime]:
            wanted = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[key]))
            return {run.id: run.expected_start_time for run in client.read_flow_runs(flow_run_filter=wanted)}

        before = kept()
        late = sorted((run for run, at in before.items() if at < now and run != asked.id), key=lambda r: before[r])
        assert len(late) == 5 < len(before) - 1
        client.set_flow_run_state(late[1], Pending())  # its process was killed before it began
        run_flow(monitor, flow_run=client.read_flow_run(late[0]), parameters={"model": NAME})
        assert client.read_flow_run(late[0]).state_name == "Nothing new"
        assert set(kept()) == set(before) - set(late[1:])
        assert (drop_late(str(key), str(late[0])), drop_late(None, None)) == (0, 0)


@pytest.mark.usefixtures("prefect")
def test_a_run_is_started_at_once_for_a_window_that_is_closed_early(ws: Workspace) -> None:
    from prefect import get_client
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    from flows.deployments import deployments
    from flows.early import start_due

    key = deployments({NAME: timedelta(hours=1)})[0].apply()
    mine = DeploymentFilter(id=DeploymentFilterId(any_=[key]))
    with get_client(sync_client=True) as client:
        before = {run.id for run in client.read_flow_runs(deployment_filter=mine)}
    now, hour = datetime.now(UTC), 3_600_000_000
    start = int(now.timestamp() * 1e6) // hour * hour
    assert start_due(ws, [NAME], now) == []
    assert ws.table.sentinels.ask(ws.table.schema(NAME), start, start + 5, 0, "data: x")
    with hold(ws, monitor_lease(NAME), ttl=timedelta(seconds=30)):
        assert start_due(ws, [NAME], now + timedelta(hours=1)) == [], "a run would find another one at work, and end"
    assert start_due(ws, [NAME], now + timedelta(hours=1)) == [NAME]
    assert start_due(ws, [NAME], now + timedelta(hours=1)) == [], "once"
    with get_client(sync_client=True) as client:
        begun = {run.id for run in client.read_flow_runs(deployment_filter=mine)} - before
        assert len(begun) == 1
        client.delete_flow_run(begun.pop())  # the server is that of other tests too


@pytest.mark.usefixtures("prefect")
def test_automations_run_maintain_on_labels_and_send_alerts_by_a_block(tmp_path, monkeypatch, capsys) -> None:
    from prefect import get_client
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.settings import PREFECT_API_URL

    from flows.__main__ import main
    from flows.automations import ALERTS
    from flows.deployments import deployments

    (tmp_path / "spare.yaml").write_text("{}\n")
    monkeypatch.setenv("SELFHEAL_RULES", str(tmp_path))
    assert main(["--automate"]) == 2 and "PREFECT_API_URL names no server" in capsys.readouterr().out
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
    assert main(["--automate"]) == 2 and "no deployment 'maintain/maintain spare'; serve it" in capsys.readouterr().out
    made = {each.name: each.apply() for each in deployments({"spare": timedelta(hours=1)})}
    assert main(["--automate"]) == 0 and "alerts have no automation" in capsys.readouterr().out
    assert main(["--automate", "--notify", "nothing"]) == 2
    assert main(["--automate", "--notify", "slack-webhook/none"]) == 2
    CustomWebhookNotificationBlock(name="team", url="http://127.0.0.1:9").save("team")
    assert main(["--automate", "--notify", "custom-webhook/team"]) == 0, capsys.readouterr().out
    with get_client(sync_client=True) as client:
        found = [a for a in client.read_automations() if a.name.endswith("of spare")]
    labels, alerts = sorted(found, key=lambda a: a.name, reverse=True)
    assert (labels.name, alerts.name) == ("selfheal: labels of spare", "selfheal: alerts of spare"), "each once"
    assert labels.trigger.expect == {"selfheal.labels"}
    assert labels.trigger.match.root == {"prefect.resource.id": "selfheal.model.spare"} == alerts.trigger.match.root
    assert [action.deployment_id for action in labels.actions] == [made["maintain spare"]]
    assert alerts.trigger.expect == {f"selfheal.{kind}" for kind in ALERTS}
    assert alerts.actions[0].type == "send-notification"


def test_the_file_is_written_from_the_policies_and_left_to_whoever_edits_it(tmp_path, monkeypatch, capsys) -> None:
    from flows.__main__ import main

    def said(*arguments: str) -> tuple[int, str]:
        return main(arguments), capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SELFHEAL_RULES", str(tmp_path / "rules"))
    assert said("--check") == (2, f"error: no policy in {tmp_path / 'rules'}; {REMEDY}\n")
    (tmp_path / "rules").mkdir()
    policy = tmp_path / "rules" / "7.yaml"
    policy.write_text("monitor: {every: 90s}\n")
    assert said("--check")[0] == 1
    assert said("--write") == (0, "prefect.yaml written\n")
    assert said("--check") == said("--write") == (0, "prefect.yaml is what the policies say\n")
    first = yaml.safe_load(Path("prefect.yaml").read_text())["deployments"][0]
    assert (first["parameters"], first["schedules"]) == ({"model": "7"}, [{"interval": 90}])
    policy.write_text("monitor: {every: 1h}\n")
    code, out = said("--check")
    assert code == 1 and "+      - interval: 3600" in out and out.endswith("is older than the policies: --write\n")
    assert said("--write")[0] == 0
    own = Path("prefect.yaml").read_text().replace("3600", "1800")
    Path("prefect.yaml").write_text(own)
    code, out = said("--write")
    assert code == 1 and "was edited since it was written, and is left alone" in out
    assert Path("prefect.yaml").read_text() == own
    assert said("--check")[1].endswith("prefect.yaml was edited, and differs as above\n")
    assert said("--write", "--force") == (0, "prefect.yaml written\n")
    (tmp_path / "rules" / "other.yaml").write_text("model: '7'\n")
    assert "is a second policy of '7'; keep one file a model" in said("--check")[1]


def test_prefect_yaml_declares_the_same(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect import Flow

    from flows.__main__ import every, main
    from flows.deployments import deployments

    monkeypatch.setenv("SELFHEAL_RULES", str(root / "rules"))
    assert main(["--check", "--file", str(root / "prefect.yaml")]) == 0
    declared = yaml.safe_load((root / "prefect.yaml").read_text())["deployments"]
    made = deployments(every(root / "rules"))
    assert [d["name"] for d in declared] == [d.name for d in made]
    for yamled, coded in zip(declared, made, strict=True):
        assert yamled["parameters"] == coded.parameters
        assert yamled["tags"] == coded.tags
        assert yamled["description"] == coded.description
        assert [s["interval"] for s in yamled.get("schedules", ())] == [
            s.schedule.interval.total_seconds() for s in coded.schedules or ()
        ]
        file, _, name = yamled["entrypoint"].partition(":")
        assert f"{file.removesuffix('.py').replace('/', '.')}.{name}" == coded.entrypoint
        flow = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
        assert isinstance(flow, Flow)
        assert set(yamled["parameters"]) <= set(flow.parameters.properties)
        assert yamled["work_pool"] == {"name": "selfheal"}
