"""Tests of `raytrain doctor`: what it finds here, and what it says of what is missing."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from raytrain.cli.app import app
from raytrain.training.doctor import check_machine


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_a_machine_on_which_trials_run_passes_and_stays_as_it_was(tmp_path: Path) -> None:
    ended = doctor("--local", "--out", str(tmp_path / "runs"))
    assert ended.exit_code == 0, ended.output
    lines = ended.stdout.splitlines()
    assert [line[:2] for line in lines] == ["✓ "] * 6
    assert [line[2:].partition(":")[0] for line in lines] == ["versions", "device", "storage", "disk", "memory", "data"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("raytrain.training.doctor.free_bytes", lambda _: 2**30)
    ended = doctor("--local", "--out", str(tmp_path / "file"), "--dataset", "cifar10")
    assert ended.exit_code == 3
    assert "✗ storage: " in ended.stdout
    assert "  Choose an --out that can be written." in ended.stdout
    assert "✗ disk: 1.0 GiB free" in ended.stdout
    assert "raytrain data fetch cifar10" in ended.stdout


def test_json_has_every_check(tmp_path: Path) -> None:
    checks = json.loads(doctor("--local", "--out", str(tmp_path), "--json").stdout)
    assert {tuple(check) for check in checks} == {("name", "ok", "found", "advice")}
    assert all(check["ok"] for check in checks)


def test_a_device_that_cannot_compute_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("no kernel image is available\nmore")

    monkeypatch.setattr(torch, "ones", broken)
    found = {check.name: check for check in check_machine(out=str(tmp_path), dataset="digits")}
    assert (found["device"].ok, found["device"].found) == (False, "no kernel image is available")
