"""Blocks of an option file that contradict each other."""

from __future__ import annotations

from .row import forced

__all__ = ["RULES"]

_TERMS = ("pixel_opt", "logits_opt", "contrastive_opt", "distribution_opt", "consistency_opt")
_PATCHES = "datasets:train:type=PairedPatchDataset datasets:train:gt_size=~"

RULES = (
    forced(
        "luma for networks of three channels",
        "datasets:train:color=y",
        "datasets.train.color is y, one channel, but network_g (EDSR) has num_in_ch: 3, network_g (EDSR) has",
    ),
    forced(
        "network of one channel for images of three",
        "network_g:num_in_ch=1",
        "datasets.train has images of 3 channels, but network_g (EDSR) has num_in_ch: 1; take networks of 3",
    ),
    forced(
        "validation set without validation",
        "val=~",
        "datasets.val would never be measured without a block 'val'; give one (val_freq, metrics), or leave the sets",
    ),
    forced(
        "scale differs from the network's", "scale=4", "scale is 4, but network_g (EDSR) upscales by 2; make them equal"
    ),
    forced(
        "patch no multiple of the scale",
        "datasets:train:gt_size=33",
        "datasets.train.gt_size is 33, no multiple of scale 2; 32 would be",
    ),
    forced(
        "patch larger than the images",
        "datasets:train:gt_size=64",
        "'photo0_s001' is 32x32, smaller than gt_size 64; lower gt_size, or pack larger crops",
    ),
    forced(
        "restarts and weights of different length",
        "'train:scheduler:restarts=[0, 2]'",
        "train.scheduler has 2 restarts, but 1 restart_weights",
        "one weight for each",
    ),
    forced(
        "progressive with the stock dataset",
        "'datasets:train:progressive=[[4, 16, 2]]'",
        "datasets.train.progressive needs type: PairedPatchDataset, got 'PairedImageDataset'",
    ),
    forced(
        "progressive rows that do not grow",
        f"{_PATCHES} 'datasets:train:progressive=[[4, 16, 2], [4, 32, 2]]'",
        "progressive needs rows with growing iterations, got [4, 4]",
    ),
    forced(
        "progressive row too short",
        f"{_PATCHES} 'datasets:train:progressive=[[4, 16]]'",
        "progressive needs rows of [until, gt_size, total_batch], whole numbers, got [4, 16]",
    ),
    forced(
        "progressive patch no multiple of the scale",
        f"{_PATCHES} 'datasets:train:progressive=[[4, 17, 2]]'",
        "datasets.train.progressive[0] gt_size is 17, no multiple of scale 2; 16 would be",
    ),
    forced(
        "progressive with a key the dataset ignores",
        f"{_PATCHES} 'datasets:train:mean=[0, 0, 0]' datasets:train:gt_size=32",
        "'mean' in datasets.train would be ignored by PairedPatchDataset; remove it",
    ),
    forced(
        "no loss term",
        " ".join(f"train:{term}=~" for term in _TERMS),
        "train has no loss term; give at least one of pixel_opt",
    ),
    forced(
        "term without a teacher",
        "network_teacher=~",
        "missing key 'network_teacher', which train.logits_opt",
        "add it, or remove these terms",
    ),
    forced(
        "teacher without weights",
        "path:pretrain_network_teacher=~",
        "missing key 'pretrain_network_teacher' in path: untrained",
        "https://",
    ),
    forced(
        "term without the VQGAN",
        "network_vqgan=~",
        "missing key 'network_vqgan', which train.contrastive_opt, train.distribution_opt need",
    ),
    forced(
        "VQGAN term with an image loss",
        "'train:contrastive_opt={type: L1Loss}'",
        "train.contrastive_opt compares features, which L1Loss cannot; use type: ContrastiveLoss",
    ),
    forced(
        "contrast without weights for a VQGAN of another depth",
        "'train:contrastive_opt={type: ContrastiveLoss}'",
        "train.contrastive_opt has no weights, and those of ContrastiveLoss by default have 5 entries, but the VQGAN",
        "for instance weights: [0.125, 0.25, 1.0]",
    ),
    forced(
        "image term with a VQGAN loss",
        "'train:pixel_opt={type: DistributionLoss}'",
        "train.pixel_opt compares images, which DistributionLoss cannot",
        "type: L1Loss",
    ),
    forced(
        "model without a teacher",
        "model_type=RestorationModel",
        "model_type RestorationModel has no teacher, which train.logits_opt",
        "use model_type: DCKDModel",
    ),
    forced(
        "precision misspelt",
        "train:runtime:precision:student=bf61",
        "'student' in train.runtime.precision must be one of 'auto', 'fp32', 'tf32', 'bf16', 'fp16'",
    ),
    forced("CUDA graph on a CPU", "train:runtime:cuda_graph=true", "the run is on a CPU; set it to auto or false"),
    forced(
        "several problems at once",
        "network_g:num_fet=8 scale=3 train:ema_decay=high path:resume_state=no",
        "problems",
        "num_fet",
        "scale is 3",
        "'ema_decay' in train must be a number",
        "'resume_state'",
    ),
)
