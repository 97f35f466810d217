"""One self-contained HTML page of a run or of a comparison: charts, pictures, tables.

Importing this imports Matplotlib and Jinja2, so what writes a page now and then imports it there.
"""

from .comparison_page import telling_images, write_comparison_page, write_figures
from .pictures import Pictures, comparison_pictures, gather_pictures
from .run_page import write_run_page, write_runs_page
from .sweep_page import write_sweep_page

__all__ = [
    "Pictures",
    "comparison_pictures",
    "gather_pictures",
    "telling_images",
    "write_comparison_page",
    "write_figures",
    "write_run_page",
    "write_runs_page",
    "write_sweep_page",
]
