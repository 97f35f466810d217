"""Install dckd_basicsr. The option files and preparation scripts at the top of the tree travel inside the package.

The command starts in a module beside the package, which says why.
"""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
# BasicSR is not among the requirements: its setup.py fails on Python 3.13 and newer, so that pip could install neither.
# `basicsr setup` installs it (dckd_basicsr/basicsr_wheel.py), and what needs it says so.
EXPORT = ["onnx", "onnxruntime", "onnxscript", "onnxslim"]
NCNN = ["ncnn", "pnnx"]
TEST = ["hypothesis", "jsonschema", "pytest>=9", "pytest-xdist>=3.8", "scikit-image", "setuptools>=77"]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
VERSION = next(
    line.split('"')[1]
    for line in (ROOT / "dckd_basicsr" / "version.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)

setup(
    name="dckd_basicsr",
    version=VERSION,
    description="Dynamic Contrastive Knowledge Distillation for image restoration, as a BasicSR plugin",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=f">={PYTHONS[0]}",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: {version}" for version in PYTHONS),
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
    packages=[
        *find_packages(include=["dckd_basicsr", "dckd_basicsr.*"]),
        "dckd_basicsr.options",
        "dckd_basicsr.datasets_prep",
    ],
    py_modules=["dckd_command"],
    package_dir={"dckd_basicsr.options": "options", "dckd_basicsr.datasets_prep": "datasets_prep"},
    package_data={
        "dckd_basicsr": ["weights/*.safetensors", "weights/README.md", "py.typed"],
        "dckd_basicsr.page": ["templates/*"],
        "dckd_basicsr.options": ["*.yml", "methods/*.yml", "sweeps/*.yml"],
        "dckd_basicsr.datasets_prep": ["*.py", "*.md"],
    },
    install_requires=[
        "jinja2",
        "lmdb",
        "matplotlib>=3.7",
        "numpy",
        "opencv-python",
        "pydantic>=2.7,<3",
        "pyyaml",
        "pillow",
        "safetensors",
        "scipy",
        "spandrel>=0.4.1",
        "torch>=2.4",
        "torchvision>=0.19",
        "tqdm",
    ],
    extras_require={
        "export": EXPORT,
        "ncnn": NCNN,
        "demo": ["scikit-image"],
        "docs": ["mkdocs==1.6.*", "mkdocs-material==9.*", "mkdocstrings[python]>=1,<2"],
        # linters within a minor version: a new one must not turn an unchanged tree red
        "dev": [*TEST, "mypy==2.4.*", "pre-commit", "ruff==0.17.*", "types-PyYAML"],
        "test": TEST,
    },
    entry_points={"console_scripts": ["basicsr=dckd_command:main"]},
)
