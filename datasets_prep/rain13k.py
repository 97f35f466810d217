"""Pack Rain13K and its test sets into LMDB pairs; the same as ``basicsr prepare rain13k``."""

import sys

from dckd_command import main

if __name__ == "__main__":
    raise SystemExit(main(["prepare", "rain13k", *sys.argv[1:]]))
