"""Pack DIV2K's training photos into LMDB pairs; the same as ``basicsr prepare div2k``."""

import sys

from dckd_command import main

if __name__ == "__main__":
    raise SystemExit(main(["prepare", "div2k", *sys.argv[1:]]))
