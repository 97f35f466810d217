"""A codebook's training, by hand: moving averages, revival, gradients that go past the codes, figures, hinge losses."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from basicsr.models import build_model
from torch import nn

from dckd_basicsr.archs import VQGAN, PatchDiscriminator
from dckd_basicsr.archs.networks.vqgan_arch import Codebook
from dckd_basicsr.codebook import (
    AdversarialSettings,
    CodebookAverages,
    CodebookSettings,
    Reconstructing,
    ReconstructionStep,
    adversarial_settings,
)
from dckd_basicsr.config import parse_options
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.losses import (
    adaptive_weight,
    code_figures,
    commitment_loss,
    feature_distance,
    hinge_of_discriminator,
    hinge_of_generator,
)
from dckd_basicsr.training.processes import average
from tests.e2e.training.test_codebook import write
from tests.tiny import LAYOUT
from tests.warm import can_fork

NEVER = CodebookSettings(decay=0.5, revive_below=0.0)


def codebook(*codes: list[float]) -> Codebook:
    book = Codebook(len(codes), len(codes[0]))
    book.embedding.weight.data.copy_(torch.tensor(codes))
    return book


def averages(book: Codebook, settings: CodebookSettings = NEVER, **more) -> CodebookAverages:
    return CodebookAverages(book, settings, torch.Generator().manual_seed(1), **{"fresh": False, **more})


def test_three_codes_move_by_hand() -> None:
    """N = 1/2 (1/3) + 1/2 (n / 4), m = 1/2 (e / 3) + 1/2 (sum / 4), e = m / N."""
    held = averages(book := codebook([0.0], [3.0], [9.0]))
    held.update(torch.tensor([[1.0], [2.0], [5.0], [1.0]]), torch.tensor([0, 1, 1, 0]))
    assert held.counts.tolist() == pytest.approx([5 / 12, 5 / 12, 1 / 6])
    assert held.sums.flatten().tolist() == pytest.approx([1 / 4, 1 / 2 + 7 / 8, 3 / 2])
    assert book.embedding.weight.flatten().tolist() == pytest.approx([3 / 5, 33 / 10, 9.0])  # the last was not met
    assert not book.embedding.weight.requires_grad


def test_neither_batch_nor_order_matters() -> None:
    outputs, indices = torch.randn(6, 2), torch.tensor([0, 1, 0, 2, 1, 0])
    found = []
    for repeats in (1, 3):
        held = averages(codebook([0.0, 1.0], [1.0, 0.0], [2.0, 2.0]))
        held.update(outputs.repeat(repeats, 1), indices.repeat(repeats))
        found.append(held.codes.clone())
    torch.testing.assert_close(*found)


def test_a_code_that_is_never_met_stays_to_the_end() -> None:
    held = averages(codebook([0.0], [7.0]))
    for _ in range(300):  # its count underflows
        held.update(torch.ones(2, 1), torch.zeros(2, dtype=torch.int64))
    assert held.codes.flatten().tolist() == pytest.approx([1.0, 7.0])


def test_dead_codes_become_outputs_of_the_batch_each_another() -> None:
    """Of four codes two are dead, below 0.3 of an even share; one that is just above goes on."""
    held = averages(codebook([0.0], [1.0], [2.0], [3.0]), CodebookSettings(decay=0.5, revive_below=0.3))
    held.counts.copy_(torch.tensor([0.5, 0.16, 0.14, 0.1]))
    held.sums.copy_(held.counts[:, None] * held.codes)
    outputs = torch.tensor([[10.0], [20.0], [30.0]])
    held.update(outputs, torch.zeros(3, dtype=torch.int64))
    codes = held.codes.flatten().tolist()
    assert codes[1] == pytest.approx(1.0)
    assert {codes[2], codes[3]} < {10.0, 20.0, 30.0}  # two different ones
    assert held.counts.tolist() == pytest.approx([0.75, 0.08, 0.25, 0.25])
    torch.testing.assert_close(held.sums[2:], 0.25 * held.codes[2:])


def test_a_fresh_codebook_is_made_of_the_first_batches() -> None:
    held = averages(codebook(*([0.0] for _ in range(5))), CodebookSettings(), fresh=True)
    outputs = torch.tensor([[1.0], [2.0]])
    held.update(outputs, torch.zeros(2, dtype=torch.int64))
    codes = held.codes.flatten().tolist()
    assert codes[0] == 1.5  # the mean of what it was nearest to
    assert sorted(codes[1:3]) == [1.0, 2.0]
    assert codes[3:] == [0.0, 0.0]  # no output is taken twice: they wait
    held.update(outputs + 10, torch.tensor([0, 0]))
    assert sorted(held.codes.flatten().tolist()[3:]) == [11.0, 12.0]


def test_the_stream_of_revival_goes_on_where_it_was() -> None:
    def revive(held: CodebookAverages) -> torch.Tensor:
        held.counts.zero_()
        held.sums.zero_()
        held.update(torch.arange(50.0).view(50, 1), torch.zeros(50, dtype=torch.int64))
        return held.codes.clone()

    held = averages(codebook(*([0.0] for _ in range(9))), CodebookSettings())
    revive(held)
    kept = held.generator.get_state()
    second = revive(held)
    assert not torch.equal(second, revive(held))
    held.generator.set_state(kept)
    assert torch.equal(second, revive(held))


@pytest.mark.parametrize("sound", [torch.tensor(False), None])
def test_a_step_that_is_not_finite_leaves_no_trace(sound: torch.Tensor | None) -> None:
    held = averages(codebook([0.0], [1.0]), CodebookSettings())
    before = [value.clone() for value in (*held.state_dict().values(), held.codes)]
    held.update(torch.tensor([[1.0], [1.0 if sound is not None else math.nan]]), torch.tensor([0, 1]), sound)
    assert all(torch.equal(a, b) for a, b in zip(before, (*held.state_dict().values(), held.codes), strict=True))


def test_figures_by_hand_and_since_the_last_call() -> None:
    """p = 1/2, 1/4, 1/4, 0: entropy 3/2 ln 2."""
    held = averages(codebook([0.0], [1.0], [2.0], [3.0]))
    held.update(torch.zeros(4, 1), torch.tensor([0, 1, 0, 2]))
    figures = held.figures()
    assert (figures["usage"].item(), figures["perplexity"].item()) == pytest.approx((0.75, 2**1.5))
    assert {name: value.item() for name, value in held.figures().items()} == {"usage": 0.0, "perplexity": 0.0}
    assert code_figures(torch.ones(8))["perplexity"].item() == pytest.approx(8.0)


def _process(rank: int, folder: str) -> None:
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    held = averages(codebook([0.0, 0.0], [1.0, 1.0], [5.0, 5.0]), NEVER, average=average, processes=2, rank=rank)
    outputs, indices = batch()
    held.update(outputs.chunk(2)[rank], indices.chunk(2)[rank])
    made = {"state": held.state_dict(), "codes": held.codes.data}
    fresh = averages(codebook(*([0.0] for _ in range(6))), CodebookSettings(), average=average, processes=2, rank=rank)
    fresh.counts.zero_()
    fresh.update(torch.arange(1.0, 3.0).view(2, 1) + 10 * rank, torch.zeros(2, dtype=torch.int64))
    torch.save({**made, "fresh": fresh.codes.data}, f"{folder}/{rank}.pth")
    dist.destroy_process_group()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)
    return torch.randn(8, 2), torch.tensor([0, 1, 0, 0, 1, 1, 0, 1])


def test_two_processes_equal_one_with_the_whole_batch(tmp_path: Path) -> None:
    mp.start_processes(_process, (str(tmp_path),), nprocs=2, start_method="fork" if can_fork() else "spawn")
    alone = averages(codebook([0.0, 0.0], [1.0, 1.0], [5.0, 5.0]))
    alone.update(*batch())
    pair = [torch.load(tmp_path / f"{rank}.pth", weights_only=True) for rank in range(2)]
    for each in pair:
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(each["state"][name], value)
        torch.testing.assert_close(each["codes"], alone.codes.data)
    assert torch.equal(pair[0]["fresh"], pair[1]["fresh"])
    assert sorted(pair[0]["fresh"].flatten().tolist()[1:5]) == [1.0, 2.0, 11.0, 12.0]  # of both processes' outputs


# --- the step --------------------------------------------------------------------------------------------------------


class Straight(nn.Module):
    """Encoder and decoder that are one number each."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(3.0))
        self.quantize = codebook([1.0], [-1.0])
        self.encode, self.decode = (lambda x: self.a * x), (lambda z: self.b * z)


