"""Where published data sets are downloaded."""

from __future__ import annotations

__all__ = ["DIV2K_PAGE", "GOPRO_PAGE", "RAIN13K_PAGE"]

DIV2K_PAGE = "https://data.vision.ee.ethz.ch/cvl/DIV2K/"
GOPRO_PAGE = "https://seungjunnah.github.io/Datasets/gopro"
RAIN13K_PAGE = "https://github.com/swz30/MPRNet"
