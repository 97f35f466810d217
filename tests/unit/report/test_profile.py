"""What networks cost, side by side: counts by hand, turns, every kind of network, and what is said of wrong words."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dckd_basicsr.archs import PRESETS, ArchFacts, build, preset
from dckd_basicsr.cli import main
from dckd_basicsr.errors import DCKDError
from dckd_basicsr.inference.results import add_results
from dckd_basicsr.portable import initializer_count, programs_of
from dckd_basicsr.portable.ncnn_files import ncnn_refusal
from dckd_basicsr.report import Subject, measure, profile_records, profile_table
from dckd_basicsr.report.activations import peak_of_tensors

EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "upscale": 2}
SMALL = ("--sizes", "8x8", "--repeats", "2", "--device", "cpu")


class Clocked(nn.Module):
    """Takes the milliseconds that it is told on a clock of its own, and says when it ran."""

    def __init__(self, clock: list[float], log: list[str], name: str, factor: float) -> None:
        super().__init__()
        self.clock, self.log, self.name, self.factor = clock, log, name, factor

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":
            self.log.append(f"{self.name}{x.shape[-1]}")
            slow = 10 if self.log.count(self.log[-1]) == 2 else 1  # a bad phase, which hits all
            self.clock[0] += 1e-3 * slow * self.factor * x.shape[-1]
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_networks_take_turns_and_are_compared_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, log = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    facts = ArchFacts(scale=2, multiple_of=4)
    subjects = [Subject(name, Clocked(clock, log, name, f).eval(), facts, "X", 0) for name, f in (("a", 1), ("b", 3))]
    found = measure(subjects, [(6, 4), (16, 8)], repeats=3, reference="a")
    assert log[:8] == ["a8", "b8", "a16", "b16", "b8", "a8", "b16", "a16"], "padded; the turn changes every round"
    assert len(log) == 2 * 2 * 4
    small, large = found[1].latencies
    assert (small.size, small.milliseconds, small.relative) == ((6, 4), pytest.approx(24), pytest.approx(3))
    assert (large.low, large.high) == (pytest.approx(48), pytest.approx(264)), "quartiles of 48, 48 and 480"
    assert large.per_megapixel == pytest.approx(48 / (32 * 16 / 1e6))
    table = profile_table(found, "a", {"good for": {"a": "tests"}})
    assert "time / a" in table
    assert "| 24.0 (24.0-132.0) |" in table
    assert [line.split("|")[-2].strip() for line in table.splitlines()] == ["good for", "-" * 10, "tests", "-"]
    records = profile_records(found, {"b": 30.5})
    assert [(each["network"], each["width"], each["quality"]) for each in records] == [
        ("a", 6, None), ("a", 16, None), ("b", 6, 30.5), ("b", 16, 30.5)
    ]  # fmt: skip


def test_a_device_on_which_the_reference_does_not_run_has_no_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Module, "to", lambda net, device: net)
    monkeypatch.setattr(Tensor, "to", lambda image, device: image)
    net, facts = nn.Conv2d(3, 3, 1).eval(), ArchFacts(scale=1)
    subjects = [Subject("onnx", net, facts, "X", 0, torch_network=False), Subject("b", net, facts, "X", 0)]
    found = measure(subjects, [(8, 8)], ("cpu", "cuda"), repeats=1, reference="onnx")
    cpu, gpu = found[1].latencies
    assert (cpu.relative is None, gpu.relative is None) == (False, True)
    assert profile_table(found, "onnx").splitlines()[-1].split("|")[-2].strip() == "-"


def test_a_failure_names_network_and_size() -> None:
    subject = Subject("two", nn.Conv2d(2, 3, 1), ArchFacts(scale=1), "Conv2d", 9)
    with pytest.raises(DCKDError, match=r"two fails on an input of 8x4 px \(.*channels"):
        measure([subject], [(8, 4)])


def test_memory_and_multiply_adds_are_those_of_a_calculation_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 3, padding=1)).eval()
    # While ReLU runs, input (3), its own input and output (8 each) are alive; the weights do not count.
    assert peak_of_tensors(net, (1, 3, 10, 12)) == 4 * 10 * 12 * (3 + 8 + 8)
    assert peak_of_tensors(nn.Sequential(nn.ReLU(inplace=True)), (1, 3, 4, 4)) == 4 * 3 * 16
    (found,) = measure([Subject("n", net, ArchFacts(scale=1), "S", 0)], [(12, 10)], repeats=1)
    assert found.multiply_adds == pytest.approx((3 * 8 + 8 * 5) * 9 * 1e6)
    assert found.activations == {"cpu": 4 * 10 * 12 * (3 + 8 + 8)}
    assert all(not p.is_meta for p in net.parameters())


def write_onnx(file: Path) -> None:
    """x2 by an initializer of 12 x 3 values, a shape beside it that is no weight."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [12, 3, 1, 1], [0.1] * 36)
    shape = helper.make_tensor("s", TensorProto.INT64, [4], [1, 1, 1, 1])
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Tile", ["c", "s"], ["t"]),
        helper.make_node("DepthToSpace", ["t"], ["y"], blocksize=2),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, *sides])
        for name, sides in (("x", "hw"), ("y", "HW"))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight, shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def profiled(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, str]]:
    assert main(["profile", *SMALL, *arguments, "--csv", "out/all.csv"]) == 0, capsys.readouterr().err
    with Path("out/all.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_kind_of_network_is_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    write_onnx(here / "net.onnx")
    torch.save({"params": build(EDSR).net.state_dict()}, here / "net.pth")
    run = here / "experiments/mine"
    (run / "models").mkdir(parents=True)
    (run / "options.yml").write_text("name: mine\nscale: 2\nnetwork_g: " + json.dumps(EDSR))
    torch.save({"params": build(EDSR).net.state_dict()}, run / "models/net_g_latest.pth")
    teacher = {**EDSR, "num_feat": 12}
    (here / "job.yml").write_text(f"scale: 2\nnetwork_g: {json.dumps(EDSR)}\nnetwork_teacher: {json.dumps(teacher)}\n")
    found = profiled(capsys, "net.onnx", "net.pth", "mine", "job.yml", "span-s", "--json", "all.json")
    assert [each["network"] for each in found] == ["net.onnx", "net.pth", "mine", "job", "job teacher", "span-s"]
    by_name = {each["network"]: each for each in found}
    assert {each["scale"] for each in found} == {"2"}, "span-s as the others"
    edsr = sum(p.numel() for p in build(EDSR).net.parameters())
    assert (
        by_name["net.pth"]["parameters"] == by_name["mine"]["parameters"] == by_name["job"]["parameters"] == str(edsr)
    )
    assert (by_name["net.onnx"]["parameters"], by_name["net.onnx"]["multiply_adds_per_megapixel"]) == ("36", "")
    branches = sum(p.numel() for p in build(preset("span-s").block(2)).net.parameters())
    assert 0 < int(by_name["span-s"]["parameters"]) < branches / 2, "what is left of the branches"
    told = json.loads((here / "all.json").read_text())
    assert len(told["networks"]) == 6
    assert told["measured"]["threads"] == str(torch.get_num_threads())
    assert initializer_count(here / "net.onnx") == 36


def test_quality_is_found_by_name_and_drawn(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_results(here / "results/edsr-s", "Set5", {"a": {"psnr": 30.0, "ssim": 0.9}, "b": {"psnr": 31.0, "ssim": 0.8}})
    add_results(here / "results/other", "Set5", {"a": {"psnr": 20.0, "ssim": 0.9}})
    which = ("edsr-s", "compact-s", "--results", "results/edsr-s", "results/other")
    found = profiled(capsys, *which, "--quality", "compact-s=29.5", "--plot", "q.svg")
    assert [each["quality"] for each in found] == ["30.5", "29.5"]
    drawn = (here / "q.svg").read_text()
    for text in ("psnr on Set5", ">edsr-s<", ">compact-s<", "milliseconds at 8x8"):
        assert text in drawn
    assert profiled(capsys, *which, "--metric", "ssim", "--plot", "q.png")[0]["quality"] == "0.8500000000000001"
    assert (here / "q.png").read_bytes().startswith(b"\x89PNG")
    twice = profiled(capsys, *which[:2], "--quality", "edsr-s=28.25", "--quality", "compact-s=29.5")
    assert [each["quality"] for each in twice] == ["28.25", "29.5"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to profile"),
        (["spam-s"], "there is no network 'spam-s': did you mean 'span-s'?"),
        (["dckd_x4_esdr.yml"], "option file 'dckd_x4_esdr.yml' does not exist; did you mean 'dckd_x4_edsr'?"),
        (["builtin:edsr"], "Shipped are: edsr_x4_f64b16"),
        (["./nett.pth"], "there is no network './nett.pth': did you mean 'net.pth'?"),
        (["zzz"], "no file or run, and students by name are: compact-s"),
        (["nafnet-16", "--scale", "4"], "nafnet-16 is made for scale 1"),
        (["none.yml"], "has neither network_g nor a teacher"),
        (["wrong.yml"], "option file 'wrong.yml': network_g cannot be built"),
        (["edsr-s", "--reference", "edsr"], "--reference: no network of this profile is called 'edsr'; did you mean"),
        (["edsr-s", "--quality", "edsrs=3"], "--quality: no network of this profile is called 'edsrs'; did you mean"),
        (["edsr-s", "--plot", "a.svg"], "--plot shows quality against latency: give --results"),
        (["edsr-s", "--results", "results/edsr-m"], "as of 'edsr-m'; did you mean 'edsr-s'?"),
        (["edsr-s", "--results", "results/edsr-m", "--set", "Set14"], "has no test set 'Set14'; did you mean 'Set5'?"),
        (["edsr-s", "--results", "results/edsr-m", "--metric", "psn"], "no metric of Set5 'psn'; did you mean 'psnr'?"),
        (["edsr-s", "--results", "results"], "`basicsr test` writes it"),
    ],
)
def test_wrong_words(here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    (here / "net.pth").write_bytes(b"")
    (here / "none.yml").write_text("scale: 2\n")
    (here / "wrong.yml").write_text("scale: 2\nnetwork_g: {type: EDSR, colour: blue}\n")
    add_results(here / "results/edsr-m", "Set5", {"a": {"psnr": 30.0}})
    assert main(["profile", *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "128"], "must be sizes such as 128x128,320x180"),
        (["--sizes", "8x0"], "must be sizes"),
        (["--repeats", "0"], "must be a whole number, at least 1"),
        (["--plot", "a.jpg"], "must end in .svg, .png, .pdf"),
        (["--quality", "a=high"], "must be NAME=dB, such as span-s=28.1"),
    ],
)
def test_wrong_values(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(["profile", "edsr-s", *arguments])
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_programs() -> None:
    def names(architecture: str) -> list[str]:
        return [f"{each.name}: {each.needs}" for each in programs_of(architecture)]

    spandrel, onnx, ncnn = names("spandrel:Compact")
    assert names("SPAN") == names("RCAN") == names("PLKSR") == [spandrel, onnx, ncnn]
    assert names("SwinIR") == names("spandrel:DAT") == [spandrel, onnx]
    assert names("NAFNet") == [spandrel, onnx, "darktable: .onnx and config.json"]
    assert names("EDSR") == [onnx, ncnn]
    assert names("Somebodys") == [onnx]
    assert programs_of("Restormer")[0].name == "spandrel with spandrel_extra_arches"
    assert ncnn == "ncnn tools: .param and .bin"
    promised = {name for name in PRESETS if ncnn in names(PRESETS[name].options["type"])}
    assert len(promised) > 5
    assert not any(ncnn_refusal(PRESETS[name].options["type"].removeprefix("spandrel:")) for name in promised)
