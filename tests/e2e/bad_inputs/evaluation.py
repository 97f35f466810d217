"""Validation and test sets that would lose results, or that cannot be measured."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .row import TEST, TRAIN, BadInput, forced

__all__ = ["EVALUATION"]

_SECOND = "{name: held_out, type: PairedImageDataset, dataroot_gt: val/GT.lmdb, dataroot_lq: val/LQ_x2.lmdb}"
_SINGLE = "{name: mine, type: SingleImageDataset, dataroot_lq: photos}"
_INPUTS = (
    "{name: mine, type: SinglePatchDataset, dataroot_lq: photos, gt_size: 32, batch_size_per_gpu: 1, "
    "num_worker_per_gpu: 0}"
)
_LISTED = (
    f"{TRAIN} --force_yml 'datasets:train={{name: t, type: PairedImageDataset, dataroot_gt: gt, dataroot_lq: lq, "
    "meta_info_file: list.txt, gt_size: 32, batch_size_per_gpu: 1}'"
)
_FOLDERS = "{name: icons, type: PairedImageDataset, dataroot_gt: gt, dataroot_lq: lq}"


def _icons() -> None:
    """Two pairs, one of which is too small for SSIM's window behind a border of 2 pixels."""
    for name, side in (("a", 40), ("b", 14)):
        for folder, pixels in (("gt", side), ("lq", side // 2)):
            Path(folder).mkdir(exist_ok=True)
            cv2.imwrite(f"{folder}/{name}.png", np.full((pixels, pixels, 3), 90, np.uint8))


def _two_scenes() -> None:
    """A list of ground truths that have one name in two folders, and one input for both."""
    shutil.copytree("photos", "gt/one")
    shutil.copytree("photos", "gt/two")
    shutil.copytree("photos", "lq")
    Path("list.txt").write_text("one/photo0.png (70,90,3)\ntwo/photo0.png (70,90,3)\n", encoding="utf-8")


def _listed(text: str) -> None:
    shutil.copytree("photos", "gt")
    shutil.copytree("photos", "lq")
    Path("list.txt").write_text(text, encoding="utf-8")


def _turned() -> None:
    """A ground truth as a camera saves it, and an input that lost the tag when it was made smaller."""
    exif = Image.Exif()
    exif[274] = 6
    for folder, side, options in (("gt", 40, {"exif": exif}), ("lq", 20, {})):
        Path(folder).mkdir()
        Image.new("RGB", (side, side)).save(f"{folder}/a.png", **options)


EVALUATION = (
    forced(
        "two test sets of one name",
        f"'datasets:test_2={_SECOND}'",
        "datasets.test_1 and datasets.test_2 are both named 'held_out', and results are kept by name; rename one",
        command=TEST,
    ),
    forced(
        "two validation sets of one name",
        f"'datasets:val_2={_SECOND}'",
        "datasets.val and datasets.val_2 are both named 'held_out'",
    ),
    forced(
        "name of a test set with a slash",
        "datasets:test_1:name=x2/Set5",
        "'name' in datasets.test_1 becomes a folder of pictures and must not hold /, got 'x2/Set5'",
        command=TEST,
    ),
    forced(
        "border that leaves nothing of an image",
        "val:metrics:psnr:crop_border=40",
        "datasets.val: 3 of 3 images in 'val/GT.lmdb' are too small to be measured ('photo0' 70x90, ",
        "val.metrics.psnr (calculate_psnr, crop_border 40) needs at least 81x81 px",
        "lower crop_border",
    ),
    BadInput(
        "test image smaller than SSIM's window",
        f"{TRAIN} --force_yml 'datasets:val={_FOLDERS}'",
        (
            "datasets.val: 1 of 2 images in 'gt' are too small to be measured ('b.png' 14x14)",
            "val.metrics.ssim (calculate_ssim, crop_border 2) needs at least 15x15 px; take small images out of",
        ),
        _icons,
    ),
    BadInput(
        "folder to upscale with other files in it",
        f"{TEST} --force_yml 'datasets:test_1={_SINGLE}'",
        (
            "datasets.test_1.dataroot_lq: 'photos' holds files that are no images (notes.txt)",
            "every file of the folder is read; move them away",
        ),
        lambda: Path("photos/notes.txt").write_text("x"),
    ),
    forced(
        "training on whole images",
        "'datasets:train={name: mine, type: SingleImageDataset, dataroot_lq: photos, batch_size_per_gpu: 1}'",
        "datasets.train: SingleImageDataset gives whole images, to be restored",
        "use type: SinglePatchDataset",
    ),
    forced(
        "training without ground truth on terms that compare with it",
        f"'datasets:train={_INPUTS}' train:logits_opt:gate=teacher_better",
        "train.pixel_opt, train.logits_opt need ground truth, and datasets.train (SinglePatchDataset) has none",
        "switch off such terms (pixel_opt: ~) or their gates",
    ),
    forced(
        "training set without ground truth that names one",
        f"'datasets:train={_INPUTS}' train:pixel_opt=~ datasets:train:dataroot_gt=data/GT.lmdb",
        "'dataroot_gt' in datasets.train would be ignored by SinglePatchDataset; remove it",
    ),
    forced(
        "validation by patches",
        f"'datasets:val={_INPUTS}'",
        "datasets.val: SinglePatchDataset cuts patches to train on; use type: SingleImageDataset for inputs alone",
    ),
    BadInput(
        "folder to train on with other files in it",
        f"{TRAIN} --force_yml 'datasets:train={_INPUTS}' train:pixel_opt=~",
        ("datasets.train.dataroot_lq: 'photos' holds files that are no images (notes.txt)",),
        lambda: Path("photos/notes.txt").write_text("x"),
    ),
    forced(
        "best weights by a set without ground truth",
        f"logger:keep_best=psnr 'datasets:val={_SINGLE}'",
        "logger.keep_best judges by the first validation set, and datasets.val (SingleImageDataset) has no ground",
    ),
    BadInput(
        "list of images that would share an input",
        _LISTED,
        (
            "datasets.train.meta_info_file: 'list.txt' lists 'one/photo0.png' and 'two/photo0.png', and BasicSR reads "
            "one input for both",
        ),
        _two_scenes,
    ),
    BadInput(
        "list of images with an empty line",
        _LISTED,
        ("datasets.train.meta_info_file: 'list.txt' line 2 is empty, and BasicSR takes every line for an image",),
        lambda: _listed("photo0.png (70,90,3)\n\n"),
    ),
    BadInput(
        "list of images that names one too many",
        _LISTED,
        ("datasets.train.meta_info_file: 'list.txt' line 2 names 'photo9.png', but 'gt/photo9.png' is missing",),
        lambda: _listed("photo0.png (70,90,3)\nphoto9.png (70,90,3)\n"),
    ),
    BadInput(
        "photos that are to be turned, beside others that are not",
        f"{TRAIN} --force_yml 'datasets:val={_FOLDERS}'",
        (
            "datasets.val: 'gt/a.png' has orientation tag 6 and 'lq/a.png' 1 (1 is none)",
            "remove the tags from both, or read pixels as they are stored",
        ),
        _turned,
    ),
)
