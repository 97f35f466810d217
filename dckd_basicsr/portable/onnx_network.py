"""A network that onnxruntime runs, called as any other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..archs.facts import ArchFacts
from ..errors import CheckpointError, DCKDError
from ..weight_files import check_file

__all__ = ["INPUT", "OUTPUT", "OnnxNetwork", "facts_from_metadata", "facts_metadata", "needs_extra"]

INPUT, OUTPUT = "input", "output"
"""Names of the tensors in files of this package."""


def needs_extra(package: str, extra: str) -> DCKDError:
    """Return the error for a package that is not installed, with the line that installs it."""
    return DCKDError(f"this needs the package {package}: pip install 'dckd_basicsr[{extra}]', or pip install {package}")


def facts_metadata(facts: ArchFacts) -> dict[str, str]:
    """Return what an ONNX file says of its network, as text: scale, size rules, range of values."""
    return {
        "scale": str(facts.scale),
        "multiple_of": str(facts.multiple_of),
        "minimum": str(facts.minimum),
        "square": str(int(facts.square)),
        "range": "0..1",
    }


def facts_from_metadata(metadata: Mapping[str, str]) -> ArchFacts | None:
    """Return the facts that :func:`facts_metadata` wrote; None where there is no usable scale."""
    try:
        return ArchFacts(
            scale=int(metadata["scale"]),
            multiple_of=int(metadata.get("multiple_of", 1)),
            minimum=int(metadata.get("minimum", 1)),
            square=bool(int(metadata.get("square", 0))),
        )
    except (KeyError, ValueError):
        return None


class OnnxNetwork(nn.Module):
    """An image-to-image network in an ONNX file, on the CPU.

    Args:
        path: the file: one input (B, C, H, W), float32 or float16, in [0, 1], and one output.

    Attributes:
        facts: scale and size rules, from the file's metadata; without any the scale is found by running it on a
            small image.

    Raises:
        CheckpointError: no readable ONNX file, or not from one image to one.
        DCKDError: onnxruntime is not installed.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            raise needs_extra("onnxruntime", "export") from error
        path = Path(path)
        check_file(path, "ONNX file")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # warnings of its optimizer are for its makers
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        try:
            self.session = onnxruntime.InferenceSession(os.fspath(path), options, ["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common class
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckpointError(f"'{path}' is no ONNX file that onnxruntime runs ({reason})") from error
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
            raise CheckpointError(
                f"'{path}' has {len(inputs)} inputs and {len(outputs)} outputs; one image (B, C, H, W) in and one out "
                "were expected"
            )
        self.float16 = inputs[0].type == "tensor(float16)"
        self.names = inputs[0].name, outputs[0].name
        channels: Any = inputs[0].shape[1]
        known = facts_from_metadata(self.session.get_modelmeta().custom_metadata_map)
        self.facts = known or self._tried(channels if isinstance(channels, int) else 3, path)

    def forward(self, x: Tensor) -> Tensor:
        values = x.detach().cpu().to(torch.float16 if self.float16 else torch.float32).contiguous().numpy()
        (found,) = self.session.run([self.names[1]], {self.names[0]: values})
        return torch.from_numpy(found).to(x)

    def _tried(self, channels: int, path: Path) -> ArchFacts:
        side = 64
        try:
            out = self(torch.zeros(1, channels, side, side))
        except Exception as error:  # its errors have no common class
            raise CheckpointError(
                f"'{path}' tells no scale, and fails on an image of {side}x{side} px "
                f"({(str(error).splitlines() or [''])[0]})"
            ) from error
        return ArchFacts(scale=max(1, out.shape[-1] // side), multiple_of=8, minimum=16)
