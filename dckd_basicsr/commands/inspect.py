"""``basicsr inspect``: how the loss terms of a run pull at its student, from which one chooses their weights."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from .. import install
from ..errors import ConfigError
from ..methods import add_with_flag
from ..user_modules import add_import_flag
from .arguments import count

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.restoration_model import RestorationModel

__all__ = ["add_inspect_parser", "run_inspect"]

_NO_TERMS = "does not train on this package's loss terms, so there are no weights to choose; inspect takes"


def add_inspect_parser(commands: Any) -> None:
    """Add ``inspect`` to the command line's subparsers."""
    parser = commands.add_parser(
        "inspect",
        help="how strongly each loss term of an option file pulls at the student, to choose weights by",
        description="Build what `basicsr train` builds, take some batches, and print for each loss term its weighted "
        "value, the norm of its gradient with respect to the student's parameters, and the cosines between these "
        "gradients. Nothing is trained, and nothing written.",
    )
    parser.add_argument("-opt", required=True, metavar="FILE", help="option file: a path, or a packaged one's name")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="weights of the student: of a checkpoint its moving average, if it has one (default: as the run starts)",
    )
    parser.add_argument("--batches", type=count, default=8, metavar="N", help="batches of training data (default: 8)")
    parser.add_argument(
        "--iteration", type=count, metavar="I", help="where in the run: schedules, data (default: 1, or the next one)"
    )
    add_with_flag(parser)
    parser.add_argument(
        "--force_yml", nargs="+", action="extend", default=[], metavar="KEY:SUBKEY=VALUE", help="override options"
    )
    add_import_flag(parser)
    parser.set_defaults(func=run_inspect)


def run_inspect(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit status."""
    install.everything()
    from pathlib import Path

    from ..archs.tf32 import kept_tf32
    from ..config import option_notes, parse_options
    from ..kinds import own_models, takes_terms

    opt, _ = parse_options(Path.cwd(), is_train=True, argv=_as_for_train(options))
    if not takes_terms(opt["model_type"]):
        known = " and ".join(name for name in own_models() if takes_terms(name))
        raise ConfigError(f"model_type {opt['model_type']} {_NO_TERMS} {known}")
    if options.weights and opt["path"].get("resume_state"):
        raise ConfigError("--weights and path.resume_state both say which weights to look at; give one of them")
    total = int(opt["train"]["total_iter"])
    if (options.iteration or 1) > total:
        raise ConfigError(f"--iteration is {options.iteration}, beyond train.total_iter {total}")
    for note in option_notes(opt):
        print(f"basicsr: note: {note}", file=sys.stderr)
    with kept_tf32():
        _inspect(opt, options)
    return 0


def _as_for_train(options: argparse.Namespace) -> list[str]:
    """Return the command line of the training that is looked at."""
    forced = list(options.force_yml)
    if options.weights:
        # No key: the moving average if the file has one, else what there is. What the user says of it comes after.
        forced = [f"path:pretrain_network_g={json.dumps(options.weights)}", "path:param_key_g=~", *forced]
    found = ["-opt", options.opt, *(word for name in options.imports for word in ("--import", name))]
    found += ["--with", *options.methods] if options.methods else []
    return [*found, "--force_yml", *forced] if forced else found


def _inspect(opt: dict[str, Any], options: argparse.Namespace) -> None:
    from functools import partial

    from basicsr.models import build_model

    from ..data.loaders import create_loaders
    from ..prepare.parallel import progress
    from ..report import Gradients, balance_tables, batch_gradients, parameter_count
    from ..training.run_folder import load_resume_state
    from ..training.runtime import backward_region
    from ..training.state import restore_streams
    from .train import set_determinism

    set_determinism(bool(opt.get("deterministic")))
    # Compiling or recording takes longer than a few steps, and changes no value.
    opt["train"]["runtime"] = {**(opt["train"].get("runtime") or {}), "compile": False, "cuda_graph": False}
    state = load_resume_state(opt)
    iteration = options.iteration or (int(state["iter"]) + 1 if state else 1)
    loaders = create_loaders(opt, iteration - 1)
    model: RestorationModel = build_model(opt)
    if state:
        model.resume_training(state)
        restore_streams(state, model)
        del state  # twice the student's size
    distiller = model.distiller
    distiller.begin(iteration)
    parts = islice(_parts(model, loaders.batches(opt, iteration - 1)), options.batches)
    region = partial(backward_region, model.runtime.precision, encoder=model.sources.encoder is not None)
    scale = model.scaler.get_scale() if model.scaler else 1.0
    found = []
    for part in progress(parts, total=options.batches, what="inspect", unit="batch"):
        found.append(batch_gradients(distiller, part, region, scale))
        shape = part[0].shape
    weights, reference = _weights(model, iteration), _reference(model)
    print(
        f"{opt['name']}, iteration {iteration}: {len(found)} x {shape[0]} LQ patches of {shape[3]}x{shape[2]} px; "
        f"{opt['network_g']['type']} with {parameter_count(model.net_g)} parameters\n"
    )
    print(balance_tables(Gradients.of(found), weights, reference))
    for name in distiller.weights.keys() - set(distiller.active):
        print(
            f"\n{name} is not there: its weight is 0 in iteration {iteration}, as its schedule says; --iteration looks "
            "at another one"
        )


def _parts(model: RestorationModel, batches: Iterator[tuple[int, Any]]) -> Iterator[tuple[Tensor, ...]]:
    """Yield what goes through the student at once: the parts of an accumulated batch one after the other."""
    for _, batch in batches:
        model.feed_data(batch)
        model.check_ground_truth()
        yield from model.parts()


def _reference(model: RestorationModel) -> str:
    """Return the term that others are compared with: the pixel term, else the first that is on."""
    from ..distill.terms import PixelTerm

    active, terms = model.distiller.active, model.distiller.terms
    return next((name for name in active if isinstance(terms[name], PixelTerm)), active[0])


def _weights(model: RestorationModel, iteration: int) -> dict[str, float]:
    """Return the weights of the terms that are on, as the option file states them for this iteration."""
    from ..distill.loss_weight import loss_weight
    from ..distill.terms import TERMS, term_options

    share, found = (iteration - 1) / int(model.opt["train"]["total_iter"]), {}
    for each in term_options(model.opt["train"]):
        name = each.name or TERMS[each.type].log_name
        if each.is_off or name not in model.distiller.active:
            continue
        term = model.distiller.terms[name]
        # A short name's weight is an argument of its loss, unless it is a schedule; then that argument is 1.
        short = not each.place.startswith("train.losses")
        own = float(getattr(getattr(term, "loss", None), "loss_weight", 1.0)) if short else 1.0
        found[name] = own * loss_weight(each.weight).at(share)
    return found
