"""Pack any folder of photos into LMDB pairs for super-resolution; the same as ``basicsr prepare sr``."""

from dckd_basicsr.prepare.commands import run_script

if __name__ == "__main__":
    raise SystemExit(run_script("sr"))
