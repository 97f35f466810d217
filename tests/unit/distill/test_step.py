"""The lazy step: what is computed, how often, and that sharing passes changes no number."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from dckd_basicsr.archs import VQGAN
from dckd_basicsr.distill import (
    ConsistencySettings,
    DegradationSettings,
    Distiller,
    DistillStep,
    EncoderSettings,
    FrozenEncoder,
    Generators,
    HistoryModel,
    NegativesSettings,
    NoiseSettings,
    Sources,
    build_terms,
    draw_transform,
)
from dckd_basicsr.distill.terms import ContrastTerm
from dckd_basicsr.errors import ConfigError
from dckd_basicsr.losses import code_cross_entropy, contrastive_ratio

L1 = {"type": "L1Loss", "loss_weight": 1.0}
WEIGHTS = [0.25, 0.5, 1.0]
ALL_TERMS = {
    "pixel_opt": L1,
    "logits_opt": L1,
    "contrastive_opt": {"type": "ContrastiveLoss", "loss_weight": 0.1, "weights": WEIGHTS},
    "distribution_opt": {"type": "DistributionLoss", "loss_weight": 0.001},
    "consistency_opt": L1,
}


class Upscale(nn.Module):
    """A x2 network that counts its passes and images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.passes: list[int] = []

    def forward(self, x):
        self.passes.append(len(x))
        return nn.functional.pixel_shuffle(self.conv(x), 2)


def vqgan() -> VQGAN:
    torch.manual_seed(1)
    layout = {"ch": 32, "ch_mult": [1, 1, 2], "num_res_blocks": 1, "attn_resolutions": [64], "z_channels": 8}
    return VQGAN(layout, n_embed=16, embed_dim=6, decoder=False)


class Setup:
    def __init__(self, terms=ALL_TERMS, encoder=None, **negatives):
        torch.manual_seed(0)
        self.student, self.teacher = Upscale(), Upscale()
        # A past that is not the present: where S equals a negative the L1 distance has no gradient, only rounding.
        self.history = HistoryModel(Upscale())
        self.sources = Sources(
            Generators(7),
            {"teacher": self.teacher},
            self.history,
            FrozenEncoder(vqgan(), encoder),
            NegativesSettings(**negatives),
            ConsistencySettings(),
        )
        self.terms = terms if isinstance(terms, list) else build_terms(terms)
        self.distiller = Distiller(self.student, self.terms, self.sources)
        self.lq, self.gt = torch.rand(3, 3, 8, 8), torch.rand(3, 3, 16, 16)

    def step(self, drawn=None, needs=None):
        needs = self.distiller.needs if needs is None else needs
        return DistillStep(self.sources, self.lq, self.gt, self.student, needs, drawn)

    def run(self):
        """The step's lazy outputs, computed apart with the same draws; the distiller's values; gradients."""
        streams = self.sources.generators.training_state()
        values = self.distiller(self.lq, self.gt)
        values["l_total"].backward()
        self.sources.generators.load_training_state(streams, "cpu")
        return values, [p.grad.clone() for p in self.student.parameters()]


def test_every_image_passes_each_network_once(monkeypatch):
    setup = Setup()
    encoded = []
    monkeypatch.setattr(
        setup.sources.encoder.vqgan.encoder,
        "conv_in",
        _Recorder(setup.sources.encoder.vqgan.encoder.conv_in, encoded),
    )
    setup.run()
    assert setup.teacher.passes == [6]  # LQ and its transformed copy in one batch
    assert setup.history.net.passes == [15]  # five negatives in one batch
    assert encoded == [18, 3]  # T and five negatives without gradient, then S, whose graph stays in memory


def test_references_are_encoded_before_a_graph_is_kept():
    terms = {"distribution_opt": ALL_TERMS["distribution_opt"]}
    setup, with_graph = Setup(terms), []
    layer = setup.sources.encoder.vqgan.encoder.conv_in
    layer.register_forward_hook(lambda module, inputs, output: with_graph.append(output.requires_grad))
    setup.run()
    assert with_graph == [False, True]


