"""PyTorch's compiler front end is run when something is compiled, and is then what it would have been."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
import dckd_command, dckd_basicsr
import torch, torchvision

def parts():
    return {name for name in sys.modules if name.startswith(("torch._dynamo.", "torch._inductor"))}

weight = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.Adam([weight], lr=0.5)
weight.sum().backward()
optimizer.step()
optimizer.zero_grad()
assert torch.allclose(weight, torch.full((2,), 0.5)) and weight.grad is None
assert parts() <= {"torch._dynamo.utils"}, parts()
FIRST
assert len(parts()) > 50
package, utils = sys.modules["torch._dynamo"], sys.modules["torch._dynamo.utils"]
assert type(package) is type(utils) is type(sys) and package.utils is utils
assert package.config is sys.modules["torch._dynamo.config"]
assert package.disable.__module__ == "torch._dynamo.decorators" and utils.counters is not None
count = 0

def backend(graph, inputs):
    global count
    count += 1
    return graph

compiled = torch.compile(lambda x: (3 * x).sum(), backend=backend)
compiled(weight).backward()
optimizer.step()
optimizer.zero_grad()
assert count == 1 and weight.grad is None and not torch.allclose(weight, torch.full((2,), 0.5))
print("as it would have been")
"""


@pytest.mark.parametrize(
    "first",
    [
        "torch.compile(lambda x: x + 1, backend='eager')(weight)",
        "from torch._dynamo.utils import counters",
        "import torch._dynamo.config as config; assert config.cache_size_limit > 0",
        "assert isinstance(sys.modules['torchvision.ops.roi_align'].is_compile_supported('cpu'), bool)",
    ],
    ids=["compile", "a name of what torchvision imports", "another module", "a layer of torchvision"],
)
def test_it_is_run_by_the_first_who_needs_it(first: str) -> None:
    code = CODE.replace("FIRST", first)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "as it would have been\n", done.stderr


def test_what_it_leaves_alone_keeps_its_kind_name_and_signature() -> None:
    code = """
import inspect
import dckd_command, dckd_basicsr
import torch
dckd_basicsr.install.everything()
from basicsr.utils.registry import METRIC_REGISTRY

@METRIC_REGISTRY.register()
@torch.compiler.disable
def calculate_mine(img, img2, crop_border: int = 0):
    return crop_border

assert "torch._dynamo.decorators" not in __import__("sys").modules
assert METRIC_REGISTRY.get("calculate_mine")(0, 0, crop_border=3) == 3
assert list(inspect.signature(calculate_mine).parameters) == ["img", "img2", "crop_border"]
layer = torch.compiler.disable(torch.nn.Linear(2, 2))
assert isinstance(layer, torch.nn.Module) and len(list(layer.parameters())) == 2

@torch.compiler.disable
class Net(torch.nn.Module):
    pass

assert isinstance(Net, type) and isinstance(Net(), torch.nn.Module)
print("kept")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "kept\n", done.stderr
