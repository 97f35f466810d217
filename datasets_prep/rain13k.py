"""Pack Rain13K and its test sets into LMDB pairs; the same as ``basicsr prepare rain13k``."""

from dckd_basicsr.prepare.commands import run_script

if __name__ == "__main__":
    raise SystemExit(run_script("rain13k"))
