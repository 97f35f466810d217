"""What a loss term is, and the registry that option files name them by."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from ..needs import FeatureMap

if TYPE_CHECKING:
    from ...archs.facts import ArchFacts
    from ..sources import Sources
    from ..step import DistillStep

__all__ = ["TERMS", "Term", "register_term"]

C = TypeVar("C", bound="type[Term]")

TERMS: dict[str, type[Term]] = {}
"""Registered terms by the name that ``type:`` in ``train.losses`` has for them."""


class Term(nn.Module):
    """A loss term: built from its options, it says what it needs of a step and computes a scalar from one.

    The constructor's parameters are its option keys, with type hints, defaults and a description in the docstring.
    ``weight`` and ``name`` belong to every term's block and are not among them. A term may have layers of its own that
    train; they are part of optimizer and training state, and never of the student.
    """

    registered: ClassVar[str] = ""
    """Its name in the registry."""
    log_name: ClassVar[str] = ""
    """What the log calls it; ``l_`` and its name in the registry by default."""
    label: str = ""
    """What the log calls this one; a run may have several of a kind."""
    scheduled: ClassVar[bool] = False
    """Whether it depends on the length of the run."""
    remembered: tuple[str, ...] = ()
    """Beginnings of names in its ``state_dict`` that do not train and still belong into the training state."""
    bounded: ClassVar[bool] = True
    """Whether it has a least value; a run needs a term that has."""
    least_images: ClassVar[int] = 1
    """How many images each part of a batch must have at least, on each process."""
    files: ClassVar[tuple[str, ...]] = ()
    """Option keys that name files, which have to be there; None is none."""

    @property
    def needs(self) -> frozenset[Hashable]:
        """What it asks of a step: members of :class:`.Need`, :class:`.TeacherOutput`, :class:`.FeatureMap`."""
        return frozenset()

    @property
    def tap_levels(self) -> int | None:
        """How many of the encoder's levels count for it, of a term that asks for taps; None for all."""
        return None

    @property
    def current_needs(self) -> frozenset[Hashable]:
        """What it asks of a step at present, of all that it may ask; see :meth:`begin`."""
        return self.needs

    def size_faults(self, scale: int, height: int, width: int, rules: Mapping[str, ArchFacts]) -> Iterator[str]:
        """Yield what keeps it from training on LQ patches of a size, and what to do; for the check of option files.

        Args:
            scale: of GT / LQ.
            height: of LQ.
            width: of LQ.
            rules: of "student" and "teacher", the first, as far as they are known.
        """
        yield from ()

    def join(self, student: nn.Module, sources: Sources) -> None:
        """Take what it keeps of the run's networks, bare; called once, before :meth:`setup`."""

    def begin(self, iteration: int, total_iter: int | None) -> None:
        """Get ready for an iteration, counted from 1; called in every one, whatever the weight.

        What a step reads of it must be a tensor changed in place, since a recorded step reads it there; or it must
        show in :attr:`current_needs`.
        """

    def follow(self, iteration: int, student: nn.Module) -> None:
        """Look at the student after an iteration, counted from 1."""

    def setup(self, shapes: Mapping[FeatureMap, torch.Size]) -> None:
        """Build layers that depend on the feature maps it needs; called once, before the optimizer is built.

        Args:
            shapes: of these maps, for one small image.
        """

    def forward(self, step: DistillStep) -> Tensor:
        """Return the term of one batch, unweighted; ``step.measure`` takes what else the log should have."""
        raise NotImplementedError


def register_term(name: str) -> Callable[[C], C]:
    """Register a class under ``name``: ``losses: [{type: name, ...}]`` then finds it.

    Raises:
        ValueError: another class has that name.
    """

    def decorate(cls: C) -> C:
        held = TERMS.get(name)
        if held is not None and (held.__module__, held.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"there is a loss term '{name}' already: {held.__module__}.{held.__qualname__}")
        cls.registered = name
        cls.log_name = vars(cls).get("log_name") or f"l_{name}"  # not that of a class it derives from
        cls.label = cls.log_name
        TERMS[name] = cls
        return cls

    return decorate
