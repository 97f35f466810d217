"""Weights under the names that other programs know, and EDSR for programs that use spandrel."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..archs import detected_name, network_class, recognize, usual_options
from ..archs.layouts import layout_of, to_published
from ..archs.networks.nafnet_blocks import PixelMean
from .opening import Opened

__all__ = ["Published", "published", "register_with_spandrel", "without_tlc"]


@dataclass(frozen=True)
class Published:
    """A network's weights as they are written.

    Attributes:
        state: contiguous tensors that share no memory.
        config: the network's block for :func:`.open_network`; None where the names tell it.
        spandrel: what spandrel takes it for; None if it knows no such network.
        notes: sentences for the card.
    """

    state: dict[str, Tensor]
    config: Mapping[str, Any] | None
    spandrel: str | None
    notes: tuple[str, ...] = ()


def published(opened: Opened, *, half: bool = False) -> Published:
    """Return a network's weights under the names that other programs know.

    Args:
        opened: the network.
        half: floating values in 16 bits.
    """
    state, notes = dict(opened.state), []
    options = opened.options
    if options is not None and options.get("type") == "PretrainedNet":
        options = None
    if options is not None and options.get("type") == "RCAN":
        exact = options.get("res_scale", 1) == 1 and options.get("img_range", 255.0) == 255
        if exact and opened.net.mean.numel() == 3:  # type: ignore[operator]
            state = to_published(layout_of("RCAN"), state, rgb_mean=opened.net.mean)  # type: ignore[arg-type]
            options = None
        else:
            notes.append(
                "RCAN with another res_scale than 1, img_range than 255 or channels than RGB has no form under its "
                "official names: the weights have BasicSR's, and programs with spandrel do not load them."
            )
    name = detected_name(state)
    if name is not None and not _loads(state):
        notes.append(
            f"spandrel, and with it chaiNNer and ComfyUI, takes these weights for those of a {name} with other "
            "arguments, and fails on them: those programs want an ONNX or ncnn file."
        )
        name = None
    elif name is None:
        notes.append(
            f"chaiNNer, ComfyUI and other programs with spandrel do not know {opened.name}: they refuse this weight "
            "file, and want an ONNX or ncnn file."
            + (_of_registering(options, state) if options is not None and options.get("type") == "EDSR" else "")
        )
    kept = {key: (v.half() if half and v.is_floating_point() else v).clone().contiguous() for key, v in state.items()}
    return Published(kept, options, name, tuple(notes))


def _of_registering(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """Say whether :func:`register_with_spandrel` helps: it goes by the weights, and the header is not read there."""
    taken = _edsr_options(state)
    have, assumed = ({**_defaults("EDSR"), **each} for each in (options, taken))
    wrong = [key for key in ("res_scale", "img_range", "rgb_mean") if not _equal(have[key], assumed[key])]
    if not wrong:
        return " A Python program can add it: dckd_basicsr.portable.register_with_spandrel()."
    return (
        " dckd_basicsr.portable.register_with_spandrel() would have a Python program load it wrongly: no weight tells "
        + " and ".join(f"{key} {have[key]}, which is taken for {assumed[key]}" for key in wrong)
        + "."
    )


def _edsr_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the options that an EDSR is taken to have where its weights are all there is."""
    looks = recognize(state)
    assert looks is not None
    return {"num_in_ch": 3, "num_out_ch": 3, **usual_options(looks), **looks.options}


def _defaults(name: str) -> dict[str, Any]:
    return {key: each.default for key, each in inspect.signature(network_class(name)).parameters.items()}


def _equal(a: Any, b: Any) -> bool:
    return list(a) == list(b) if isinstance(a, list | tuple) and isinstance(b, list | tuple) else bool(a == b)


def _loads(state: Mapping[str, Tensor]) -> bool:
    """Whether spandrel builds the network that it takes the weights for: some arguments it does not look for."""
    import spandrel

    try:
        spandrel.MAIN_REGISTRY.load(dict(state))
    except Exception:  # whatever its constructors raise
        return False
    return True


def without_tlc(net: nn.Module) -> nn.Module:
    """Return ``net``, or a copy of a NAFNet that takes its means over whole images, as other programs do."""
    if not any(isinstance(module, PixelMean) and module.window for module in net.modules()):
        return net
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, PixelMean):
            module.window = None
    return net


def register_with_spandrel() -> None:
    """Let spandrel load EDSR in this process: ``spandrel.ModelLoader().load_from_file("edsr.safetensors")`` works then.

    What no file tells (res_scale, img_range, mean colour) has the values of the published EDSR of its size: res_scale
    0.1 at 256 channels and 32 blocks, else 1. One that was trained with others is loaded wrongly, without a word: its
    card says so. Calling it again changes nothing; a later spandrel with an EDSR of its own keeps it.
    """
    import spandrel
    from spandrel.util import KeyCondition

    if "EDSR" in spandrel.MAIN_REGISTRY:
        return
    keys = ("conv_first", "body.0.conv1", "body.0.conv2", "conv_after_body", "upsample.0", "conv_last")

    class EDSRArch(spandrel.Architecture):
        of_dckd_basicsr = True

        def __init__(self) -> None:
            super().__init__(id="EDSR", detect=KeyCondition.has_all(*(f"{key}.weight" for key in keys)))

        def load(self, state_dict: dict[str, Tensor]) -> Any:
            from basicsr.archs.edsr_arch import EDSR

            options = _edsr_options(state_dict)
            return spandrel.ImageModelDescriptor(
                EDSR(**options),
                state_dict,
                architecture=self,
                purpose="SR",
                tags=[f"{options['num_feat']}nf", f"{options['num_block']}nb"],
                supports_half=True,
                supports_bfloat16=True,
                scale=options["upscale"],
                input_channels=options["num_in_ch"],
                output_channels=options["num_out_ch"],
            )

    spandrel.MAIN_REGISTRY.add(spandrel.ArchSupport.from_architecture(EDSRArch()))
