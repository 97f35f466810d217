"""Writing options as YAML that :func:`.load.load_yaml` reads back as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from .load import FLOAT, FLOAT_TAG

__all__ = ["dump_yaml"]


class _Dumper(yaml.SafeDumper):
    """Quotes text that the loader would take for a number (``1e-4``), and writes shared blocks out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    # PyYAML writes the line breaks of Unicode as they are, and reads them back as spaces, unless it may escape them.
    style = '"' if any(mark in value for mark in "\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_implicit_resolver(FLOAT_TAG, *FLOAT)
_Dumper.add_representer(str, _text)


def dump_yaml(options: Mapping[str, Any]) -> str:
    """Return ``options`` as an option file: keys in their order, innermost blocks and lists on one line."""
    return yaml.dump(
        dict(options), Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120
    )
