"""Which prefixes and request parameters a model's family wants in each role, and what is wrong with those of a setting.

``families`` is the content of ``model_families.json``: a list in which the first match wins, each with ``name``,
``models`` (fnmatch patterns), ``document`` and ``query`` (``prefix``, ``params`` and perhaps ``also``, patterns of
other prefixes that are right) and ``model_card``, the page that says so.
"""

import fnmatch
import json
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence

ROLES = ("document", "query")
DOT_ENV_HINT = "an unquoted line of a .env file loses the space at its end: put the value in quotes"

Family = Mapping[str, Any]


def find_family(model: str, families: Sequence[Family]) -> Optional[Family]:
    """Return the family of a model name, with or without organisation and tag, None when it is not known."""
    name = model.strip().lower().rsplit("/", 1)[-1]
    for family in families:
        for pattern in family["models"]:
            if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name.split(":")[0], pattern):
                return family
    return None


def bare(prefix: str) -> str:
    """Return the prefix without what gets lost or added on its way: white space, escapes of it, outer quotes."""
    return re.sub(r"\s|\\[nrt]", "", prefix).strip("\"'")


def white_space_warning(role: str, prefix: str, wanted: str, owner: str) -> str:
    """Return the warning for a prefix that is the wanted one but for white space."""
    return f"the {role} prefix {prefix!r} is {wanted!r} of {owner} but for white space; {DOT_ENV_HINT}"


def prefix_warning(role: str, prefix: str, family: Family) -> Optional[str]:
    """Return what is wrong with a role's prefix for a model of this family, None when it is right."""
    name, wanted = family["name"], family[role]["prefix"]
    if prefix == wanted or any(fnmatch.fnmatchcase(prefix, pattern) for pattern in family[role].get("also", ())):
        return None
    rule = f"{name} models take {repr(wanted) if wanted else 'none'} ({family['model_card']})"
    if not prefix:
        return f"the {role} prefix is empty; {rule}"
    if bare(prefix) == bare(wanted):
        return white_space_warning(role, prefix, wanted, name)
    other = "query" if role == "document" else "document"
    if prefix == family[other]["prefix"]:
        return f"the {role} prefix {prefix!r} is the {other} prefix of {name}; as {role} prefix {rule}"
    return f"the {role} prefix {prefix!r} is not that of the family; {rule}"


def unknown_family_warning(role: str, prefix: str, params: Mapping[str, Any], families: Sequence[Family]) -> List[str]:
    """Return what looks wrong with a role's prefix for a model of which nothing is known."""
    if not prefix:
        if params:
            return []
        return [f"the {role} prefix is empty; most models of this kind need one (see the model card)"]
    owners: Dict[str, str] = {}
    for family in families:
        for each in ROLES:
            owners.setdefault(family[each]["prefix"], family["name"])
    if prefix in owners:
        return []
    near = [known for known in owners if known and bare(known) == bare(prefix)]
    return [white_space_warning(role, prefix, near[0], owners[near[0]])] if near else []


def role_warnings(settings: Mapping[str, Any], role: str, families: Sequence[Family]) -> List[str]:
    """Return what is or looks wrong with the prefix and the parameters of one role, as one line each."""
    prefix, params = settings[role + "_prefix"], settings[role + "_params"]
    params = json.loads(params) if isinstance(params, str) else params or {}
    family = find_family(settings["model"], families)
    if family is None:
        return unknown_family_warning(role, prefix, params, families)
    warnings = []
    problem = prefix_warning(role, prefix, family)
    if problem:
        warnings.append(problem)
    for key, value in family[role]["params"].items():
        if params.get(key) != value:
            found = json.dumps(params[key]) if key in params else "missing"
            warnings.append(
                f"{json.dumps(key)} in {role}_params is {found[:60]}; {family['name']} models take {json.dumps(value)}"
                f" ({family['model_card']})"
            )
    return warnings


def prefix_warnings(settings: Mapping[str, Any], families: Sequence[Family]) -> List[str]:
    """Return the warnings for both roles; ``settings`` has model and both roles' prefix and params."""
    return [warning for role in ROLES for warning in role_warnings(settings, role, families)]
