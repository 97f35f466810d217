"""The preparing room: from photos to verified LMDB databases. Needs neither PyTorch nor BasicSR."""
