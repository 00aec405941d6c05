"""The faults that are introduced: mutmut's operators and two of our own, and the mutated source of each.

Code is not mutated where only the type checker, a reader or an accelerator could notice it (annotations, asserts, error
messages, `device=`, `strict=`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation import mutators
from selection import SOURCE

NEUTRAL = {"device", "strict"}  # keyword arguments that make no difference on the CPU or in code that is right
DROPPED = {"detach", "clamp", "abs", "nan_to_num", "copy", "clone", "float", "astype", "square", "any", "all"}


@dataclass
class Mutant:
    """One planted fault."""

    file: str  # relative to src/seqel
    line: int
    last: int  # last line of the mutated expression
    function: str  # qualified name of the outermost function that holds it; "" at import
    before: str
    after: str
    source: str = ""  # of the whole file, mutated
    result: str = ""  # killed, survived, unreached, timeout
    test: str = ""
    make: Callable[[], str] = str  # the source, worked out only where it is needed

    @property
    def name(self) -> str:
        """Where and what."""
        return f"{self.file}:{self.line}  {short(self.before)}  ->  {short(self.after)}"


def drop_call(node: cst.Call) -> Iterator[cst.BaseExpression]:
    """x.detach() -> x."""
    if isinstance(node.func, cst.Attribute) and node.func.attr.value in DROPPED:
        yield node.func.value


def negate(node: cst.If) -> Iterator[cst.If]:
    """if a -> if not (a)."""
    test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    yield node.with_changes(test=cst.UnaryOperation(cst.Not(), test))


OPERATORS: list[tuple[type, Callable[[Any], Any]]] = [
    (kind, operator)
    for kind, operator in mutators.mutation_operators
    if operator not in (mutators.operator_string, mutators.operator_dict_arguments)
]
OPERATORS += [(cst.Call, drop_call), (cst.If, negate)]
SKIPPED = (cst.Annotation, cst.Raise, cst.Assert, cst.Decorator, cst.Import, cst.ImportFrom, cst.FormattedString)


class Finder(cst.CSTVisitor):  # type: ignore[misc, unused-ignore]  # libcst may be missing
    """Collects (node, mutated node, outermost function, first line, last line)."""

    METADATA_DEPENDENCIES = (PositionProvider, ParentNodeProvider)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode, str, int, int]] = []
        self.scope: list[str] = []
        self.inside = 0  # how many functions deep

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, SKIPPED) or (isinstance(node, cst.Arg) and node.keyword and node.keyword.value in NEUTRAL):
            return False
        if isinstance(node, cst.If) and "TYPE_CHECKING" in cst.Module([]).code_for_node(node.test):
            return False
        if isinstance(node, cst.Assign) and any("__all__" in _code(target) for target in node.targets):
            return False
        place = self.get_metadata(PositionProvider, node, None)
        if place is not None:
            last = place.start.line if isinstance(node, cst.If) else place.end.line
            function = ".".join(self.scope) if self.inside else ""
            for kind, operator in OPERATORS:
                if isinstance(node, kind):
                    for new in operator(node):
                        if not (isinstance(node, cst.Call) and isinstance(new, cst.Call) and _neutral(node, new)):
                            self.found.append((node, new, function, place.start.line, last))
        if isinstance(node, cst.FunctionDef):
            if not self.inside:
                self.scope.append(node.name.value)
                # decorators and defaults are looked at while the function does not count as entered
                node.params.visit(self)
                self.inside += 1
                node.body.visit(self)
                self.inside -= 1
                self.scope.pop()
                return False
            self.inside += 1
        if isinstance(node, cst.ClassDef) and not self.inside:
            self.scope.append(node.name.value)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef) and self.inside:
            self.inside -= 1
        if isinstance(original_node, cst.ClassDef) and not self.inside:
            self.scope.pop()


def _replaced(module: cst.Module, node: cst.CSTNode, new: cst.CSTNode) -> str:
    changed: Any = module.deep_replace(node, new)  # libcst declares a node, and returns the module
    return str(changed.code)


def _code(node: cst.CSTNode) -> str:
    return cst.Module([]).code_for_node(node)


def _neutral(node: cst.Call, new: cst.Call) -> bool:
    """Whether only an argument of `NEUTRAL` was changed or dropped."""
    kept = [{_code(arg).rstrip(", \n") for arg in call.args} for call in (node, new)]
    return any(text.split("=")[0].strip() in NEUTRAL for text in kept[0] - kept[1])


def mutants_of(path: Path) -> list[Mutant]:
    """Every mutant of a file, without its source."""
    text = path.read_text(encoding="utf-8")
    module = cst.parse_module(text)
    finder = Finder()
    MetadataWrapper(module, unsafe_skip_copy=True).visit(finder)
    lines, found = text.splitlines(), []
    for node, new, function, first, last in finder.found:
        if isinstance(node, cst.If) and isinstance(new, cst.If):
            before, after = f"if {_code(node.test)}", f"if {_code(new.test)}"
        else:
            before, after = _code(node), _code(new)
        if len(before) < 12:  # an operator or a number says little without its line
            before += f"   in {lines[first - 1].strip()}"
        mutant = Mutant(str(path.relative_to(SOURCE)), first, last, function, before, after)
        mutant.make = functools.partial(_replaced, module, node, new)
        found.append(mutant)
    return found


def realise(mutants: list[Mutant]) -> list[Mutant]:
    """Add the sources, and drop the mutants that compile to the original or do not compile."""
    found: list[Mutant] = []
    for mutant in mutants:
        path = SOURCE / mutant.file
        mutant.source, mutant.make = mutant.make(), str
        original = _compiled(path.read_text(encoding="utf-8"), str(path))
        with contextlib.suppress(SyntaxError):
            if compile(mutant.source, str(path), "exec") != original:
                found.append(mutant)
    return found


@functools.cache
def _compiled(text: str, path: str) -> CodeType:
    return compile(text, path, "exec")


def short(text: str) -> str:
    """One line."""
    return " ".join(text.split())
