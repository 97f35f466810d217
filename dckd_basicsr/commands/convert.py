"""``basicsr convert vqgan``: a VQGAN, the official or one of your own, as a file that holds what distillation uses."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import install
from ..errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["add_convert_parser", "convert_vqgan"]

_ENCODER = ("encoder.", "quant_conv.", "quantize.")
_DECODER = ("decoder.", "post_quant_conv.")
_ENTRIES = ("state_dict", "params_ema", "params")


def convert_vqgan(
    source: Path, target: Path, *, decoder: bool = False, half: bool = False, overwrite: bool = False
) -> dict[str, Any]:
    """Convert a pickled training checkpoint in the official layout; nothing in it is run.

    Args:
        source: for instance ``last.ckpt`` of taming-transformers, or ``net_g_latest.pth`` of a run of ``VQGANModel``;
            the weights are looked for under ``state_dict``, ``params_ema`` and ``params``. Or a safetensors file.
        target: a ``.safetensors`` file; its metadata gets the constructor arguments.
        decoder: keep the decoder too, which distillation does not use.
        half: store as float16, which is half as large; weights are loaded as float32 again.
        overwrite: replace an existing target.

    Returns:
        The constructor arguments of ``VQGAN``.

    Raises:
        CheckpointError: unreadable, no VQGAN, or the target exists or cannot be written.
    """
    from ..archs import VQGAN, vqgan_options_from_state
    from ..weight_files import atomic_write, load_into, write_safetensors

    if target.suffix != ".safetensors":
        raise CheckpointError(f"the target must be named *.safetensors, got '{target}'")
    if target.is_dir():
        raise CheckpointError(f"'{target}' is a folder; give the name of a file")
    if target.exists() and not overwrite:
        raise CheckpointError(f"'{target}' exists; choose another name or pass --overwrite")
    found = _tensors(source)
    kept = _ENCODER + (_DECODER if decoder else ())
    state = {k: v.contiguous() for k, v in found.items() if k.startswith(kept)}
    try:
        options = vqgan_options_from_state(state or found)
    except CheckpointError as error:
        raise CheckpointError(f"'{source}': {error}") from error
    load_into(VQGAN(**options), state, source)  # what is written is known to fit
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        if beyond := [k for k, v in state.items() if v.isinf().any()]:
            raise CheckpointError(f"'{source}' holds values beyond float16 ({', '.join(beyond[:3])}); leave out --half")
    metadata = {"config": json.dumps({"type": "VQGAN", **options}), "source": source.name}
    atomic_write(target, lambda temporary: write_safetensors(state, temporary, metadata))
    return options


def _tensors(source: Path) -> dict[str, Tensor]:
    from torch import Tensor

    from ..portable.foreign_pickle import read_foreign_checkpoint
    from ..weight_files import load_weights

    if source.suffix == ".safetensors":
        return dict(load_weights(source).state)
    loaded = read_foreign_checkpoint(source)
    inner = next((loaded[key] for key in _ENTRIES if key in loaded), loaded) if isinstance(loaded, Mapping) else None
    entries = inner.items() if isinstance(inner, Mapping) else ()
    tensors = {k: v for k, v in entries if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise CheckpointError(f"'{source}' holds no tensors at its top or under 'state_dict'; a VQGAN's were expected")
    return tensors


def add_convert_parser(commands: Any) -> None:
    """Add ``convert`` to the command line."""
    convert = commands.add_parser("convert", help="turn foreign checkpoints into safetensors")
    kinds = convert.add_subparsers(dest="kind", metavar="KIND", required=True)
    vqgan = kinds.add_parser("vqgan", help="the official pickled VQGAN checkpoint, or your own; nothing in it is run")
    vqgan.add_argument("source", type=Path, help="for instance last.ckpt, or net_g_latest.pth of a run of VQGANModel")
    vqgan.add_argument("target", type=Path, help="for instance pretrained/vqgan_imagenet_f16_1024.safetensors")
    vqgan.add_argument("--decoder", action="store_true", help="keep the decoder, which distillation does not use")
    vqgan.add_argument("--half", action="store_true", help="store as float16: half as large")
    vqgan.add_argument("--overwrite", action="store_true", help="replace an existing target")
    vqgan.set_defaults(func=_run)


def _run(options: argparse.Namespace) -> int:
    install.everything()
    kept = {"decoder": options.decoder, "half": options.half, "overwrite": options.overwrite}
    layout = convert_vqgan(options.source, options.target, **kept)
    levels = len(layout["ddconfig"]["ch_mult"])
    print(f"{options.target}: {levels} levels, {layout['n_embed']} codes of length {layout['embed_dim']}")
    print(f"Option file:\n  path:\n    pretrain_network_vqgan: {options.target}")
    return 0
