"""Reading YAML: safe, numbers as people write them, no key twice, and errors that say where."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError

__all__ = ["FLOAT", "FLOAT_TAG", "load_yaml", "parse_yaml"]

# Constructors of tagged scalars (`!!float x`, `!!timestamp x`, 2024-13-45) let these escape as they are.
_CONSTRUCTION_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)


_MOST_NODES = 100_000
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """YAML's plain types only: no tag makes it call or import anything."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse duplicate keys here, where ``<<`` merges are not yet mixed in: an explicit key may override those."""
        node = super().compose_mapping_node(anchor)
        lines: dict[Hashable, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            identity = _identity(key)
            if identity in lines:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key '{key.value}' is given twice, first in line {lines[identity]}", key.start_mark
                )
            lines[identity] = key.start_mark.line + 1
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Mix in what ``<<`` names: a key of the mapping's own wins, then the first of several sources.

        PyYAML's own is not used: in 6.0.4 the value of an overridden key comes back where an alias is merged again.
        """
        merged: list[list[tuple[yaml.Node, yaml.Node]]] = []
        for key, value in node.value:
            if key.tag != _MERGE:
                continue
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode):
                    raise yaml.constructor.ConstructorError(
                        None, None, "'<<' takes a mapping or a list of mappings", source.start_mark
                    )
                self.flatten_mapping(source)
                merged.append(source.value)
        if merged:
            own = [pair for pair in node.value if pair[0].tag != _MERGE]
            last = {_identity(key): (key, value) for pairs in (*reversed(merged), own) for key, value in pairs}
            node.value = list(last.values())

    def get_single_node(self) -> yaml.Node | None:
        """Refuse aliases that spell out to more than any option file holds, before anything is made of them."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _spelt_out(node, {}) > _MOST_NODES:
            raise yaml.constructor.ConstructorError(
                None, None, f"aliases spell out to more than {_MOST_NODES} values", node.start_mark
            )
        return node


def _identity(key: yaml.Node) -> Hashable:
    return (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)


def _spelt_out(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the values below a node with every alias spelt out; one that contains itself is refused."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 0  # being counted
        children = [child for pair in node.value for child in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_spelt_out(child, known) for child in children)
    elif known[id(node)] == 0:
        raise yaml.constructor.ConstructorError(
            None, None, "an anchor contains itself; write its value out", node.start_mark
        )
    return known[id(node)]


# YAML 1.1, which PyYAML reads, wants a dot and a signed exponent (1.0e-4). 1e-4, 1.e-4 and 2.5e5 are numbers too.
FLOAT_TAG = "tag:yaml.org,2002:float"
# Every character has one place in the pattern, so that a long row of digits is not read again and again.
FLOAT = (re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$"), list("-+.0123456789"))
"""What else is a number: pattern, and the characters it may start with."""
_Loader.add_implicit_resolver(FLOAT_TAG, *FLOAT)

_MOST_BITS = 1000


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    """Refuse integers that no float holds: Python can neither print the longest of them nor reckon with floats."""
    value: int = loader.construct_yaml_int(node)
    if value.bit_length() > _MOST_BITS:
        raise yaml.constructor.ConstructorError(
            None, None, f"an integer of more than {_MOST_BITS} bits", node.start_mark
        )
    return value


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML document with plain dicts and lists.

    Args:
        text: the document.
        where: what it is, for messages.

    Raises:
        ConfigError: not valid YAML; names line and column where there are any.
    """
    try:
        return _unshared(yaml.load(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = ": ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{where}{place}: {reason}; check indentation, quotes and brackets there") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: {error}") from error
    except _CONSTRUCTION_ERRORS as error:
        raise ConfigError(f"{where}: a value cannot be read as YAML ({error}); put text into quotes") from error


def _unshared(value: Any) -> Any:
    """Copy blocks and lists that an alias repeats: an override of one must not change the others."""
    if isinstance(value, dict):
        return {key: _unshared(entry) for key, entry in value.items()}
    return [_unshared(entry) for entry in value] if isinstance(value, list) else value


def load_yaml(path: Path | str) -> dict[str, Any]:
    """Load an option file.

    Returns:
        Plain nested dicts in the file's order.

    Raises:
        ConfigError: unreadable, not valid YAML, a key twice, or not a mapping at the top.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"option file '{path}' cannot be read as UTF-8 text ({error})") from error
    options = parse_yaml(text, f"option file '{path}'")
    if not isinstance(options, dict):
        kind = "empty" if options is None else f"a {type(options).__name__}"
        raise ConfigError(f"option file '{path}' is {kind}; 'key: value' lines such as 'name: my_run' were expected")
    return options
