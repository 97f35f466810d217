"""What must hold in a file that trains a VQGAN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...kinds import trains_codebook
from ..problems import block_of, show, type_of

__all__ = ["codebook_problems", "files_of_codebook"]

_WHOLE = ("compile", "cuda_graph", "recompute")


def files_of_codebook(opt: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the files that the losses of a VQGAN name: where the option stands, and its value."""
    value = block_of(opt, "train", "perceptual_opt").get("weights")
    if trains_codebook(opt.get("model_type")) and isinstance(value, str):
        yield "train.perceptual_opt.weights", value


def codebook_problems(opt: Mapping[str, Any], is_train: bool) -> Iterator[str]:
    """Yield contradictions in a file whose model trains a VQGAN; nothing of other files."""
    if not trains_codebook(opt.get("model_type")):
        return
    model, network = opt["model_type"], block_of(opt, "network_g")
    if network and network.get("type", "VQGAN") != "VQGAN":  # a missing type is reported elsewhere
        yield f"network_g must have type: VQGAN for model_type {model}, got {show(network.get('type'))}"
    if network.get("decoder") is False:
        yield f"network_g.decoder is false, but model_type {model} reconstructs images; remove it"
    if block_of(network, "ddconfig").get("double_z"):
        yield "network_g.ddconfig.double_z is for autoencoders without a codebook; remove it"
    if is_train:
        yield from _training(opt)


def _training(opt: Mapping[str, Any]) -> Iterator[str]:
    train, model = block_of(opt, "train"), opt["model_type"]
    image = [key for key in ("pixel_opt", "perceptual_opt") if train.get(key)]
    if "train" in opt and not image:
        yield (
            "train compares the reconstruction with nothing; give pixel_opt, for instance {type: L1Loss}, or "
            "perceptual_opt"
        )
    for key in image:
        if isinstance(block_of(train, key).get("loss_weight"), Mapping):
            yield f"train.{key}.loss_weight must be a number for model_type {model}: its weights have no schedules"
    with_discriminator = opt.get("network_d") is not None
    for key in ("optim_d", "adversarial"):
        if train.get(key) is not None and not with_discriminator:
            yield f"train.{key} needs a network_d; add one, for instance network_d: {{type: PatchDiscriminator}}"
    if with_discriminator and train.get("optim_d") is None:
        yield f"missing key 'optim_d' in train, the optimizer of network_d ({type_of(block_of(opt, 'network_d'))})"
    start, total = block_of(train, "adversarial").get("from"), train.get("total_iter")
    if with_discriminator and isinstance(start, int) and isinstance(total, int | float) and start > total:
        yield (
            f"train.adversarial.from is {start}, beyond total_iter {total:.15g}, so network_d never joins in; lower it "
            "or remove network_d"
        )
    runtime = block_of(train, "runtime")
    for key in [key for key in _WHOLE if runtime.get(key) is True]:
        yield f"train.runtime.{key} would be ignored by model_type {model}; remove it"
