"""Writing a network as ONNX: any batch, height and width."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..archs.facts import ArchFacts
from ..archs.networks.spandrel_arch import merged
from ..archs.swin.blocks import for_any_size
from ..errors import CheckpointError, ConfigError, message_of
from ..version import __version__
from .onnx_network import INPUT, OUTPUT, facts_metadata, needs_extra

__all__ = ["OPSETS", "quiet", "require_onnx", "write_onnx"]

OPSETS = range(13, 24)
_OLD_EXPORTER = 20
"""Up to this opset the exporter that records TorchScript goes."""
_NEW_EXPORTER = 18
"""From this opset on the exporter goes that PyTorch has by default; below it would have to convert its own result."""


def require_onnx(opset: int) -> None:
    """Raise DCKDError where a package is missing, ConfigError where there is no such opset."""
    for package in ("onnx", "onnxruntime", "onnxscript", "onnxslim"):
        try:
            __import__(package)
        except ImportError as error:
            raise needs_extra(package, "export") from error
    if opset not in OPSETS:
        raise ConfigError(f"ONNX opset {opset} cannot be written; give {OPSETS[0]} to {OPSETS[-1]} (--opset)")


class _Plain(nn.Module):
    """A network with one named argument: exporters ask for the names."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.net(image)
        return found


def write_onnx(
    net: nn.Module,
    facts: ArchFacts,
    channels: int,
    path: Path,
    disagreement: Callable[[Path], str],
    *,
    half: bool,
    opset: int,
    metadata: Mapping[str, str],
) -> str:
    """Write ``path``; of the ways to make it the first whose result agrees with the network.

    PyTorch's exporter goes first, its older one after it (opset 20 at most), each simplified by onnxslim and then not.

    Args:
        net: in evaluation mode.
        facts: its size rules; padding stays outside, the file's metadata has them.
        channels: of its input.
        path: the file.
        disagreement: of a written file: why it is not the network, or an empty text.
        half: float16 inside, and of input and output.
        opset: of ONNX.
        metadata: further entries, texts.

    Returns:
        Which way it was.

    Raises:
        CheckpointError: none agrees; says why not.
    """
    copied = merged(net)
    for_any_size(copied)
    plain = _Plain(copied).eval()
    reasons = []
    for way, make in (("torch.export", _exported), ("TorchScript", _recorded)):
        if opset < _NEW_EXPORTER if make is _exported else opset > _OLD_EXPORTER:
            continue
        try:
            with quiet():
                model = make(plain, torch.rand(2, channels, *facts.padded(24, 40)), opset, path)
        except Exception as error:  # whatever an exporter stumbles over
            reasons.append(f"{way}: {_first_line(error)}")
            continue
        for slim in (True, False):
            try:
                _finish(deepcopy(model), facts, channels, path, slim, half, metadata)
                reason = disagreement(path)
            except CheckpointError as error:  # a fixed size, or a file that onnxruntime does not load
                reason = message_of(error)
            except Exception as error:  # of onnxslim, the conversion to float16, or onnxruntime
                reason = _first_line(error)
            if not reason:
                return f"{way}{', simplified by onnxslim' if slim else ''}"
            reasons.append(f"{way}{', onnxslim' if slim else ''}: {reason}")
    raise CheckpointError(f"the network cannot be written as ONNX with opset {opset}: {'; '.join(reasons)}")


def _exported(net: nn.Module, x: Tensor, opset: int, path: Path) -> Any:
    any_size = torch.export.Dim.AUTO
    program = torch.onnx.export(
        net,
        (x,),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamo=True,
        opset_version=opset,
        dynamic_shapes=({0: any_size, 2: any_size, 3: any_size},),
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _recorded(net: nn.Module, x: Tensor, opset: int, path: Path) -> Any:
    import onnx

    axes = {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(
        net,
        (x,),
        str(path),
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamo=False,
        opset_version=opset,
        dynamic_axes={INPUT: axes, OUTPUT: axes},
    )
    return onnx.load(path)


def _finish(
    model: Any, facts: ArchFacts, channels: int, path: Path, slim: bool, half: bool, metadata: Mapping[str, str]
) -> None:
    import onnx

    with quiet():
        if slim:
            import onnxslim

            model = onnxslim.slim(model)
        if half:
            from onnxruntime.transformers.float16 import convert_float_to_float16

            model = convert_float_to_float16(model)
    (given,), (made,) = model.graph.input, model.graph.output
    if any(given.type.tensor_type.shape.dim[i].HasField("dim_value") for i in (0, 2, 3)):
        raise CheckpointError("batch, height or width became a fixed number")
    graph = model.graph  # exporters note which lines of which files of this machine it comes from
    for each in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        each.doc_string = ""
        del each.metadata_props[:]
    del graph.value_info[:]  # intermediate shapes are found again by whoever loads the file
    out = ("height", "width") if facts.scale == 1 else (f"{facts.scale}*height", f"{facts.scale}*width")
    for value, names in ((given, ("height", "width")), (made, out)):
        dims = value.type.tensor_type.shape.dim
        for i, name in ((0, "batch"), (2, names[0]), (3, names[1])):
            dims[i].dim_param = name
    model.producer_name, model.producer_version = "dckd_basicsr", __version__
    told = {**facts_metadata(facts), "producer": f"dckd_basicsr {__version__}", **metadata}
    onnx.helper.set_model_props(model, told)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to themselves what exporters tell their makers."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
