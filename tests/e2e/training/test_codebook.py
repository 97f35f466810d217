"""A VQGAN trains on images alone, is killed and resumes, is tested, and measures images in a distillation."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.metrics import calculate_psnr

from dckd_basicsr.archs import VQGAN
from dckd_basicsr.commands.convert import convert_vqgan
from dckd_basicsr.weight_files import load_state, load_weights
from tests.e2e.training.test_exact_resume import differences
from tests.tiny import LAYOUT, job_options, run, run_killed_at, write_photos

NETWORK = {"type": "VQGAN", "ddconfig": LAYOUT, "n_embed": 16, "embed_dim": 6}
TRAIN = ("train", "-opt", "codebook.yml", "--import", "killed", "--auto_resume")
FILES = ("models/net_g_6.pth", "models/net_d_6.pth", "training_states/6.state")
KILLED = """
import os, signal
from basicsr.utils.registry import MODEL_REGISTRY
from dckd_basicsr.models import VQGANModel

@MODEL_REGISTRY.register()
class KilledModel(VQGANModel):
    def optimize_parameters(self, current_iter):
        if os.environ.get("DIES_AT") == str(current_iter):
            os.kill(os.getpid(), signal.SIGKILL)
        super().optimize_parameters(current_iter)
"""


def options(**train: Any) -> dict[str, Any]:
    adam = {"type": "Adam", "lr": 1e-3, "betas": [0.5, 0.9]}
    images = {"type": "SingleImageDataset", "name": "held_out", "dataroot_lq": "photos"}
    patches = {"type": "SinglePatchDataset", "name": "photos", "dataroot_lq": "photos", "gt_size": 16}
    loading = {"batch_size_per_gpu": 2, "num_worker_per_gpu": 0, "use_hflip": True, "use_rot": True}
    kept = {key: job_options()[key] for key in ("scale", "num_gpu", "manual_seed", "val", "logger")}
    return kept | {
        "name": "tiny",
        "model_type": "KilledModel",
        "scale": 1,
        "datasets": {"train": {**patches, **loading}, "val": images},
        "network_g": NETWORK,
        "network_d": {"type": "PatchDiscriminator", "num_feat": 32, "num_levels": 1},
        "path": {"pretrain_network_g": None},
        "train": {
            "ema_decay": 0.5,
            "optim_g": adam,
            "optim_d": adam,
            "scheduler": {"type": "MultiStepLR", "milestones": [5], "gamma": 0.5},
            "total_iter": 6,
            "pixel_opt": {"type": "L1Loss"},
            "adversarial": {"from": 2},
            "codebook": {"decay": 0.2, "revive_below": 0.5},  # some code is dead in every iteration
            **train,
        },
        "val": {"val_freq": 6, "save_img": False, "metrics": {"psnr": {"type": "calculate_psnr", "crop_border": 0}}},
    }


def write(folder: Path) -> Path:
    write_photos(folder / "photos", 2, (36, 42))
    (folder / "codebook.yml").write_text(yaml.safe_dump(options(), sort_keys=False))
    (folder / "killed.py").write_text(KILLED)
    return folder


def test_a_run_without_metrics_validates_how_codes_are_used(tmp_path: Path) -> None:
    folder, opt = write(tmp_path), options()
    opt |= {"model_type": "VQGANModel", "network_d": None, "val": {"val_freq": 1, "save_img": False, "metrics": None}}
    opt["train"] |= {"optim_d": None, "adversarial": None, "total_iter": 1}
    (folder / "codebook.yml").write_text(yaml.safe_dump(opt))
    done = run(folder, "train", "-opt", "codebook.yml")
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads((folder / "experiments/tiny/validations.json").read_text())
    assert set(entry["metrics"]) == {"usage", "perplexity"}


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = write(tmp_path_factory.mktemp("codebook") / "straight")
    done = run(folder, *TRAIN)
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


def test_the_discriminator_joins_in_and_the_log_tells_how_codes_are_used(straight: tuple[Path, str]) -> None:
    lines = [line for line in straight[1].splitlines() if "l_total" in line]
    assert len(lines) == 6
    assert "l_adv" not in lines[0]
    assert all(f"{name}: " in line for line in lines[1:] for name in ("l_pix", "l_commit", "l_adv", "l_d"))
    found = [float(value) for value in re.findall(r"perplexity: (\S+)", "\n".join(lines))]
    assert len(found) == 6
    assert 1 < max(found) <= 16
    assert "lr_scheduler" not in straight[1]


def test_the_weights_are_in_the_official_layout(straight: tuple[Path, str]) -> None:
    run_folder = straight[0] / "experiments/tiny"
    early, late = (load_state(run_folder / f"models/net_g_{i}.pth") for i in (3, 6))
    wanted = VQGAN(LAYOUT, 16, 6).state_dict()
    for key in ("params", "params_ema"):
        assert {name: value.shape for name, value in late[key].items()} == {n: v.shape for n, v in wanted.items()}
        assert not torch.equal(early[key]["quantize.embedding.weight"], late[key]["quantize.embedding.weight"])
    assert torch.equal(*(late[key]["quantize.embedding.weight"] for key in ("params", "params_ema")))
    assert not torch.equal(*(late[key]["encoder.conv_in.weight"] for key in ("params", "params_ema")))
    state = load_state(run_folder / "training_states/6.state")
    assert len(state["optimizers"]) == 2
    assert len(state["optimizers"][0]["state"]) == len(wanted) - 1  # the codes have no gradients
    codes = state["dckd"]["codebook"]
    torch.testing.assert_close(codes["sums"] / codes["counts"][:, None], late["params"]["quantize.embedding.weight"])
    record = json.loads((run_folder / "validations.json").read_text())
    assert all(name in json.dumps(record) for name in ("psnr", "usage", "perplexity"))
    assert (run_folder / "models/net_d_latest.pth").is_file()


def test_killed_and_resumed_exactly(straight: tuple[Path, str], tmp_path: Path) -> None:
    folder = write(tmp_path / "killed")
    run_killed_at(5, folder, *TRAIN)
    for name in FILES:
        one, two = (load_state(where / "experiments/tiny" / name) for where in (straight[0], folder))
        assert differences(one, two, name) == []


def test_a_test_writes_image_and_reconstruction_side_by_side(straight: tuple[Path, str]) -> None:
    folder = straight[0]
    opt = options()
    test = {key: opt[key] for key in ("scale", "num_gpu", "network_g")} | {"name": "tested", "model_type": "VQGANModel"}
    test["datasets"] = {"test_1": opt["datasets"]["val"]}
    test["path"] = {"pretrain_network_g": "experiments/tiny/models/net_g_6.pth", "param_key_g": "params_ema"}
    test["val"] = {"save_img": True, "metrics": opt["val"]["metrics"]}
    (folder / "test.yml").write_text(yaml.safe_dump(test))
    done = run(folder, "test", "-opt", "test.yml")
    assert done.returncode == 0, done.stderr
    assert re.search(r"held_out, 2 images: psnr \d+\.\d+, usage [01]\.\d+, perplexity \d+\.\d+", done.stderr)
    values = json.loads((folder / "results/tested/metrics.json").read_text())["held_out"]["images"]
    for name, measured in values.items():
        (strip,) = (folder / "results/tested/visualization/held_out").rglob(f"{name}*.png")
        image = cv2.imread(str(folder / f"photos/{name}.png"))
        shown, made = np.hsplit(cv2.imread(str(strip)), 2)
        assert np.array_equal(shown, image)  # 36x42 px, no multiples of 4
        assert calculate_psnr(made, image, crop_border=0) == pytest.approx(measured["psnr"])


def test_a_distillation_takes_it_as_it_is(straight: tuple[Path, str], made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    shutil.copytree(made, folder)
    shutil.copy(straight[0] / "experiments/tiny/models/net_g_latest.pth", folder / "codebook.pth")
    convert_vqgan(folder / "codebook.pth", folder / "codebook.safetensors", half=True)
    own, small = (load_weights(folder / f"codebook{suffix}").state for suffix in (".pth", ".safetensors"))
    assert all(torch.equal(small[name], own[name].half().float()) for name in small)
    assert {name for name in own if name not in small} == {n for n in own if n.startswith(("decoder", "post_quant"))}
    overrides = ("path:pretrain_network_vqgan=codebook.pth", "train:total_iter=1", "val:val_freq=9")
    done = run(folder, "train", "-opt", "job.yml", "--force_yml", *overrides)
    assert done.returncode == 0, done.stderr
    assert "Loaded VQGAN from codebook.pth" in done.stderr
    assert all(re.search(rf"{name}: \d", done.stderr) for name in ("l_contrast", "l_dist"))
