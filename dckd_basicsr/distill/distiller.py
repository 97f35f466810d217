"""The method as one module: student, frozen networks and terms inside, named values out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError, near_miss
from .features import FeatureMaps
from .loss_weight import FadingWeight, SteppedWeight, first_without, loss_weight
from .needs import OF_ENCODER, OF_FIRST_TEACHER, OF_TAPS, STUDENT, FeatureMap, Need, TeacherOutput
from .sources import Drawn, Sources
from .step import DistillStep
from .teachers import title_of
from .terms import TOTAL, Term, WeightedTerm, name_fault

__all__ = ["TOTAL", "Distiller"]


class Distiller(nn.Module):
    """Student and terms: ``distiller(lq, gt)["l_total"].backward()`` is a training step.

    Only the student and the layers of terms are parts of its ``state_dict`` and parameters; teachers, history model
    and encoder move with it and stay in evaluation mode.

    Args:
        student: the network that trains, bare.
        terms: with their weights; see :func:`.build_terms`. Plain terms have weight 1.
        sources: frozen networks and settings. Teachers are frozen in place.
        total_iter: length of the run, which weights that are schedules refer to.
        student_region: makes the context in which the student runs, for instance of mixed precision.
        example: an image batch (B, C, h, w) that student and teachers take; run once if a term needs feature maps.

    Raises:
        ConfigError: a term needs a network that is missing or a module that is not there, a schedule no length, two
            terms have one name, or all weights are zero at some time.
    """

    def __init__(
        self,
        student: nn.Module,
        terms: Sequence[WeightedTerm | Term],
        sources: Sources | None = None,
        *,
        total_iter: int | None = None,
        student_region: Callable[[], AbstractContextManager] = nullcontext,
        example: Tensor | None = None,
    ) -> None:
        super().__init__()
        weighted = [each if isinstance(each, WeightedTerm) else WeightedTerm(each, loss_weight(1)) for each in terms]
        _check_names([each.name for each in weighted])
        self.student = student
        self.terms = nn.ModuleDict({each.name: each.term for each in weighted})
        self.weights = {each.name: each.weight for each in weighted}
        self.total_iter = total_iter
        self.student_region = student_region
        self._sources = [sources or Sources()]  # in a list: what is in there is none of this module's parts
        for name, teacher in self.sources.teachers.items():
            self.sources.teachers[name] = teacher.eval().requires_grad_(False)
        self._scheduled = {n: w for n, w in self.weights.items() if isinstance(w, FadingWeight | SteppedWeight)}
        if self.has_schedules and total_iter is None:
            raise ConfigError(f"{self._first_scheduled()} is a schedule and needs total_iter")
        without = first_without(self.weights.values(), total_iter)
        if without is not None:  # now, not when the run comes there
            raise ConfigError(f"no loss term has a weight in iteration {without}; give one from start to end")
        self._factors: dict[str, Tensor] = {}
        self.active: tuple[str, ...] = ()
        self._maps = self._hooked()
        for name in self.weights:
            self._term(name).join(student, self.sources)
        if self._maps or self.sources.maps:
            self._set_up(example)
        self.trained = {name: [p for p in self._term(name).parameters() if p.requires_grad] for name in self.weights}
        """What trains of each term, active or not."""
        self.begin(1)

    @property
    def sources(self) -> Sources:
        """Frozen networks and settings."""
        return self._sources[0]

    @property
    def has_schedules(self) -> bool:
        """Whether a weight or a term depends on the length of the run."""
        return bool(self._scheduled) or any(self._term(name).scheduled for name in self.weights)

    # --- what terms ask for -----------------------------------------------------------------------------------------

    def needs_of(self, names: Iterable[str]) -> frozenset[Hashable]:
        """Return all that these terms ask of a step."""
        return frozenset[Hashable]().union(*(self._term(name).needs for name in names))

    @property
    def needs(self) -> frozenset[Hashable]:
        """All that the terms active at present ask of a step at present."""
        return frozenset[Hashable]().union(*(self._term(name).current_needs for name in self.active))

    @property
    def variant(self) -> Hashable:
        """What Python decides about a step, beside its inputs: a step that was recorded holds for one variant."""
        return self.active, self.needs

    def begin(self, iteration: int) -> None:
        """Set weights and terms for an iteration, counted from 1; call it before the step, if anything is scheduled."""
        for name in self.weights:
            self._term(name).begin(iteration, self.total_iter)
        for name, weight in self._scheduled.items():
            value = weight.at(self._share(iteration))
            if name not in self._factors:
                self._factors[name] = torch.zeros((), device=next(self.student.parameters()).device)
            self._factors[name].fill_(value)  # in place: a recorded step reads it there
        self.active = tuple(name for name, weight in self.weights.items() if weight.at(self._share(iteration)) != 0)

    def follow(self, iteration: int, source: nn.Module | None = None) -> bool:
        """Let terms look at the student after an iteration, and update the history model if it is due and still used.

        Returns:
            Whether the history model was updated.

        Args:
            iteration: counted from 1.
            source: what it follows; the student by default.
        """
        for name in self.weights:
            self._term(name).follow(iteration, self.student)
        history, share = self.sources.history, self._share(iteration)
        if history is None or not history.is_due(iteration):
            return False
        lasting = (name for name, weight in self.weights.items() if not weight.is_over(share))
        if Need.TAPS not in self.needs_of(lasting):
            return False
        history.update(self.student if source is None else source)
        return True

    # --- a step -----------------------------------------------------------------------------------------------------

    def forward(self, lq: Tensor, gt: Tensor | None = None, *drawn: Tensor) -> dict[str, Tensor]:
        """Compute the terms of one batch.

        Args:
            lq: (B, C, h, w) in [0, 1].
            gt: (B, C, scale * h, scale * w) in [0, 1]; None where no active term asks for it.
            drawn: the tensors of ``sources.draw(lq, needs)``, if they were drawn beforehand.

        Returns:
            Scalars on the device by name: each active term, weighted; :data:`TOTAL`, their sum; then what is measured,
            detached.
        """
        given = Drawn(*drawn) if drawn else None
        step = DistillStep(self.sources, lq, gt, self._restore, self.needs, given, self._maps, self._tap_levels())
        losses = {name: self._weighted(name, self._term(name)(step)) for name in self.active}
        return {**losses, TOTAL: sum(losses.values()), **step.measures}  # type: ignore[dict-item]

    def _tap_levels(self) -> int | None:
        """Return how many of the encoder's levels count for the active terms that look at any; None for all."""
        looking = [term for term in map(self._term, self.active) if term.current_needs & OF_TAPS]
        counts = [term.tap_levels for term in looking]
        return None if None in counts else max((count for count in counts if count is not None), default=None)

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile the terms that know how; networks are compiled block by block, see ``training/compiling.py``."""
        for term in self.terms.values():
            if type(term).compile is not nn.Module.compile:
                term.compile(*args, **options)

    # --- state ------------------------------------------------------------------------------------------------------

    def training_state(self) -> dict[str, Any]:
        """What a resumed run needs beside student and random streams: history model and layers of terms, on the CPU."""
        state: dict[str, Any] = {}
        if self.sources.history is not None:
            state["history"] = self.sources.history.training_state()
        layers = {key: value.detach().cpu() for key, value in self._layers().items()}
        return state | ({"terms": layers} if layers else {})

    def load_training_state(self, state: Mapping[str, Any]) -> list[str]:
        """Restore what :meth:`training_state` gave; return what this run has and the state has not, in words."""
        missing = []
        if self.sources.history is not None and "history" in state:
            self.sources.history.load_training_state(state["history"])
        elif self.sources.history is not None:
            missing.append("history model: it starts as a copy of the resumed student")
        own, saved = self._layers(), state.get("terms", {})
        fitting = {key: value for key, value in saved.items() if key in own and own[key].shape == value.shape}
        self.terms.load_state_dict(fitting, strict=False)
        if own.keys() - fitting.keys():
            terms = sorted({key.split(".")[0] for key in own.keys() - fitting.keys()})
            missing.append(f"layers of {', '.join(terms)}: they start afresh")
        return missing

    def _layers(self) -> dict[str, Tensor]:
        """Return the terms' state, but for what is frozen in their losses and not remembered."""
        trained = {parameter for found in self.trained.values() for parameter in found}
        kept = tuple(f"{name}.{start}" for name in self.weights for start in self._term(name).remembered)
        frozen = {
            key for key, each in self.terms.named_parameters() if each not in trained and not key.startswith(kept)
        }
        return {key: value for key, value in self.terms.state_dict().items() if key not in frozen}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Distiller:
        """Move or convert the frozen networks too."""
        for net in self.sources.networks():
            net._apply(fn, recurse)
        self._factors = {name: fn(factor) for name, factor in self._factors.items()}
        return super()._apply(fn, recurse)

    def _restore(self, images: Tensor) -> Tensor:
        with self.student_region():
            return self.student(images).float()

    def _term(self, name: str) -> Term:
        return self.terms[name]  # type: ignore[return-value]

    def _first_scheduled(self) -> str:
        named = (f"the weight of {name}" for name in self._scheduled)
        return next(named, next((f"the term {n}" for n in self.weights if self._term(n).scheduled), ""))

    def _share(self, iteration: int) -> float:
        return (iteration - 1) / self.total_iter if self.total_iter else 0.0

    def _weighted(self, name: str, value: Tensor) -> Tensor:
        if name in self._factors:
            return self._factors[name] * value
        weight = self.weights[name].at(0.0)
        return value if weight == 1 else weight * value

    def _hooked(self) -> FeatureMaps | None:
        """Check that all that terms need is there, and put hooks where they want feature maps."""
        sources, paths = self.sources, dict[str, list[str]]()
        for name in self.weights:
            # In an order of their own: a set's differs from process to process, and hooks in another order add up the
            # gradients of a map with several readers in another order.
            for need in sorted(self._term(name).needs, key=repr):
                if isinstance(need, FeatureMap):
                    paths.setdefault(self._network(need.network, name), []).append(need.path)
                elif isinstance(need, TeacherOutput):
                    self._network(need.teacher, name)
                elif need == Need.GT:
                    continue  # comes with the batch
                elif need not in OF_FIRST_TEACHER | OF_ENCODER:
                    raise ConfigError(f"the term {name} needs {need!r}, which no step offers; see distill/needs.py")
                else:
                    if need in OF_FIRST_TEACHER:
                        self._network("teacher", name)
                    self._measured(need, name)
        own = paths.pop(STUDENT, None)
        for teacher, found in paths.items():
            sources.maps[teacher] = FeatureMaps(sources.teachers[teacher], found, title_of(teacher))
        return FeatureMaps(self.student, own, STUDENT) if own else None

    def _measured(self, need: Hashable, term: str) -> None:
        """Raise ConfigError where what measures images, or makes negatives, is missing."""
        missing = need in OF_ENCODER and self.sources.encoder is None
        if missing or (need == Need.TAPS and self.sources.history is None):
            raise ConfigError(
                f"the term {term} needs the {'encoder' if missing else 'history model'}, which is not there"
            )

    def _network(self, name: str, term: str) -> str:
        """Return the name under which a network is there; raise ConfigError where it is not."""
        known = self.sources.teachers
        if name == STUDENT or self.sources.meant(name) in known:
            return name if name == STUDENT else self.sources.meant(name)
        there = f"; there are: {', '.join(known)}" if known else ""
        raise ConfigError(
            f"the term {term} needs the {title_of(name)}, which is not there{near_miss(name, known) or there}"
        )

    @torch.no_grad()
    def _set_up(self, example: Tensor | None) -> None:
        """Let terms see the shapes of their feature maps, before they are asked for their parameters."""
        if example is None:
            raise ConfigError("terms that need feature maps need an example of LQ, to see their shapes")
        found = {}
        for name, maps in [(STUDENT, self._maps), *self.sources.maps.items()]:
            net = self.student if name == STUDENT else self.sources.teachers[name]
            if maps is None:
                continue
            modes = {module: module.training for module in net.modules()}
            with maps.taking() as taken:
                net.eval()(example)
            for module, mode in modes.items():
                module.training = mode
            found[name] = {path: output.shape for path, output in taken.items()}
        for name in self.weights:
            term = self._term(name)
            wanted = sorted((need for need in term.needs if isinstance(need, FeatureMap)), key=repr)
            if wanted:
                term.setup({need: found[self._network(need.network, name)][need.path] for need in wanted})
                term.to(example.device)


def _check_names(names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        if fault := name_fault(name):
            raise ConfigError(f"a term's name, its `label`, {fault}, got '{name}'")
        if name in names[:i]:
            raise ConfigError(f"two terms are called '{name}'; give one a `label` of its own")
