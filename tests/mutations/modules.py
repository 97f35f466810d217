"""Which modules are planted with faults, and which tests have to notice them: the nearest first, since the first
that fails ends a trial. Tests that start processes (``tests/e2e``) are left out: they take minutes."""

from __future__ import annotations

from tests import ROOT

__all__ = ["TESTS"]

_FILES = {path.stem.removeprefix("test_"): path for path in (ROOT / "tests" / "unit").glob("*/test_*.py")}


def _unit(*names: str) -> tuple[str, ...]:
    return tuple(_FILES[name].relative_to(ROOT).as_posix() for name in names)


_STEP = ("step",)
_MODELS = ("model_glue", "model_training", "models")

TESTS: dict[str, tuple[str, ...]] = {
    # the method
    "losses/contrastive_loss.py": _unit("contrastive_loss"),
    "losses/distribution_loss.py": _unit("distribution_loss"),
    "losses/haar_loss.py": _unit("haar_loss"),
    "losses/psnr_loss.py": _unit("psnr_loss"),
    "distill/chunking.py": _unit("chunking", *_STEP),
    "distill/consistency.py": _unit("consistency", *_STEP),
    "distill/degradation.py": _unit("degradation"),
    "distill/encoder.py": _unit("vqgan", *_STEP),
    "distill/generators.py": _unit("generators", "degradation", "history", *_STEP),
    "distill/history.py": _unit("history"),
    "distill/distiller.py": _unit("gates", "distiller", "features", "teachers", *_STEP),
    "distill/features/feature_maps.py": _unit("features", "positions", "distiller"),
    "distill/features/positions.py": _unit("positions"),
    "distill/features/scale.py": _unit("feature_forms", "feature_terms"),
    "distill/features/spatial.py": _unit("feature_forms"),
    "distill/features/replacement.py": _unit("mipkd"),
    "distill/features/vgg.py": _unit("vgg"),
    "distill/loss_weight.py": _unit("loss_weight"),
    "distill/sources.py": _unit(*_STEP, "recorded_step"),
    "distill/teachers.py": _unit("teachers"),
    "distill/terms/build.py": _unit("gates", "named_losses", "loss_weight", "teachers", *_STEP),
    "distill/terms/augkd.py": _unit("augkd"),
    "distill/terms/contrast.py": _unit(*_STEP),
    "distill/terms/distribution.py": _unit(*_STEP),
    "distill/terms/downscaling.py": _unit("eco"),
    "distill/terms/eco.py": _unit("eco"),
    "distill/terms/features/affinity.py": _unit("feature_terms"),
    "distill/terms/features/attention.py": _unit("feature_terms", "feature_forms"),
    "distill/terms/features/feature.py": _unit("feature_terms", "feature_forms"),
    "distill/terms/features/fitnet.py": _unit("feature_terms"),
    "distill/terms/features/mipkd.py": _unit("mipkd"),
    "distill/terms/features/prior_mixer.py": _unit("mipkd"),
    "distill/terms/features/csd.py": _unit("csd"),
    "distill/terms/features/mclir.py": _unit("mclir"),
    "distill/terms/features/perceptual.py": _unit("csd", "mclir"),
    "distill/terms/logits.py": _unit("gates", "teachers"),
    "distill/terms/mtkd.py": _unit("mtkd"),
    "distill/terms/output.py": _unit("gates"),
    "distill/terms/psd.py": _unit("psd"),
    "distill/terms/wavelet.py": _unit("haar_loss"),
    "distill/settings.py": _unit("settings", "degradation", "history", *_STEP),
    "distill/step.py": _unit(*_STEP, "features", "teachers"),
    "config/overlays.py": _unit("overlays"),
    # the step
    "models/base.py": _unit(*_MODELS, "several_networks", "resumed_rates", "layout_before_wrapping"),
    "models/restoration_model.py": _unit(*_MODELS, "recorded_step", "distiller", "gates"),
    "models/dckd_model.py": _unit(*_MODELS, "teachers"),
    "training/step_runner.py": _unit("step_runner", "failed_recording", "recorded_step", "distiller"),
    "training/divergence.py": _unit("divergence", "divergence_deferred"),
    "training/schedules.py": _unit("schedules", "resumed_rates"),
    "data/augment.py": _unit("paired_lmdb"),
    # what it says of the terms
    "report/gradients.py": _unit("gradients"),
    # the comparison
    "compare/statistics.py": _unit("statistics"),
    "compare/comparison.py": _unit("comparison", "tables"),
    "compare/cells.py": _unit("tables"),
    "compare/plan.py": _unit("sweep", "sweep_files"),
    "compare/sameness.py": _unit("sweep"),
    "compare/progress.py": _unit("sweeping"),
    "training/curve.py": _unit("curve"),
    "report/step_cost.py": _unit("step_cost"),
    # the sampler
    "data/patches.py": _unit("places", "patches", "loaders", "paired_lmdb"),
    "data/single_patch_dataset.py": _unit("single_patches"),
    "data/mixing.py": _unit("paired_lmdb"),
    "data/lmdb/patches.py": _unit("lmdb_patches", "paired_lmdb"),
    "data/loaders.py": _unit("loaders", "patches"),
    "data/samples.py": _unit("loaders", "image_names", "patches", "paired_lmdb"),
    # the checkpoints
    "weight_files.py": _unit("weight_files"),
    "training/state.py": _unit("state", *_MODELS),
    "training/checkpoints.py": _unit("run_folder"),
    "data/random_state.py": _unit("random_state"),
    # the networks
    "archs/build.py": _unit("build", "recognize"),
    "archs/fitting.py": _unit("published_names", "published_mistakes", "build"),
    "archs/frozen.py": _unit("aggregation"),
    "archs/layouts.py": _unit("published_names", "published_mistakes"),
    "archs/likeness.py": _unit("published_names", "published_mistakes"),
    "archs/networks/aggregation_arch.py": _unit("aggregation"),
    "archs/swin/blocks.py": _unit("swin_blocks"),
    "archs/swin/drop_path.py": _unit("swin_blocks"),
    "archs/swin/attention.py": _unit("swin_blocks"),
    # not archs/swin/kernel.py: its tests run in a process of their own, which has no faults
    # the metrics
    "metrics/image_pair.py": _unit("metrics"),
    "metrics/ssim_3d.py": _unit("metrics"),
    "metrics/y_rounded.py": _unit("metrics"),
}
