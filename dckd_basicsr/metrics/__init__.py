"""The metrics room: what published deblurring and deraining tables were measured with, beside BasicSR's own metrics."""

from __future__ import annotations

from .ssim_3d import calculate_ssim_3d
from .y_rounded import calculate_psnr_y_rounded, calculate_ssim_y_rounded

__all__ = ["calculate_psnr_y_rounded", "calculate_ssim_3d", "calculate_ssim_y_rounded"]
