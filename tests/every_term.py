"""Every registered loss term, with its default options, on every network, in every way a step can run.

    python -m tests.every_term

prints the table. A term is in it by being registered. Beside the term stands ``pixel``, as in most runs.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import dckd_basicsr.install
from dckd_basicsr.archs.networks.vqgan_arch import VQGAN
from dckd_basicsr.distill import (
    TERMS,
    Distiller,
    FrozenEncoder,
    Generators,
    HistoryModel,
    Sources,
    build_terms,
)
from dckd_basicsr.training.compiling import compile_blocks, recompute
from dckd_basicsr.training.step_runner import RecordedStep, StepRunner
from tests.recording import record_operations

dckd_basicsr.install.everything()
from basicsr.archs import build_network  # noqa: E402 (needs what was installed)

TOTAL, SIDE, BATCH = 4, 16, 4
STRIDE = 1000
"""What follows the student does so as if an iteration were that many: by default it is due after 100 or more."""
_EDSR = {"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "upscale": 2}
_RCAN = {**_EDSR, "type": "RCAN", "num_group": 3, "squeeze_factor": 4}
_SWINIR = {"type": "SwinIR", "upscale": 2, "img_size": 8, "window_size": 4, "mlp_ratio": 2, "drop_path_rate": 0.0,
           "upsampler": "pixelshuffledirect", "resi_connection": "1conv"}  # fmt: skip
_NAFNET = {"type": "NAFNet", "enc_blk_nums": [1, 1], "middle_blk_num": 1, "dec_blk_nums": [1, 1]}
_RESTORMER = {"type": "Restormer", "num_refinement_blocks": 1, "heads": [1, 1, 2, 2], "bias": False}
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "EDSR": ({**_EDSR, "num_feat": 8, "num_block": 3}, {**_EDSR, "num_feat": 12, "num_block": 4}),
    "RCAN": ({**_RCAN, "num_feat": 8, "num_block": 1}, {**_RCAN, "num_feat": 12, "num_block": 2}),
    "SwinIR": (
        {**_SWINIR, "depths": [1, 1, 1], "embed_dim": 8, "num_heads": [2, 2, 2]},
        {**_SWINIR, "depths": [1, 1, 1, 1], "embed_dim": 12, "num_heads": [2, 2, 2, 2]},
    ),
    "NAFNet": ({**_NAFNET, "width": 4}, {**_NAFNET, "width": 8, "enc_blk_nums": [1, 2]}),
    "Restormer": ({**_RESTORMER, "dim": 4, "num_blocks": [1] * 4}, {**_RESTORMER, "dim": 8, "num_blocks": [1] * 4}),
}
"""Student and teacher: narrower, shallower, of the same type."""

Gradients = dict[str, Tensor]


def batch(network: str, seed: int = 0, size: int = BATCH) -> tuple[Tensor, Tensor]:
    """LQ and GT, with structure, of any network."""
    scale = NETWORKS[network][0].get("upscale", 1)
    draw = torch.Generator().manual_seed(seed)
    gt = nn.functional.interpolate(
        torch.rand(size, 3, SIDE // 2, SIDE // 2, generator=draw), (scale * SIDE, scale * SIDE), mode="bilinear"
    )
    lq = nn.functional.avg_pool2d(gt, scale) if scale > 1 else gt
    return (lq + 0.05 * torch.rand(lq.shape, generator=draw)).clamp(0, 1), gt


@cache
def _vqgan() -> VQGAN:
    torch.manual_seed(1)
    layout = {"ch": 32, "ch_mult": [1, 1, 1, 1, 2], "num_res_blocks": 1, "attn_resolutions": [], "z_channels": 4}
    net = VQGAN(layout, n_embed=8, embed_dim=4, decoder=False)
    net.quantize.embedding.weight.data.mul_(5)
    return net


@cache
def _networks(network: str) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Student, teacher, history model. Past and present differ: where two outputs are equal there is no gradient."""
    student, teacher = NETWORKS[network]
    nets = []
    for seed, options in enumerate((student, teacher, student)):
        torch.manual_seed(seed)
        net = build_network(dict(options))
        with torch.no_grad():  # NAFNet's blocks begin as nothing, Restormer's residual path too
            for p in net.parameters():
                p.add_(0.02 * torch.randn_like(p))
        nets.append(net)
    return nets[0], nets[1], nets[2]


def distiller(
    term: str, network: str, iteration: int = 1, *, bf16: bool = False, beside: tuple[str, ...] = ("pixel",)
) -> Distiller:
    """Build the term with its default options on new copies of a network's student and teacher."""
    student, teacher, past = (copy.deepcopy(net) for net in _networks(network))
    region = partial(torch.autocast, "cpu", torch.bfloat16) if bf16 else nullcontext
    sources = Sources(
        Generators(7), {"teacher": teacher}, HistoryModel(past), FrozenEncoder(_vqgan()), frozen_region=region
    )
    torch.manual_seed(9)  # helper layers
    names = dict.fromkeys([*beside, term])
    terms = build_terms({"losses": [{"type": name} for name in names]})
    found = Distiller(
        student, terms, sources, total_iter=TOTAL, student_region=region, example=torch.zeros(1, 3, SIDE, SIDE)
    )
    found.begin(iteration)
    return found


