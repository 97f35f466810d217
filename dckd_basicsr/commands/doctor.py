"""``basicsr doctor``: what this machine has, what works, and what to install or fix."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from .. import install
from ..basicsr_wheel import VERSION
from ..user_modules import import_plugins, plugins
from ..version import __version__

__all__ = ["Finding", "diagnose", "run_doctor"]

_PACKAGES = (
    "torch", "torchvision", "basicsr", "numpy", "scipy", "opencv-python", "lmdb", "pydantic", "pyyaml", "safetensors",
    "spandrel", "tqdm", "matplotlib", "jinja2",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``ok`` False is a fault, None a note."""

    subject: str
    text: str
    ok: bool | None = True


def diagnose() -> list[Finding]:
    """Look at versions, devices, registries and shipped files."""
    findings = [_python()]
    findings += [_package(name) for name in _PACKAGES]
    for check in (_devices, _distributed, _plugin, _plugins, _weights, _options, _demo_photos, _tensorboard):
        findings += _guard(check)
    return findings


def run_doctor() -> int:
    """Print the report; 0 if nothing is at fault."""
    findings = diagnose()
    marks = {True: "ok  ", None: "note", False: "FAIL"}
    for finding in findings:
        print(f"{marks[finding.ok]}  {finding.subject:<14} {finding.text}")
    faults = sum(finding.ok is False for finding in findings)
    print("\nNo faults found." if not faults else f"\n{faults} fault(s): see the lines marked FAIL.")
    return 1 if faults else 0


def _guard(check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except Exception as error:  # a report must reach its end whatever is broken
        return [Finding(check.__name__.strip("_"), f"{type(error).__name__}: {error}", ok=False)]


def _python() -> Finding:
    supported = sys.version_info >= (3, 10)
    advice = "" if supported else "; Python 3.10 or newer is needed"
    return Finding("python", f"{platform.python_version()} on {platform.platform()}{advice}", supported)


def _package(name: str) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        if name == "opencv-python":
            return _opencv_variant()
        install_it = "basicsr setup" if name == "basicsr" else f"pip install {name}"
        return Finding(name, f"not installed: {install_it}", ok=False)
    return _basicsr(version) if name == "basicsr" else Finding(name, version)


def _basicsr(version: str) -> Finding:
    """Say which BasicSR it is, and who built its wheel."""
    if version != VERSION:
        return Finding("basicsr", f"{version}; this package is written for {VERSION}: basicsr setup", ok=False)
    made = metadata.distribution("basicsr").read_text("WHEEL") or ""
    generator = next((line.partition(": ")[2] for line in made.splitlines() if line.startswith("Generator: ")), "")
    return Finding("basicsr", f"{version}, built by {generator or '?'}")


def _opencv_variant() -> Finding:
    try:
        import cv2
    except ImportError as error:  # missing, or without a library of the system that it needs
        return Finding("opencv-python", f"cannot be imported ({error}): pip install opencv-python", ok=False)
    return Finding("opencv-python", f"{cv2.__version__} (another build of OpenCV)")


def _devices() -> list[Finding]:
    import torch

    if not torch.cuda.is_available():
        if torch.backends.mps.is_available():
            text = "Apple's (MPS), used by option files with `device: mps`, not yet tried on a Mac; else the CPU"
            return [Finding("GPU", text, ok=None)]
        built = "built for CUDA, but no usable GPU or driver" if torch.version.cuda else "a CPU build"
        return [Finding("GPU", f"none: torch is {built}; training runs on the CPU", ok=None)]
    devices = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        devices.append(Finding(f"GPU {index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, {bf16}"))
    return devices


def _distributed() -> list[Finding]:
    import torch.distributed as dist

    backends = [
        name
        for name, available in (("gloo", dist.is_gloo_available), ("nccl", dist.is_nccl_available))
        if dist.is_available() and available()
    ]
    return [
        Finding("processes", f"backends: {', '.join(backends)}" if backends else "one process only", bool(backends))
    ]


def _plugin() -> list[Finding]:
    install.everything()
    from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

    expected = {
        "model": (MODEL_REGISTRY, ("DCKDModel", "RestorationModel")),
        "loss": (LOSS_REGISTRY, ("ContrastiveLoss", "DistributionLoss")),
        "network": (ARCH_REGISTRY, ("VQGAN", "PretrainedNet", "Bicubic", "EDSR", "RCAN", "SwinIR")),
    }
    missing = [f"{kind} {n}" for kind, (registry, names) in expected.items() for n in names if n not in registry]
    if missing:
        return [Finding("dckd_basicsr", f"not registered: {', '.join(missing)}", ok=False)]
    return [Finding("dckd_basicsr", f"{__version__}, registered with BasicSR")]


def _plugins() -> list[Finding]:
    import_plugins()
    return [Finding("plugins", f"{p.value} of {p.dist.name if p.dist else '?'}") for p in plugins()]


def _weights() -> list[Finding]:
    from ..config.resources import builtin_weights
    from ..weight_files import load_weights

    names = []
    for name, path in builtin_weights().items():
        load_weights(path)
        names.append(f"builtin:{name}")
    return [Finding("weights", ", ".join(names) or "none shipped", bool(names))]


def _options() -> list[Finding]:
    from ..config.resources import find_options

    return [Finding("options", str(find_options("demo_x4_edsr.yml").parent))]


def _demo_photos() -> list[Finding]:
    try:
        return [Finding("scikit-image", f"{metadata.version('scikit-image')} (photos of `basicsr demo`)")]
    except metadata.PackageNotFoundError:
        return [Finding("scikit-image", "not installed; `basicsr demo` needs it: pip install scikit-image", ok=None)]


def _tensorboard() -> list[Finding]:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: F401
    except ImportError:
        return [
            Finding("tensorboard", "not installed; needed by logger.use_tb_logger: pip install tensorboard", ok=None)
        ]
    return [Finding("tensorboard", "available")]
