"""How terms pull at a student: by hand, and against the gradient that a training step leaves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from dckd_basicsr.distill import Distiller, Term
from dckd_basicsr.distill.loss_weight import loss_weight
from dckd_basicsr.distill.terms import WeightedTerm
from dckd_basicsr.report import Gradients, balance_tables, batch_gradients
from tests.models import BATCH


class Line(nn.Module):
    """S(x) = a x + b; ``idle`` is a parameter that nothing depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(1.0))
        self.idle = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x + self.b


class Mean(Term):
    """Some number times the mean of S, by a layer of its own that trains."""

    def __init__(self, label: str, factor: float) -> None:
        super().__init__()
        self.label, self.factor = label, nn.Parameter(torch.tensor(factor))

    def forward(self, step):
        return self.factor * step.student.mean()


class Offset(Term):
    """The offset b alone, which is S(0)."""

    label = "l_offset"

    def forward(self, step):
        return (step.student - step.student.detach()).mean() + step.student[step.lq == 0].mean()


class Still(Term):
    """Nothing of the student."""

    label = "l_still"

    def forward(self, step):
        return step.lq.new_ones(())


def distiller(*terms: Term, weights: tuple[float, ...] = ()) -> Distiller:
    return Distiller(
        Line(), [WeightedTerm(t, loss_weight(w)) for t, w in zip(terms, weights or [1.0] * len(terms), strict=True)]
    )


def images(*values: float) -> tuple[Tensor]:
    return (torch.tensor(values).view(1, 1, 1, -1),)


def test_by_hand() -> None:
    """The mean of a x + b has the gradient (mean x, 1): of x = 0, 1.5 that is (0.75, 1), of length 1.25."""
    net = distiller(Mean("l_up", 2.0), Mean("l_down", -1.0), Still(), weights=(1.0, 3.0, 1.0))
    found = batch_gradients(net, images(0.0, 1.5))
    assert found.names == ("l_up", "l_down", "l_still", "l_total")
    torch.testing.assert_close(found.values, torch.tensor([5.0, -7.5, 1.0, -1.5], dtype=torch.float64))
    gradients = Gradients.of([found])
    assert gradients.norms[0].tolist() == pytest.approx([2.5, 3.75, 0.0, 1.25])
    cosines = gradients.cosines[0]
    assert cosines[0, 1] == cosines[1, 0] == pytest.approx(-1)
    assert cosines[1, 3] == pytest.approx(1)  # the total points where the stronger term does
    assert cosines[0, 3] == pytest.approx(-1)
    assert cosines[2].isnan().all()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_of_several_batches_mean_and_spread() -> None:
    """Means of 0.75 and 2.4 with an offset: lengths 1.25 and 2.6; the second term's gradient is (0.75 or 2.4, 2)."""
    net = distiller(Mean("l_mean", 1.0), Offset())
    found = Gradients.of(batch_gradients(net, x) for x in (images(0.0, 1.5), images(0.0, 4.8)))
    assert found.norms[:, 0].tolist() == pytest.approx([1.25, 2.6])
    assert found.norms[:, 1].tolist() == pytest.approx([math.hypot(0.75, 2), math.hypot(2.4, 2)])
    wanted = [(0.75**2 + 2) / 1.25 / math.hypot(0.75, 2), (2.4**2 + 2) / 2.6 / math.hypot(2.4, 2)]
    assert found.cosines[:, 0, 1].tolist() == pytest.approx(wanted)
    table = balance_tables(found, {"l_mean": 0.5, "l_offset": 2.0}, "l_mean").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert cells[2][4] == "1.925 ± 0.9546"  # 1.35 / sqrt(2)
    ratio = (math.hypot(0.75, 2) + math.hypot(2.4, 2)) / (1.25 + 2.6)
    assert cells[3][5:] == [f"{ratio:.4g}", f"{2 / ratio:.4g}"]
    assert cells[2][5:] == ["1", "0.5"]
    spread = abs(wanted[0] - wanted[1]) / math.sqrt(2)
    assert cells[8][2] == f"{sum(wanted) / 2:.3f} ± {spread:.3f}"
    assert cells[8][1] == "1"


def test_float16s_scale_is_taken_out_and_lowered_where_it_is_too_much() -> None:
    net = distiller(Mean("l_mean", 1.0))
    plain = batch_gradients(net, images(0.0, 1.5))
    torch.testing.assert_close(batch_gradients(net, images(0.0, 1.5), scale=1024.0).products, plain.products)
    torch.testing.assert_close(batch_gradients(net, images(0.0, 1.5), scale=2.0**130).products, plain.products)


def test_what_is_not_finite_is_said(monkeypatch) -> None:
    passes: list[float] = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: passes.append(1) or grad(*a, **k))
    found = batch_gradients(distiller(Mean("l_mean", math.nan)), images(0.0, 1.5), scale=4.0)
    assert found.products.isnan().all()
    assert len(passes) == 3  # at 4, 2 and 1


def test_nothing_to_compare_with() -> None:
    found = Gradients.of([batch_gradients(distiller(Still(), Mean("l_mean", 0.0)), images(0.0, 1.5))])
    rows = balance_tables(found, {"l_still": 1.0, "l_mean": 1.0}, "l_still").splitlines()
    assert [cell.strip() for cell in rows[2].strip("|").split("|")] == ["l_still", "1", "1", "100.0 %", "0", "-", "-"]
    assert rows[8].split("|")[3].strip() == "-"


@pytest.mark.parametrize(
    ("option", "near"),
    [("scale=2", 1e-5), ("train:runtime:recompute=true", 1e-5), ("train:runtime:precision:student=bf16", 1e-2)],
)
def test_the_total_is_the_gradient_of_a_training_step(build, option, near) -> None:
    """Every term on; the random streams of degradations and transforms start alike."""
    model = build(option)
    model.feed_data(BATCH)
    streams = model.generators.training_state()
    found = batch_gradients(model.distiller, model.images())
    model.generators.load_training_state(streams, model.device)
    model.runner(model.parts(), model.distiller.active)
    trained = torch.cat([parameter.grad.flatten() for parameter in model.net_g.parameters()])
    assert Gradients.of([found]).norms[0, -1].item() == pytest.approx(trained.norm().item(), rel=near)
    assert len(found.names) == 6
