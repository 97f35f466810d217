"""``basicsr export`` as a user runs it: on a run, in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dckd_basicsr.portable import open_network
from tests.tiny import run
from tests.unit.portable.test_opening import EDSR, write_run


def test_a_run_is_exported_with_what_its_folder_tells(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    nets = write_run(tmp_path / "experiments/small", {**EDSR, "res_scale": 1, "img_range": 255.0})
    done = run(tmp_path, "export", "experiments/small", "--to", "safetensors,onnx", "--which", "best", "--opset", "17")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "exported/small"
    names = {"small.safetensors", "small.onnx", "README.md", "config.json", "openmodeldb.json"}
    assert {path.name for path in out.iterdir()} == names
    for name in names - {"config.json", "openmodeldb.json"}:
        assert f"exported/small/{name}" in done.stdout
    x = torch.rand(1, 3, 9, 12)
    with torch.no_grad():
        want = nets[2].eval()(x)
    for name in ("small.safetensors", "small.onnx"):
        torch.testing.assert_close(open_network(out / name).net(x), want, rtol=0, atol=1e-5)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "| 22.00 " in card, "the validation of the iteration that is exported"
    assert "validation of iteration 2" in card
    assert json.loads((out / "config.json").read_text())["scale"] == 2
