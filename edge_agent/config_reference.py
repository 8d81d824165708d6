"""What a configuration may hold, out of the settings' own types and docstrings: as rows of a table, as JSON Schema.

A settings struct tells what its keys mean under `Attributes:` of its docstring, so that there is one place to say it.
"""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Tuple, Type

import msgspec

_ENTRY = re.compile(r"^(?P<names>[a-z_0-9]+(?:, [a-z_0-9]+)*): (?P<text>.*)$")


@dataclass(frozen=True)
class Row:
    """One key.

    Attributes:
        path: dotted, with NAME for the key of a mapping.
        kind: what may stand there, in a few words.
        default: as JSON; empty where the key is required or holds keys of its own.
        text: what it means; the docstring's words.
    """

    path: str
    kind: str
    default: str
    text: str


def rows(settings: Type[msgspec.Struct], path: str = "") -> Iterator[Row]:
    """A row for each key at or below a settings struct, in the order of their definition."""
    texts = attribute_texts(settings)
    for field in msgspec.structs.fields(settings):
        inner = f"{path}.{field.encode_name}" if path else field.encode_name
        structs, kind = _describe(msgspec.inspect.type_info(field.type))
        text = texts.get(field.name, "")
        if isinstance(msgspec.inspect.type_info(field.type), msgspec.inspect.DictType):
            yield Row(f"{inner}.NAME", "mapping", "", text)
            inner = f"{inner}.NAME"
        elif structs and _tag(structs[0]):
            tags = " ".join(f"`{_tag(struct)}`" for struct in structs)
            yield Row(f"{inner}.type", tags, _tag_default(field), text)
        elif not structs:
            yield Row(inner, kind, _default(field), text)
        for struct in structs:
            for row in rows(struct, inner):
                yield (
                    row if len(structs) == 1 else Row(row.path, row.kind, row.default, f"`{_tag(struct)}`: {row.text}")
                )


def markdown(settings: Type[msgspec.Struct]) -> str:
    """The rows as a Markdown table."""
    lines = ["| key | values | default | meaning |", "| --- | --- | --- | --- |"]
    for row in rows(settings):
        default = f"`{row.default}`" if row.default else ""
        text = row.text.replace("|", "\\|")
        lines.append(f"| `{row.path}` | {row.kind} | {default} | {text} |")
    return "\n".join(lines) + "\n"


def json_schema(settings: Type[msgspec.Struct], title: str) -> Dict[str, Any]:
    """JSON Schema (2020-12) of a settings struct, with the docstrings' words as descriptions.

    Scalars are shown in their own type; reading accepts them as text, too.
    """
    schema, components = _schema_components(settings)
    for struct in _all_structs(settings):
        known = components.get(struct.__name__)
        if known is None:
            continue
        known["description"] = (inspect.getdoc(struct) or "").split("\n\n")[0].replace("\n", " ")
        for name, text in attribute_texts(struct).items():
            if name in known.get("properties", {}):
                known["properties"][name].setdefault("description", text)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **schema,
        "$defs": components,
    }


def attribute_texts(settings: Type[msgspec.Struct]) -> Dict[str, str]:
    """What the docstring says of each attribute, under `Attributes:`."""
    lines = (inspect.getdoc(settings) or "").splitlines()
    texts: Dict[str, str] = {}
    names: List[str] = []
    listing = False
    for line in lines:
        if line.strip() == "Attributes:":
            listing = True
            continue
        entry = _ENTRY.match(line.strip()) if listing else None
        if entry is not None:
            names = entry.group("names").split(", ")
            texts.update({name: entry.group("text") for name in names})
        elif listing and names and line.strip():
            for name in names:
                texts[name] += f" {line.strip()}"
        elif listing and not line.strip():
            names = []
    return texts


_WORDS: Dict[Type[msgspec.inspect.Type], str] = {
    msgspec.inspect.StrType: "text",
    msgspec.inspect.IntType: "integer",
    msgspec.inspect.FloatType: "number",
    msgspec.inspect.BoolType: "`true` `false`",
    msgspec.inspect.NoneType: "`null`",
}


def _describe(info: msgspec.inspect.Type) -> Tuple[List[Type[msgspec.Struct]], str]:
    """The structs that may stand there, or the scalars in words."""
    structs: List[Type[msgspec.Struct]] = []
    words = _WORDS.get(type(info), "any")
    if isinstance(info, msgspec.inspect.StructType):
        structs, words = [info.cls], ""
    elif isinstance(info, msgspec.inspect.DictType):
        structs, words = _describe(info.value_type)
    elif isinstance(info, msgspec.inspect.UnionType):
        members = [_describe(member) for member in info.types]
        structs = [struct for found, _words in members for struct in found]
        words = " or ".join(words for _found, words in members if words)
    elif isinstance(info, msgspec.inspect.LiteralType):
        words = " ".join(f"`{value}`" for value in info.values)
    elif isinstance(info, (msgspec.inspect.ListType, msgspec.inspect.VarTupleType)):
        words = f"list of {_describe(info.item_type)[1]}"
    elif isinstance(info, msgspec.inspect.TupleType):
        words = "list of " + ", ".join(_describe(member)[1] for member in info.item_types)
    return structs, words


def _default(field: Any) -> str:
    if field.default is not msgspec.NODEFAULT:
        return json.dumps(msgspec.to_builtins(field.default))
    if field.default_factory is not msgspec.NODEFAULT:
        return json.dumps(msgspec.to_builtins(field.default_factory()))
    return ""


def _tag_default(field: Any) -> str:
    default: Optional[Any] = None if field.default is msgspec.NODEFAULT else field.default
    return _tag(type(default)) if isinstance(default, msgspec.Struct) else ""


def _tag(struct: Type[msgspec.Struct]) -> str:
    """What `type` says of it; empty for a struct that has no choice beside it."""
    return str(struct.__struct_config__.tag or "")


def _all_structs(settings: Type[msgspec.Struct]) -> List[Type[msgspec.Struct]]:
    found = [settings]
    for field in msgspec.structs.fields(settings):
        for struct in _describe(msgspec.inspect.type_info(field.type))[0]:
            found += [inner for inner in _all_structs(struct) if inner not in found]
    return found


def _schema_components(settings: Type[msgspec.Struct]) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    (schema,), components = msgspec.json.schema_components([settings], ref_template="#/$defs/{name}")
    return dict(schema), dict(components)
