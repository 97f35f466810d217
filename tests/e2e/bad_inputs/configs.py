"""Bad option files and overrides."""

from __future__ import annotations

from pathlib import Path

from .methods import METHODS
from .row import TRAIN, BadInput, edit, forced
from .rules import RULES
from .values import FOLDERS, VALUES

__all__ = ["CONFIGS"]

_TERMS = ("pixel_opt", "logits_opt", "contrastive_opt", "distribution_opt", "consistency_opt")

_FILE = (
    BadInput(
        "option file missing",
        "train -opt jobb.yml",
        (
            "option file 'jobb.yml' does not exist",
            "demo_x4_edsr.yml",
        ),
    ),
    BadInput(
        "packaged option file misspelt",
        "train -opt dckd_x4_edrs",
        (
            "'dckd_x4_edrs' does not exist",
            "did you mean 'dckd_x4_edsr'",
        ),
    ),
    BadInput("option file is a folder", "train -opt data", ("option file 'data'",)),
    BadInput(
        "option file empty",
        TRAIN,
        (
            "option file 'job.yml' is empty",
            "'key: value' lines such as 'name: my_run' were expected",
        ),
        lambda: Path("job.yml").write_text(""),
    ),
    BadInput(
        "option file is a list",
        TRAIN,
        (
            "option file 'job.yml' is a list",
            "'key: value' lines",
        ),
        lambda: Path("job.yml").write_text("- 1\n"),
    ),
    BadInput(
        "option file not UTF-8",
        TRAIN,
        ("option file 'job.yml' cannot be read as UTF-8 text",),
        lambda: Path("job.yml").write_bytes(b"name: \xe9\n"),
    ),
    BadInput(
        "bracket not closed",
        TRAIN,
        (
            "option file 'job.yml', line 4, column 8",
            "check indentation, quotes and brackets there",
        ),
        edit("scale: 2", "scale: [2"),
    ),
    BadInput(
        "indented with a tab",
        TRAIN,
        (
            "option file 'job.yml', line 8, column 1",
            "'\\t'",
            "check indentation",
        ),
        edit("  train:\n    name", "  train:\n\tname"),
    ),
    BadInput(
        "key given twice",
        TRAIN,
        ("line 4, column 1: key 'scale' is given twice, first in line 3",),
        edit("scale: 2", "scale: 2\nscale: 4"),
    ),
    BadInput(
        "option file of two documents",
        TRAIN,
        (
            "line 4, column 1",
            "another document",
        ),
        edit("scale: 2", "scale: 2\n---\nscale: 4"),
    ),
)

_USAGE = (
    BadInput("no option file given", "train", ("the following arguments are required: -opt",), status=2),
    BadInput(
        "unknown command",
        "trian -opt job.yml",
        (
            "invalid choice: 'trian'",
            "'train'",
            "'prepare'",
        ),
        status=2,
    ),
    BadInput(
        "unknown launcher",
        f"{TRAIN} --launcher torchrun",
        (
            "invalid choice: 'torchrun'",
            "'pytorch'",
        ),
        status=2,
    ),
    BadInput(
        "--launcher pytorch without torchrun",
        f"{TRAIN} --launcher pytorch",
        (
            "--launcher pytorch needs what torchrun sets",
            "torchrun --nproc_per_node=N",
        ),
    ),
    forced("override without '='", "scale", "override 'scale' must look like key=value or block:key=value"),
    forced(
        "override without a value",
        "train:ema_decay=",
        "override 'train:ema_decay=' has no value",
        "train:ema_decay=~ for null",
    ),
    forced(
        "override of a key inside a number",
        "train:ema_decay:start=0",
        "train:ema_decay is 0.9, which holds no keys",
        "'start' cannot be set",
    ),
    forced(
        "override that is no YAML",
        "'train:history:schedule=[[4, 2]'",
        "override 'train:history:schedule=[[4, 2]'",
        "check indentation, quotes and brackets",
    ),
)