def test_what_is_drawn_beforehand_is_what_the_step_draws():
    alone, ahead = Setup(), Setup()
    drawn = ahead.sources.draw(ahead.lq, ahead.distiller.needs)
    assert drawn.switches.shape == (4, 3)
    found, wanted = ahead.distiller(ahead.lq, ahead.gt, *drawn), alone.run()[0]
    assert {k: v.item() for k, v in found.items()} == {k: v.item() for k, v in wanted.items()}
    plain = Setup({"contrastive_opt": ALL_TERMS["contrastive_opt"]})
    assert plain.sources.draw(plain.lq, plain.distiller.needs).switches is None


def test_a_contrast_tells_its_weights():
    assert ContrastTerm(ALL_TERMS["contrastive_opt"]).tap_weights == tuple(WEIGHTS)
    assert ContrastTerm(OtherContrast()).tap_weights is None


class _Recorder(nn.Module):
    def __init__(self, inner, log):
        super().__init__()
        self.inner, self.log = inner, log

    def forward(self, x):
        self.log.append(len(x))
        return self.inner(x)


def test_terms_equal_their_formulas():
    setup = Setup()
    loss, _ = setup.run()
    step = setup.step()
    assert step.teacher.shape == step.student.shape  # drawn in the order of the terms
    with torch.no_grad():
        encoder = setup.sources.encoder
        teacher = setup.teacher(setup.lq)
        s, t = (encoder(x, taps=True, logits=True) for x in (step.student, teacher))
        negatives = [encoder(n, taps=True, logits=False).taps for n in step.negatives.split(3)]
    torch.testing.assert_close(loss["l_pix"], (step.student - setup.gt).abs().mean())
    torch.testing.assert_close(loss["l_logits"], (step.student - teacher).abs().mean())
    torch.testing.assert_close(loss["l_contrast"], 0.1 * contrastive_ratio(s.taps, t.taps, negatives, WEIGHTS))
    torch.testing.assert_close(loss["l_dist"], 0.001 * code_cross_entropy(s.logits, t.logits))
    torch.testing.assert_close(loss["l_consist"], (step.student - step.consistent_teacher).abs().mean())
    names = ["l_pix", "l_logits", "l_contrast", "l_dist", "l_consist"]
    torch.testing.assert_close(loss["l_total"], sum(loss[name] for name in names))
    assert list(loss) == [*names, "l_total", "d_teacher", "d_negative"]
    assert [name for name, value in loss.items() if value.requires_grad] == [*names, "l_total"]


def test_the_consistent_teacher_answers_the_transformed_input():
    setup = Setup({"logits_opt": L1, "consistency_opt": L1})
    setup.sources.generators = Generators(7)
    step = setup.step()
    transform = draw_transform(3, ConsistencySettings(), Generators(7), torch.device("cpu"))
    assert transform.switches.any()
    with torch.no_grad():
        plain, wanted = setup.teacher(setup.lq), transform.inverse(setup.teacher(transform(setup.lq)))
    consistent = step.consistent_teacher
    torch.testing.assert_close(step.teacher, plain)
    torch.testing.assert_close(consistent, wanted)
    assert (wanted - plain).abs().max() > 1e-3
    unannounced = setup.step(needs=["teacher"])
    with pytest.raises(RuntimeError, match="was not announced"):
        unannounced.consistent_teacher  # noqa: B018


def test_frozen_networks_pass_by_their_own_widths(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "dckd_basicsr.distill.step.images_at_once", lambda images, *given: asked.append(given) or len(images)
    )
    setup = Setup(num=2, chunk=3)
    setup.run()
    assert asked == [(None, 32.0, torch.float32), (3, 32.0, torch.float32)]
    asked.clear()
    setup.sources.widths, setup.sources.history_width = {"teacher": 11.0}, 22.0
    setup.run()
    assert asked == [(None, 11.0, torch.float32), (3, 22.0, torch.float32)]
    asked.clear()
    setup.sources.frozen_region = lambda: torch.autocast("cpu", torch.bfloat16)
    step = setup.step()
    assert step.negatives.dtype == step.teacher.dtype == torch.float32
    assert asked == [(3, 22.0, torch.bfloat16), (None, 11.0, torch.bfloat16)]


