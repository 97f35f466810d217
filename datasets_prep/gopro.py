"""Pack the GoPro deblurring set into LMDB pairs; the same as ``basicsr prepare gopro``."""

from dckd_basicsr.prepare.commands import run_script

if __name__ == "__main__":
    raise SystemExit(run_script("gopro"))
