"""Named students build for every scale they say, and refuse the others."""

from __future__ import annotations

import pytest

from dckd_basicsr.archs import PRESETS, outline, preset
from dckd_basicsr.config.components import network_problems
from dckd_basicsr.errors import ConfigError


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_network_of_its_scales(name):
    for scale in PRESETS[name].scales:
        block = PRESETS[name].block(scale)
        assert network_problems("network_g", block) == []
        assert outline(block, scale=scale).facts.scale == scale


def test_a_family_grows():
    def size(name: str) -> int:
        return sum(p.numel() for p in outline(preset(name).block(4)).net.parameters() if p.requires_grad)

    for small, large in (("compact-s", "compact-m"), ("span-s", "span-m"), ("edsr-s", "edsr-m")):
        assert 100_000 < size(small) < size(large) < 2_000_000


def test_wrong_names_and_scales_say_what_there_is():
    with pytest.raises(ConfigError, match=r"no student 'span-l'; did you mean 'span-"):
        preset("span-l")
    with pytest.raises(ConfigError, match=r"nafnet-16 is made for scale 1, and this is scale 4; .*compact-s"):
        preset("nafnet-16").block(4)