class OtherContrast(nn.Module):
    """Somebody's own loss under ``contrastive_opt``."""

    def forward(self, student, teacher, negatives):
        return student[0].mean() + 0 * teacher[0].mean() + len(negatives)


def test_a_contrast_of_another_make_gets_the_taps():
    setup = Setup([ContrastTerm(OtherContrast())])
    values, _ = setup.run()
    torch.testing.assert_close(values["l_contrast"], setup.step().student_taps[0].mean() + 5)
    assert list(values) == ["l_contrast", "l_total"]


def test_the_contrast_alone_is_compiled(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda part, **options: compiled.append((part, options)) or part)
    distiller = Setup().distiller
    terms = distiller.terms["l_contrast"].loss.terms
    distiller.compile(dynamic=False)
    assert compiled == [(terms, {"dynamic": False})]


@pytest.mark.parametrize("chunk", [1, 2, 7, 100])
def test_chunks_change_no_number(chunk):
    whole, whole_grads = Setup().run()
    chunked, grads = Setup(encoder=EncoderSettings(chunk=chunk), chunk=chunk).run()
    for name, value in whole.items():
        torch.testing.assert_close(chunked[name], value, rtol=2e-6, atol=1e-8)
    for a, b in zip(grads, whole_grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("terms", "teacher", "history", "logits"),
    [
        (("pixel_opt",), 0, 0, 0),
        (("pixel_opt", "logits_opt"), 1, 0, 0),
        (("pixel_opt", "distribution_opt"), 1, 0, 2),
        (("pixel_opt", "contrastive_opt"), 1, 1, 0),
        (("contrastive_opt", "distribution_opt"), 1, 1, 2),
    ],
)
def test_only_what_a_term_asks_for_is_computed(monkeypatch, terms, teacher, history, logits):
    setup = Setup({key: ALL_TERMS[key] for key in terms})
    past_last_tap = []
    original = setup.sources.encoder.vqgan.encoder.from_last_tap

    def spy(tap):
        past_last_tap.append(len(tap))
        return original(tap)

    monkeypatch.setattr(setup.sources.encoder.vqgan.encoder, "from_last_tap", spy)
    setup.run()
    assert len(setup.teacher.passes) == teacher
    assert len(setup.history.net.passes) == history
    assert past_last_tap == [3] * logits  # S and T, never a negative


def test_frozen_networks_get_no_gradient_and_stay_in_evaluation():
    setup = Setup()
    setup.sources.encoder.train()
    setup.run()
    for frozen in (setup.teacher, setup.history, setup.sources.encoder):
        assert all(p.grad is None for p in frozen.parameters())
    assert not setup.sources.encoder.vqgan.training
    assert not setup.sources.encoder.vqgan.encoder.mid.training


def test_the_clean_input_is_the_last_negative():
    noise = DegradationSettings(noise=NoiseSettings(sigma=(30, 30)))
    setup = Setup(num=3, degradation=noise)
    step = setup.step()
    negatives = step.negatives.split(3)
    assert len(negatives) == 3
    clean = setup.history(setup.lq)
    torch.testing.assert_close(negatives[2], clean)
    assert all((n - clean).abs().max() > 1e-3 for n in negatives[:2])


def test_without_the_clean_input_all_are_degraded():
    setup = Setup(num=2, include_clean=False)
    step = setup.step()
    clean = setup.history(setup.lq)
    assert all((n - clean).abs().max() > 1e-4 for n in step.negatives.split(3))


