"""Where TF32 may be used: only where it is asked for, and never in the distances to the codes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from functools import partial

import pytest
import torch

from dckd_basicsr.archs.networks.vqgan_arch import Codebook
from dckd_basicsr.archs.tf32 import tf32, tf32_allowed
from dckd_basicsr.commands.train import train_pipeline
from dckd_basicsr.models.arranging import _named
from dckd_basicsr.training.runtime import PrecisionSettings, backward_region, region, set_float32
from tests.models import BATCH

AS_IT_COMES, OFF, ON = (False, True), (False, False), (True, True)


@pytest.mark.parametrize("found", ["highest", "high", "medium"])
def test_switches_are_put_back(found):
    torch.set_float32_matmul_precision(found)

    def fail():
        with tf32(True):
            with tf32(False):
                assert tf32_allowed() == OFF
                assert torch.get_float32_matmul_precision() == "highest"  # TorchInductor reads it; half set, it raises
            assert tf32_allowed() == ON
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (found, True)


def test_a_process_that_uses_the_names_of_pytorch_2_9():
    matmul = torch.backends.cuda.matmul
    if not hasattr(matmul, "fp32_precision"):
        pytest.skip("this PyTorch has the older names only")
    matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision = "tf32", "ieee"
    with tf32(False):
        assert tf32_allowed() == OFF
    assert (matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision) == ("tf32", "ieee")
    with tf32(True):
        assert tf32_allowed() == ON


SETTINGS = {
    "cuda.matmul.fp32_precision = 'tf32'": ON,
    "cudnn.conv.fp32_precision = 'ieee'": OFF,
    "cudnn.rnn.fp32_precision = 'ieee'": AS_IT_COMES,
    "fp32_precision = 'tf32'": ON,
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
def test_names_of_pytorch_2_9_may_be_used_before_this_package_is_imported():
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        pytest.skip("this PyTorch has the older names only")
    code = f"""
import os, sys
import cv2, scipy, torch, torchvision  # once for all settings; nothing of this package or BasicSR
for setting in {list(SETTINGS)}:
    child = os.fork()
    if not child:
        exec(f"torch.backends.{{setting}}")
        import dckd_basicsr
        from dckd_basicsr.archs.tf32 import tf32, tf32_allowed
        print(tf32_allowed())
        with tf32(False):
            print(tf32_allowed())
        print(tf32_allowed(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    wanted = [text for allowed in SETTINGS.values() for text in (str(allowed), str(OFF), str(allowed))]
    assert done.stdout.splitlines() == wanted, done.stderr


def test_a_run_leaves_the_process_as_it_was(monkeypatch, tmp_path):
    def fail(*_, **__):
        set_float32(PrecisionSettings("fp32"))
        raise KeyError

    monkeypatch.setattr("dckd_basicsr.commands.train.parse_options", fail)
    with pytest.raises(KeyError):
        train_pipeline(tmp_path)
    assert tf32_allowed() == AS_IT_COMES


def test_the_log_names_what_holds_not_what_pytorch_starts_with(build, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("basicsr"), "propagate", True)
    caplog.set_level(logging.INFO, "basicsr")
    gpu = torch.device("cuda")
    assert _named(None, gpu) == "fp32 (convolutions in TF32)"
    build("train:runtime={precision: {student: fp32}}")
    assert (_named(None, gpu), _named("fp32", gpu)) == ("fp32", "fp32")
    with tf32(True):
        assert _named(None, gpu) == "fp32 (products and convolutions in TF32)"
        assert _named(None, torch.device("cpu")) == "fp32"
    assert [line for line in caplog.messages if "student in fp32, frozen networks in fp32" in line]


@pytest.mark.parametrize(
    ("student", "frozen", "outside", "backward"),
    [
        (None, None, AS_IT_COMES, AS_IT_COMES),
        ("bf16", "bf16", AS_IT_COMES, AS_IT_COMES),
        ("fp32", "bf16", OFF, OFF),
        ("fp32", "tf32", OFF, OFF),
        ("tf32", "fp32", OFF, OFF),
        ("tf32", None, AS_IT_COMES, AS_IT_COMES),
        ("tf32", "tf32", AS_IT_COMES, ON),
        ("tf32", "bf16", AS_IT_COMES, ON),
    ],
)
def test_every_side_gets_what_it_asked_for(student, frozen, outside, backward):
    precision = PrecisionSettings(student, frozen)
    set_float32(precision)
    assert tf32_allowed() == outside
    for one in (student, frozen):
        with region(one, torch.device("cpu")):
            assert tf32_allowed() == {"fp32": OFF, "tf32": ON}.get(one, outside)
    with backward_region(precision, encoder=True):
        assert tf32_allowed() == backward
    with backward_region(precision, encoder=False):
        assert tf32_allowed() == (ON if student == "tf32" else outside)


@pytest.mark.parametrize(
    ("student", "frozen", "seen"),
    [
        ("fp32", "bf16", {"student": OFF, "teacher": OFF, "history": OFF, "encoder": OFF, "backward": OFF}),
        ("fp32", "tf32", {"student": OFF, "teacher": ON, "history": ON, "encoder": ON, "backward": OFF}),
        ("tf32", "tf32", {"student": ON, "teacher": ON, "history": ON, "encoder": ON, "backward": ON}),
    ],
)
def test_in_a_step(build, student, frozen, seen):
    model = build(f"train:runtime={{precision: {{student: {student}, frozen: {frozen}}}}}")
    found = {}

    def see(name, *_):
        found.setdefault(name, set()).add(tf32_allowed())

    nets = {
        "student": model.net_g, "teacher": model.sources.teachers["teacher"], "history": model.history.net,
        "encoder": model.sources.encoder.vqgan.quant_conv,
    }  # fmt: skip
    for name, net in nets.items():
        net.register_forward_hook(partial(see, name))
    next(model.net_g.parameters()).register_hook(partial(see, "backward"))
    model.feed_data(BATCH)
    model.optimize_parameters(1)
    assert found == {name: {flags} for name, flags in seen.items()}
    model.net_g_ema.register_forward_hook(partial(see, "validation"))
    model.test()
    assert found["validation"] == {OFF if student == "fp32" else AS_IT_COMES}


def test_distances_to_the_codes_are_exact_where_all_else_may_be_rounded():
    codebook, seen = Codebook(5, 4).requires_grad_(False), []
    z = torch.rand(2, 4, 3, 3, requires_grad=True)
    wanted = codebook.logits(z)
    (gradient,) = torch.autograd.grad(wanted.square().sum(), z)

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten.mm.default:
                seen.append(tf32_allowed())
            return func(*args, **(kwargs or {}))

    with Watch(), tf32(True):
        logits = codebook.logits(z)
        (again,) = torch.autograd.grad(logits.square().sum(), z)
    assert seen == [OFF, OFF]  # forward and backward
    assert torch.equal(logits, wanted)
    assert torch.equal(again, gradient)


def test_distances_have_the_gradients_of_their_formula():
    codebook = Codebook(5, 4)
    z = torch.rand(1, 4, 2, 3, requires_grad=True)
    by_hand = -(z.permute(0, 2, 3, 1).reshape(-1, 1, 4) - codebook.embedding.weight).square().sum(2)
    weights = torch.rand_like(by_hand)
    inputs = (z, codebook.embedding.weight)
    found = torch.autograd.grad((weights * codebook.logits(z)).sum(), inputs)
    for a, b in zip(found, torch.autograd.grad((weights * by_hand).sum(), inputs), strict=True):
        torch.testing.assert_close(a, b)
