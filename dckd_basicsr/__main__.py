"""``python -m dckd_basicsr`` is the command ``basicsr``; this form works under torchrun."""

import sys

from dckd_basicsr.cli import main

if __name__ == "__main__":
    sys.exit(main())
