"""The API reference: one page for every public name, made from the ``__all__`` of every public package.

Names are read from the source, so nothing is imported: neither torch nor an optional package is needed.
"""

from __future__ import annotations

import ast
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src"

PACKAGES = (
    "inverseflow",
    "inverseflow.bijections",
    "inverseflow.flows",
    "inverseflow.densities",
    "inverseflow.distributions",
    "inverseflow.nets",
    "inverseflow.ops",
    "inverseflow.training",
    "inverseflow.data",
    "inverseflow.inference",
    "inverseflow.inference.problems",
    "inverseflow.inference.diagnostics",
    "inverseflow.inference.methods",
    "inverseflow.estimators",
    "inverseflow.interop",
    "inverseflow.interop.torch",
    "inverseflow.interop.zuko",
    "inverseflow.interop.nflows",
    "inverseflow.interop.normflows",
    "inverseflow.interop.freia",
    "inverseflow.interop.pyro",
    "inverseflow.interop.sbi",
    "inverseflow.errors",
)
"""In the order of the reference."""

HEADINGS = {"package": "Packages", "class": "Classes", "function": "Functions", "value": "Values and types"}
"""The kinds of names, and what stands over them."""


@dataclass(frozen=True)
class Name:
    """A public name: where it is imported from, and where it is defined."""

    package: str
    name: str
    home: str
    """The module that defines it."""
    kind: str
    """One of `HEADINGS`."""
    doc: str
    """Its docstring, or the string behind a value."""
    value: str = ""
    """The source of a value."""

    @property
    def path(self) -> str:
        """The name with its package, as it is imported."""
        return f"{self.package}.{self.name}"

    @property
    def page(self) -> str:
        """The page in the folder of the documentation. File names may ignore case, so some need to end differently."""
        if self.path in PACKAGES:
            return _package_page(self.path)
        folder = self.package.removeprefix("inverseflow").lstrip(".").replace(".", "/")
        clash = self.name != self.name.lower() and self.name.lower() in _exported(self.package)
        suffix = f"-{self.kind}" if clash else ""
        return "/".join(filter(None, ("api", folder, self.name + suffix)))


def public_names(package: str) -> list[Name]:
    """Return every public name of a package, in the order of its ``__all__``."""
    return [_name(package, name) for name in _exported(package)]


def write(folder: Path) -> None:
    """Write all pages below `folder`, and remove those of names that are gone."""
    pages = {"api/index": _index()}
    for package in PACKAGES:
        pages[_package_page(package)] = _package(package)
        pages.update((name.page, _page(name)) for name in public_names(package) if name.path not in PACKAGES)
    wanted = {folder / f"{page}.rst": text for page, text in pages.items()}
    for path in (folder / "api").rglob("*.rst"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text("utf-8") != text:  # an unchanged page is not built again
            path.write_text(text, "utf-8")


def _package_page(package: str) -> str:
    return "api/" + (package.removeprefix("inverseflow").lstrip(".").replace(".", "/") or "inverseflow") + "/index"


def _index() -> str:
    lines = [_title("API reference"), "Every public name has a page. The examples on it run as tests.", ""]
    for package in PACKAGES:
        lines.append(f"* :doc:`{package} </{_package_page(package)}>`: {_one_line(_docstring(package))}")
    return "\n".join([*lines, "", *_toctree([_package_page(package) for package in PACKAGES])])


def _package(package: str) -> str:
    names = public_names(package)
    lines = [_title(package), f".. py:module:: {package}", "", _docstring(package), ""]
    for kind, heading in HEADINGS.items():
        rows = sorted((name for name in names if name.kind == kind), key=lambda name: name.name.lower())
        if rows:
            lines += [heading, "-" * len(heading), "", ".. list-table::", "   :widths: 30 70", ""]
        for row in rows:
            lines += [f"   * - :doc:`{row.name} </{row.page}>`", f"     - {_one_line(row.doc)}"]
        lines.append("")
    return "\n".join(lines)


def _page(name: Name) -> str:
    lines = [":orphan:", "", _title(name.name), f":doc:`{name.package} </{_package_page(name.package)}>`", ""]
    original = original_of(name)
    if original != name:
        directive, role = _DIRECTIVES[name.kind]
        lines += [f".. py:{directive}:: {name.path}", "", f"   The same as :py:{role}:`{original.path}`.", ""]
    elif name.kind == "package":
        lines += [f".. py:module:: {name.path}", "", name.doc, ""]
    elif name.kind == "value":
        lines += [f".. py:data:: {name.path}", "", *_indented(name.doc), ""]
        lines += ["   .. code-block:: python", "", *_indented(name.value, "      "), ""]
    else:
        lines += [f".. currentmodule:: {name.package}", "", f".. auto{_DIRECTIVES[name.kind][0]}:: {name.path}", ""]
    return "\n".join(lines)


_DIRECTIVES = {"class": ("class", "class"), "function": ("function", "func"), "value": ("data", "data")}
"""By the kind of a name: the directive that describes it, and the role that refers to it."""


def original_of(name: Name) -> Name:
    """Return the name whose page describes an object that several packages export: that of the deepest package."""
    return _originals().get((name.home, name.name), name)


@cache
def _originals() -> dict[tuple[str, str], Name]:
    names = [name for package in PACKAGES for name in public_names(package) if name.kind != "package"]
    inside = [name for name in names if f"{name.home}.".startswith(f"{name.package}.")]
    return {(name.home, name.name): name for name in sorted(inside, key=lambda name: len(name.package))}


def _indented(text: str, by: str = "   ") -> list[str]:
    return [f"{by}{line}".rstrip() for line in text.splitlines()]


def _one_line(doc: str) -> str:
    return " ".join(doc.partition("\n\n")[0].split())


def _title(text: str) -> str:
    return f"{text}\n{'=' * len(text)}\n"


def _toctree(pages: list[str]) -> list[str]:
    return [".. toctree::", "   :hidden:", "", *(f"   /{page}" for page in pages), ""]


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text("utf-8"))


