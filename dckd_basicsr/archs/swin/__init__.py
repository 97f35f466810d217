"""SwinIR's attention in windows: blocks for any size, and attention and drop path arranged for speed."""