def _backward(found: nn.Module, lq: Tensor, gt: Tensor) -> dict[str, Tensor]:
    values: dict[str, Tensor] = found(lq, gt)
    values["l_total"].backward()
    return values


def gradients(found: Distiller, lq: Tensor, gt: Tensor) -> Gradients:
    """Run a step as it is; gradients of student and helper layers."""
    found.sources.generators.load_training_state(Generators(7).training_state(), "cpu")
    found.zero_grad(set_to_none=True)
    _backward(found, lq, gt)
    return taken(found)


@cache
def _wanted(term: str, network: str) -> Gradients:
    """Gradients of the first step as it is, which several ways are compared with; nobody changes them."""
    return gradients(distiller(term, network), *batch(network))


def taken(found: Distiller) -> Gradients:
    return {key: p.grad.clone() for key, p in found.named_parameters() if p.grad is not None}


def assert_close(found: Gradients, wanted: Gradients, share: float) -> None:
    """Compare by the largest entry of each tensor, but for tensors that are nothing beside the others."""
    largest = max(value.abs().max().item() for value in wanted.values())
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        limit = share * max(value.abs().max().item(), 1e-3 * largest)
        torch.testing.assert_close(found[key], value, rtol=0, atol=limit, msg=lambda text, key=key: f"{key}: {text}")


def cosine(found: Gradients, wanted: Gradients) -> float:
    a, b = (
        torch.cat([grads[key].flatten() for key in wanted if key.startswith("student.")]) for grads in (found, wanted)
    )
    return torch.nn.functional.cosine_similarity(a, b, dim=0).item()


# --- ways to run


def plain(term: str, network: str) -> None:
    """Alone it has a finite gradient to the student; beside pixel every helper layer has one too."""
    alone = distiller(term, network, beside=())
    found = gradients(alone, *batch(network))
    own = [value for key, value in found.items() if key.startswith("student.")]
    assert all(bool(value.isfinite().all()) for value in found.values())
    assert max(value.abs().max().item() for value in own) > 0
    both = distiller(term, network)
    found = gradients(both, *batch(network))
    assert found.keys() == {key for key, p in both.named_parameters() if p.requires_grad}  # as processes need it
    assert all(p.grad is None for net in both.sources.networks() for p in net.parameters())


def _begins(term: str, network: str) -> list[int]:
    """The iterations after which a step is another one, as a schedule says, and the first."""
    found, starts, variant = distiller(term, network), [1], None
    for iteration in range(1, TOTAL + 1):
        found.begin(iteration)
        if variant is not None and found.variant != variant:
            starts.append(iteration)
        variant = found.variant
    return starts


def bf16(term: str, network: str) -> None:
    """In mixed precision the direction stays."""
    wanted = _wanted(term, network)
    found = gradients(distiller(term, network, bf16=True), *batch(network))
    assert found.keys() == wanted.keys()
    assert all(value.dtype == torch.float32 and bool(value.isfinite().all()) for value in found.values())
    assert cosine(found, wanted) > 0.95


def accumulated(term: str, network: str) -> None:
    """Two parts of a batch add up to what they give one after the other."""
    lq, gt = batch(network)
    found = distiller(term, network)
    wanted = distiller(term, network)
    parts = list(zip(lq.chunk(2), gt.chunk(2), strict=True))
    StepRunner(lambda *part: _backward(found, *part))(parts)
    alone = []
    for part in parts:
        wanted.zero_grad(set_to_none=True)
        _backward(wanted, *part)
        alone.append(taken(wanted))
    assert_close(taken(found), {key: value + alone[1][key] for key, value in alone[0].items()}, 1e-5)


def recorded(term: str, network: str) -> None:
    """Replayed on other images, in every stretch of the run, it gives what the step gives as it is."""
    replayed, wanted = distiller(term, network), distiller(term, network)
    step = RecordedStep(
        partial(_backward, replayed), replayed, replayed.sources.generators, torch.device("cpu"), record_operations
    )
    for iteration in sorted({*_begins(term, network), 2}):
        lq, gt = batch(network, seed=iteration)
        for each in (replayed, wanted):
            each.begin(iteration)
            each.sources.generators.load_training_state(Generators(7).training_state(), "cpu")
        step([(lq, gt)], variant=replayed.variant)
        expected = gradients(wanted, lq, gt)
        assert_close(taken(replayed), expected, 1e-5)
        for each in (replayed, wanted):
            each.follow(STRIDE * iteration)


