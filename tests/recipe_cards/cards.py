"""One card for each packaged option file, in Markdown, made of the file itself, its costs and the paper's table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dckd_basicsr.config import packaged_options

from ..benchmarks.sweeps import stages
from .costs import kept, options_of, trainings

__all__ = ["PAGES", "page"]

_ALL = {
    "super_resolution.md": ("Super-resolution", ("dckd_x", "teacher_x", "mtkd_", "demo_")),
    "deblurring.md": ("Deblurring", ("dckd_deblur", "teacher_deblur")),
    "deraining.md": ("Deraining", ("dckd_derain", "teacher_derain")),
    "codebook.md": ("Codebook", ("vqgan_",)),
}
PAGES = {page: kind for page, kind in _ALL.items() if any(name.startswith(kind[1]) for name in trainings())}
"""The pages: their titles, and how the names of their option files begin; those of which there are any files."""

_RESULTS = "../method/results.md"
_DEBLUR = f"nothing at this length; [600 iterations of a smaller pair]({_RESULTS}#deraining-and-deblurring)"
OURS = {
    "dckd_x4_edsr.yml": "nothing of this pair; "
    f"[short runs of smaller EDSR]({_RESULTS}#a-comparison-for-two-cpu-cores)",
    "demo_x4_edsr.yml": "28.97 dB on two held-out photos with `--with dckd_shallow`, as the command has it; 28.92 dB "
    "with `--with scratch`; 133 s for both on two CPU cores ([README](../../README.md#try-it))",
    "dckd_deblur_nafnet.yml": _DEBLUR,
    "dckd_derain_nafnet.yml": _DEBLUR,
}
"""What was measured here of a file, or near it."""

_PAPER = yaml.safe_load(Path(__file__).with_name("paper.yml").read_text(encoding="utf-8"))
_HEAD = """\
# {title}: recipe cards

What each packaged option file trains, what it costs, and what is known of its result. Made of the files by
`python -m tests.recipe_cards docs/recipes`; [how to read a card](index.md).
"""


def page(name: str) -> str:
    """Return one of :data:`PAGES`."""
    title, beginnings = PAGES[name]
    files = [each for each in trainings() if each.startswith(beginnings)]
    files.sort(key=lambda each: [each.startswith(beginning) for beginning in beginnings].index(True))
    return "\n".join([_HEAD.format(title=title), _contents(files), *(_card(each) for each in files)])


def _contents(files: Sequence[str]) -> str:
    costs = kept()
    rows = ["| option file | student | parameters | H100 hours, estimated |", "|---|---|---:|---:|"]
    for name in files:
        opt, cost = options_of(name), costs[name]
        link = f"[`{name}`](#{name.replace('.', '')})"
        rows.append(f"| {link} | {opt['network_g']['type']} | {cost['network_g']['parameters']:,} | {_hours(cost)} |")
    return "\n".join(rows) + "\n"


def _card(name: str) -> str:
    opt, cost = options_of(name), kept()[name]
    rows = [*_about(name, opt, cost), ("ours, measured", OURS.get(name, "nothing at this length"))]
    table = ["| | |", "|---|---|", *(f"| {what} | {text} |" for what, text in rows)]
    commands = [f"basicsr train -opt {name}"]
    if (test := _test_of(name)) is not None:
        commands.append(f"basicsr test -opt {test}")
    if name == "demo_x4_edsr.yml":
        commands = ["basicsr demo --out demo"]
    typed = "```bash\n" + "\n".join(commands) + "\n```"
    parts = [f"## {name}", _first_line(name), "\n".join(table), typed, *_paper(name)]
    return "\n\n".join(parts) + "\n"


def _about(name: str, opt: Mapping[str, Any], cost: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    data = opt["datasets"]
    held = [each["name"] for key, each in data.items() if key.startswith("val") and each]
    yield "data", f"{data['train']['name']}; validated on {', '.join(held)}"
    if "network_teacher" in cost:
        yield "teacher", _network(opt["network_teacher"], cost["network_teacher"])
        yield "student", _network(opt["network_g"], cost["network_g"])
    else:
        yield "network", _network(opt["network_g"], cost["network_g"])
    sizes = [f"{iterations:,} iterations of {batch} patches of {side} px" for iterations, side, batch in stages(opt)]
    yield "training", "; ".join(sizes)
    yield "loss", " + ".join(_terms(opt["train"]))
    optimizer, schedule = opt["train"]["optim_g"], opt["train"]["scheduler"]
    yield "optimizer", f"{optimizer['type']}, learning rate {optimizer['lr']:g}, {schedule['type']}"
    if cost["multiply_adds"]:
        yield "multiply-adds", f"{cost['multiply_adds']:.2e} in all".replace("e+", "e")
        yield "time", f"{_hours(cost)} hours on one H100, [estimated](index.md#the-estimate-of-time)"
    else:
        yield "time", "not estimated"
    yield "memory", "not measured"
    if (test := _test_of(name)) is not None:
        tested = options_of(test)
        sets = [each["name"] for each in tested["datasets"].values() if each]
        metrics = [_metric(each) for each in tested["val"]["metrics"].values()]
        yield "test", f"`{test}`: {', '.join(sets)}; {', '.join(metrics)}"


def _network(block: Mapping[str, Any], cost: Mapping[str, Any]) -> str:
    work = f"{cost['multiply_adds'] / 1e9:,.0f} G" if cost["multiply_adds"] else "uncounted"
    inside = f" beside those of its {len(block['teachers'])} teachers" if "teachers" in block else ""
    return f"{block['type']}, {cost['parameters']:,} parameters{inside}, {work} multiply-adds for 1280x720"


def _terms(train: Mapping[str, Any]) -> Iterator[str]:
    """The terms of a training with their weights: the short names' losses, and those in ``losses``."""
    for key, block in train.items():
        if key.endswith("_opt") and isinstance(block, Mapping):
            yield f"{_weight(block.get('loss_weight', 1))} `{key}` ({block['type']})"
    if train.get("adversarial"):
        yield f"{_weight(train['adversarial'].get('weight', 1))} `adversarial`"
    losses = train.get("losses") or {}
    for each in losses if isinstance(losses, list) else losses.values():
        yield f"{_weight(each.get('weight', 1))} `{each.get('type')}`"


