"""The top of an option file, and the teachers of a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from ...training.processes import DistSettings
from .base import BY_RUN, AsBlock, Block, Needed, key

__all__ = ["DistillingTop", "EveryFile", "TeacherBlock", "TopBlock"]


class EveryFile(Block):
    """What the pipelines read of any file, whatever its model: the rest is the model's own."""

    model_config = ConfigDict(extra="allow")

    name: str = key()
    datasets: Mapping[str, Any] = key()
    path: Mapping[str, Any] | None = key()
    train: Mapping[str, Any] = key()
    val: Mapping[str, Any] | None = key()
    logger: Mapping[str, Any] = key()


class TopBlock(Block):
    """A file of this package's models."""

    name: Annotated[str, Needed.EVERY_FILE] = key(
        "names the run's folder below experiments/ or results/; a name with 'debug' in it logs every iteration"
    )
    model_type: Annotated[str, Needed.EVERY_FILE] = key(
        "DCKDModel distils and tests, RestorationModel trains and tests a network without a teacher, VQGANModel trains "
        "and tests a VQGAN, whose codebook DCKD uses"
    )
    scale: Annotated[int, Needed.OWN_FILE] = key(
        "output size / input size: 2, 3, 4 for super-resolution, 1 for deblurring and deraining", ge=1
    )
    num_gpu: Annotated[int, Field(ge=0)] | Literal["auto"] = key(
        "auto: all there are (one without a launcher); 0: the CPU"
    )
    device: Literal["mps"] | None = key(
        "mps: Apple's GPU, in one process, where num_gpu is auto; not yet tried on a Mac. null: what num_gpu says"
    )
    manual_seed: int | None = key("seed of everything random; null draws one and logs it")
    deterministic: bool = key(
        "deterministic GPU algorithms alone, for a resume that is exact there too (not tried yet); slower"
    )
    datasets: Annotated[Mapping[str, Any], Needed.EVERY_FILE] = key(
        "train, val, val_2, ... for training; test_1, test_2, ... for testing"
    )
    path: Mapping[str, Any] | None = key("weights and training states")
    train: Annotated[Mapping[str, Any], Needed.TRAINING] = key("loss terms, optimizer, schedule, the method's settings")
    val: Mapping[str, Any] | None = key("measuring, during training and in a test")
    logger: Annotated[Mapping[str, Any], Needed.TRAINING] = key("what is logged and saved how often")
    dist_params: Annotated[DistSettings, AsBlock()] | None = key(
        "how the processes of a job meet, used with --launcher"
    )
    find_unused_parameters: bool = key(
        "for students that leave parameters unused in some iterations, on several processes"
    )
    network_g: Annotated[Mapping[str, Any], Needed.OWN_FILE] = key(
        "the network that is trained or tested: type and constructor arguments"
    )
    dist: Annotated[bool, BY_RUN] = key()
    rank: Annotated[int, BY_RUN] = key()
    world_size: Annotated[int, BY_RUN] = key()
    auto_resume: Annotated[bool, BY_RUN] = key()
    is_train: Annotated[bool, BY_RUN] = key()
    root_path: Annotated[str, BY_RUN] = key()


class DistillingTop(TopBlock):
    """A file of a model that can have teachers."""

    network_teacher: Mapping[str, Any] | None = key(
        "the teacher; {type: PretrainedNet, path: FILE} detects a published one"
    )
    network_teachers: Sequence[Mapping[str, Any]] | None = key(
        "several teachers, instead of network_teacher: a list of such blocks, each with a name; what asks for a "
        "teacher and names none means the first"
    )
    network_vqgan: Mapping[str, Any] | None = key(
        "the encoder that measures images; {type: VQGAN} alone reads its layout off the weights"
    )


class TeacherBlock(Block):
    """One of `network_teachers`: a network's type and arguments, and what the others call it."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Needed.OWN_FILE] = key(
        "a plain word, of letters, digits and _, no two alike: `taught_by: NAME`, and under `path` "
        "pretrain_network_NAME, strict_load_NAME and param_key_NAME"
    )
