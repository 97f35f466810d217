"""Values of option files that are of the wrong kind, out of range, or no name of a folder."""

from __future__ import annotations

from .row import forced

__all__ = ["FOLDERS", "VALUES"]

VALUES = (
    forced(
        "text where an integer belongs",
        "network_g:num_feat=many",
        "'num_feat' in network_g (EDSR) must be",
        "got 'many'",
    ),
    forced("scale in quotes", "'scale=\"2\"'", "'scale' in the option file must be an integer, got '2'"),
    forced(
        "number where a block belongs",
        "train=5",
        "'train' in the option file must be a block of 'key: value' lines, got 5",
    ),
    forced(
        "list of the wrong length",
        "'train:optim_g:betas=0.9'",
        "'betas' in train.optim_g (Adam) must be a list of 2",
        "got 0.9",
    ),
    forced(
        "network of a negative width",
        "network_g:num_feat=-8",
        "network_g (EDSR) cannot be built with these options: RuntimeError: Trying to create tensor with negative",
    ),
    forced("negative number of iterations", "train:total_iter=-5", "'total_iter' in train must be at least 1, got -5"),
    forced(
        "batch of no images",
        "datasets:train:batch_size_per_gpu=0",
        "'batch_size_per_gpu' in datasets.train must be at least 1, got 0",
    ),
    forced(
        "negative border",
        "val:metrics:psnr:crop_border=-1",
        "'crop_border' in val.metrics.psnr must be at least 0, got -1",
    ),
    forced("moving average that never moves", "train:ema_decay=1", "'ema_decay' in train must be below 1, got 1"),
    forced(
        "probability above 1", "train:history:decay=7", "train.history: decay must be a probability in [0, 1], got 7"
    ),
    forced("endless run", "train:total_iter=.inf", "'total_iter' in train must be a finite number, got .inf"),
    forced(
        "weight that is no number",
        "train:pixel_opt:loss_weight=.nan",
        "'loss_weight' in train.pixel_opt must be a finite number, got .nan",
    ),
    forced(
        "negative seed", "manual_seed=-1", "'manual_seed' in the option file must be between 0 and 4294967295, got -1"
    ),
    forced(
        "mean without standard deviation",
        "'datasets:train:mean=[0.5, 0.5, 0.5]'",
        "'mean' in datasets.train needs 'std' beside it, or leave both out",
    ),
    forced(
        "prefetching to the GPU without pinned memory",
        "datasets:train:prefetch_mode=cuda",
        "datasets.train: prefetch_mode 'cuda' needs pin_memory: true",
    ),
)

FOLDERS = (
    forced(
        "name with a slash",
        "name=x4/edsr",
        "'name' in the option file becomes the run's folder and must not hold /, got 'x4/edsr'; give a plain name",
    ),
    forced(
        "empty name", "\"name=''\"", "'name' in the option file becomes the run's folder and must not be empty, got ''"
    ),
    forced("name of a folder outside", "name=../victim", "must not hold /, got '../victim'"),
    forced(
        "suffix that is a path",
        "val:suffix=../up",
        "'suffix' in val becomes part of file names and must not hold /, got '../up'",
    ),
    forced(
        "run in the current folder",
        "path:experiments_root=.",
        "path.experiments_root: '.' is the folder that the command runs in, or one above it",
    ),
)