def _file(module: str) -> Path:
    path = SOURCE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _docstring(module: str) -> str:
    return ast.get_docstring(_tree(module)) or ""


@cache
def _exported(package: str) -> tuple[str, ...]:
    for statement in _tree(package).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return tuple(ast.literal_eval(statement.value))
    # a module without a list: what it defines and does not hide
    definitions = (ast.FunctionDef, ast.ClassDef)
    return tuple(
        statement.name
        for statement in _tree(package).body
        if isinstance(statement, definitions) and not statement.name.startswith("_")
    )


@cache
def _name(package: str, name: str) -> Name:
    home, definition, doc = _definition(package, name)
    if isinstance(definition, ast.ClassDef):
        return Name(package, name, home, "class", ast.get_docstring(definition) or "")
    if isinstance(definition, ast.FunctionDef):
        return Name(package, name, home, "function", ast.get_docstring(definition) or "")
    if definition is None:
        return Name(package, name, home, "package", _docstring(home))
    return Name(package, name, home, "value", doc, ast.unparse(definition))


def _definition(module: str, name: str) -> tuple[str, ast.stmt | None, str]:
    """Return the module that defines a name, the statement (None for a module), and the string behind it."""
    body = _tree(module).body
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)) and statement.name == name:
            return module, statement, ""
        targets = {ast.Assign: "targets", ast.AnnAssign: "target"}.get(type(statement))
        if targets is not None:
            assigned = getattr(statement, targets)
            if name in map(ast.unparse, assigned if isinstance(assigned, list) else [assigned]):
                text = following.value if isinstance(following, ast.Expr) else None
                return module, statement, text.value if isinstance(text, ast.Constant) else ""
    for statement in ast.walk(_tree(module)):
        if isinstance(statement, ast.ImportFrom) and name in [alias.name for alias in statement.names]:
            assert statement.module is not None
            if statement.module != module:
                with suppress(LookupError):
                    return _definition(statement.module, name)
            return f"{statement.module}.{name}", None, ""
    raise LookupError(f"{module} exports {name!r}, but does not define or import it")


def class_names() -> set[str]:
    """Return the names of all public classes, and of the classes of others that they derive from."""
    ours = {name.name for package in PACKAGES for name in public_names(package) if name.kind == "class"}
    return (
        ours
        | {"Module", "Sequential", "Distribution", "Transform", "Exception"}
        | {"BaseEstimator", "ClassifierMixin", "OutlierMixin"}
    )
