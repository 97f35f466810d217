"""Pack two folders of photos, sharp and degraded, into LMDB pairs; the same as ``basicsr prepare paired``."""

import sys

from dckd_command import main

if __name__ == "__main__":
    raise SystemExit(main(["prepare", "paired", *sys.argv[1:]]))
