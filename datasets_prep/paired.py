"""Pack two folders of photos, sharp and degraded, into LMDB pairs; the same as ``basicsr prepare paired``."""

from dckd_basicsr.prepare.commands import run_script

if __name__ == "__main__":
    raise SystemExit(run_script("paired"))
