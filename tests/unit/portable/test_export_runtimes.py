"""ONNX and ncnn files: every size, float16, opset 17, and what does not convert leaves nothing."""

from __future__ import annotations

import json

import pytest
import torch

from dckd_basicsr.errors import CheckpointError
from dckd_basicsr.inference.padding import run_padded
from dckd_basicsr.portable import export_network, open_network
from dckd_basicsr.portable.onnx_files import write_onnx
from tests.unit.portable.export_nets import opened


def session(path):
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("name", "opset", "half"),
    [
        ("SPAN", 18, False),  # the new exporter
        ("EDSR", 18, True),
        ("RCAN", 17, False),  # from here on the older one
        ("SwinIR", 17, False),
        ("NAFNet", 17, True),  # what darktable wants
        ("Restormer", 17, False),
    ],
)
def test_onnx_takes_any_batch_and_size(tmp_path, name, opset, half):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    source = opened(name)
    done = export_network(source, ["onnx"], tmp_path, name="net", opset=opset, half=half)
    (path,) = done.files["onnx"]
    model, run = onnx.load(path), session(path)
    assert {entry.version for entry in model.opset_import if entry.domain == ""} == {opset}
    (given,), (made,) = run.get_inputs(), run.get_outputs()
    kind = "tensor(float16)" if half else "tensor(float)"
    assert (given.name, given.type, made.name, made.type) == ("input", kind, "output", kind)
    assert given.shape == ["batch", 3, "height", "width"]
    told = run.get_modelmeta().custom_metadata_map
    assert told["scale"] == str(source.facts.scale)
    assert told["producer"].startswith("dckd_basicsr ")
    read = open_network(path)
    assert (read.facts.scale, read.facts.multiple_of) == (source.facts.scale, source.facts.multiple_of)
    for shape in ((1, 3, 17, 30), (3, 3, 40, 24)):
        x = torch.rand(shape)
        ours, theirs = (run_padded(each.net, x, source.facts) for each in (source, read))
        torch.testing.assert_close(theirs, ours, rtol=0, atol=2e-2 if half else 1e-4)
    assert all(check.agrees and check.program == "onnxruntime" for check in done.checks)
    assert json.loads((tmp_path / "config.json").read_text())["onnx_opset"] == opset


def test_an_onnx_file_that_answers_otherwise_is_refused_with_every_reason(tmp_path):
    pytest.importorskip("onnxscript")
    source = opened("Compact")
    with pytest.raises(CheckpointError, match=r"opset 17: TorchScript, onnxslim: as if; TorchScript: as if"):
        write_onnx(
            source.net, source.facts, 3, tmp_path / "n.onnx", lambda _: "as if", half=False, opset=17, metadata={}
        )


def test_the_older_exporter_takes_over(tmp_path, monkeypatch):
    pytest.importorskip("onnxscript")
    export = torch.onnx.export

    def failing(*arguments, dynamo, **named):
        if dynamo:
            raise RuntimeError("not today")
        return export(*arguments, dynamo=dynamo, **named)

    monkeypatch.setattr(torch.onnx, "export", failing)
    done = export_network(opened("EDSR"), ["onnx"], tmp_path, name="net", opset=18)
    text = done.card.read_text()
    assert "opset 18, made through TorchScript" in text
    assert "weight file" not in text, "there is none of which anything could be said"


def test_an_onnx_file_that_onnxruntime_refuses_or_of_a_fixed_size_is_a_reason_to_go_on(tmp_path, monkeypatch):
    onnxslim = pytest.importorskip("onnxslim")
    pytest.importorskip("onnxscript")
    slim = onnxslim.slim

    def fixed(model):
        model = slim(model)
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 24
        return model

    monkeypatch.setattr(onnxslim, "slim", fixed)
    done = export_network(opened("Compact"), ["onnx"], tmp_path, name="net", opset=17)
    assert "opset 17, made through TorchScript." in done.card.read_text()

    def broken(model):
        model = slim(model)
        model.graph.node[0].domain = "nobody.knows"
        model.opset_import.add(domain="nobody.knows", version=1)
        return model

    monkeypatch.setattr(onnxslim, "slim", broken)
    done = export_network(opened("Compact"), ["onnx"], tmp_path, name="net", opset=17, overwrite=True)
    assert "opset 17, made through TorchScript." in done.card.read_text()


def test_an_onnx_file_tells_nothing_of_the_machine_that_made_it(tmp_path, monkeypatch):
    onnxslim = pytest.importorskip("onnxslim")
    pytest.importorskip("onnxscript")

    def failing(model):
        raise RuntimeError("not today")

    monkeypatch.setattr(onnxslim, "slim", failing)
    done = export_network(opened("Compact"), ["onnx"], tmp_path, name="net", opset=18)
    assert "made through torch.export." in done.card.read_text()
    raw = done.files["onnx"][0].read_bytes()
    assert not [part for part in (b".py", b"site-packages", b"torch.nn") if part in raw]


@pytest.mark.parametrize("name", ["SPAN", "PLKSR"])
def test_ncnn_files_have_the_names_that_programs_want(tmp_path, name):
    pytest.importorskip("pnnx")
    ncnn = pytest.importorskip("ncnn")
    source = opened(name)
    done = export_network(source, ["ncnn"], tmp_path, name="net")
    param, weights = done.files["ncnn"]
    net = ncnn.Net()
    assert net.load_param(str(param)) == net.load_model(str(weights)) == 0
    x = torch.rand(1, 3, 20, 28)
    with net.create_extractor() as extractor:
        extractor.input("data", ncnn.Mat(x[0].numpy()).clone())
        failed, found = extractor.extract("output")
        assert failed == 0
        torch.testing.assert_close(torch.tensor(found.numpy())[None], source.net(x.clone()), rtol=0, atol=5e-3)
    assert {path.name for path in tmp_path.iterdir()} >= {"net.param", "net.bin"}
    assert all(check.agrees for check in done.checks)


def test_what_ncnn_has_no_layer_for_leaves_nothing(tmp_path):
    pytest.importorskip("pnnx")
    pytest.importorskip("ncnn")

    source = opened("EDSR")
    source.net.conv_last.register_forward_hook(lambda *a: torch.special.i0e(a[2]))
    with pytest.raises(CheckpointError, match=r"^(ncnn has no layer for parts of|pnnx does not convert) a EDSR"):
        export_network(source, ["ncnn"], tmp_path / "out", name="net")
    assert not (tmp_path / "out").exists()
