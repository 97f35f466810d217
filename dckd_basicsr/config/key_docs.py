"""What each key of an option file means: one line for editors (``basicsr config --schema``) and docs/options.md."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from .docstrings import arguments_of, prose_of
from .inherit import BASE, REPLACE
from .keys import DIST, LOGGER, PAIRED, PATH, SETTINGS, TILE, TOP, TRAIN, VAL
from .problems import show
from .schema import networks, weight_keys
from .typecheck import describe

__all__ = ["BLOCKS", "DESCRIPTIONS", "reference", "write_reference"]

_MARKER = "a test compares -->"
_RUN = "set by the run, not in a file"
_REPLACES = "in a block: true replaces the inherited block, false merges with it even if its type differs"

BLOCKS: dict[str, Mapping[str, Any]] = {
    "top": TOP | networks(distilling=True),
    "path": PATH | weight_keys(networks(distilling=True)),
    "datasets.NAME": PAIRED,
    "train": TRAIN,
    "val": VAL,
    "logger": LOGGER,
}
"""The keys of each block, with their annotations."""

DESCRIPTIONS: dict[str, dict[str, str]] = {
    "top": {
        "name": "names the run's folder below experiments/ or results/; a name with 'debug' in it logs every iteration",
        "model_type": "DCKDModel distils and tests, RestorationModel trains and tests a network without a teacher",
        "scale": "output size / input size: 2, 3, 4 for super-resolution, 1 for deblurring and deraining",
        "num_gpu": "auto: all there are (one without a launcher); 0: the CPU",
        "manual_seed": "seed of everything random; null draws one and logs it",
        "deterministic": "deterministic GPU algorithms alone: a resumed run is then bit-identical there too; slower",
        "datasets": "train, val, val_2, ... for training; test_1, test_2, ... for testing",
        "network_g": "the network that is trained or tested: type and constructor arguments",
        "network_teacher": "the teacher; {type: PretrainedNet, path: FILE} detects a published one",
        "network_vqgan": "the encoder that measures images; {type: VQGAN} alone reads its layout off the weights",
        "path": "weights and training states",
        "train": "loss terms, optimizer, schedule, the method's settings",
        "val": "measuring, during training and in a test",
        "logger": "what is logged and saved how often",
        "dist_params": "how the processes of a job meet, used with --launcher",
        "find_unused_parameters": "for students that leave parameters unused in some iterations, on several processes",
        **dict.fromkeys(("dist", "rank", "world_size", "auto_resume", "is_train", "root_path"), _RUN),
    },
    "path": {
        "resume_state": "a training state (*.state) to go on from; --auto_resume finds the latest",
        "experiments_root": "the folder of a training run; experiments/NAME below the current folder by default",
        "ignore_resume_networks": "networks that keep their pretrain_network_* on a resume, besides all but network_g",
        "pretrain_network_g": "weights to start from, or to test: a file, or builtin:NAME",
        "strict_load_g": "false loads what fits and logs the rest",
        "param_key_g": "the entry of the file that student and average start from; by default params, and params_ema "
        "for the average",
        "pretrain_network_teacher": "the teacher's weights: a file, or builtin:NAME",
        "strict_load_teacher": "false loads what fits and logs the rest",
        "param_key_teacher": "the entry of the file that holds the weights; null searches for one",
        "pretrain_network_vqgan": "the VQGAN's weights: a file of `basicsr convert vqgan`, or builtin:NAME",
        "strict_load_vqgan": "accepted, without effect: the encoder must fit",
        "param_key_vqgan": "the entry of the file that holds the weights; null searches for one",
        **dict.fromkeys(("models", "training_states", "log", "visualization", "results_root"), _RUN),
    },
    "datasets.NAME": {
        "name": "for logs, tables and the folder of the pictures; no two validation or test sets share one",
        "type": "PairedImageDataset; PairedPatchDataset for progressive sizes and images smaller than a patch; "
        "PairedLMDBDataset, fastest: these too, lists of LMDBs, raw pixels; SingleImageDataset: inputs alone",
        "dataroot_gt": "ground truth: a folder of images, or an LMDB; PairedLMDBDataset takes a list of LMDBs",
        "dataroot_lq": "inputs, as dataroot_gt",
        "weights": "share of the patches from each LMDB of a list, in any unit; by default images come equally often",
        "meta_info_file": "text file of image names, to use these alone; folders only",
        "filename_tmpl": "an input's name for a ground truth's; '{}x4' finds baby.png in babyx4.png",
        "io_backend": "{type: lmdb} or {type: disk}; by default told from the name of the roots",
        "gt_size": "side of the ground-truth patches in pixels, a multiple of scale",
        "progressive": "rows of [until iteration, patch size, images over all processes], instead of gt_size and batch",
        "use_hflip": "flip patches left to right at random",
        "use_rot": "flip them upside down and transpose them at random",
        "use_shuffle": "accepted, without effect, as in BasicSR",
        "mean": "subtracted per channel; PairedImageDataset only",
        "std": "divided by per channel; PairedImageDataset only",
        "color": "y: luma alone; PairedImageDataset only",
        "num_worker_per_gpu": "processes that read, per training process",
        "batch_size_per_gpu": "patches per batch of each process",
        "dataset_enlarge_ratio": "length of an epoch in passes over the images; workers restart after each",
        "prefetch_mode": "cpu or cuda: fetch batches ahead",
        "num_prefetch_queue": "batches ahead, for prefetch_mode: cpu",
        "pin_memory": "page-locked batches: faster to a GPU; prefetch_mode: cuda needs it",
        "persistent_workers": "workers outlive an epoch",
        "phase": _RUN,
        "scale": _RUN,
    },
    "train": {
        "total_iter": "iterations in all",
        "warmup_iter": "the learning rate rises from 0 over so many iterations; -1 for none",
        "ema_decay": "of the moving average of the student, which is what is validated; 0 for none",
        "optim_g": "type: any of torch.optim, and its arguments; lr must be given",
        "scheduler": "type and arguments of the learning-rate schedule",
        "clip_grad_norm": "largest norm of all gradients together; null for no clipping",
        "accumulate": "parts into which each process cuts its batch, one after the other: total batch = per GPU x "
        "processes x accumulate",
        "pixel_opt": "loss against the ground truth; null or left out: off, as every term",
        "logits_opt": "loss against the teacher's output",
        "contrastive_opt": "near the teacher, far from the history model's outputs for degraded inputs, in VQGAN taps",
        "distribution_opt": "cross entropy between the code distributions of student and teacher",
        "consistency_opt": "loss against the teacher's output for a flipped, inverted input, brought back",
        "history": "the history model, whose outputs for degraded inputs are the negatives",
        "negatives": "the degraded inputs",
        "encoder": "how images enter the VQGAN",
        "consistency": "the transforms of consistency_opt",
        "runtime": "how fast a step runs: precision, memory layout, compilation, CUDA graphs",
        "divergence": "what happens when a loss or gradient is not finite",
    },
    "val": {
        "val_freq": "iterations between validations; training only",
        "save_img": "write the restored images; those without ground truth are always written",
        "suffix": "appended to their names",
        "metrics": "any names, each with the type of a metric and its arguments; better: higher or lower",
        "pbar": "show progress",
        "batch": "images of equal size that pass the network at once; 1 by default",
        "self_ensemble": "average over the eight flips and transpositions of the input: about eight times the work",
        "tile": "test in overlapping tiles where memory is short; null for whole images",
    },
    "logger": {
        "print_freq": "iterations between lines of the log",
        "save_checkpoint_freq": "iterations between checkpoints",
        "keep_last": "complete checkpoints to keep; null for all",
        "keep_best": "a metric of val.metrics: net_g_best.pth holds the best weights by it on the first validation set",
        "safetensors": "write weights as *.safetensors too: the moving average if there is one",
        "use_tb_logger": "write TensorBoard files",
        "wandb": "{project: NAME, resume_id: ID}: log to Weights & Biases as well",
    },
}
"""What every key of :data:`BLOCKS` means; a test keeps the two in step."""


def reference() -> str:
    """Return the tables of docs/options.md: every key of this package's own blocks, and the settings' defaults."""
    parts = []
    for name, keys in BLOCKS.items():
        head = "The top of the file" if name == "top" else f"`{name}`"
        rows = [(key, _kind(kind), DESCRIPTIONS[name][key]) for key, kind in keys.items()]
        shown = [row for row in rows if row[2] != _RUN]
        if name == "top":
            shown += [(BASE, "text or a list of text", "option files to build on")]
            shown += [
                (
                    REPLACE,
                    "true or false",
                    _REPLACES,
                )
            ]
        parts.append(f"### {head}\n\n| key | value | meaning |\n|---|---|---|\n{_rows(shown)}")
    for block, cls in {
        **{f"train.{name}": cls for name, cls in SETTINGS.items()},
        "val.tile": TILE,
        "dist_params": DIST,
    }.items():
        parts.append(_settings(block, cls))
    return "\n\n".join(parts) + "\n"


def _settings(block: str, cls: Any) -> str:
    hints, texts, rows, nested = get_type_hints(cls), arguments_of(cls), [], []
    for f in fields(cls):
        if is_dataclass(hints[f.name]):
            nested.append(_settings(f"{block}.{f.name}", hints[f.name]))
            continue
        default = "must be given" if f.default is MISSING else f"`{show(_lists(f.default))}`"
        rows.append((f.name, _kind(hints[f.name]), default, _marked(texts.get(f.name, ""))))
    table = f"\n\n| key | value | default | meaning |\n|---|---|---|---|\n{_rows(rows)}" if rows else ""
    return "\n\n".join([f"### `{block}`\n\n{_marked(prose_of(cls))}{table}", *nested])


def _kind(annotation: Any) -> str:
    return "a block" if annotation is Any else describe(annotation).replace("a block of 'key: value' lines", "a block")


def _marked(text: str) -> str:
    return text.replace("``", "`")  # code in reStructuredText and in Markdown


def _lists(value: Any) -> Any:
    return [_lists(v) for v in value] if isinstance(value, tuple) else value


def _rows(rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join([f"`{key}`", *rest]) + " |" for key, *rest in rows)


def write_reference(path: Path) -> None:
    """Replace what follows the marker in the document ``path`` by :func:`reference`."""
    head, marker, _ = path.read_text(encoding="utf-8").partition(_MARKER)
    path.write_text(f"{head}{marker}\n\n{reference()}", encoding="utf-8")


if __name__ == "__main__":
    write_reference(Path(sys.argv[1]))