def compiled(term: str, network: str) -> None:
    """Traced block by block, without a compiler behind it, which takes minutes, it gives the same."""
    lq, gt = batch(network)
    wanted = _wanted(term, network)
    found = distiller(term, network)
    original = nn.Module.compile

    def traced(module: nn.Module, *args: Any, **options: Any) -> None:
        original(module, *args, backend="eager", **options)

    torch._dynamo.reset()
    nn.Module.compile = traced  # type: ignore[method-assign]
    try:
        for net in (found.student, *found.sources.teachers.values()):
            compile_blocks(net)
    finally:
        nn.Module.compile = original  # type: ignore[method-assign]
    assert_close(gradients(found, lq, gt), wanted, 1e-4)


def recomputed(term: str, network: str) -> None:
    """With the activations of the student's blocks computed anew in the backward pass it gives the same."""
    lq, gt = batch(network)
    found = distiller(term, network)
    assert recompute(found.student) > 1
    assert_close(gradients(found, lq, gt), _wanted(term, network), 1e-5)


def resumed(term: str, network: str) -> None:
    """Stopped and built anew with what the state holds, it goes on to the last bit, its optimizer too."""
    runs = [distiller(term, network) for _ in range(2)]
    optimizers = [torch.optim.Adam([p for p in each.parameters() if p.requires_grad], 1e-3) for each in runs]

    def train(which: int, iterations: range) -> list[float]:
        run, losses = runs[which], []
        for iteration in iterations:
            run.begin(iteration)
            optimizers[which].zero_grad(set_to_none=True)
            losses.append(_backward(run, *batch(network, seed=iteration))["l_total"].item())
            optimizers[which].step()
            run.follow(STRIDE * iteration)
        return losses

    train(0, range(1, 3))
    for key in runs[1].training_state().get("terms", ()):  # not what the first began with
        runs[1].terms.state_dict()[key].zero_()
    stopped = runs[0]
    parts = (stopped.student, stopped.sources.generators, stopped, optimizers[0])
    weights, streams, state, moments = copy.deepcopy(
        (parts[0].state_dict(), parts[1].training_state(), parts[2].training_state(), parts[3].state_dict())
    )
    runs[1].student.load_state_dict(weights)
    assert runs[1].load_training_state(state) == []
    optimizers[1].load_state_dict(moments)
    runs[1].sources.generators.load_training_state(streams, "cpu")
    rest = range(3, TOTAL + 1)
    assert train(1, rest) == train(0, rest)
    for key, value in runs[0].state_dict().items():
        assert torch.equal(value, runs[1].state_dict()[key]), key


CONDITIONS: dict[str, Callable[[str, str], None]] = {
    "plain": plain,
    "bf16": bf16,
    "accumulated": accumulated,
    "recorded": recorded,
    "compiled": compiled,
    "recomputed": recomputed,
    "resumed": resumed,
}


# --- in two processes


def _process(rank: int, folder: str, names: list[str], networks: list[str]) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    torch.save({(t, n): _shared(t, n, rank) for t in names for n in networks}, f"{folder}/{rank}")
    dist.destroy_process_group()


def _shared(term: str, network: str, rank: int) -> Gradients:
    """Gradients of the second iteration of this rank's half of a batch, averaged."""
    found = distiller(term, network)
    wrapped = DistributedDataParallel(found, broadcast_buffers=False)
    lq, gt = (x.chunk(2)[rank] for x in batch(network))
    for _ in range(2):  # the second waits for gradients that did not come in the first
        found.zero_grad(set_to_none=True)
        found.sources.generators.load_training_state(Generators(7).training_state(), "cpu")
        _backward(wrapped, lq, gt)
    return taken(found)


def two_processes(
    names: Iterable[str], networks: Iterable[str] = NETWORKS
) -> Mapping[tuple[str, str], list[Gradients]]:
    """Run terms on networks in two gloo processes; gradients of both."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_process, (folder, list(names), list(networks)), nprocs=2)
        one, other = (torch.load(Path(folder) / str(rank), weights_only=True) for rank in range(2))
    return {key: [one[key], other[key]] for key in one}


def check_shared(found: list[Gradients], term: str, network: str) -> None:
    """Both have the mean of what each half gives alone."""
    lq, gt = batch(network)
    halves = [gradients(distiller(term, network), a, b) for a, b in zip(lq.chunk(2), gt.chunk(2), strict=True)]
    wanted = {key: (halves[0][key] + halves[1][key]) / 2 for key in halves[0]}
    for each in found:
        assert_close(each, wanted, 1e-5)


def main() -> None:
    names = sorted(TERMS)
    shared = two_processes(names)
    print(f"| term | {' | '.join(NETWORKS)} |\n|---|{'---|' * len(NETWORKS)}")
    for term in names:
        cells = []
        for network in NETWORKS:
            failed = []
            for name, check in {**CONDITIONS, "2 processes": lambda t, n: check_shared(shared[t, n], t, n)}.items():
                try:
                    check(term, network)
                except Exception as error:
                    failed.append(f"{name}: {type(error).__name__} {str(error)[:200]}")
            cells.append("; ".join(failed) or "all")
        print(f"| {term} | {' | '.join(cells)} |", flush=True)
    print(f"all: {', '.join(CONDITIONS)}, 2 processes")


if __name__ == "__main__":
    main()