def test_input_range_is_applied():
    images = torch.rand(1, 3, 16, 16)
    torch.manual_seed(0)
    signed, plain = FrozenEncoder(vqgan()), FrozenEncoder(vqgan(), EncoderSettings(input_range=(0.0, 1.0)))
    torch.testing.assert_close(
        signed(images, taps=True, logits=False).taps[0], plain(images * 2 - 1, taps=True, logits=False).taps[0]
    )


def test_grey_images_are_measured_too():
    encoder = FrozenEncoder(vqgan())
    grey = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(
        encoder(grey, taps=True, logits=False).taps[1],
        encoder(grey.expand(-1, 3, -1, -1), taps=True, logits=False).taps[1],
    )


def test_the_encoder_gives_what_is_asked_for():
    encoder, images = FrozenEncoder(vqgan()), torch.rand(2, 3, 16, 16)
    assert encoder.train() is encoder
    for encode in (encoder, encoder.reference):
        assert encode(images, taps=False, logits=True).taps == ()
        assert encode(images, taps=True, logits=False).logits is None


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_images_come_in_the_layout_of_the_encoder(layout):
    encoder = FrozenEncoder(vqgan()).to(memory_format=layout)
    seen = []
    encoder.vqgan.encoder.conv_in.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    images = torch.rand(2, 3, 16, 16)
    encoder(images, taps=True, logits=False)
    encoder(images.to(memory_format=layout), taps=True, logits=False)
    assert all(x.is_contiguous(memory_format=layout) for x in seen)


def test_rounding_leaves_the_codebook_alone():
    encoder = FrozenEncoder(vqgan())
    encoder.round_to(torch.bfloat16)
    rounded = {name: p.dtype for name, p in encoder.vqgan.named_parameters()}
    kept = {name for name, dtype in rounded.items() if dtype == torch.float32}
    assert kept == {"quantize.embedding.weight"}
    assert encoder(torch.rand(1, 3, 16, 16), taps=True, logits=True).logits.dtype == torch.float32


def test_the_encoder_is_compiled_in_two_parts(monkeypatch):
    encoder, compiled = FrozenEncoder(vqgan()), []
    monkeypatch.setattr(torch, "compile", lambda part, **options: compiled.append((part, options)) or part)
    parts = [encoder.vqgan.encoder.to_last_tap, encoder.vqgan.encoder.from_last_tap]
    encoder.compile(dynamic=False)
    assert compiled == [(part, {"dynamic": False}) for part in parts]


def test_references_pass_by_the_encoders_width(monkeypatch):
    asked = []
    monkeypatch.setattr("dckd_basicsr.distill.encoder.images_at_once", lambda *given: asked.append(given[1:]) or 2)
    encoder, images = FrozenEncoder(vqgan(), EncoderSettings(chunk=7)), torch.rand(5, 3, 16, 16)
    found = encoder.reference(images, taps=True, logits=3)
    assert asked == [(7, 80.0, torch.float32)]  # two or three maps of 32 channels at a time
    whole = encoder(images, taps=True, logits=True)
    for a, b in zip(found.taps, whole.taps, strict=True):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(found.logits, whole.logits[: 3 * len(whole.logits) // 5])


def test_no_term_is_an_error():
    with pytest.raises(ConfigError, match="no loss term"):
        build_terms({"pixel_opt": None})


@pytest.mark.parametrize(
    ("term", "left_out", "named"),
    [
        ("logits_opt", {"teachers": {}}, "the teacher"),
        ("contrastive_opt", {"history": None}, "the history model"),
        ("contrastive_opt", {"encoder": None}, "the encoder"),
        ("distribution_opt", {"encoder": None}, "the encoder"),
    ],
)
def test_a_missing_network_is_named(term, left_out, named):
    setup = Setup()
    with pytest.raises(ConfigError, match=f"needs {named}, which is not there"):
        Distiller(setup.student, build_terms({term: ALL_TERMS[term]}), replace(setup.sources, **left_out))
