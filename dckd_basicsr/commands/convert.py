"""``basicsr convert vqgan``: the official VQGAN checkpoint as a safetensors file that holds what distillation uses."""

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


def convert_vqgan(source: Path, target: Path, *, decoder: bool = False, overwrite: bool = False) -> dict[str, Any]:
    """Convert a pickled training checkpoint in the official layout; nothing in it is run.

    Args:
        source: for instance ``last.ckpt`` of taming-transformers; the weights are looked for under ``state_dict``.
        target: a ``.safetensors`` file; its metadata gets the constructor arguments.
        decoder: keep the decoder too, which distillation does not use.
        overwrite: replace an existing target.

    Returns:
        The constructor arguments of ``VQGAN``.

    Raises:
        CheckpointError: unreadable, no VQGAN, or the target exists or cannot be written.
    """
    from safetensors.torch import save_file

    from ..archs import VQGAN, vqgan_options_from_state
    from ..weight_files import atomic_write, load_into

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
    metadata = {"config": json.dumps({"type": "VQGAN", **options}), "source": source.name}
    atomic_write(target, lambda temporary: save_file(state, temporary, metadata=metadata))
    return options


def _tensors(source: Path) -> dict[str, Tensor]:
    from torch import Tensor

    from ..foreign_pickle import read_foreign_checkpoint

    loaded = read_foreign_checkpoint(source)
    inner = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else None
    entries = inner.items() if isinstance(inner, Mapping) else ()
    tensors = {k: v for k, v in entries if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise CheckpointError(f"'{source}' holds no tensors at its top or under 'state_dict'; a VQGAN's were expected")
    return tensors


def add_convert_parser(commands: Any) -> None:
    """Add ``convert`` to the command line."""
    convert = commands.add_parser("convert", help="turn foreign checkpoints into safetensors")
    kinds = convert.add_subparsers(dest="kind", metavar="KIND", required=True)
    vqgan = kinds.add_parser("vqgan", help="the official pickled VQGAN checkpoint; nothing in it is run")
    vqgan.add_argument("source", type=Path, help="for instance last.ckpt")
    vqgan.add_argument("target", type=Path, help="for instance pretrained/vqgan_imagenet_f16_1024.safetensors")
    vqgan.add_argument("--decoder", action="store_true", help="keep the decoder, which distillation does not use")
    vqgan.add_argument("--overwrite", action="store_true", help="replace an existing target")
    vqgan.set_defaults(func=_run)


def _run(options: argparse.Namespace) -> int:
    install.everything()
    layout = convert_vqgan(options.source, options.target, decoder=options.decoder, overwrite=options.overwrite)
    levels = len(layout["ddconfig"]["ch_mult"])
    print(f"{options.target}: {levels} levels, {layout['n_embed']} codes of length {layout['embed_dim']}")
    print(f"Option file:\n  path:\n    pretrain_network_vqgan: {options.target}")
    return 0
