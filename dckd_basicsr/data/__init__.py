"""What training reads: databases, datasets, sampler, loaders, and the device's half of augmentation."""
