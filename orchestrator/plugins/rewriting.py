"""Rewrites the imports of a user's file, so that neighbours do not become global modules.

Two folders may both contain a `layers.py`. A process can load both, because `import layers` becomes
`from . import layers` in each folder.
"""

import ast
from collections.abc import Collection


def parse_with_relative_imports(
    content: bytes, path: str, neighbours: Collection[str], level: int
) -> ast.Module:
    """Parse a file, and make the absolute imports of neighbours relative.

    `neighbours` are the top-level modules in the folder of the named file. `level` is the number of dots that leads
    from the file at `path` to this folder. Raises SyntaxError and ValueError as `ast.parse` does.
    """
    tree = _RelativeImports(neighbours, level).visit(ast.parse(content, path))
    assert isinstance(tree, ast.Module)
    return ast.fix_missing_locations(tree)


class _RelativeImports(ast.NodeTransformer):
    def __init__(self, neighbours: Collection[str], level: int) -> None:
        self._neighbours, self._level = neighbours, level

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        if node.level == 0 and node.module and self._is_neighbour(node.module):
            node.level = self._level
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        statements: list[ast.stmt] = []
        for alias in node.names:
            if self._is_neighbour(alias.name):
                statements += self._relative(alias)
            else:
                statements.append(ast.Import([alias]))
        return [ast.copy_location(statement, node) for statement in statements]

    def _relative(self, alias: ast.alias) -> list[ast.stmt]:
        """Return the relative form of `import alias.name as alias.asname`."""
        parent, _, last = alias.name.rpartition(".")
        if alias.asname or not parent:
            return [self._import_from(parent, last, alias.asname)]
        # `import a.b` loads a.b, but binds the name `a`
        loads = self._import_from(parent, last, f"_{alias.name.replace('.', '_')}")
        return [loads, self._import_from("", alias.name.partition(".")[0], None)]

    def _import_from(self, module: str, name: str, as_name: str | None) -> ast.ImportFrom:
        return ast.ImportFrom(module or None, [ast.alias(name, as_name)], self._level)

    def _is_neighbour(self, module: str) -> bool:
        return module.partition(".")[0] in self._neighbours
