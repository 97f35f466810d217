"""Pack any folder of photos into LMDB pairs for super-resolution; the same as ``basicsr prepare sr``."""

import sys

from dckd_command import main

if __name__ == "__main__":
    raise SystemExit(main(["prepare", "sr", *sys.argv[1:]]))
