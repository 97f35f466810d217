"""Networks this package adds to BasicSR's registry, and the facts the rest needs to know about any network."""

from .build import Built, WeightSource, build, build_encoder, encoder_block, encoder_part, outline
from .facts import ArchFacts, facts_from_options, facts_of
from .fitting import Fitted, fitted, other_values
from .likeness import likeness
from .networks.aggregation_arch import TeacherAggregation
from .networks.bicubic_arch import Bicubic
from .networks.nafnet_arch import NAFNet
from .networks.patch_discriminator_arch import PatchDiscriminator
from .networks.pretrained_arch import PretrainedNet, detected_name, detected_part
from .networks.restormer_arch import Restormer
from .networks.spandrel_arch import merged, spandrel_names
from .networks.vqgan_arch import VQGAN, Encoding
from .networks.vqgan_layout import vqgan_options_from_state
from .outline import network_class
from .presets import PRESETS, Preset, preset, short_training
from .recognize import Recognized, recognize, usual_options

__all__ = [
    "PRESETS",
    "VQGAN",
    "ArchFacts",
    "Bicubic",
    "Built",
    "Encoding",
    "Fitted",
    "NAFNet",
    "PatchDiscriminator",
    "Preset",
    "PretrainedNet",
    "Recognized",
    "Restormer",
    "TeacherAggregation",
    "WeightSource",
    "build",
    "build_encoder",
    "detected_name",
    "detected_part",
    "encoder_block",
    "encoder_part",
    "facts_from_options",
    "facts_of",
    "fitted",
    "likeness",
    "merged",
    "network_class",
    "other_values",
    "outline",
    "preset",
    "recognize",
    "short_training",
    "spandrel_names",
    "usual_options",
    "vqgan_options_from_state",
]