def _weight(weight: float | Mapping[str, Any]) -> str:
    return "changing" if isinstance(weight, Mapping) else f"{weight:g} x"


def _metric(block: Mapping[str, Any]) -> str:
    colours = "Y" if block.get("test_y_channel") or "_y_" in block["type"] else "RGB"
    return f"{block['type'].removeprefix('calculate_')} ({colours}, {block.get('crop_border', 0)} px cut)"


def _hours(cost: Mapping[str, Any]) -> str:
    hours = cost["hours"]
    if hours is None:
        return "-"
    return f"{hours:.0f}" if hours >= 10 else f"{hours:.1f}" if hours >= 0.1 else "less than 0.1"


def _first_line(name: str) -> str:
    """What the file says of itself: the first sentence of its first comment."""
    comment = []
    for line in packaged_options()[name].read_text(encoding="utf-8").splitlines():
        if not line.startswith("# ") or line.startswith("#   "):
            break
        comment.append(line.removeprefix("# "))
    sentence = re.match(r".+?(?=\. [A-Z]|$)", " ".join(comment))
    assert sentence is not None, f"{name} does not say what it is"
    return sentence[0].rstrip(":.") + "."


def _test_of(name: str) -> str | None:
    test = {"demo_x4_edsr.yml": "demo_test_x4.yml"}.get(name, name.replace("dckd_", "test_", 1))
    return test if test != name and test in packaged_options() else None


def _paper(name: str) -> Iterator[str]:
    if name not in _PAPER:
        return
    table = _PAPER[name]
    lines = [f"| {' | '.join(['method', *table['columns']])} |", "|---|" + "---|" * len(table["columns"])]
    lines += [f"| {' | '.join([method, *row])} |" for method, row in table["rows"].items()]
    yield f"The paper's table {table['table']}, PSNR / SSIM, one run each (Zhou et al., AAAI 2025, arXiv 2412.08939):"
    yield "\n".join(lines)
