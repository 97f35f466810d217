"""The form in which feature maps are compared: magnitudes taken off, tokens as maps."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from basicsr.archs import build_network

from dckd_basicsr.distill import Sources
from dckd_basicsr.distill.features import as_map, has_layer_norm, unit_columns, unit_images, unit_positions
from dckd_basicsr.distill.terms import AffinityTerm, AttentionTerm, FitnetTerm
from dckd_basicsr.errors import ConfigError
from tests.given_maps import given
from tests.terms import EDSR
from tests.unit.features.test_positions import NAFNET, RCAN, RESTORMER, SWINIR

TERMS = (FitnetTerm, AttentionTerm, AffinityTerm)

# --- magnitude


@pytest.mark.parametrize("formula", [unit_columns, unit_positions, unit_images])
def test_gradients_of_units(formula):
    assert torch.autograd.gradcheck(formula, torch.randn(2, 3, 2, 2, dtype=torch.double, requires_grad=True))
    nothing = torch.zeros(1, 3, 2, 2, requires_grad=True)
    formula(nothing).square().sum().backward()
    assert not nothing.grad.any()  # and no NaN


def test_units_have_the_size_that_they_say():
    x = torch.randn(2, 6, 3, 4)
    torch.testing.assert_close(unit_columns(x).norm(dim=1), torch.ones(2, 3, 4))
    torch.testing.assert_close(unit_positions(x).square().mean(1), torch.ones(2, 3, 4))
    torch.testing.assert_close(unit_images(x).square().mean((1, 2, 3)), torch.ones(2))
    torch.testing.assert_close(unit_images(x) / unit_images(x)[:, :1, :1, :1], x / x[:, :1, :1, :1])


@pytest.mark.parametrize("term", TERMS)
def test_normalised_maps_have_no_magnitude(term):
    torch.manual_seed(1)
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    factor = torch.rand(2, 1, 1 if term is AttentionTerm else 4, 1) + 0.5  # of images, or of positions
    found = []
    for one, other in ((student, teacher), (student * 1e6 * factor, teacher * 1e-4), (student, teacher * factor)):
        torch.manual_seed(2)
        options = {"pool": 2} if term is AffinityTerm else {}
        found.append(given(partial(term, normalize=True, **options), [one], [other])[0]["l_total"].item())
    assert found[1:] == pytest.approx(found[:1] * 2, rel=1e-4)
    torch.manual_seed(2)
    plain = given(partial(term, normalize=False, **options), [student * factor * 1e-4], [teacher * 9])[0]["l_total"]
    assert plain.item() != pytest.approx(found[0], rel=0.1)


def test_auto_normalises_where_there_is_layer_normalization():
    known = {"EDSR": EDSR, "RCAN": RCAN, "SwinIR": SWINIR, "NAFNet": NAFNET, "Restormer": RESTORMER}
    nets = {name: build_network(dict(options)) for name, options in known.items()}
    assert {name for name, net in nets.items() if has_layer_norm(net)} == {"SwinIR", "NAFNet", "Restormer"}
    assert has_layer_norm(build_network({**RESTORMER, "LayerNorm_type": "BiasFree"}))
    for normalize, wanted in (("auto", (True, False)), (True, (True, True)), (False, (False, False))):
        term = AttentionTerm(normalize=normalize)
        sources = Sources(teachers={"a": nets["Restormer"], "b": nets["EDSR"]})
        term.taught_by = "b"
        term.join(nets["SwinIR"], sources)
        assert term.normalized == wanted
    for form, wanted in (("regressor", (True, False)), ("channel_mean", (True, True)), ("raw", (True, True))):
        term = FitnetTerm(form=form, taught_by="b")  # the last two compare what no layer scales
        term.join(nets["SwinIR"], sources)
        assert term.normalized == wanted


# --- tokens


def test_tokens_are_maps():
    maps = torch.rand(2, 5, 6, 4)
    tokens = maps.flatten(2).transpose(1, 2)
    assert torch.equal(as_map(tokens, torch.zeros(2, 3, 6, 4)), maps)
    assert as_map(maps, torch.zeros(2, 3, 1, 1)) is maps
    for height, width, count, size in (
        (10, 20, 16 * 24, (16, 24)),  # padded to windows of 8
        (12, 20, 3 * 5, (3, 5)),  # patches of 4
        (9, 17, 3 * 5, (3, 5)),  # patches of 4 that are padded
        (64, 64, 64, (8, 8)),
        (65, 65, 128**2, (128, 128)),  # windows of 64, the largest that are looked for
    ):
        assert as_map(torch.zeros(1, count, 2), torch.zeros(1, 3, height, width)).shape == (1, 2, *size)
    for wrong in (torch.zeros(2, 23, 5), torch.zeros(8, 6, 5), torch.zeros(8, 5, 3, 2), torch.zeros(2, 24)):
        with pytest.raises(
            ConfigError, match=r"are no map of an LQ batch of shape \(2, 3, 6, 4\); expected|: expected"
        ):
            as_map(wrong, torch.zeros(2, 3, 6, 4))
    with pytest.raises(ConfigError, match="are no map of an LQ batch"):
        as_map(torch.zeros(1, 130**2, 1), torch.zeros(1, 3, 66, 66))


@pytest.mark.parametrize("term", TERMS)
def test_tokens_give_what_maps_give(term):
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    found = []
    for as_tokens in (False, True):
        torch.manual_seed(2)
        maps = [[each.flatten(2).transpose(1, 2) if as_tokens else each] for each in (student, teacher)]
        values, net = given(term, *maps, lq=torch.zeros(2, 3, 4, 4))
        grad = net.maps[0].grad
        found.append((values["l_total"], grad.transpose(1, 2).unflatten(2, (4, 4)) if as_tokens else grad))
    torch.testing.assert_close(found[1], found[0])
