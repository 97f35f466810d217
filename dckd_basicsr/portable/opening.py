"""A network from whatever a user has: the folder of a run, a weight file of any make, a file that ships with us."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..archs import (
    VQGAN,
    ArchFacts,
    PretrainedNet,
    WeightSource,
    build,
    detected_name,
    detected_part,
    likeness,
    network_class,
    recognize,
    usual_options,
    vqgan_options_from_state,
)
from ..archs.layouts import from_published
from ..config import load_yaml, resolve_weights
from ..config.networks import network_at
from ..config.problems import block_of
from ..errors import CheckpointError, ConfigError, DCKDError
from ..training.checkpoints import Checkpoints
from ..weight_files import load_weights
from .onnx_network import OnnxNetwork

__all__ = ["Opened", "open_network"]

_LOG = logging.getLogger("basicsr")
_COLOURS_ALONE = ("EDSR", "RCAN")
"""Networks of BasicSR that subtract the mean of three channels, whatever their options say."""


@dataclass(frozen=True)
class Opened:
    """A network, ready to restore images.

    Attributes:
        net: in evaluation mode, frozen, on the CPU, float32.
        facts: its size rules.
        name: of its architecture: ``SPAN``, ``EDSR``.
        options: its block in an option file, with ``type``; None of ONNX files and of those that spandrel detected.
        file: the weights.
        run: the folder of the run that they are of.
        entry: of the file: ``params_ema`` is the moving average.
        iteration: of the run.
        guessed: arguments that no file tells were taken for the usual ones.
    """

    net: nn.Module
    facts: ArchFacts
    name: str
    options: Mapping[str, Any] | None
    file: Path
    run: Path | None = None
    entry: str | None = None
    iteration: int | None = None
    guessed: bool = False

    @property
    def state(self) -> Mapping[str, Tensor]:
        """The weights under the names of the network itself."""
        return (self.net.net if isinstance(self.net, PretrainedNet) else self.net).state_dict()


def open_network(source: str | Path, *, which: str = "last", autoencoders: bool = False) -> Opened:
    """Open a network.

    Args:
        source: the folder of a run; a ``.pth``, ``.safetensors`` or ``.onnx`` file; ``builtin:NAME``. Of a weight file
            the network is, in this order: what the file itself says (safetensors of this package; not where that names
            another file, as those of a ``PretrainedNet`` do, or a network that is not registered), what the table of
            published names says (EDSR, RCAN), what spandrel detects, what its names and shapes look like (EDSR,
            Restormer, ...).
        which: of a run: ``last``, ``best`` (by its first metric on its first validation set, of the checkpoints that
            are kept), or an iteration. Of a file there is one.
        autoencoders: a VQGAN will do, which takes and gives images in [-1, 1] and restores none.

    Raises:
        DCKDError: nothing there, unreadable, or no network that anybody knows.
    """
    path = resolve_weights(str(source))
    opened = _opened(path, which)
    if isinstance(opened.net, VQGAN) and not autoencoders:
        raise ConfigError(
            f"'{path}' is a VQGAN, which reconstructs images and restores none; give the weights of a restoration "
            "network. To look at its reconstructions: basicsr test with model_type VQGANModel, see "
            "docs/method/codebook.md"
        )
    return opened


def _opened(path: Path, which: str) -> Opened:
    if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises on a name longer than names can be)
        return _of_run(path, which)
    if which != "last" and os.path.exists(path):  # noqa: PTH110
        raise ConfigError(
            f"'{path}' is no folder of a run, which has several weights to choose '{which}' of; leave --which out, or "
            "give experiments/NAME"
        )
    if path.suffix == ".onnx":
        net = OnnxNetwork(path)
        return Opened(net.eval(), net.facts, "ONNX", None, path)
    weights = load_weights(path)
    looks = recognize(weights.state)
    if looks is not None and looks.type == "VQGAN":  # its main options alone do not build it
        return _built({"type": "VQGAN", **vqgan_options_from_state(weights.state)}, path, None)
    if weights.config and _names_network(weights.config, path):
        return _built(weights.config, path, None)
    colours = looks is not None and not {"num_in_ch", "num_out_ch"} & looks.options.keys()
    ours = colours and from_published(weights.state) is not None
    if not ours and detected_name(detected_part(weights.state)) is not None:
        try:
            detected = PretrainedNet(str(path)).eval().requires_grad_(False)
        except CheckpointError:
            if looks is None or not colours:
                raise  # nobody else knows it
        else:
            return Opened(detected, detected.facts, detected.architecture, None, path)
    if looks is None:
        raise CheckpointError(
            f"'{path}' holds the weights of no network known here or to spandrel: "
            f"{likeness(weights.state, weights.entry)}; give the folder of its run, where its options are"
        )
    options = {"type": looks.type, **_colours(looks.type), **usual_options(looks), **looks.options}
    return replace(_built(options, path, None), guessed=True)


def _names_network(config: Mapping[str, Any], path: Path) -> bool:
    """Whether what a file carries as ``config`` is the block of a network; other programs write other things there."""
    name = config.get("type")
    if not isinstance(name, str) or _names_file(config):
        return False
    try:
        network_class(name)
    except KeyError:
        _LOG.warning(
            "'%s' names a network '%s' in its header, which is not registered here: the header is passed over, and the "
            "network told by the names and shapes of its weights. If it is one of your own, give its module (--import)",
            path,
            name,
        )
        return False
    return True


def _names_file(options: Any) -> bool:
    """Whether a network would read a file by itself; a weight file has no say in what else is read."""
    if isinstance(options, list):
        return any(map(_names_file, options))
    if not isinstance(options, Mapping):
        return False
    paths = (key for key, value in options.items() if isinstance(value, str) and re.fullmatch(r"(.*_)?path", key))
    return next(paths, None) is not None or any(map(_names_file, options.values()))


def _colours(name: str) -> dict[str, int]:
    """Return the channels that the constructor wants told, of colour images."""
    parameters = inspect.signature(network_class(name)).parameters.values()
    return {p.name: 3 for p in parameters if p.name in ("num_in_ch", "num_out_ch") and p.default is p.empty}


def _of_run(run: Path, which: str) -> Opened:
    told = run / "options.yml"
    if not told.is_file():
        raise CheckpointError(
            f"'{run}' is no folder of a run: it holds no options.yml; give experiments/NAME, or a weight file"
        )
    options = load_yaml(told)
    iteration = _iteration(run, which, options)
    file = run / "models" / f"net_g_{iteration}.pth"
    if not file.is_file():
        raise CheckpointError(f"'{run}' has no weights '{file.name}' in models/; it holds: {_kept(run)}")
    entry = "params_ema" if float(block_of(options, "train").get("ema_decay") or 0) > 0 else "params"
    scale = options.get("scale")
    opened = _built(network_at(options, "network_g"), file, entry, scale if isinstance(scale, int) else None)
    number = int(iteration) if iteration.isdecimal() else None
    return replace(opened, run=run, iteration=number)


def _iteration(run: Path, which: str, options: Mapping[str, Any]) -> str:
    if which.isdecimal():
        return which
    iterations = [i for i in Checkpoints(run).iterations() if (run / "models" / f"net_g_{i}.pth").is_file()]
    if which == "last":
        if not iterations and (run / "models" / "net_g_latest.pth").is_file():
            return "latest"
        if not iterations:
            raise CheckpointError(f"'{run}' has no checkpoint yet; it holds: {_kept(run)}")
        return str(iterations[-1])
    if which != "best":
        raise ConfigError(f"which weights of a run: last, best, or an iteration, got '{which}'")
    try:
        entries = json.loads((run / "validations.json").read_text(encoding="utf-8"))
        first = entries[0]["dataset"]
        metric = next(iter(entries[0]["metrics"]))
        values = {e["iteration"]: e["metrics"][metric] for e in entries if e["dataset"] == first}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"'{run}' has no validations to choose the best by; take the last") from error
    kept = {i: value for i, value in values.items() if i in iterations}
    if not kept:
        raise CheckpointError(f"'{run}' keeps no checkpoint of an iteration that was validated; it holds: {_kept(run)}")
    lower = block_of(options, "val", "metrics", metric).get("better") == "lower"
    return str(max(kept, key=lambda i: (-kept[i] if lower else kept[i], i)))


def _kept(run: Path) -> str:
    return ", ".join(sorted(path.name for path in (run / "models").glob("net_g_*.pth"))) or "none"


def _built(options: Mapping[str, Any], file: Path, entry: str | None, scale: int | None = None) -> Opened:
    name = str(options.get("type")).removesuffix("_basicsr")
    others = [count for key in ("num_in_ch", "num_out_ch") if (count := options.get(key, 3)) != 3]
    if name in _COLOURS_ALONE and others:
        raise CheckpointError(
            f"'{file}' is an {name} of {others[0]} channel{'s' * (others[0] != 1)}, and BasicSR's {name} takes and "
            "gives three, since its mean colour has three values; no network known here runs these weights"
        )
    try:
        built = build(options, weights=WeightSource(file, entry), scale=scale, frozen=True)
    except DCKDError:
        raise
    except Exception as error:  # whatever its constructor raises
        raise CheckpointError(
            f"'{file}': a {options.get('type')} cannot be built with its options "
            f"({(str(error).splitlines() or [type(error).__name__])[0]})"
        ) from error
    name = built.net.architecture if isinstance(built.net, PretrainedNet) else type(built.net).__name__
    return Opened(built.net, built.facts, name, dict(options), file, entry=entry)
