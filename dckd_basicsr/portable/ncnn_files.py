"""Writing a network for ncnn, and running what was written."""

from __future__ import annotations

import re
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..archs.facts import ArchFacts
from ..archs.networks.spandrel_arch import merged
from ..errors import CheckpointError
from .onnx_files import quiet
from .onnx_network import needs_extra

__all__ = ["NcnnNetwork", "ncnn_refusal", "require_ncnn", "write_ncnn"]

IN, OUT = "data", "output"
"""Names of the blobs that Real-ESRGAN's and Upscayl's programs want."""
_TRANSFORMERS = (
    *("ATD", "CRAFT", "DAT", "DRCT", "FFTformer", "GRL", "HAT", "IPT", "KBNet", "OmniSR", "RGT", "Restormer"),
    *("SCUNet", "SRFormer", "SeemoRe", "Swin2SR", "SwinIR", "Uformer"),
)
_TIMEOUT = 600


def require_ncnn() -> None:
    """Raise DCKDError where a package is missing."""
    for package in ("ncnn", "pnnx"):
        try:
            __import__(package)
        except ImportError as error:
            raise needs_extra(package, "ncnn") from error


def ncnn_refusal(name: str) -> str:
    """Return why a network of this name has no form for ncnn, or an empty text where it is worth a try."""
    if name == "NAFNet":
        return "ncnn has no layers for its padding and normalization; export onnx"
    if name not in _TRANSFORMERS:
        return ""
    return (
        f"{name} is a transformer or alike, which ncnn's converter does not take; for ncnn distil it into a plain "
        "convolutional student (compact-s, span-s, edsr-s, ...), or export onnx"
    )


def write_ncnn(net: nn.Module, name: str, facts: ArchFacts, channels: int, stem: Path, *, half: bool) -> list[Path]:
    """Write ``stem.param`` and ``stem.bin`` through pnnx; blobs are named ``data`` and ``output``.

    Args:
        net: in evaluation mode.
        name: of its architecture, for messages.
        facts: its size rules.
        channels: of its input.
        stem: path of the files without suffix.
        half: weights in 16 bits.

    Raises:
        CheckpointError: it does not convert; says where.
    """
    import pnnx

    program = next(path for path in Path(pnnx.__file__).parent.iterdir() if path.name in ("pnnx", "pnnx.exe"))
    shapes = [(1, channels, *facts.padded(*size)) for size in ((32, 48), (40, 64))]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            with quiet():
                recorded = torch.jit.trace(_plain(merged(net), channels), torch.rand(shapes[0]), check_trace=False)
                recorded.save(str(folder / "net.pt"))
            texts = [str(list(shape)).replace(" ", "") + "f32" for shape in shapes]
            done = subprocess.run(
                [program, "net.pt", f"inputshape={texts[0]}", f"inputshape2={texts[1]}", f"fp16={int(half)}"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=_TIMEOUT,
                check=False,
            )
            param = (folder / "net.ncnn.param").read_text(encoding="utf-8")
            weights = (folder / "net.ncnn.bin").read_bytes()
        except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise CheckpointError(f"pnnx does not convert a {name} for ncnn ({reason})") from error
    said = done.stdout + done.stderr
    left = sorted(set(re.findall(r"^(?:pnnx\.\w+|F\.\w+|aten::\w+|prim::\w+|torch\.\w+|Tensor\.\w+)", param, re.M)))
    if left or done.returncode:
        what = ", ".join(left) or (said.strip().splitlines() or ["no reason given"])[-1]
        raise CheckpointError(f"ncnn has no layer for parts of a {name}: {what}")
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("param", "bin")]
    paths[0].write_text(_renamed(param), encoding="utf-8")
    paths[1].write_bytes(weights)
    return paths


def _plain(net: nn.Module, channels: int) -> nn.Module:
    """Put a convolution with ones where PLKSR repeats the channels of its input, for which ncnn has no layer."""
    for module in list(net.modules()):
        repeat = getattr(module, "repeat_op", None)
        if isinstance(repeat, partial) and repeat.func is torch.repeat_interleave:
            conv = nn.Conv2d(channels, channels * repeat.keywords["repeats"], 1, bias=False)
            conv.weight.data = torch.eye(channels).repeat_interleave(repeat.keywords["repeats"], 0)[..., None, None]
            module.repeat_op = conv
    return net


def _renamed(param: str) -> str:
    """Return the text of a ``.param`` file with pnnx's names of input and output replaced."""
    for old, new in (("in0", IN), ("out0", OUT)):
        param = re.sub(rf"(?<=\s){old}(?=\s)", new, param)
    return param


class NcnnNetwork(nn.Module):
    """A pair of ncnn's files, run on the CPU in float32.

    Args:
        param: the ``.param`` file.
        weights: the ``.bin`` file.

    Raises:
        CheckpointError: ncnn does not load it.
    """

    def __init__(self, param: Path, weights: Path) -> None:
        super().__init__()
        import ncnn

        self.loaded = ncnn.Net()
        options = self.loaded.opt
        options.use_vulkan_compute = False
        for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
            setattr(options, name, False)
        options.num_threads = torch.get_num_threads()
        if self.loaded.load_param(str(param)) or self.loaded.load_model(str(weights)):
            raise CheckpointError(f"ncnn does not load '{param}' with '{weights}'")

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W), one after the other."""
        import ncnn

        found = []
        for image in x:
            with self.loaded.create_extractor() as extractor:
                extractor.input(IN, ncnn.Mat(np.ascontiguousarray(image.numpy(), np.float32)).clone())
                failed, out = extractor.extract(OUT)
                if failed:
                    raise CheckpointError("ncnn failed while it computed an image")
                found.append(torch.from_numpy(np.array(out).copy()))
        return torch.stack(found)