def test_the_gradient_goes_straight_past_the_codes() -> None:
    """x = 2 * 0.7 - 1 = 0.4, z = 0.8, e = 1, y = 3: dL/da = b x for the image, 2 (z - e) x for the commitment."""
    net = Straight()

    class Sum(nn.Module):
        def forward(self, made, image):
            return 2.0 * made.sum()  # of (y + 1) / 2: the gradient to y is 1

    step = ReconstructionStep(net, {"l_pix": Sum()}, commitment=1.0)(torch.full((1, 1, 1, 1), 0.7))
    assert step.made.item() == pytest.approx(3.0)
    assert step.losses["l_commit"].item() == pytest.approx(0.04)
    assert (step.outputs.item(), step.indices.item()) == (pytest.approx(0.8), 0)
    step.losses["l_pix"].backward(retain_graph=True)
    assert net.a.grad.item() == pytest.approx(3.0 * 0.4)
    assert net.b.grad.item() == pytest.approx(1.0)  # what was decoded is the code
    net.a.grad = net.b.grad = None
    step.losses["l_commit"].backward()
    assert net.a.grad.item() == pytest.approx(2 * -0.2 * 0.4)
    assert net.b.grad is None
    assert net.quantize.embedding.weight.grad is None


def test_losses_are_float32_and_codes_exact_under_mixed_precision() -> None:
    net = VQGAN(LAYOUT, n_embed=8, embed_dim=4)
    seen = []

    class Seen(nn.Module):
        def forward(self, made, image):
            seen.extend([made.dtype, image.dtype])
            return (made - image).abs().mean(), None  # as BasicSR's perceptual loss gives it

    step = ReconstructionStep(net, {"l_pix": Seen()}, 0.25, lambda: torch.autocast("cpu", torch.bfloat16))
    found = step(torch.rand(2, 3, 16, 16))
    assert seen == [torch.float32] * 2
    assert {found.made.dtype, found.outputs.dtype, found.losses["l_pix"].dtype} == {torch.float32}
    nearest = torch.cdist(found.outputs.double(), net.quantize.embedding.weight.double()).argmin(1)
    assert torch.equal(found.indices, nearest)
    sum(found.losses.values()).backward()
    assert net.encoder.conv_in.weight.grad.abs().sum() > 0


