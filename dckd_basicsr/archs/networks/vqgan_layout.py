"""The VQGAN layout: the official ``ddconfig``, and reading it off a state dict."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from torch import Tensor

from ...errors import CheckpointError, ConfigError, near_miss

__all__ = ["DDConfig", "vqgan_options_from_state"]


@dataclass(frozen=True)
class DDConfig:
    """Encoder and decoder layout under the official names; the defaults are the f16 ImageNet model's."""

    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (16,)
    resolution: int = 256
    z_channels: int = 256
    in_channels: int = 3
    out_ch: int = 3
    double_z: bool = False
    dropout: float = 0.0

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> DDConfig:
        """Build from an option block; unknown names raise ConfigError."""
        names = [field.name for field in fields(cls)]
        for name in options:
            if name not in names:
                raise ConfigError(f"unknown key '{name}' in ddconfig of VQGAN{near_miss(name, names)}")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in options.items()}
        config = cls(**values)
        if any(width % 32 for width in config.widths) or config.ch % 32:
            raise ConfigError(f"VQGAN widths must be multiples of 32 (GroupNorm has 32 groups), got ch={config.ch}")
        return config

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels per level, finest first."""
        return tuple(self.ch * m for m in self.ch_mult)

    def has_attention(self, level: int) -> bool:
        """Whether the blocks of this level are followed by attention."""
        return self.resolution // 2**level in self.attn_resolutions


def vqgan_options_from_state(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the constructor arguments of ``VQGAN`` off a state dict in the official layout.

    Everything but the dropout (inactive in a frozen encoder) shows in names and shapes.

    Raises:
        CheckpointError: the state dict is not a VQGAN's.
    """
    try:
        ch = state["encoder.conv_in.weight"].shape[0]
        n_embed, embed_dim = state["quantize.embedding.weight"].shape
        z_channels = state["quant_conv.weight"].shape[1]
        first_convs = [
            state[f"encoder.down.{i}.block.0.conv1.weight"] for i in range(_count(state, r"encoder\.down\.(\d+)\."))
        ]
        levels = len(first_convs)
        resolution = 2 ** (levels + 3)
        config = DDConfig(
            ch=ch,
            ch_mult=tuple(w.shape[0] // ch for w in first_convs),
            num_res_blocks=_count(state, r"encoder\.down\.0\.block\.(\d+)\."),
            attn_resolutions=tuple(
                resolution // 2**i for i in range(levels) if f"encoder.down.{i}.attn.0.q.weight" in state
            ),
            resolution=resolution,
            z_channels=z_channels,
            in_channels=state["encoder.conv_in.weight"].shape[1],
            out_ch=state["decoder.conv_out.weight"].shape[0] if "decoder.conv_out.weight" in state else 3,
            double_z=state["encoder.conv_out.weight"].shape[0] == 2 * z_channels,
        )
    except KeyError as error:
        raise CheckpointError(
            f"the weights are not a VQGAN's in the official layout: {error.args[0]} is missing "
            f"(the file holds, e.g., {', '.join(list(state)[:3])})"
        ) from error
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"the weights are not a VQGAN's in the official layout: the names are, but not the shapes ({error})"
        ) from error
    return {
        "ddconfig": asdict(config),
        "n_embed": n_embed,
        "embed_dim": embed_dim,
        "decoder": "decoder.conv_out.weight" in state,
    }


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max((int(m.group(1)) for key in state if (m := re.match(pattern, key))), default=-1)
