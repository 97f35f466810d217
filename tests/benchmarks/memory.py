"""What a training step holds in memory at once, counted on tensors that have shapes and no values.

``python -m tests.benchmarks.memory dckd_x4_swinir.yml [FILE ...] [--batch N] [--variants exact bf16 ...]``

Counted are the live bytes of all tensors that a step makes, forward and backward, eager; not counted are weights,
optimizer, the libraries' workspaces and what an allocator keeps for later. bf16 is mixed precision in the student and
rounded frozen networks, as ``train.runtime.precision`` has it.
"""

from __future__ import annotations

import argparse
import weakref
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dckd_basicsr.config import find_options
from dckd_basicsr.config.resolve import resolve_options
from dckd_basicsr.distill import Distiller
from dckd_basicsr.report.valueless_step import valueless_step

__all__ = ["VARIANTS", "LiveBytes", "peak_of"]

VARIANTS: dict[str, dict[str, Any]] = {
    "exact": {},
    "exact, encoder.fused_norms": {"fused_norms": True},
    "exact, encoder.chunk 16": {"chunk": 16},
    "exact, both": {"chunk": 16, "fused_norms": True},
    "bf16": {"bf16": True},
    "bf16, both": {"bf16": True, "chunk": 16, "fused_norms": True},
}


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations inside make, until nothing holds them any more.

    Attributes:
        now: bytes that live.
        most: bytes that lived at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        before = {_key(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        for each in tree_leaves(made):
            if isinstance(each, Tensor) and _key(each) not in before | self._known:
                self._count(each)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage, key, size = tensor.untyped_storage(), _key(tensor), tensor.untyped_storage().nbytes()
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def peak_of(options: Mapping[str, Any], *, batch: int | None = None, bf16: bool = False, **encoder: Any) -> int:
    """Return the most bytes that a step of these options holds at once.

    Args:
        options: of a training.
        batch: samples; those of the run by default.
        bf16: mixed precision in the student, rounded frozen networks.
        encoder: overrides in ``train.encoder``.
    """
    options = deepcopy(dict(options))
    options["train"]["encoder"] = {**(options["train"].get("encoder") or {}), **encoder}
    with valueless_step(options, batch=batch) as step:
        frozen = step.distiller.sources.encoder
        if frozen is not None and encoder.get("chunk"):  # which a step without values leaves out
            frozen.settings = replace(frozen.settings, chunk=encoder["chunk"])
        if bf16:
            _in_bf16(step.distiller)
        live = LiveBytes()
        with live:
            step()
    return live.most


def _in_bf16(distiller: Distiller) -> None:
    """Arrange the step as ``precision: {student: bf16, frozen: bf16}`` does."""
    sources = distiller.sources
    distiller.student_region = sources.frozen_region = partial(torch.autocast, "cpu", dtype=torch.bfloat16)
    if sources.encoder is None:
        return
    vqgan, sources.encoder.dtype = sources.encoder.vqgan, torch.bfloat16
    for module in (*vqgan.encoder.modules(), vqgan.quant_conv):
        for name, parameter in module._parameters.items():
            if parameter is not None:  # ``to`` cannot exchange parameters without values
                module._parameters[name] = nn.Parameter(parameter.to(torch.bfloat16), requires_grad=False)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    asked = parser.parse_args(arguments)
    print("| option file | variant | GiB at once | of the first |\n|---|---|---:|---:|", flush=True)
    for file in asked.files:
        options, first = resolve_options(find_options(file), (), [])[0], 0
        for name in asked.variants:
            most = peak_of(options, batch=asked.batch, **VARIANTS[name])
            first = first or most
            print(f"| `{file}` | {name} | {most / 2**30:.1f} | {most / first:.2f} |", flush=True)


if __name__ == "__main__":
    main()
