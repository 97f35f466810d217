"""Pack the GoPro deblurring set into LMDB pairs; the same as ``basicsr prepare gopro``."""

import sys

from dckd_command import main

if __name__ == "__main__":
    raise SystemExit(main(["prepare", "gopro", *sys.argv[1:]]))
