"""How far down the encoder goes: to the last level that has a weight, unless somebody looks further."""

from __future__ import annotations

import pytest
import torch

from dckd_basicsr.distill.terms import ContrastTerm
from dckd_basicsr.losses import ContrastiveLoss
from tests.unit.distill.test_step import ALL_TERMS, Setup


@pytest.mark.parametrize("codes", [False, True])
def test_the_encoder_stops_at_the_last_level_that_has_a_weight(monkeypatch, codes):
    terms = {
        "contrastive_opt": {"type": "ContrastiveLoss", "weights": [1.0, 0.0, 0.0]},
        **({"distribution_opt": ALL_TERMS["distribution_opt"]} if codes else {}),
    }
    setup, passed = Setup(terms), []
    for i, level in enumerate(setup.sources.encoder.vqgan.encoder.down):
        level.block[0].register_forward_pre_hook(lambda module, given, i=i: passed.append((i, len(given[0]))))
    values, gradients = setup.run()
    deep = [(0, 18), (1, 18), (2, 18), (0, 3), (1, 3), (2, 3)]
    assert passed == (deep if codes else [(0, 18), (0, 3)])
    # What is left out has no say: with every level computed the same comes out.
    monkeypatch.setattr(type(setup.distiller), "_tap_levels", lambda distiller: None)
    setup.student.zero_grad()
    whole, others = setup.run()
    assert values["l_contrast"] > 0
    for name, value in values.items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=0)
    for mine, theirs in zip(gradients, others, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_a_loss_that_derives_from_the_contrast_gets_all_levels():
    class Deep(ContrastiveLoss):
        """Looks at the last level itself."""

    weights = (1.0, 0.0, 0.0)
    assert ContrastTerm(ContrastiveLoss(weights=weights)).tap_levels == 1
    assert ContrastTerm(Deep(weights=weights)).tap_levels is None


def test_another_term_that_looks_at_all_levels_gets_them():
    losses = [{"type": "mclir"}, {"type": "contrast", "loss": {"type": "ContrastiveLoss", "weights": [1.0, 0.0, 0.0]}}]
    setup, passed = Setup({"losses": losses, "pixel_opt": ALL_TERMS["pixel_opt"]}), []
    last = setup.sources.encoder.vqgan.encoder.down[-1].block[0]
    last.register_forward_pre_hook(lambda module, given: passed.append(len(given[0])))
    setup.run()
    assert 3 in passed
