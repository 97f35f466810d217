"""Pack DIV2K's training photos into LMDB pairs; the same as ``basicsr prepare div2k``."""

from dckd_basicsr.prepare.commands import run_script

if __name__ == "__main__":
    raise SystemExit(run_script("div2k"))
