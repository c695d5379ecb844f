"""What pydantic finds wrong with a recipe's blocks, in words and with the place."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Tag

from pipelines.recipe_errors import Path, Problem, dotted, listed, nearest, shown
from pipelines.recipe_models import ENGINES
from pipelines.recipe_yaml import Document

# Words for the types that a value should have.
_EXPECTED = {
    "string_type": "expected a string",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "dict_type": "expected a mapping",
    "tuple_type": "expected a word or a list",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}
# Blocks that have a short form, and what it is.
_SHORT_FORMS = {
    "Step": "a rule's name or ",
    "AnnotatorSpec": "an annotator's name or ",
    "PresetUse": "a preset's name or ",
    "Variant": "a list of rules or ",
    "HeldOut": "a number or ",
    "ErrorRates": "a number or ",
}


def problem_of(model: type[BaseModel], document: Document, error: Any) -> Problem:
    """One of pydantic's errors about `model`, in words and with its place."""
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    path = _path_in(document.data, error["loc"], missing=kind == "missing")
    names = list(_fields_at(model, error["loc"]))
    where = dotted(path)
    if kind == "extra_forbidden":
        word = str(path[-1])
        return Problem(
            document.mark(path, of_key=True),
            where,
            "unknown key",
            repr(word),
            listed(names),
            nearest(word, names),
        )
    if kind == "missing":
        return Problem(document.mark(path[:-1], of_key=True), where, "is missing and must be given")
    if kind == "union_tag_invalid":
        path = (*path, "kind")
        tag = str(context["tag"])
        return Problem(
            document.mark(path),
            dotted(path),
            "unknown engine",
            repr(tag),
            listed(ENGINES),
            nearest(tag, ENGINES),
        )
    if kind == "union_tag_not_found":
        return Problem(document.mark(path), where, "expected a mapping", shown(value))
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        message = "is not one of the allowed words"
        return Problem(document.mark(path), where, message, shown(value), listed(allowed), nearest(value, allowed))
    if kind == "string_pattern_mismatch":
        of_key = error["loc"][-1] == "[key]"
        message = (
            "must start with gs://"
            if "gs:" in context["pattern"]
            else ("a name has only the characters a-z, 0-9, _ and -")
        )
        return Problem(document.mark(path, of_key=of_key), where, message, shown(value))
    if kind == "value_error":
        message, _, allowed_text = str(context["error"]).partition("; allowed: ")
        return Problem(document.mark(path), where, message, shown(value), allowed_text or None)
    if kind == "model_type":
        message = f"expected {_SHORT_FORMS.get(context['class_name'], '')}a mapping"
    else:
        message = _EXPECTED.get(kind) or error["msg"].replace("Input should be", "must be")
    return Problem(document.mark(path), where, message, shown(value))


def _path_in(data: Any, location: Sequence[str | int], *, missing: bool) -> Path:
    """pydantic's location without what is not in the data: tags of unions, keys that a short form spares."""
    path: list[str | int] = []
    for position, part in enumerate(location):
        inside = (isinstance(data, dict) and part in data) or (isinstance(data, list) and isinstance(part, int))
        if inside:
            path.append(part)
            data = data[part]  # type: ignore[index]
        elif missing and position == len(location) - 1:
            path.append(part)
    return tuple(path)


def _fields_at(annotation: Any, location: Sequence[str | int]) -> Collection[str]:
    """Names of the fields of the model in which the last part of `location` stands."""
    if get_origin(annotation) is Annotated:
        return _fields_at(get_args(annotation)[0], location)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if len(location) <= 1 or location[0] not in annotation.model_fields:
            return [field.alias or name for name, field in annotation.model_fields.items()]
        return _fields_at(annotation.model_fields[str(location[0])].annotation, location[1:])
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return _fields_at(arguments[1], location[1:])
    if get_origin(annotation) is tuple:
        return _fields_at(arguments[0], location[1:])
    for member in arguments:
        tags = [m.tag for m in getattr(member, "__metadata__", ()) if isinstance(m, Tag)]
        if tags and location and tags[0] == location[0]:
            return _fields_at(member, location[1:])
    members = [member for member in arguments if member is not type(None)]
    return _fields_at(members[0], location) if len(members) == 1 else ()