def test_a_vqgan_is_a_network_for_images_and_counts_its_codes() -> None:
    net = VQGAN(LAYOUT, n_embed=8, embed_dim=4).eval()
    assert (net.facts.multiple_of, net.facts.scale, net.facts.input_channels) == (4, 1, 3)
    hits, image = torch.zeros(8), torch.rand(1, 3, 8, 12)
    with torch.no_grad():
        torch.testing.assert_close(Reconstructing(net, hits)(image), 0.5 * (net(2 * image - 1) + 1))
    assert hits.sum() == 6


# --- the model -------------------------------------------------------------------------------------------------------


def test_a_skipped_step_moves_nothing_and_pairs_give_their_ground_truth(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(write(tmp_path))
    opt, _ = parse_options(tmp_path, argv=["-opt", "codebook.yml", "--force_yml", "model_type=VQGANModel"])
    model = build_model(opt)
    model.feed_data({"lq": torch.zeros(2, 3, 16, 16), "gt": torch.rand(2, 3, 16, 16)})
    assert torch.equal(model.lq, model.gt)
    model.optimize_parameters(2)
    modules = (model.net_g, model.net_d, model.averages)
    before = [value.clone() for module in modules for value in module.state_dict().values()]
    model.feed_data({"lq": torch.full((2, 3, 16, 16), math.nan)})
    model.optimize_parameters(3)
    after = [value for module in modules for value in module.state_dict().values()]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    assert (tmp_path / "experiments/tiny/divergence").is_dir()


def test_a_discriminator_that_is_too_deep_for_the_patches_is_told_at_once(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(write(tmp_path))
    changes = ("model_type=VQGANModel", "network_d:num_levels=3", "train:adversarial:from=6")
    opt, _ = parse_options(tmp_path, argv=["-opt", "codebook.yml", "--force_yml", *changes])
    with pytest.raises(ConfigError, match=r"network_d cannot judge patches of gt_size 16 .*fewer levels"):
        build_model(opt)


def test_an_encoder_waits_for_its_decoder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(write(tmp_path))
    changes = ("model_type=VQGANModel", "network_d=~", "train:optim_d=~", "train:adversarial=~")
    first = "train:codebook:decoder_first=1"
    opt, _ = parse_options(tmp_path, argv=["-opt", "codebook.yml", "--force_yml", *changes, first])
    model = build_model(opt)
    assert (model.labels, model.runs_d, len(model.optimizers)) == (("g",), None, 1)
    model.feed_data({"lq": torch.rand(2, 3, 16, 16)})
    for iteration, moving in ((1, {"decoder", "post_quant_conv"}), (2, set(dict(model.net_g.named_children())))):
        before = {name: value.clone() for name, value in model.net_g.state_dict().items()}
        model.optimize_parameters(iteration)
        after = model.net_g.state_dict()
        assert {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])} == moving
        assert model.get_current_log()["usage"] > 0


