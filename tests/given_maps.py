"""Networks whose feature maps are given, for tests of terms that compare them."""

from __future__ import annotations

import torch
from torch import nn

from dckd_basicsr.distill import Distiller, Sources, WeightedTerm, loss_weight


class Given(nn.Module):
    """A network whose image and feature maps are given, whatever it sees; its modules give the maps, by number."""

    def __init__(self, *maps, image=None) -> None:
        super().__init__()
        self.image = nn.Parameter(torch.zeros(len(maps[0]), 3, 2, 2) if image is None else image.clone())
        self.maps = nn.ParameterList([nn.Parameter(torch.as_tensor(each).clone()) for each in maps])
        self.taps = nn.ModuleList([nn.Identity() for _ in maps])

    def forward(self, x):
        for tap, given in zip(self.taps, self.maps, strict=True):
            tap(given)
        return self.image


def given(term, student, teacher, *others, lq=None, gt=None) -> tuple[dict[str, torch.Tensor], Given]:
    """A step of networks whose maps are given; the term, made by ``term(student=positions)``, compares all of them."""
    net, other = (each if isinstance(each, Given) else Given(*each) for each in (student, teacher))
    made = term(student=[f"taps.{i}" for i in range(len(net.taps))])
    batch = torch.zeros(len(net.maps[0]), 3, *net.maps[0].shape[-2:]) if lq is None else lq
    weighted = made if isinstance(made, WeightedTerm) else WeightedTerm(made, loss_weight(1))
    distiller = Distiller(net, [weighted, *others], Sources(teachers={"teacher": other}), example=batch)
    values = distiller(batch, batch if gt is None else gt)
    values["l_total"].backward()
    assert all(each.grad is None for each in other.parameters())
    return values, net


def row(*positions) -> torch.Tensor:
    """(1, C, 1, n) from the channels of each position."""
    return torch.tensor(positions).T[None, :, None].clone()
