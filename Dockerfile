# docker build -t dckd_basicsr .
# docker run --rm --init --gpus all --shm-size 8g --user "$(id -u):$(id -g)" -v "$PWD:/work" dckd_basicsr train -opt FILE
#
# What changes seldom comes first: the system, torch, BasicSR, the requirements, the code. docs/running.md has more.

# PyTorch's wheels bring their own CUDA libraries, so the smallest of NVIDIA's images will do.
ARG BASE=nvidia/cuda:13.0.2-base-ubuntu24.04
FROM ${BASE}

# OpenCV loads libgl1 and glib; Triton, which compiled networks need, calls a C compiler with Python's headers.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      python3 python3-venv python3-dev gcc libc6-dev libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*

# Somebody who owns nothing; --user replaces it by whoever owns the folder that is mounted. Both find a home and a name.
RUN useradd --system --uid 10001 --no-create-home --home-dir /home/dckd dckd \
 && install --directory --mode 1777 /home/dckd

ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/venv

# For CPUs alone: --build-arg BASE=ubuntu:24.04 --build-arg TORCH="... --index-url https://download.pytorch.org/whl/cpu"
ARG TORCH="torch==2.14.1 torchvision==0.29.1"
RUN pip install ${TORCH}

# The requirements of this package, read from setup.py where there is no code yet.
WORKDIR /build
COPY dckd_basicsr/basicsr_wheel.py dckd_basicsr/version.py dckd_basicsr/
COPY setup.py pyproject.toml ./
RUN mkdir -p options datasets_prep && touch README.md dckd_command.py dckd_basicsr/__init__.py \
 && python dckd_basicsr/basicsr_wheel.py -o wheels \
 && pip install wheels/*.whl ".[export]" \
 && pip uninstall --yes dckd_basicsr

COPY . .
RUN pip install --no-deps . && rm -rf build

ENV HOME=/home/dckd USER=dckd
USER dckd
WORKDIR /work
ENTRYPOINT ["basicsr"]
CMD ["--help"]
