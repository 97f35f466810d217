"""Codes as moving averages of the encoder outputs that they stand for, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..archs.networks.vqgan_arch import Codebook
from ..losses.quantization import code_figures
from .settings import CodebookSettings

__all__ = ["CodebookAverages"]

_GONE = 1e-12
"""A share of the latent pixels below which a code stays where it is: its sum and count are mostly rounding."""


class CodebookAverages(nn.Module):
    r"""Moves a codebook by exponential moving averages (van den Oord et al., NeurIPS 2017, appendix A.1).

    .. math:: N_k \leftarrow \gamma N_k + (1 - \gamma) n_k, \quad m_k \leftarrow \gamma m_k + (1 - \gamma) \sum z,
        \quad e_k = m_k / N_k

    Counts :math:`n_k` and sums are divided by the number of latent pixels, so that neither batch nor patch size
    matters, and averaged over the processes, so that all have one codebook. All of it is float32.

    A code that is hardly ever the nearest is dead: it gets no outputs to follow. It is replaced by an output of the
    batch, drawn at random (Dhariwal et al., Jukebox, arXiv 2005.00341, section 3.1), and counts as one with an even
    share from there. No output is taken twice in one step; where more codes are dead than there are outputs, the rest
    wait for the next step. A codebook that starts ``fresh`` is dead as a whole, so it is made of the first batches.

    Args:
        codebook: changed in place by :meth:`update`; gradients do not train it any more.
        settings: how.
        generator: draws the outputs that replace dead codes; each process has its own.
        average: replaces tensors by their means over the processes.
        processes: how many there are.
        rank: of this one.
        fresh: the codes are drawn at random and mean nothing yet.
    """

    counts: Tensor
    """Moving share of the latent pixels of each code, (codes,)."""
    sums: Tensor
    """Moving sum of the outputs of each code, per latent pixel, (codes, length)."""
    hits: Tensor
    """Latent pixels of each code since :meth:`figures` was asked last, over all processes, (codes,)."""

    def __init__(
        self,
        codebook: Codebook,
        settings: CodebookSettings,
        generator: torch.Generator,
        *,
        average: Callable[[Sequence[Tensor]], None] = lambda tensors: None,
        processes: int = 1,
        rank: int = 0,
        fresh: bool = True,
    ) -> None:
        super().__init__()
        codes = codebook.embedding.requires_grad_(False).weight
        self._held = (codebook,)  # a tuple: no part of this module, it is the network's
        self.settings, self.generator = settings, generator
        self.average, self.processes, self.rank = average, processes, rank
        counts = torch.full((len(codes),), 0.0 if fresh else 1.0 / len(codes), device=codes.device)
        self.register_buffer("counts", counts)
        self.register_buffer("sums", counts[:, None] * codes.detach().float())
        self.register_buffer("hits", torch.zeros_like(counts))

    @property
    def codes(self) -> Tensor:
        """The codebook's vectors, (codes, length)."""
        return self._held[0].embedding.weight

    @torch.no_grad()
    def update(self, outputs: Tensor, indices: Tensor, sound: Tensor | None = None, *, learn: bool = True) -> None:
        """Take up one batch.

        Args:
            outputs: of the encoder, one row for each latent pixel, (N, length); N is the same on all processes.
            indices: of the nearest codes, (N,).
            sound: bool scalar on the device; where it is false nothing changes. None for true.
            learn: move the codes; else hits alone are counted.
        """
        outputs, total = outputs.float(), len(outputs)
        here = torch.zeros_like(self.counts).index_add_(0, indices, torch.ones_like(outputs[:, 0]))
        counts, sums = here / total, torch.zeros_like(self.sums).index_add_(0, indices, outputs) / total
        drawn = self._drawn(outputs)
        self.average([counts, sums, drawn])
        hits = counts * (total * self.processes)
        decay = self.settings.decay
        counts = decay * self.counts + (1.0 - decay) * counts
        sums = decay * self.sums + (1.0 - decay) * sums
        codes = torch.where(counts[:, None] > _GONE, sums / counts[:, None].clamp_min(_GONE), self.codes)
        if self.settings.revive_below > 0:
            counts, sums, codes = self._revived(counts, sums, codes, drawn * self.processes)
        good = torch.isfinite(sums).all()
        good = good if sound is None else good & sound
        found = [(self.hits, self.hits + hits)]
        if learn:
            found += [(self.counts, counts), (self.sums, sums), (self.codes, codes)]
        for old, new in found:
            old.copy_(torch.where(good, new, old))

    def _drawn(self, outputs: Tensor) -> Tensor:
        """Return outputs to take for dead codes: every process fills the rows that are its turn, the others are 0."""
        if self.settings.revive_below == 0:
            return self.sums.new_zeros(0)
        order = torch.rand(len(outputs), generator=self.generator, device=outputs.device).argsort()
        rows = self.sums.new_zeros(min(len(self.sums), len(outputs) * self.processes), outputs.shape[1])
        mine = rows[self.rank :: self.processes]
        mine.copy_(outputs[order[: len(mine)]])
        return rows

    def _revived(self, counts: Tensor, sums: Tensor, codes: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        even = 1.0 / len(counts)
        dead = counts < self.settings.revive_below * even
        turn = dead.cumsum(0) - 1  # the dead codes take the drawn outputs one after the other
        chosen = (dead & (turn < len(drawn)))[:, None]
        taken = drawn[turn.clamp(0, len(drawn) - 1)]
        return (
            torch.where(chosen[:, 0], even, counts),
            torch.where(chosen, even * taken, sums),
            torch.where(chosen, taken, codes),
        )

    @torch.no_grad()
    def figures(self) -> dict[str, Tensor]:
        """Return usage and perplexity since the last call, on the device; see :func:`.code_figures`."""
        found = code_figures(self.hits)
        self.hits.zero_()
        return found
