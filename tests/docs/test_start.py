"""The README's way in for a model of one's own, typed as it stands there by somebody new."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from skops import io

from selfheal.cli import main
from tests.docs.given import fraud_model
from tests.docs.markdown import ROOT, blocks
from tests.docs.test_blocks import commands

pytestmark = pytest.mark.xdist_group("prefect")


def fill_in(factory: Path) -> None:
    """What the reader types: the two marked lines, and no more error."""
    text = factory.read_text()
    for line, mine in {
        r"    raise .*": "    import torch; from skops import io",
        r"    network = \.\.\..*": '    network = torch.load("net.pt", weights_only=False)',
        r"    preprocess = None.*": '    preprocess = io.load("scaler.skops")',
    }.items():
        text, found = re.subn(line, mine, text)
        assert found == 1, line
    factory.write_text(text)


def test_the_first_ten_minutes(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    (tmp_path / "rules").mkdir()
    given = fraud_model(tmp_path / "rules")
    (tmp_path / "rules" / "fraud.yaml").unlink()
    rows: pd.DataFrame = given["held_out"]
    # Too few for the drill, which the tests of the command run.
    rows[:590].to_parquet("held_out.parquet")
    torch.save(torch.nn.Sequential(*given["net"].body, given["net"].head), "net.pt")
    io.dump(given["scaler"], "scaler.skops")

    typed = [c[1:] for block in blocks(ROOT / "README.md", "console") for c in commands(block) if c[:1] == ["selfheal"]]
    first = next(place for place, command in enumerate(typed) if command[0] == "init")
    assert [command[0] for command in typed[first : first + 5]] == ["init", "check", "adopt", "serve", "monitor"]
    said = {}
    for command in typed[first : first + 5]:
        if command[0] == "serve":  # until Ctrl-C; the tests of serving run it
            continue
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
        said[command[0]] = done.output
        if command[0] == "init":
            fill_in(tmp_path / "fraud_model.py")
        elif command[0] == "check":
            assert not (home / "mlflow.db").exists(), "nothing is registered"
    assert "fraud: can be adopted (2 columns, 2 classes, 590 rows" in said["check"]
    assert "fraud: adopted as base 1" in said["adopt"]
    assert "fraud: no window closed since the last look" in said["monitor"]
