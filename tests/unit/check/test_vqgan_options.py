"""What is said of option files that train a VQGAN, and of keys of theirs in other files."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from jsonschema import Draft7Validator

from dckd_basicsr.config import load_options, option_problems, packaged_options
from dckd_basicsr.config.check import check_options
from dckd_basicsr.config.editor import json_schema
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.kinds import is_own, trained_labels, trains_codebook
from tests.tiny import job_options


def options(**changes: Any) -> dict[str, Any]:
    """vqgan_f16.yml with keys changed; ``block__key`` stands for a key inside a block."""
    opt = copy.deepcopy(load_options(packaged_options()["vqgan_f16.yml"])[0])
    for name, value in changes.items():
        *blocks, key = name.split("__")
        inner = opt
        for block in blocks:
            inner = inner[block]
        inner[key] = value
    return opt


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train__codebok": {}}, "unknown key 'codebok' in train; did you mean 'codebook'?"),
        ({"train__codebook__decai": 1}, "unknown key 'decai' in train.codebook; did you mean 'decay'?"),
        ({"train__codebook__decay": 1.0}, "train.codebook: decay must be at least 0 and below 1, got 1.0"),
        ({"train__adversarial__form": 3}, "unknown key 'form' in train.adversarial; did you mean 'from'?"),
        ({"train__adversarial__from": 0}, "'from' in train.adversarial must be at least 1, got 0"),
        ({"train__adversarial__from": 10**7}, "so network_d never joins in; lower it or remove network_d"),
        ({"train__logits_opt": {"type": "L1Loss"}}, "unknown key 'logits_opt' in train"),
        ({"train__accumulate": 2}, "unknown key 'accumulate' in train"),
        ({"network_teacher": {"type": "EDSR"}}, "'network_teacher' in the option file would be ignored by model_type"),
        ({"network_d": None}, "train.optim_d needs a network_d; add one"),
        ({"train__optim_d": None}, "missing key 'optim_d' in train, the optimizer of network_d (PatchDiscriminator)"),
        ({"train__pixel_opt": None, "train__perceptual_opt": None}, "compares the reconstruction with nothing"),
        ({"train__pixel_opt__type": "L1Los"}, "did you mean 'L1Loss'"),
        ({"train__pixel_opt__loss_weight": {"type": "cosine"}}, "its weights have no schedules"),
        ({"train__perceptual_opt__layrs": []}, "unknown key 'layrs' in train.perceptual_opt (VGGFeatureLoss)"),
        ({"network_g": {"type": "EDSR"}}, "network_g must have type: VQGAN for model_type VQGANModel, got 'EDSR'"),
        ({"network_g__decoder": False}, "network_g.decoder is false, but model_type VQGANModel reconstructs images"),
        ({"network_g__ddconfig__double_z": True}, "double_z is for autoencoders without a codebook"),
        ({"train__runtime": {"cuda_graph": True}}, "train.runtime.cuda_graph would be ignored by model_type"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], said: str) -> None:
    found = option_problems(options(**changes))
    assert [line for line in found if said in line], found


def test_its_keys_are_not_those_of_other_models() -> None:
    opt = job_options()
    opt["train"]["codebook"] = {"decay": 0.9}
    assert any("unknown key 'codebook' in train" in line for line in option_problems(opt))


def test_editors_know_them() -> None:
    schema = Draft7Validator(json_schema())
    assert schema.is_valid(options())
    assert not schema.is_valid(options(train__codebook__decai=1))
    assert not schema.is_valid(options(network_teacher={"type": "EDSR"}))


def test_files_and_patches_are_looked_at(tmp_path: Any) -> None:
    (tmp_path / "photos").mkdir()
    roots = {f"datasets__{name}__dataroot_lq": str(tmp_path / "photos") for name in ("train", "val")}
    opt = options(**roots, datasets__train__gt_size=100, num_gpu=0)
    with pytest.raises(ConfigError) as told:
        check_options(opt)
    assert "train.perceptual_opt.weights: 'pretrained/vgg16-397923af.pth' does not exist" in str(told.value)
    assert "gt_size 100 gives LQ patches of 100 px, but network_g (VQGAN) takes multiples of 16" in str(told.value)


def test_kind() -> None:
    assert trains_codebook("VQGANModel")
    assert is_own("VQGANModel")
    assert not trains_codebook("DCKDModel")
    assert trained_labels("VQGANModel") == ("g", "d")
