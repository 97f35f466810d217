"""Settings of a codebook's training: the blocks ``train.codebook`` and ``train.adversarial``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["AdversarialSettings", "CodebookSettings", "adversarial_settings"]


@dataclass(frozen=True)
class CodebookSettings:
    """The block ``train.codebook``.

    Attributes:
        decay: of the moving averages of which the codes are made.
        commitment: weight of the commitment loss.
        revive_below: a code whose moving share of the latent pixels falls below this part of an even share is dead, and
            is replaced by an encoder output of the batch; 0 for never.
        decoder_first: iterations in which the decoder alone trains: for weights that come without one, whose encoder an
            untrained decoder would spoil.
    """

    decay: float = 0.99
    commitment: float = 0.25
    revive_below: float = 0.03
    decoder_first: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {self.decay}")
        if self.commitment < 0:
            raise ValueError(f"commitment must be at least 0, got {self.commitment}")
        if not 0 <= self.revive_below < 1:
            raise ValueError(f"revive_below must be at least 0 and below 1, got {self.revive_below}")
        if self.decoder_first < 0:
            raise ValueError(f"decoder_first must be at least 0, got {self.decoder_first}")


@dataclass(frozen=True)
class AdversarialSettings:
    """The block ``train.adversarial``.

    Attributes:
        start: the first iteration with the discriminator (``from``).
        weight: of the adversarial loss.
        adaptive: multiply the weight by :func:`.adaptive_weight`.
    """

    start: int = 1
    weight: float = 0.8
    adaptive: bool = True


def adversarial_settings(block: Mapping[str, Any] | None) -> AdversarialSettings:
    """Return the settings of a block of an option file, in which ``from`` stands for ``start``."""
    return AdversarialSettings(**{"start" if key == "from" else key: value for key, value in (block or {}).items()})
