"""The distiller as a module, and a feature term with a layer of its own in a model: in parts, recorded, resumed."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from dckd_basicsr.distill import TERMS, Distiller, Generators, Sources, build_terms
from dckd_basicsr.errors import CheckpointError
from dckd_basicsr.models.arranging import recorded_step
from dckd_basicsr.weight_files import load_state, load_training_state
from tests.models import BATCH, train
from tests.recording import record_operations
from tests.terms import EDSR, WIDE, RegressedTerm, network
from tests.unit.distill.test_step import ALL_TERMS, Setup

SHORT = dict.fromkeys(ALL_TERMS)
PIXEL = {"type": "pixel"}
MAPS = {"type": "regressed", "student": "body.0", "teacher": "body.1"}
ENDS = {**MAPS, "weight": {"type": "steps", "at": [0.5], "values": [1.0, 0.0]}, "name": "l_first"}
STARTS = {**ENDS, "weight": {"type": "steps", "at": [0.5], "values": [0.0, 0.5]}, "name": "l_second"}
SGD = "train:optim_g={type: SGD, lr: 1e-5}"


def losses(*blocks):
    return {**SHORT, "losses": [PIXEL, *blocks]}


@pytest.fixture
def feature_model(build, regressed):
    """Build a model of pixel term and these, with one start for all."""

    def make(*overrides, blocks=(MAPS,)):
        torch.manual_seed(5)
        return build("train:ema_decay=0", *overrides, train=losses(*blocks))

    return make


# --- a module


def test_student_and_layers_of_terms_are_its_parts_and_frozen_networks_move_with_it():
    setup = Setup()
    found = setup.distiller
    assert set(found.state_dict()) == {f"student.{key}" for key in setup.student.state_dict()}
    assert list(found.parameters()) == list(setup.student.parameters())
    found.to(torch.float64)
    for net in (setup.student, setup.teacher, setup.history, setup.sources.encoder):
        assert {p.dtype for p in net.parameters()} == {torch.float64}
    found.train()
    assert setup.student.training
    assert not setup.teacher.training
    found.requires_grad_(True)
    assert not any(p.requires_grad for net in setup.sources.networks() for p in net.parameters())


def test_frozen_parts_of_a_loss_are_not_kept():
    class Measuring(nn.Module):
        def __init__(self):
            super().__init__()
            self.frozen = nn.Conv2d(3, 3, 1).requires_grad_(False)
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x, y):
            return self.scale * (self.frozen(x) - self.frozen(y)).abs().mean()

    student = network(EDSR)
    (each,) = build_terms({"losses": [{"type": "pixel", "loss": Measuring()}]})
    found = Distiller(student, [each])
    assert list(found.training_state()["terms"]) == ["l_pix.loss.scale"]
    assert found.trained == {"l_pix": [each.term.loss.scale]}
    assert found.load_training_state({}) == ["layers of l_pix: they start afresh"]
    assert found.load_training_state({"terms": {"l_pix.loss.scale": torch.tensor(2.0)}}) == []
    assert each.term.loss.scale == 2


@pytest.mark.parametrize("way", ["copied", "pickled"])
def test_copies_compute_the_same_on_their_own(way):
    torch.manual_seed(0)
    student, teacher = network(EDSR), network(WIDE)
    terms = build_terms({"losses": [PIXEL, {"type": "consistency"}]})
    sources = Sources(Generators(7), {"teacher": teacher})
    found = Distiller(student, [*terms, RegressedTerm()], sources, example=torch.rand(1, 3, 8, 8))
    twin = copy.deepcopy(found) if way == "copied" else pickle.loads(pickle.dumps(found))
    lq, gt = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 16, 16)
    one, two = found(lq, gt), twin(lq, gt)
    assert {k: v.item() for k, v in one.items()} == {k: v.item() for k, v in two.items()}
    two["l_total"].backward()
    assert all(p.grad is None for p in found.parameters())
    assert twin.terms["l_regressed"].regressor.weight.grad.abs().sum() > 0


def test_a_bare_loop_equals_the_models_first_iterations(build):
    """With every term, the noise of the negatives, the history model and the same rates."""
    overrides = ("train:ema_decay=0", "train:history={schedule: [[100, 2]]}")
    wanted_model, other = build(*overrides), build(*overrides)
    student, sources = copy.deepcopy(wanted_model.net_g), other.sources
    for mine, theirs in zip(sources.networks(), wanted_model.sources.networks(), strict=True):
        mine.load_state_dict(theirs.state_dict())
    wanted = train(wanted_model, range(1, 4))

    found = Distiller(student, build_terms(other.opt["train"]), sources)
    optimizer = torch.optim.Adam(found.parameters(), lr=1e-3, betas=(0.9, 0.99))
    for iteration in range(1, 4):
        values = found(BATCH["lq"], BATCH["gt"])
        optimizer.zero_grad()
        values["l_total"].backward()
        optimizer.step()
        assert found.follow(iteration) == (iteration == 2)
        assert {k: v.item() for k, v in values.items()} == pytest.approx(wanted[iteration - 1], rel=1e-6)
    for a, b in zip(student.parameters(), wanted_model.net_g.parameters(), strict=True):
        assert torch.equal(a, b)


# --- a feature term in a model


def test_parts_of_a_batch_add_up(feature_model):
    whole, parts = feature_model(SGD), feature_model(SGD, "train:accumulate=2")
    for a, b in zip(train(whole, [1, 2]), train(parts, [1, 2]), strict=True):
        assert b == pytest.approx(a, rel=1e-5)
    for a, b in zip(whole.parameters_of("g"), parts.parameters_of("g"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_recorded_anew_where_terms_change(feature_model, said):
    plain, replayed = (feature_model(SGD, blocks=(ENDS, STARTS)) for _ in range(2))
    replayed.runner.recorded = recorded_step(replayed, record_operations)
    wanted, found = train(plain, range(1, 7)), train(replayed, range(1, 7))
    assert replayed.runner.recorded is not None
    assert sum("step recorded" in text for text in said) == 2
    for a, b in zip(wanted, found, strict=True):
        assert b == pytest.approx(a, rel=1e-5)
    assert ["l_first" in log for log in found] == [True] * 3 + [False] * 3
    assert ["l_second" in log for log in found] == [False] * 3 + [True] * 3
    for a, b in zip(plain.parameters_of("g"), replayed.parameters_of("g"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_a_fading_weight_reaches_a_recorded_step(feature_model):
    fading = {**MAPS, "weight": {"type": "cosine", "from": 2.0, "to": 0.5}}
    plain, replayed = (feature_model(SGD, blocks=(fading,)) for _ in range(2))
    replayed.runner.recorded = recorded_step(replayed, record_operations)
    for a, b in zip(train(plain, range(1, 6)), train(replayed, range(1, 6)), strict=True):
        assert b == pytest.approx(a, rel=1e-5)


def test_layers_train_only_with_their_term_and_never_what_is_frozen_in_them(feature_model):
    model = feature_model("train:optim_g={type: AdamW, lr: 1e-2, weight_decay: 0.5}", blocks=(ENDS, STARTS))
    kept = {name: [p.clone() for p in found] for name, found in model.distiller.trained.items()}
    assert {name: len(found) for name, found in kept.items()} == {"l_pix": 0, "l_first": 2, "l_second": 2}

    def moved(name):
        pairs = zip(kept[name], model.distiller.trained[name], strict=True)
        return any(not torch.equal(a, b) for a, b in pairs)

    train(model, range(1, 4))
    assert (moved("l_first"), moved("l_second")) == (True, False)
    kept["l_first"] = [p.clone() for p in model.distiller.trained["l_first"]]
    train(model, range(4, 7))
    assert (moved("l_first"), moved("l_second")) == (False, True)


@pytest.mark.parametrize("last", [2, 4])
def test_resumed_exactly_and_never_exported(feature_model, last):
    """Before and after the terms change: regressors and what the optimizer knows of them go on."""
    model = feature_model(blocks=(ENDS, STARTS))
    train(model, range(1, last + 1))
    model.save(0, last)
    paths = model.opt["path"]
    weights = Path(paths["models"]) / f"net_g_{last}.pth"
    assert load_state(weights)["params"].keys() == model.net_g.state_dict().keys()
    state = load_training_state(Path(paths["training_states"]) / f"{last}.state")
    layers = {f"{name}.regressor.{key}" for name in ("l_first", "l_second") for key in ("weight", "bias")}
    assert state["dckd"]["terms"].keys() == layers

    other = feature_model(f"path:pretrain_network_g={weights}", "path:param_key_g=params", blocks=(ENDS, STARTS))
    other.resume_training(state)
    rest = range(last + 1, 7)
    assert train(other, rest) == train(model, rest)
    for a, b in zip(model.parameters_of("g"), other.parameters_of("g"), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(
        CheckpointError, match=r"optimizer of the training state moves 16 tensors, .* 14: its network or its terms"
    ):
        feature_model(blocks=(ENDS,)).resume_training(state)


# --- processes


def _steps(opt, batch) -> list:
    """Gradients of every iteration."""
    from basicsr.models import build_model  # in a process that has just started, after this package

    TERMS["regressed"] = RegressedTerm
    torch.manual_seed(5)
    model, found = build_model(opt), []
    for iteration in range(1, 7):
        model.feed_data(batch)
        model.optimize_parameters(iteration)
        names = {id(p): key for key, p in model.distiller.named_parameters()}
        found.append({names[id(p)]: p.grad.clone() for p in model.parameters_of("g") if p.grad is not None})
    return found


def _process(rank: int, folder: str, opt) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    whole = torch.load(f"{folder}/batch.pth", weights_only=True)
    batch = {key: value[rank : rank + 1] for key, value in whole.items()}
    torch.save(_steps({**opt, "dist": True, "rank": rank, "world_size": 2}, batch), f"{folder}/{rank}.pth")
    dist.barrier()  # neither leaves while the other still exchanges
    dist.destroy_process_group()


def test_two_processes_have_the_gradients_of_one(feature_model, tmp_path):
    """Of student and regressors, while one term ends and another starts: the wrapping is made anew."""
    torch.save(BATCH, tmp_path / "batch.pth")
    opt = feature_model(SGD, blocks=(ENDS, STARTS)).opt
    wanted = _steps(opt, BATCH)
    mp.spawn(_process, (str(tmp_path), opt), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pth", weights_only=True)
        for iteration, (a, b) in enumerate(zip(found, wanted, strict=True), start=1):
            assert a.keys() == b.keys()
            assert ("terms.l_first.regressor.weight" in a) == (iteration <= 3)
            assert ("terms.l_second.regressor.weight" in a) == (iteration > 3)
            for key, value in b.items():
                limit = 1e-5 * value.abs().max().item()
                torch.testing.assert_close(a[key], value, rtol=0, atol=limit, msg=partial("{}: {}".format, key))
