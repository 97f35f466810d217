"""VGG features: torchvision's own answers, taps that stay as they were, other files than the expected one."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torchvision.models.vgg import cfgs, make_layers

from dckd_basicsr.codebook import VGGFeatureLoss
from dckd_basicsr.distill.features.vgg import FrozenVGG, relu_places
from dckd_basicsr.errors import CheckpointError
from dckd_basicsr.losses import feature_distance

THREE = ("relu1_2", "relu2_2", "relu3_3")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files as torchvision's are, of the whole network, here with a small classifier and weights of chance."""
    torch.manual_seed(0)
    folder, found = tmp_path_factory.mktemp("vgg"), {}
    for kind, layers in (("vgg16", "D"), ("vgg19", "E")):
        net = make_layers(cfgs[layers])
        state = {f"features.{key}": value for key, value in net.state_dict().items()}
        found[kind] = net, folder / f"{kind}.pth"
        torch.save({**state, "classifier.0.weight": torch.zeros(2, 2)}, found[kind][1])
    return found


def truth(net, x, indices):
    """What torchvision's layers give, each copied before the next one, which works in place, writes over it."""
    found = []
    for index, layer in enumerate(net[: max(indices) + 1]):
        x = layer(x)
        if index in indices:
            found.append(x.clone())
    return found


def test_the_names_mean_the_places_that_the_methods_name():
    first = [relu_places("vgg19")[f"relu{stage}_1"] for stage in range(1, 6)]
    assert first == [1, 6, 11, 20, 29]
    assert [relu_places("vgg16")[layer] for layer in THREE] == [3, 8, 15]
    assert [len(relu_places(kind)) for kind in ("vgg16", "vgg19")] == [13, 16]


@pytest.mark.parametrize("inputs", ["imagenet", "bytes", "unit"])
@pytest.mark.parametrize("kind", ["vgg16", "vgg19"])
def test_it_gives_what_torchvision_gives(files, kind, inputs):
    net, path = files[kind]
    images = torch.rand(2, 3, 16, 20, requires_grad=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    given = {
        "imagenet": (images.detach() - mean[:, None, None]) / std[:, None, None],
        "bytes": images.detach() * 255.0,
        "unit": images.detach(),
    }[inputs]
    layers = ("relu1_1", "relu1_2", "relu3_3")
    vgg = FrozenVGG(kind, layers, path, inputs).train()
    found = vgg(images)
    assert [tuple(each.shape) for each in found] == [(2, 64, 16, 20), (2, 64, 16, 20), (2, 256, 4, 5)]
    for mine, theirs in zip(found, truth(net, given, [relu_places(kind)[each] for each in layers]), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6 * theirs.abs().max().item())
    for mine, theirs in zip(vgg.reference(images), found, strict=True):
        assert not mine.requires_grad
        torch.testing.assert_close(mine, theirs.detach(), rtol=1e-5, atol=1e-6 * theirs.abs().max().item())
    sum(each.mean() for each in found).backward()
    assert images.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in vgg.parameters())
    assert not vgg.training
    assert len(vgg.features) == relu_places(kind)["relu3_3"] + 1  # no layer after the last that is asked for
    assert not [key for key in vgg.state_dict() if not key.startswith("features.")]


def test_one_channel_counts_for_three_and_pieces_for_the_whole(files, monkeypatch):
    vgg = FrozenVGG("vgg16", ("relu1_2",), files["vgg16"][1])
    gray = torch.rand(3, 1, 8, 8)
    (whole,) = vgg(gray.repeat(1, 3, 1, 1))
    torch.testing.assert_close(vgg(gray)[0], whole)
    monkeypatch.setattr("dckd_basicsr.distill.features.vgg.images_at_once", lambda *_: 2)
    seen = []
    vgg.features[0].register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    torch.testing.assert_close(vgg.reference(gray)[0], whole)
    assert seen == [2, 1]


def test_it_runs_in_its_region(files):
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    half = FrozenVGG("vgg16", ("relu2_1",), files["vgg16"][1], region=lambda: torch.autocast("cpu", torch.bfloat16))
    exact = FrozenVGG("vgg16", ("relu2_1",), files["vgg16"][1], region=nullcontext)
    assert half(images)[0].dtype == torch.bfloat16
    torch.testing.assert_close(half(images)[0].float(), exact(images)[0], rtol=0.05, atol=0.01)
    half(images)[0].float().mean().backward()
    assert images.grad.isfinite().all()


def broken(state):
    return {key: value for key, value in state.items() if key != "features.2.bias"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; expected is torchvision's vgg19-dcbb9e9d.pth, from https://download.pytorch.org/"),
        (b"no weights", "was refused: it is damaged.*expected is torchvision's vgg19"),
        ("vgg16", r"is not that of vgg19 \(12 missing.*not in the network.*expected is torchvision's vgg19"),
        (broken, r"is not that of vgg19 \(1 missing: 2.bias\)"),
        (lambda state: {"conv.weight": torch.zeros(3)}, r"is not that of vgg19 \(32 missing"),
        (lambda state: {**state, "features.0.weight": torch.zeros(64, 1, 3, 3)}, "0.weight is .64, 1, 3, 3. in the"),
    ],
)
def test_another_file_is_refused(files, tmp_path, content, message):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, str):
        path = files[content][1]  # relu2_2 is as deep in both: the file is told by what lies behind
    elif content is not None:
        torch.save(content(torch.load(files["vgg19"][1], weights_only=True)), path)
    with pytest.raises(CheckpointError, match=message):
        FrozenVGG("vgg19", ("relu2_2",), path)


@pytest.mark.parametrize(("layers", "message"), [(["relu3_4"], "got 'relu3_4'"), ([], "each once, got"),
                                                 (["relu1_1", "relu1_1"], "each once, got")])  # fmt: skip
def test_layers_that_are_not_there(files, layers, message):
    with pytest.raises(ValueError, match=f"layers must name ReLUs of vgg16: relu1_1, .*{message}"):
        FrozenVGG("vgg16", layers, files["vgg16"][1])


def test_a_loss_of_its_features_pulls_at_what_was_made_alone(files):
    net, path = files["vgg16"]
    made, image = torch.rand(2, 1, 3, 16, 16, requires_grad=True).unbind()
    loss = VGGFeatureLoss(str(path), layers=THREE, loss_weight=0.5)(made, image)
    normal = [(x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) for x in (made, image)]
    levels = [truth(net, x / torch.tensor([0.229, 0.224, 0.225])[:, None, None], [3, 8, 15]) for x in normal]
    torch.testing.assert_close(loss, 0.5 * feature_distance(*levels))
    (to_made, to_image) = torch.autograd.grad(loss, (made, image), allow_unused=True)
    assert to_made.abs().sum() > 0
    assert to_image is None
    with pytest.raises(CheckpointError, match="torchvision's vgg16-397923af"):
        VGGFeatureLoss("nowhere.pth")
