"""Checking the templates of messages; loaded only if a hook has one."""

from typing import Final

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

_REFUSED: Final = (
    nodes.Include,
    nodes.Import,
    nodes.FromImport,
    nodes.Extends,
    nodes.Block,
    nodes.Macro,
    nodes.CallBlock,
    nodes.Call,
)


def environment() -> ImmutableSandboxedEnvironment:
    """Return the environment that parses templates: sandboxed, without globals or undefined names."""
    made = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    made.globals.clear()
    return made


def fault(source: str, fields: frozenset[str], tables: frozenset[str]) -> str | None:
    """Say what is wrong with a template, or return None; it is parsed, never rendered.

    `fields` are the names that it may use, `tables` those of them that have names inside.
    """
    made = environment()
    try:
        # Never compiled: that would evaluate its constants in this process, without limits.
        tree = made.parse(source)
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {_first(error)}"
    except (TemplateError, RecursionError) as error:
        return _first(error)
    for known, what, kind in ((made.filters, nodes.Filter, "filter"), (made.tests, nodes.Test, "test")):
        for named in tree.find_all(what):
            if named.name not in known:
                return f'line {named.lineno}: there is no {kind} "{named.name}"'
    for node in tree.find_all(_REFUSED):
        return f"line {node.lineno}: {type(node).__name__.lower()} is not allowed in a template"
    unknown = sorted(_loaded(tree) - fields)
    if unknown:
        return f'unknown field "{unknown[0]}" (known: {", ".join(sorted(fields))})'
    return _inside(tree, fields - tables)


def _loaded(tree: nodes.Template) -> set[str]:
    """Return the names used without a value; jinja2's own function for this would compile the template."""
    names = list(tree.find_all(nodes.Name))
    given = {name.name for name in names if name.ctx != "load"}
    if tree.find(nodes.For):
        given.add("loop")
    return {name.name for name in names if name.ctx == "load"} - given


def _inside(tree: nodes.Template, plain: frozenset[str]) -> str | None:
    found = [(node, node.node, node.attr) for node in tree.find_all(nodes.Getattr)]
    items = [(node, node.node, _constant(node.arg)) for node in tree.find_all(nodes.Getitem)]
    for node, inner, key in (*found, *items):
        if isinstance(inner, nodes.Name) and inner.name in plain and isinstance(key, str):
            return f'line {node.lineno}: unknown field "{inner.name}.{key}"'
    return None


def _constant(node: nodes.Node) -> object:
    return node.value if isinstance(node, nodes.Const) else None


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
