"""What training reads: databases, datasets, sampler, loaders, and the device's half of augmentation."""

from ..moved import names_of

__all__: list[str] = []

__getattr__ = names_of(__name__)