# --- losses ----------------------------------------------------------------------------------------------------------


def test_hinge_losses_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0])
    assert hinge_of_discriminator(real, fake).item() == pytest.approx(0.5 * ((0 + 0.5 + 2) / 3 + (0 + 1) / 2))
    assert hinge_of_generator(fake).item() == 1.5


def test_the_adaptive_weight_makes_both_pull_alike() -> None:
    made, adversary = torch.tensor([0.3, 0.4]), torch.tensor([[0.0, 0.1]])
    weight = adaptive_weight(made, adversary)
    assert weight.item() == pytest.approx(0.5 / 0.1001)
    assert adaptive_weight(made, torch.zeros(2)).item() == pytest.approx(0.5e4)
    assert adaptive_weight(1e3 * made, torch.zeros(2)).item() == 1e4  # the bound
    assert not adaptive_weight(made.requires_grad_(), adversary).requires_grad


def test_gradients_are_those_of_the_formulas() -> None:
    def double(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

    codes = double(3, 2)
    settings = {"eps": 1e-3, "atol": 5e-3, "rtol": 5e-3}  # the losses are float32 inside
    assert torch.autograd.gradcheck(lambda z: commitment_loss(z, codes), double(3, 2), **settings)
    assert torch.autograd.gradcheck(hinge_of_discriminator, (double(4), double(4)), **settings)
    assert torch.autograd.gradcheck(hinge_of_generator, double(4), **settings)
    assert torch.autograd.gradcheck(lambda a: feature_distance([a], [codes.detach()[None, :, :, None]]),
                                    double(1, 3, 2, 1), **settings)  # fmt: skip


def test_distances_of_features_by_hand() -> None:
    """Directions (1, 0) and (0.6, 0.8): 0.16 + 0.64; the second level is the same twice."""
    one, two = torch.tensor([2.0, 0.0]).view(1, 2, 1, 1), torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    assert feature_distance([one, two], [two, two]).item() == pytest.approx(0.4)
    with pytest.raises(ValueError, match="as many feature maps, got 1 and 2"):
        feature_distance([one], [one, two])


def test_a_discriminator_scores_patches_of_each_image_alone() -> None:
    net = PatchDiscriminator(num_feat=32, num_levels=3)
    images = torch.randn(2, 3, 64, 64)
    scores = net(images)
    assert scores.shape == (2, 1, 6, 6)
    torch.testing.assert_close(net(images[:1]), scores[:1])
    with pytest.raises(ConfigError, match="a multiple of 32 and at least one of num_levels, got 20 and 3"):
        PatchDiscriminator(num_feat=20)


def test_settings() -> None:
    assert adversarial_settings({"from": 7, "adaptive": False}) == AdversarialSettings(7, 0.8, False)
    for wrong in ({"decay": 1.0}, {"commitment": -1.0}, {"revive_below": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CodebookSettings(**wrong)
