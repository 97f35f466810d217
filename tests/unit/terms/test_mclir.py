"""MCLIR's model contrast: reference numbers, by hand, its negative models over a run and over a resumed one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from dckd_basicsr.config import option_problems
from dckd_basicsr.distill import Distiller, FrozenEncoder, Generators, Need, Sources, build_terms
from dckd_basicsr.distill.terms import MCLIRTerm, PixelTerm
from dckd_basicsr.distill.terms.features.mclir import mclir_loss
from dckd_basicsr.errors import ConfigError
from tests.models import train
from tests.tiny import job_options
from tests.unit.distill.test_step import Setup, Upscale, vqgan

ALONE = dict.fromkeys(("logits_opt", "contrastive_opt", "distribution_opt", "consistency_opt"))
EVERY = [6, 3, 2, 1]


def test_the_loss_against_reference_numbers(golden):
    tensors, config = golden("kd/mclir_negative")
    student = [tensors[f"student.{i}"].requires_grad_() for i in range(3)]
    negatives = [[tensors[f"negative.{m}.{i}"] for i in range(3)] for m in range(4)]
    constants = config["constants"]
    loss = constants["perceptual_weight"] * mclir_loss(student, negatives, constants["level_weights"])
    loss.backward()
    torch.testing.assert_close(loss.detach(), tensors["loss"], rtol=1e-5, atol=0)
    for i, level in enumerate(student):
        wanted = tensors[f"grad.student.{i}"]
        torch.testing.assert_close(level.grad, wanted, rtol=0, atol=1e-5 * wanted.abs().max().item())


def test_by_hand():
    """Two images, two levels, two models; each image against its own negative."""
    student = [torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).requires_grad_(), torch.ones(2, 1, 1, 1)]
    near = [torch.tensor([1.0, 1.5]).view(2, 1, 1, 1), torch.ones(2, 1, 1, 1)]
    far = [torch.tensor([-3.0, 0.0]).view(2, 1, 1, 1), torch.zeros(2, 1, 1, 1)]
    loss = mclir_loss(student, [near, far], (0.5, 2.0))
    assert loss.item() == pytest.approx(-((0.5 * 0.75 + 0) + (0.5 * 2 + 2 * 1)) / 2)
    loss.backward()  # up from the one negative and down from the other cancel, in both images
    assert student[0].grad.flatten().tolist() == [0.0, 0.0]
    far[0][0] = 3.0
    mclir_loss(student, [near, far], (0.5, 2.0)).backward()  # minus the distance: it grows away from both
    assert student[0].grad.flatten().tolist() == pytest.approx([0.5 * 2 / 2 / 2, 0.0])


def test_gradcheck():
    torch.manual_seed(0)
    student, *negatives = (torch.randn(2, 3, 2, 2, dtype=torch.float64) for _ in range(4))
    assert torch.autograd.gradcheck(
        lambda s: mclir_loss([s], [[n] for n in negatives], (0.3,)), student.requires_grad_()
    )


def joined(student, **options) -> MCLIRTerm:
    term = MCLIRTerm(**options)
    Distiller(student, [term], Sources(Generators(5), encoder=FrozenEncoder(vqgan())))
    return term


def test_a_negative_model_starts_as_a_tenth_of_chance():
    student, term = Upscale(), MCLIRTerm(decay=0.1)
    sources = Sources(Generators(5), encoder=FrozenEncoder(vqgan()))
    before = torch.get_rng_state()
    term.join(student, sources)
    assert torch.equal(torch.get_rng_state(), before)
    drawn = [(model.net.conv.weight - 0.9 * student.conv.weight) / 0.1 for model in term.past]
    assert len(drawn) == 4
    bound = 1 / (3 * 9) ** 0.5  # of a convolution's uniform distribution
    for weight in drawn:
        assert 0.9 * bound < weight.abs().max() < 1.001 * bound
        assert (weight - student.conv.weight).abs().mean() > 0.3 * bound
    assert len({round(weight.flatten()[0].item(), 6) for weight in drawn}) == 4
    again = joined(copy.deepcopy(student), decay=0.1)
    assert all(torch.equal(a.net.conv.weight, b.net.conv.weight) for a, b in zip(term.past, again.past, strict=True))
    assert not any(p.requires_grad for p in term.parameters())
    assert not any(module.training for module in term.train().past.modules() if module is not term.past)


def test_models_follow_at_their_own_intervals(golden):
    tensors, config = golden("kd/mclir_negative")
    assert MCLIRTerm().settings[0].decay == config["constants"]["ema_decay"]
    assert [each.schedule[0][1] for each in MCLIRTerm().settings] == config["constants"]["negative_update_interval"]
    term = joined(nn.Linear(4, 5))
    for iteration, wanted in config["updates_at_iteration"].items():
        before = [model.updates for model in term.past]
        term.follow(int(iteration), nn.Linear(4, 5))
        assert [i for i, model in enumerate(term.past) if model.updates > before[i]] == wanted
    student = nn.Linear(4, 5)
    student.weight.data.copy_(tensors["ema.student"])
    term.past[3].net.weight.data.copy_(tensors["ema.negative_before"])
    term.follow(100, student)
    torch.testing.assert_close(term.past[3].net.weight.data, tensors["ema.negative_after"], rtol=1e-6, atol=1e-7)


def test_following_by_hand():
    student = nn.Conv2d(1, 1, 1)
    term = joined(student, intervals=[2, 3], decay=0.25)
    for model in term.past:
        model.net.weight.data.fill_(1.0)
    student.weight.data.fill_(5.0)
    seen = []
    for iteration in range(1, 7):
        term.follow(iteration, student)
        seen.append([model.net.weight.item() for model in term.past])
    assert seen == [[1, 1], [4, 1], [4, 4], [4.75, 4], [4.75, 4], [4.9375, 4.75]]


def test_each_image_passes_each_network_once():
    term, encoded = MCLIRTerm(), []
    setup = Setup([term])
    setup.sources.encoder.vqgan.encoder.conv_in.register_forward_hook(
        lambda module, inputs, output: encoded.append((len(output), output.requires_grad))
    )
    for model in term.past:
        model.net.passes.clear()
    values, gradients = setup.run()
    assert (setup.teacher.passes, setup.student.passes, setup.history.net.passes) == ([], [3], [])
    assert [model.net.passes for model in term.past] == [[3]] * 4
    assert encoded == [(12, False), (3, True)]  # what the models made, then S
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    step = setup.step()
    negatives = [step.reference_taps(model.net(setup.lq)) for model in term.past]
    wanted = mclir_loss(step.student_taps, negatives, (1 / 8, 1 / 4, 1.0))
    torch.testing.assert_close(values["l_mclir"], wanted, rtol=1e-5, atol=0)
    assert values["l_mclir"] < 0


def test_the_models_run_in_the_frozen_networks_precision():
    setup = Setup([MCLIRTerm()])
    setup.sources.frozen_region = lambda: torch.autocast("cpu", torch.bfloat16)
    seen = []
    (model, *_) = setup.terms[0].past
    model.net.conv.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    setup.run()
    assert seen == [torch.bfloat16]


def test_needs():
    assert MCLIRTerm().needs == {Need.STUDENT_TAPS}
    assert MCLIRTerm(features="vgg16", weights="w.pth").needs == frozenset()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"intervals": []}, "intervals must be numbers of iterations, one for each model, got"),
        ({"intervals": [10, 0]}, r"intervals must be numbers of iterations, one for each model, got \[10, 0\]"),
        ({"decay": 1.5}, "decay must be a probability"),
        ({"features": "vgg16"}, "features: vgg16 needs `weights`: the path of torchvision's vgg16-397923af.pth"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=rf"train\.losses\[0\] \(mclir\): {message}"):
        build_terms({"losses": [{"type": "mclir", **options}]})


def test_with_a_vgg(tmp_path):
    """Published: VGG16, normalised by ImageNet. Neither teacher nor encoder is there."""
    net = make_layers(cfgs["D"]).requires_grad_(False)
    torch.save(net.state_dict(prefix="features."), tmp_path / "vgg16.pth")
    term, student = MCLIRTerm("vgg16", str(tmp_path / "vgg16.pth")), Upscale()
    distiller = Distiller(student, [term, PixelTerm()], Sources())
    lq, gt = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)
    values = distiller(lq, gt)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])

    def levels(image):
        x = (image - mean[:, None, None]) / std[:, None, None]
        return [net[:4](x).clone(), net[:9](x).clone(), net[:16](x).clone()]

    wanted = mclir_loss(levels(student(lq)), [levels(model(lq)) for model in term.past], (0.2, 0.3, 0.5))
    torch.testing.assert_close(values["l_mclir"], wanted, rtol=1e-4, atol=0)
    names = distiller.training_state()["terms"]
    assert {name.split(".")[1] for name in names} == {"past"}  # the VGG is in its file


# --- in a run


def test_it_runs_without_a_teacher_and_the_check_lets_it(build):
    options = {**ALONE, "losses": [{"type": "mclir", "weight": 0.001}]}
    assert option_problems({**job_options(options), "network_teacher": None}) == []
    model = build(train=options, network_teacher=None)
    assert model.sources.teachers == {}
    assert {"l_pix", "l_mclir"} <= set(train(model, [1])[0])
    restoring = {**job_options(options), "model_type": "RestorationModel"}
    assert any("has no encoder, which train.losses[0] needs; use" in each for each in option_problems(restoring))


def test_alone_it_is_refused():
    found = option_problems(job_options({**ALONE, "pixel_opt": None, "losses": {"mclir": {"weight": 0.001}}}))
    assert [each for each in found if each.startswith("train.losses.mclir has no lower bound and pulls")] == found != []


def test_a_resumed_run_ends_as_one_that_was_not(build):
    options = {**ALONE, "losses": [{"type": "mclir", "weight": 0.01, "intervals": EVERY}]}
    whole, first = build(train=options), build(train=options)
    logs = train(whole, range(1, 7))
    train(first, range(1, 4))
    state = first.extra_training_state()["dckd"]
    assert not [name for name in first.net_g.state_dict() if "past" in name]
    second = build(train=options)
    second.net_g.load_state_dict(first.net_g.state_dict())
    second.net_g_ema.load_state_dict(first.net_g_ema.state_dict())
    second.optimizer_g.load_state_dict(first.optimizer_g.state_dict())
    second.load_extra_training_state(copy.deepcopy(state))
    second.schedulers[0].load_state_dict(first.schedulers[0].state_dict())
    assert train(second, range(4, 7)) == logs[3:]
    past = [model.distiller.terms["l_mclir"].past.state_dict() for model in (whole, second)]
    assert all(torch.equal(past[0][name], past[1][name]) for name in past[0])
