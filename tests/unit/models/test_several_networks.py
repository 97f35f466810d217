"""A model with a discriminator needs no loop of its own: it trains, is killed and resumes, in the ordinary one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml

from dckd_basicsr.weight_files import load_state
from tests import ROOT
from tests.e2e.training.test_exact_resume import differences
from tests.tiny import job_options, run, run_killed_at

TRAIN = ("train", "-opt", "job.yml", "--import", "adversarial", "--auto_resume")
FILES = ("models/net_g_6.pth", "models/net_d_6.pth", "training_states/6.state")


def write(folder: Path, job: Path) -> Path:
    """The tiny job, for a model of a module beside it."""
    shutil.copytree(job, folder)
    shutil.copy(ROOT / "tests" / "adversarial.py", folder)
    options = job_options()
    kept = {key: options["train"][key] for key in ("ema_decay", "optim_g", "scheduler", "total_iter")}
    adam = {"type": "Adam", "lr": 1.0e-4, "weight_decay": 0.01}
    options["train"] = {**kept, "optim_d": adam, "adversarial_weight": 0.1}
    options |= {"model_type": "AdversarialModel", "path": {"pretrain_network_g": None}}
    options["network_d"] = {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4}
    del options["network_teacher"], options["network_vqgan"]
    (folder / "job.yml").write_text(yaml.safe_dump(options, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def straight(model_job, tmp_path_factory) -> Path:
    folder = write(tmp_path_factory.mktemp("adversarial") / "straight", model_job)
    done = run(folder, *TRAIN)
    assert done.returncode == 0, done.stderr
    assert "l_adv: " in done.stderr
    assert "l_d: " in done.stderr
    return folder


def test_both_networks_train_and_are_saved(straight):
    run_folder = straight / "experiments/tiny"
    early, late = ({label: load_state(run_folder / f"models/net_{label}_{i}.pth") for label in "gd"} for i in (3, 6))
    assert set(late["g"]) == {"params", "params_ema"}
    assert set(late["d"]) == {"params"}
    for label, key in (("g", "conv_first.weight"), ("d", "conv0.weight"), ("d", "conv1.weight_u")):
        assert not torch.equal(early[label]["params"][key], late[label]["params"][key])
    state = load_state(run_folder / "training_states/6.state")
    assert len(state["optimizers"]) == len(state["schedulers"]) == 2
    assert [each["param_groups"][0]["lr"] for each in state["optimizers"]] == [5e-4, 5e-5]  # one schedule for both
    assert (run_folder / "models/net_d_latest.pth").is_file()


def test_killed_and_resumed_exactly(straight, model_job, tmp_path):
    folder = write(tmp_path / "killed", model_job)
    run_killed_at(5, folder, *TRAIN)
    for name in FILES:
        one, two = (load_state(where / "experiments/tiny" / name) for where in (straight, folder))
        assert differences(one, two, name) == []


def test_its_option_file_is_checked(straight, tmp_path):
    done = run(straight, *TRAIN, "--force_yml", "train:adversarial_weigth=0.1", "train:optim_d=~")
    assert done.returncode != 0
    assert "unknown key 'adversarial_weigth' in train; did you mean 'adversarial_weight'?" in done.stderr
