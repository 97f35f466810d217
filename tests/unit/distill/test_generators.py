"""The method's own random numbers: their ranges and streams, what is saved, what a change of device does."""

from __future__ import annotations

import logging

import pytest
import torch

from dckd_basicsr.distill import Generators


def host(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_numbers_are_those_of_the_seed() -> None:
    generators, same = Generators(7), host(7)
    for low, high in ((2.0, 5.0), (-1.0, 0.0), (0.1, 2.0)):
        number = generators.uniform(low, high)
        assert number == low + (high - low) * torch.rand((), generator=same, dtype=torch.float64).item()
        assert low <= number < high
    wanted = [int(torch.randint(5, (), generator=same)) for _ in range(40)]
    assert [generators.integer(5) for _ in range(40)] == wanted
    assert set(wanted) == set(range(5))


def test_a_device_has_a_stream_of_its_own() -> None:
    generators = Generators(7)
    assert generators.of_devices() == []
    stream = generators.on("cpu")
    assert generators.on(torch.device("cpu")) is stream
    assert generators.of_devices() == [stream]
    assert stream.initial_seed() == 8
    assert generators.uniform(0.0, 1.0) == torch.rand((), generator=host(7), dtype=torch.float64).item()


def test_the_global_stream_is_left_alone() -> None:
    before, generators = torch.get_rng_state(), Generators(7)
    generators.uniform(0.0, 1.0)
    generators.integer(9)
    torch.rand(3, generator=generators.on("cpu"))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_state_is_taken_up_in_place() -> None:
    """A recorded step goes on drawing from the generators that it was recorded with."""
    saved = Generators(7)
    torch.rand(3, generator=saved.on("cpu"))
    saved.integer(9)
    state = saved.training_state()
    wanted = saved.uniform(0.0, 1.0), torch.rand(3, generator=saved.on("cpu"))
    restored = Generators(1)
    stream = restored.on("cpu")
    restored.load_training_state(state, "cpu")
    assert restored.on("cpu") is stream
    assert restored.seed == 7
    assert restored.uniform(0.0, 1.0) == wanted[0]
    assert torch.equal(torch.rand(3, generator=stream), wanted[1])


@pytest.mark.parametrize("drawn", [False, True])
def test_a_stream_of_another_device_starts_from_the_seed_aloud(caplog: pytest.LogCaptureFixture, drawn: bool) -> None:
    state = {"seed": 7, "host": host(3).get_state(), "devices": {"cuda": torch.zeros(16, dtype=torch.uint8)}}
    generators = Generators(1)
    if drawn:
        torch.rand(3, generator=generators.on("cpu"))
    generators._devices["cuda"] = host(0)
    logging.getLogger("basicsr").addHandler(caplog.handler)
    try:
        generators.load_training_state(state, "cpu")
    finally:
        logging.getLogger("basicsr").removeHandler(caplog.handler)
    assert "no random state for cpu in the training state" in caplog.text
    assert torch.equal(torch.rand(3, generator=generators.on("cpu")), torch.rand(3, generator=host(8)))
    assert list(generators.training_state()["devices"]) == ["cpu"]


def test_a_run_that_drew_no_noise_goes_on_silently(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("basicsr").addHandler(caplog.handler)
    try:
        Generators(1).load_training_state(Generators(7).training_state(), "cpu")
    finally:
        logging.getLogger("basicsr").removeHandler(caplog.handler)
    assert caplog.text == ""
