"""PSD's gated Haar bands: by hand, by reference numbers, their gradient, and the term."""

from __future__ import annotations

import pytest
import torch

from dckd_basicsr.distill import Distiller, Need, Sources, TeacherOutput, build_terms
from dckd_basicsr.distill.terms.psd import PSDTerm, gated_bands
from dckd_basicsr.errors import ConfigError
from tests.unit.terms.test_gates import Image


def distilled(student, teacher, gt, **options):
    net = Image(student)
    terms = build_terms({"losses": [{"type": "psd", **options}]})
    values = Distiller(net, terms, Sources(teachers={"teacher": Image(teacher)}))(gt, gt)
    values["l_total"].backward()
    return values, net.values.grad


def images(*blocks):
    """Blocks of 2 x 2 pixels beside each other."""
    return torch.cat([torch.tensor(block).view(1, 1, 2, 2) for block in blocks], dim=3)


def test_by_hand():
    """Left block: T is better in the mean and not in the details; right block: the other way round."""
    gt = torch.zeros(1, 1, 2, 4)
    student = images([0.4, 0.4, 0.4, 0.4], [0.2, -0.2, 0.2, -0.2]).requires_grad_()
    teacher = images([0.2, 0.0, 0.2, 0.0], [0.3, 0.3, 0.3, 0.3])
    parts = gated_bands(student, teacher, gt, levels=1)
    # LL / 2 is the mean: 0.4 against 0.1 of T, let through; 0 against 0.3, not.
    assert parts.low.item() == pytest.approx(0.3**2 / 2)
    # left: S has no details; right: H2 / 2 is 0.2 of S and 0 of T.
    assert parts.high.item() == pytest.approx(0.5 * 0.2**2 / 2)
    assert (parts.low_share.item(), parts.high_share.item()) == (0.5, 0.5)
    (2 * parts.low).backward()
    torch.testing.assert_close(student.grad, images([0.15] * 4, [0.0] * 4))  # 2 * 0.3 / 4, none through the gate


def test_what_is_as_near_is_not_let_through():
    gt = torch.zeros(1, 1, 4, 4)
    student = torch.rand(1, 1, 4, 4)
    parts = gated_bands(student, -student, gt)
    assert [part.item() for part in parts] == [0, 0, 0, 0]


def test_coarser_details_count_less():
    gt = torch.zeros(1, 1, 4, 4)
    steps = torch.tensor([1.0, 1.0, -1.0, -1.0])
    student = steps.view(1, 1, 1, 4).expand(1, 1, 4, 4)  # details of level 2 alone, in range of the image 1
    for rho in (0.0, 0.5, 1.0):
        assert gated_bands(student, gt, gt, rho=rho).high.item() == pytest.approx(rho * 0.5 / (1 + rho))


@pytest.mark.shared
def test_reference_numbers(golden):
    tensors, config = golden("kd/psd")
    student, teacher, gt = (tensors[key] for key in ("student", "teacher", "gt"))
    weights = {key: config["constants"][f"w_{name}"] for key, name in (("low", "LL"), ("high", "HF"), ("mse", "mse"))}
    term = PSDTerm()
    assert (term.low_weight, term.high_weight, term.mse_weight) == tuple(weights.values())
    parts = gated_bands(student, teacher, gt)
    torch.testing.assert_close(parts.low, tensors["loss.LL"], rtol=1e-5, atol=0)
    torch.testing.assert_close(parts.high, tensors["loss.HF"], rtol=1e-5, atol=0)
    torch.testing.assert_close(parts.low_share, tensors["mask.LL"].mean())
    details = torch.cat([tensors["mask.level1"].flatten(), tensors["mask.level2"].flatten()])
    torch.testing.assert_close(parts.high_share, details.mean())
    off = {"low_weight": 0.0, "high_weight": 0.0, "mse_weight": 0.0}
    for options, loss, grad in (
        ({}, "loss", "grad.student"),
        ({**off, "low_weight": 1.0}, "loss.LL", "grad.LL.student"),
        ({**off, "high_weight": 1.0}, "loss.HF", "grad.HF.student"),
    ):
        values, found = distilled(student, teacher, gt, **options)
        torch.testing.assert_close(values["l_psd"], tensors[loss], rtol=1e-5, atol=0)
        wanted = tensors[grad]
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


def test_gradcheck_where_the_gate_stays():
    student, teacher, gt = (torch.rand(2, 2, 6, 5, dtype=torch.float64) for _ in range(3))

    def loss(x):
        parts = gated_bands(x, teacher, gt, levels=2, rho=0.3)
        return parts.low + parts.high

    assert torch.autograd.gradcheck(loss, student.requires_grad_())


def test_the_term_weighs_its_parts_and_logs_the_shares():
    student, teacher, gt = (torch.rand(1, 3, 32, 32) for _ in range(3))
    options = {"low_weight": 2.0, "high_weight": 3.0, "mse_weight": 4.0, "levels": 3, "rho": 0.25}
    values, _ = distilled(student, teacher, gt, **options, name="l_mine")
    parts = gated_bands(student, teacher, gt, 3, 0.25)
    wanted = 2 * parts.low + 3 * parts.high + 4 * (student - teacher).square().mean()
    torch.testing.assert_close(values["l_mine"], wanted)
    assert values["gate_mine_low"].item() == parts.low_share.item()
    assert values["gate_mine_high"].item() == parts.high_share.item()
    assert 0 < parts.low_share < 1
    assert set(values) == {"l_mine", "l_total", "gate_mine_low", "gate_mine_high"}


def test_another_teacher_and_options_out_of_range():
    (other,) = build_terms({"losses": [{"type": "psd", "taught_by": "second"}]})
    assert other.term.needs == {Need.GT, TeacherOutput("second")}
    assert PSDTerm().needs == {Need.GT, Need.TEACHER}
    gt = torch.rand(1, 3, 4, 4)
    teachers = {"first": Image(gt), "second": Image(torch.zeros_like(gt))}
    values = Distiller(Image(torch.zeros_like(gt)), [other], Sources(teachers=teachers))(gt, gt)
    assert values["l_psd"].item() == 0
    build_terms({"losses": [{"type": "psd", "levels": 1, "rho": 0.0}]})
    for wrong in ({"levels": 0}, {"rho": -0.1}):
        with pytest.raises(ConfigError, match=r"train\.losses\[0\] \(psd\): levels must be at least 1, and rho 0 or"):
            build_terms({"losses": [{"type": "psd", **wrong}]})
