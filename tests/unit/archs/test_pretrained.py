"""Published weights detected by spandrel, and the protocol figures of the shared weights."""

from __future__ import annotations

import pickle
import re
from copy import deepcopy

import pytest
import torch
from basicsr.archs import build_network

from dckd_basicsr.archs import ArchFacts, PretrainedNet
from dckd_basicsr.errors import CheckpointError
from dckd_basicsr.inference.padding import run_padded
from tests.tiny import run


def test_a_swinir_file_is_detected(tmp_path):
    options = {"upscale": 3, "img_size": 16, "window_size": 8, "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2],
               "mlp_ratio": 2, "upsampler": "pixelshuffle"}  # fmt: skip
    original = build_network({"type": "SwinIR", **options}).eval()
    torch.save({"params": original.half().state_dict()}, tmp_path / "some_file.pth")
    net = PretrainedNet(str(tmp_path / "some_file.pth")).eval()
    assert net.architecture == "SwinIR"
    assert net.facts.scale == 3
    x = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(net(x), original.float()(x), atol=1e-5, rtol=1e-4)


def test_an_image_is_left_as_it_was(tmp_path):
    """RCAN multiplies the pixels it is given in place, which a student sees after its teacher."""
    from spandrel.architectures.RCAN import RCAN

    torch.save(RCAN(n_resgroups=1, n_resblocks=1, n_feats=16).state_dict(), tmp_path / "rcan.pth")
    net = PretrainedNet(str(tmp_path / "rcan.pth")).eval()
    x = torch.rand(1, 3, 8, 8)
    before = x.clone()
    with torch.no_grad():
        first = net(x)
        assert torch.equal(x, before)
        assert torch.equal(net(x), first)


def test_unknown_weights_say_what_to_do(tmp_path):
    torch.save({"params": {"who.knows": torch.ones(3)}}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"no architecture known to spandrel.*who\.knows.*name the network"):
        PretrainedNet(str(tmp_path / "w.pth"))


def test_a_network_that_wants_square_images(tmp_path):
    from spandrel.architectures.Uformer import Uformer

    net = Uformer(img_size=128, embed_dim=4, depths=[1] * 9, num_heads=[1, 2, 2, 2, 2, 2, 2, 2, 1], win_size=8)
    torch.save({"params": net.state_dict()}, tmp_path / "uformer.pth")
    net = PretrainedNet(str(tmp_path / "uformer.pth")).eval()
    assert net.architecture == "Uformer"
    assert net.facts == ArchFacts(scale=1, multiple_of=128, minimum=1, square=True, input_channels=3, output_channels=3)
    with torch.no_grad():
        assert run_padded(net, torch.rand(1, 3, 100, 140), net.facts).shape == (1, 3, 100, 140)


def test_a_network_is_called_as_spandrel_calls_it(tmp_path):
    """FBCNN returns its image with a quality factor, FDnCNN wants a noise map beside the image."""
    from spandrel.architectures.DnCNN import DnCNN
    from spandrel.architectures.FBCNN import FBCNN

    for name, original in (
        ("FBCNN", FBCNN(nc=[4, 4, 4, 512], nb=2)),
        ("DnCNN", DnCNN(in_nc=4, out_nc=3, nc=4, nb=9, act_mode="R", mode="FDnCNN")),
    ):
        torch.save(original.state_dict(), tmp_path / "net.pth")
        net = PretrainedNet(str(tmp_path / "net.pth")).eval()
        assert net.architecture == name
        x = torch.rand(2, 3, 32, 32, requires_grad=True)
        out = net(x)
        assert out.shape == x.shape
        out.sum().backward()  # a student of this kind trains
        assert torch.isfinite(x.grad).all()
        for image, alone in zip(x.detach().split(1), out.detach().split(1)):
            torch.testing.assert_close(net(image), alone)
        for copy in (pickle.loads(pickle.dumps(net)), deepcopy(net)):
            torch.testing.assert_close(copy(x), out)


def test_a_network_called_plainly_is_pickled(tmp_path):
    net = build_network({"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 2, "upscale": 2})
    torch.save(net.state_dict(), tmp_path / "net.pth")
    net = PretrainedNet(str(tmp_path / "net.pth")).eval()
    copy, x = pickle.loads(pickle.dumps(net)), torch.rand(1, 3, 8, 8)
    assert copy.facts == net.facts
    torch.testing.assert_close(copy(x), net(x))


@pytest.mark.shared
def test_craft_is_detected_with_its_size_rules(shared):
    net = PretrainedNet(str(shared / "weights" / "craft_x4_ntire2024_team34.pth"))
    assert net.facts == ArchFacts(scale=4, multiple_of=16, minimum=16, input_channels=3, output_channels=3)


@pytest.mark.shared
def test_shipped_teacher_reaches_its_figure_on_set5(shared, tmp_path):
    folder = shared / "data" / "Set5"
    done = run(
        tmp_path, "test", "-opt", "test_x4_edsr.yml", "--force_yml", "name=set5", "num_gpu=0",
        f"datasets:test_1:dataroot_gt={folder / 'HR'}", f"datasets:test_1:dataroot_lq={folder / 'LR_bicubic/X4'}",
        "datasets:test_2=~", "datasets:test_3=~", "datasets:test_4=~", "network_g:num_block=16",
        "path:pretrain_network_g=builtin:edsr_x4_f64b16",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    psnr, ssim = (float(v) for v in re.search(r"Set5, 5 images: psnr (\S+), ssim (\S+)", done.stderr).groups())
    assert psnr == pytest.approx(31.62, abs=0.01)
    assert ssim == pytest.approx(0.8875, abs=0.0005)
