"""Links between names: from what a docstring says to the page of what it means."""

from __future__ import annotations

import inspect
from typing import Any

from docutils import nodes

from docs.generators import api


def link_names(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Resolve a reference that Sphinx could not: to a public name without its package, or to where it is defined.

    A docstring says `Coupling` or `nets.MLP`, and an annotation the private module that defines a class. What is no
    public name, such as an argument, becomes literal text.
    """
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"].removesuffix("()")
    found = _candidates(env, target)
    inside = [path for path in found if path.startswith(f"{node.get('py:module')}.")]
    if len(inside) == 1 or len(found) == 1:
        path = (inside if len(inside) == 1 else found)[0]
        entry = env.domaindata["py"]["objects"][path]
        address = app.builder.get_relative_uri(node["refdoc"], entry.docname) + "#" + entry.node_id
        return nodes.reference("", "", contnode, internal=True, refuri=address, reftitle=path)
    if node.get("reftype") == "obj":
        return contnode
    return contnode if target.startswith("inverseflow.") else None


def _candidates(env: Any, target: str) -> list[str]:
    objects = env.domaindata["py"]["objects"]
    ending = "." + target.removeprefix("inverseflow.")
    found = {path for path, entry in objects.items() if path.endswith(ending) and not entry.aliased}
    if "." not in target:  # not a member of some class that happens to have the name of an argument
        found = {path for path in found if path.rpartition(".")[0] in api.PACKAGES}
    if not found and target.startswith("inverseflow."):  # the private module of a public name
        found = {path for path in objects if path.endswith("." + target.rpartition(".")[2]) and path.count(".") == 2}
    same = {api.original_of(name).path for path in found for name in _public(path)}
    return sorted(same or found)


def _public(path: str) -> list[api.Name]:
    package, _, last = path.rpartition(".")
    return [name for name in api.public_names(package) if name.name == last] if package in api.PACKAGES else []


def keep_colons(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Keep Napoleon from reading what stands before a colon in the docstring of an attribute as its type."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]


def list_inherited(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Add to the docstring of a class which members it has from other public classes, with links."""
    if what != "class" or not inspect.isclass(thing):
        return
    seen = set(vars(thing))
    pages = {(n.home, n.name): n.path for package in api.PACKAGES for n in api.public_names(package)}
    for base in thing.__mro__[1:]:
        own = [
            key for key, value in vars(base).items() if key not in seen and not key.startswith("_") and value.__doc__
        ]
        seen |= set(vars(base))
        path = pages.get((base.__module__, base.__qualname__))
        own = [key for key in own if callable(getattr(base, key)) or isinstance(vars(base)[key], property)]
        if path and own:
            members = ", ".join(f":py:obj:`{key} <{path}.{key}>`" for key in own if key != "extra_repr")
            lines += ["", f"From :py:class:`{base.__name__} <{path}>`: {members}.", ""]
