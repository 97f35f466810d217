"""What the card of a run says of its teachers and loss terms: those that the model had, at the file's weights."""

from __future__ import annotations

import re

import pytest
import yaml

from dckd_basicsr.portable import export_network, open_network
from dckd_basicsr.portable.card_facts import facts_of_run
from dckd_basicsr.portable.trained import loss_terms, teachers
from tests.unit.portable.test_opening import EDSR, write_run

L1 = {"type": "L1Loss"}


def told(folder, **more):
    """The facts of a run whose options are these, too."""
    write_run(folder, {**EDSR, "res_scale": 1}, values=(20.0,))
    options = yaml.safe_load((folder / "options.yml").read_text())
    (folder / "options.yml").write_text(yaml.safe_dump({**options, "model_type": "DCKDModel", **more}))
    return facts_of_run(open_network(folder))


def method(**train):
    return loss_terms({"train": train})


def teacher(options, **train):
    return teachers({"model_type": "DCKDModel", "train": train or {"logits_opt": L1}, **options})


@pytest.mark.parametrize(
    "losses",
    [
        {"csd": {"features": "vgg19", "weight": 0.78}, "mclir": {"weight": 0.001}},
        [{"type": "csd", "weight": 0.78}, {"type": "mclir", "weight": 0.001}],
    ],
)
def test_terms_have_the_weights_of_the_file(losses):
    wavelet = {"type": "wavelet", "name": "l_haar", "weight": 10, "loss": {"type": "HaarLoss", "loss_weight": 0.5}}
    losses = [*losses, wavelet] if isinstance(losses, list) else {**losses, "haar": wavelet}
    assert method(pixel_opt={**L1, "loss_weight": 1.0}, logits_opt=None, losses=losses) == (
        "loss terms pixel (L1Loss, weight 1), csd (weight 0.78), mclir (weight 0.001), "
        "haar (wavelet, HaarLoss, weight 5)"
    )


def test_a_weight_that_the_file_leaves_out_is_that_of_the_loss():
    contrastive, distribution = {"type": "ContrastiveLoss"}, {"type": "DistributionLoss"}
    assert method(logits_opt=L1, contrastive_opt=contrastive, distribution_opt=distribution) == (
        "loss terms logits (L1Loss, weight 1), contrastive (ContrastiveLoss, weight 0.1), "
        "distribution (DistributionLoss, weight 0.001)"
    )


def test_terms_that_are_off_are_none_of_a_run():
    off = {"weight": 0.0, "loss": L1}
    assert method(pixel_opt=L1, logits_opt={**L1, "loss_weight": 0}, losses={"psd": off, "csd": None}) == (
        "loss terms pixel (L1Loss, weight 1)"
    )
    assert method(logits_opt=None) is None


def test_weights_that_go_over_the_run_are_said_in_words():
    cosine = {"type": "cosine", "from": 0.1, "until": 0.8}
    steps = {"type": "steps", "at": [0.5, 0.75], "values": [1, 0.1, 0]}
    losses = {
        "psd": {"weight": {"type": "linear", "from": 0, "to": 2}},
        "logits": {"weight": steps, "loss": {**L1, "loss_weight": 2}},
    }
    assert method(contrastive_opt={"type": "ContrastiveLoss", "loss_weight": cosine}, losses=losses) == (
        "loss terms contrastive (ContrastiveLoss, weight from 0.1 to 0 as a cosine over the first 80 % of the run), "
        "psd (weight from 0 to 2 in a straight line over the run), "
        "logits (L1Loss, weight 2, 0.2 from 50 % of the run on and 0 from 75 % of the run on)"
    )


def test_a_teacher_is_named_with_the_file_that_it_has():
    weights = {"path": {"pretrain_network_teacher": "somewhere/edsr.pth"}}
    assert teacher({"network_teacher": EDSR, **weights}) == "EDSR (edsr.pth)"
    assert teacher({"network_teacher": {"type": "PretrainedNet", "path": "a/hat.pth"}}) == "PretrainedNet (hat.pth)"
    assert teacher({"network_teacher": {"type": "Bicubic", "scale": 2}}) == "Bicubic"
    inner = [{"type": "PretrainedNet", "path": "a/hat.pth"}, {**EDSR, "path": "b/large.pth"}]
    assert teacher({"network_teacher": {"type": "TeacherAggregation", "teachers": inner}, **weights}) == (
        "TeacherAggregation (edsr.pth) over PretrainedNet (hat.pth) and EDSR (large.pth)"
    )


def test_of_several_teachers_those_are_named_that_a_term_asks_for():
    blocks = [{"name": name, "type": kind} for name, kind in (("small", "EDSR"), ("large", "RCAN"))]
    options = {"network_teachers": blocks, "path": {"pretrain_network_large": "a/rcan.pth"}}
    assert teacher(options, losses={"mtkd": {}}) == "EDSR (no file) and RCAN (rcan.pth)"
    assert teacher(options, logits_opt=L1) == "EDSR (no file)", "the first"
    assert teacher(options, logits_opt={**L1, "taught_by": "large"}) == "RCAN (rcan.pth)"
    assert teacher(options, losses={"of_a_plugin": {}}) == "EDSR (no file) and RCAN (rcan.pth)", "it may need any"


def test_without_a_term_that_needs_one_there_was_no_teacher():
    left = {"network_teacher": EDSR}
    assert teacher(left, pixel_opt=L1, logits_opt=None) == "none"
    assert teacher({**left, "model_type": "RestorationModel"}, pixel_opt=L1) == "none"
    assert teacher({"model_type": "SRModel"}, pixel_opt=L1) is None, "what that does is not known here"
    assert teacher({"model_type": "SRModel", **left}, pixel_opt=L1) == "EDSR (no file)"


def test_the_card_has_it(tmp_path):
    facts = told(tmp_path / "alone", network_teacher=EDSR, train={"ema_decay": 0.9, "pixel_opt": L1})
    assert (facts.teacher, facts.method) == ("none", "loss terms pixel (L1Loss, weight 1)")
    train = {"ema_decay": 0.9, "losses": {"logits": {"weight": 0.25, "loss": L1}}}
    facts = told(tmp_path / "taught", network_teacher={"type": "PretrainedNet", "path": "hat.pth"}, train=train)
    run = open_network(tmp_path / "taught")
    text = export_network(run, ["safetensors"], tmp_path / "out", name="net").card.read_text()
    assert "super-resolution x2, distilled from PretrainedNet (hat.pth)." in text
    assert re.search(r"\| teacher +\| PretrainedNet \(hat\.pth\) +\|", text)
    assert re.search(r"\| method +\| loss terms logits \(L1Loss, weight 0\.25\) +\|", text)
    alone = export_network(open_network(tmp_path / "alone"), ["safetensors"], tmp_path / "out2", name="net").card
    text = alone.read_text()
    assert re.search(r"\| teacher +\| none +\|", text)
    assert "distilled" not in text
    assert "the teacher's weights" not in text