_KEYS = (
    forced(
        "unknown key at the top",
        "manuel_seed=1",
        "unknown key 'manuel_seed' in the option file; did you mean 'manual_seed'?",
    ),
    forced(
        "unknown key in datasets.train",
        "datasets:train:batch_size_per_gp=2",
        "unknown key 'batch_size_per_gp' in datasets.train; did you mean 'batch_size_per_gpu'?",
    ),
    forced(
        "unknown key in a network",
        "network_g:num_fet=8",
        "unknown key 'num_fet' in network_g (EDSR); did you mean 'num_feat'?",
    ),
    forced(
        "unknown key in path",
        "path:pretrain_network_techer=x.pth",
        "unknown key 'pretrain_network_techer' in path; did you mean 'pretrain_network_teacher'?",
    ),
    forced("unknown key in train", "train:ema_decy=0.9", "unknown key 'ema_decy' in train; did you mean 'ema_decay'?"),
    forced("unknown key in val", "val:val_frq=3", "unknown key 'val_frq' in val; did you mean 'val_freq'?"),
    forced(
        "unknown key in logger", "logger:print_frek=1", "unknown key 'print_frek' in logger; did you mean 'print_freq'?"
    ),
    forced(
        "unknown key in train.history",
        "train:history:decya=0.5",
        "unknown key 'decya' in train.history; did you mean 'decay'?",
    ),
    forced(
        "unknown key in val.tile",
        "val:tile:sise=64",
        "unknown key 'sise' in val.tile; did you mean 'size'?",
        "missing key 'size' in val.tile",
    ),
    forced(
        "unknown argument of the optimizer",
        "train:optim_g:beta=0.9",
        "unknown key 'beta' in train.optim_g (Adam); did you mean 'betas'?",
    ),
    forced(
        "unknown argument of a loss",
        "train:pixel_opt:weight=2",
        "unknown key 'weight' in train.pixel_opt (L1Loss); did you mean 'loss_weight'?",
    ),
    forced(
        "unknown argument of a metric",
        "val:metrics:psnr:crop=4",
        "unknown key 'crop' in val.metrics.psnr (calculate_psnr); known are:",
        "crop_border",
    ),
    forced(
        "a term of another model",
        "'train:perceptual_opt={type: PerceptualLoss}'",
        "'perceptual_opt' in train is a term of BasicSR's SRModel",
        "remove it",
    ),
    forced(
        "term misspelt",
        "'train:losses=[{type: logit}]'",
        "unknown term 'logit' in train.losses[0]; did you mean 'logits'?",
    ),
    forced(
        "option of a term misspelt",
        "'train:losses=[{type: pixel, weigth: 0.5, name: second}]'",
        "unknown key 'weigth' in train.losses[0] (pixel); did you mean 'weight'?",
    ),
    forced(
        "loss of a term misspelt",
        "'train:losses=[{type: pixel, loss: {type: CharbonierLoss}, name: second}]'",
        "unknown loss 'CharbonierLoss' in train.losses[0].loss; did you mean 'CharbonnierLoss'?",
    ),
    forced(
        "one term instead of a list of terms",
        "'train:losses={type: pixel}'",
        "train.losses is one term, where a block of terms by name or a list of them was expected",
        "losses: {pixel: {...}}",
    ),
    forced(
        "two terms of one name in the log",
        "'train:losses=[{type: pixel}]'",
        "train.pixel_opt and train.losses[0] are both called 'l_pix' in the log",
    ),
    forced(
        "weight that ends at an iteration",
        "'train:pixel_opt:loss_weight={type: cosine, from: 1, until: 5000}'",
        "'until' in train.pixel_opt.loss_weight (cosine) must be at most 1, got 5000",
    ),
    forced(
        "unknown course of a weight",
        "'train:losses=[{type: pixel, name: second, weight: {type: step, at: [0.5], values: [1, 0]}}]'",
        "unknown schedule 'step' in train.losses[0].weight; did you mean 'steps'?",
    ),
    forced(
        "a teacher that is not there",
        "train:logits_opt:taught_by=swinir",
        "train.logits_opt asks for the teacher 'swinir', and none is called so; there are: teacher",
    ),
    forced(
        "every term of weight 0",
        " ".join([*(f"train:{term}=~" for term in _TERMS[1:]), "train:pixel_opt:loss_weight=0"]),
        "every loss term of train has weight 0",
    ),
    forced("required key missing at the top", "scale=~", "missing key 'scale' in the option file"),
    forced("required key missing in train", "train:total_iter=~", "missing key 'total_iter' in train"),
    forced(
        "required key missing in a dataset",
        "datasets:train:dataroot_lq=~",
        "missing key 'dataroot_lq' in datasets.train",
    ),
    forced("network without a type", "network_g:type=~", "missing key 'type' in network_g; one of", "EDSR"),
    forced("data set without a training part", "datasets:train=~", "datasets has no 'train' set"),
    forced(
        "data set with an unknown part",
        "'datasets:valid={name: a, type: PairedImageDataset}'",
        "datasets.valid is neither 'train' nor 'val', 'val_2', ...; rename it",
    ),
    BadInput(
        "test set in a training file",
        "test -opt job.yml",
        ("datasets.train is not for testing; a test takes 'test_1', 'test_2', ... or 'val'",),
    ),
)

_NAMES = (
    forced("unknown model", "model_type=DCKDMode", "unknown model 'DCKDMode' in model_type; did you mean 'DCKDModel'?"),
    forced("unknown network", "network_g:type=EDSRR", "unknown network 'EDSRR' in network_g; did you mean 'EDSR'?"),
    forced(
        "unknown loss", "train:pixel_opt:type=L1Los", "unknown loss 'L1Los' in train.pixel_opt; did you mean 'L1Loss'?"
    ),
    forced(
        "unknown metric",
        "val:metrics:psnr:type=calculate_pnsr",
        "unknown metric 'calculate_pnsr' in val.metrics.psnr; did you mean 'calculate_psnr'?",
    ),
    forced(
        "unknown dataset",
        "datasets:train:type=PairedImageDatset",
        "unknown dataset 'PairedImageDatset' in datasets.train; did you mean 'PairedImageDataset'?",
    ),
    forced(
        "unknown optimizer",
        "train:optim_g:type=Adan",
        "unknown optimizer 'Adan' in train.optim_g; did you mean 'Adam'?",
    ),
    forced(
        "unknown scheduler",
        "train:scheduler:type=CosineLR",
        "unknown scheduler 'CosineLR' in train.scheduler; did you mean 'CosineAnnealingLR'?",
    ),
)

CONFIGS = (*_FILE, *_USAGE, *METHODS, *_KEYS, *VALUES, *_NAMES, *FOLDERS, *RULES)
