"""Exported files in a process without this package and without BasicSR, as other programs have it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dckd_basicsr.inference.padding import run_padded
from dckd_basicsr.portable import export_network
from tests.unit.portable.export_nets import opened

_PROGRAM = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("dckd_basicsr", "basicsr", "dckd_command"):
            raise ImportError(name + " is not there")

sys.meta_path.insert(0, Blocker())
import numpy as np, torch, spandrel, onnxruntime, ncnn

torch.set_grad_enabled(False)
saved = np.load("answers.npz")
x = saved["x"]
for name in ("SPAN", "Compact", "RCAN", "SwinIR", "NAFNet"):
    net = spandrel.ModelLoader().load_from_file(name + "/" + name + ".safetensors")
    assert isinstance(net, spandrel.ImageModelDescriptor)
    found = net.eval()(torch.from_numpy(x.copy())).numpy()
    print(name, net.architecture.id, net.scale, float(np.abs(found - saved[name]).max()))
session = onnxruntime.InferenceSession("EDSR/EDSR.onnx", providers=["CPUExecutionProvider"])
found = session.run(["output"], {"input": x})[0].clip(0, 1)
print("onnx EDSR -", float(np.abs(found - saved["EDSR"]).max()))
net = ncnn.Net()
net.load_param("EDSR/EDSR.param"), net.load_model("EDSR/EDSR.bin")
with net.create_extractor() as extractor:
    extractor.input("data", ncnn.Mat(x[0]).clone())
    found = np.array(extractor.extract("output")[1])[None].clip(0, 1)
print("ncnn EDSR -", float(np.abs(found - saved["EDSR"]).max()))
assert not any(name.split(".")[0] in ("basicsr", "dckd_basicsr") for name in sys.modules)
"""


def test_other_programs_load_the_files_without_this_package(tmp_path: Path) -> None:
    for package in ("onnxruntime", "onnxscript", "ncnn", "pnnx"):
        pytest.importorskip(package)
    x = torch.rand(1, 3, 24, 32)
    answers = {"x": x.numpy()}
    for name in ("SPAN", "Compact", "RCAN", "SwinIR", "NAFNet", "EDSR"):
        source = opened(name)
        kinds = ["onnx", "ncnn"] if name == "EDSR" else ["safetensors"]
        export_network(source, kinds, tmp_path / name, name=name, opset=17)
        answers[name] = run_padded(source.net, x.clone(), source.facts).clamp(0, 1).numpy()
    np.savez(tmp_path / "answers.npz", **answers)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PROGRAM],
        cwd=tmp_path,
        env={**environment, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["SPAN", "Compact", "RCAN", "SwinIR", "NAFNet", "onnx", "ncnn"]
    assert {row[0]: float(row[-1]) for row in rows if float(row[-1]) > (5e-3 if row[0] == "ncnn" else 1e-4)} == {}
