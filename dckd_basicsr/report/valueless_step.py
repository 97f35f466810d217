"""A training step on tensors that have shapes and no values: all of it runs, and nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..archs import VQGAN, encoder_block, facts_of, outline
from ..archs.frozen import all_modules
from ..config.networks import inner_teachers
from ..config.resources import is_there, resolve_weights
from ..distill import (
    OF_ENCODER,
    Distiller,
    Drawn,
    EncoderSettings,
    FrozenEncoder,
    Generators,
    HistoryModel,
    HistorySettings,
    Need,
    NegativesSettings,
    Sources,
    build_terms,
    needed_teachers,
    settings_from,
)
from ..weight_files import load_weights

__all__ = ["ValuelessStep", "first_patch", "valueless_step", "without_files"]

_ALL = 2**40
"""Images that pass a network at once: no batch without values is too large, and pieces take as long as batches."""


class ValuelessStep:
    """A step of one batch, forward and backward.

    Attributes:
        distiller: student, terms and frozen networks.
        lq: (B, C, h, w).
        gt: (B, C, scale * h, scale * w).
    """

    def __init__(self, distiller: Distiller, lq: Tensor, gt: Tensor) -> None:
        self.distiller, self.lq, self.gt = distiller, lq, gt

    def __call__(self) -> None:
        self.distiller(self.lq, self.gt, *self._drawn())["l_total"].backward()

    def _drawn(self) -> tuple[Tensor, ...]:
        """Give the degraded inputs: how they are drawn depends on values, and hardly costs multiply-adds."""
        needs, sources, (batch, *image) = self.distiller.needs, self.distiller.sources, self.lq.shape
        if Need.TAPS not in needs:
            return ()
        switches = torch.ones(4, batch, dtype=torch.bool) if Need.CONSISTENCY in needs else None
        drawn = Drawn(torch.empty(sources.negatives.num * batch, *image), switches)
        return tuple(each for each in drawn if each is not None)


def first_patch(opt: Mapping[str, Any]) -> tuple[int, int]:
    """Return batch and side of GT patches in px at the start of a run, in one process and one backward pass.

    Raises:
        KeyError: the data set sizes its patches in a way of its own.
    """
    data = opt["datasets"]["train"]
    if not data.get("progressive"):
        return int(data["batch_size_per_gpu"]), int(data["gt_size"])
    _, side, total = data["progressive"][0]  # of all backward passes of an iteration
    return max(1, int(total) // int(opt["train"].get("accumulate") or 1)), int(side)


@contextmanager
def valueless_step(
    opt: Mapping[str, Any], batch: int | None = None, gt_size: int | None = None
) -> Iterator[ValuelessStep]:
    """Build the first step of a run without reading weights, and let it run inside the block.

    Args:
        opt: a training's options; defaults need not be filled in.
        batch: samples; those of the run by default.
        gt_size: side of GT patches in px; that of the run's first by default.

    Yields:
        The step. Of the encoder's weight file, where it is there, the layout is read; else it has that of the
        ImageNet VQGAN. A ``PretrainedNet`` is of the architecture that its file tells, which has to be there.

    Raises:
        Exception: whatever a network or term does that needs values.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode  # takes a second to import

    own_batch, own_side = first_patch(opt)
    batch, gt_size = batch or own_batch, gt_size or own_side
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    scale, block, train = int(opt["scale"]), without_files(opt["network_g"]), opt["train"]
    terms = build_terms(train)
    needs = frozenset[Any]().union(*(each.term.needs for each in terms))
    student = outline(block, scale=scale).net
    channels = facts_of(student, block, scale).input_channels or 3
    teachers = {
        name: outline(without_files(each), scale=scale).net for name, each in needed_teachers(opt, needs).items()
    }
    encoder = _encoder(opt) if needs & OF_ENCODER else None
    for each in terms:
        each.term.to = partial(_stay, each.term)  # type: ignore[assignment, method-assign]
        for key in type(each.term).files:  # a VGG's weights
            setattr(each.term, key, None)
    with mode, _Copying():
        for net in (student, *teachers.values(), encoder):
            _take_values(net)
        history = settings_from(HistorySettings, train.get("history"), "train.history")
        sources = Sources(
            Generators(0),
            teachers,
            HistoryModel(student, history) if Need.TAPS in needs else None,
            encoder,
            replace(settings_from(NegativesSettings, train.get("negatives"), "train.negatives"), chunk=_ALL),
            widths=dict.fromkeys(teachers, 1 / _ALL),
        )
        side = gt_size // scale
        example = torch.zeros(1, channels, side, side)
        distiller = Distiller(student, terms, sources, total_iter=int(train["total_iter"]), example=example)
        _take_values(distiller.terms)
        yield ValuelessStep(
            distiller, torch.empty(batch, channels, side, side), torch.empty(batch, channels, gt_size, gt_size)
        )


def without_files(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return a network's block of which no weights are read, but those that tell an architecture."""
    found = deepcopy(dict(block))
    for _, inner in inner_teachers("", found):
        if inner.get("type") != "PretrainedNet":
            inner["path"] = None
    return found


def _encoder(opt: Mapping[str, Any]) -> FrozenEncoder:
    settings = settings_from(EncoderSettings, opt["train"].get("encoder"), "train.encoder")
    block = dict(opt.get("network_vqgan") or {"type": "VQGAN"})
    file = (opt.get("path") or {}).get("pretrain_network_vqgan")
    path = resolve_weights(file) if isinstance(file, str) else None
    state = _layout(path) if path is not None and is_there(path) else None
    vqgan = outline(encoder_block(block), state=state).net
    assert isinstance(vqgan, VQGAN)
    return FrozenEncoder(vqgan, replace(settings, chunk=_ALL))


def _layout(path: Path) -> Mapping[str, Tensor]:
    """Return names and shapes of a file's weights; of a safetensors file its head is read and nothing else."""
    if path.suffix != ".safetensors":
        return load_weights(path).state
    with safe_open(path, framework="pt") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118 (not a mapping)
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


class _Copying(TorchFunctionMode):
    """Lets tensors without values be copied as parts of a network, which history models start as."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        if id(tensor) not in memo:
            memo[id(tensor)] = _without_values(tensor)
        return memo[id(tensor)]


def _stay(net: nn.Module, *args: Any) -> nn.Module:
    """Stand in for ``to``, which cannot exchange parameters without values; there is one device."""
    return net


def _without_values(tensor: Tensor) -> Tensor:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _take_values(net: nn.Module | None) -> None:
    """Put tensors without values, on the CPU by name, in the place of parameters and buffers."""
    for module in all_modules(net) if net is not None else ():
        for name, p in module._parameters.items():
            if p is not None:
                module._parameters[name] = _without_values(p)  # type: ignore[assignment]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = _without_values(buffer)
