"""The methods of numcore: the name, the paper, the functions and the gallery page of each.

A method is a module of a subpackage that has public names. Its name is the beginning of the
module's docstring, its paper the source that most of its functions cite first. A gallery page is
about the methods whose names its introduction mentions (``:func:`~numcore.linalg.sor```); it also
uses those that it imports. README.md and the documentation make their tables from this list.
"""

import ast
import functools
import importlib
import inspect
import re
from collections import Counter
from dataclasses import dataclass, is_dataclass
from pathlib import Path

from numcore.dispatch import ROOMS

GALLERY = Path(__file__).resolve().parents[1] / "examples"


@dataclass(frozen=True)
class Method:
    """`functions` are the routines and models, `results` the other public names."""

    subpackage: str
    module: str
    name: str
    functions: tuple[str, ...]
    results: tuple[str, ...]
    papers: tuple[str, ...]

    @property
    def source(self):
        """The file or folder of the method, relative to the repository."""
        path = self.module.replace(".", "/")
        return path if hasattr(importlib.import_module(self.module), "__path__") else f"{path}.py"

    @property
    def label(self):
        return "method-" + self.module.removeprefix("numcore.").replace("._", "-")

    def pages(self):
        """Gallery pages about the method, else those that use it; the most specific one first."""
        names = {f"{self.subpackage}.{name}" for name in self.functions}
        for kind in ("about", "uses"):
            found = [page for page in gallery() if getattr(page, kind) & names]
            if found:
                return sorted(found, key=lambda page: -len(names & page.uses) / len(page.uses))
        return []


@dataclass(frozen=True)
class Page:
    """`about` and `uses` are public names: ``linalg.sor``."""

    stem: str
    title: str
    about: frozenset[str]
    uses: frozenset[str]

    @property
    def example(self):
        """The title without the name of the method in front."""
        return self.title.rpartition(": ")[2]


# --- gallery pages --------------------------------------------------------------------------------

MENTION = re.compile(rf":(?:func|class|meth|obj):`~?numcore\.((?:{'|'.join(ROOMS)})\.\w+)")


@functools.cache
def gallery():
    return tuple(map(read_page, sorted(GALLERY.glob("plot_*.py"))))


def read_page(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    introduction = ast.get_docstring(tree)
    imported = {
        f"{node.module.removeprefix('numcore.')}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numcore.")
        for alias in node.names
    }
    about, mentioned = MENTION.findall(introduction), MENTION.findall(text)
    title = introduction.split("\n", 1)[0]
    return Page(path.stem, title, frozenset(about), frozenset(imported | set(mentioned)))


def pages_with(subpackage, name):
    """The gallery pages that use a public name, else those of its method."""
    found = [page for page in gallery() if f"{subpackage}.{name}" in page.uses]
    return found or method_of(subpackage, name).pages()


# --- papers ---------------------------------------------------------------------------------------

REFERENCES = re.compile(r"^References\n-+\n(.*?)(?=^\w[\w ]*\n-{3,}|\Z)", re.MULTILINE | re.DOTALL)
CITATION = re.compile(
    r'(?P<authors>[^";\]]+?),? "(?P<title>[^"]+)",? '
    r"(?P<source>.*?(?:arXiv[ :]\d{4}\.\d{4,5}|(?<!-)\(?\b(?:1[6-9]|20)\d\d\b\)?(?!-)))"
)
INITIALS = re.compile(r"(?:[A-Z]\.[ -]?)+ ?")


def first_citation(docstring):
    """(authors, title, source) of the first reference of a docstring, None without one."""
    section = REFERENCES.search(inspect.cleandoc(docstring))
    found = section and CITATION.search(" ".join(section[1].split()))
    return found and (found["authors"].strip(), found["title"], found["source"])


def short_authors(authors):
    """``"T. Dao, D. Fu, S. Ermon"`` → ``"Dao et al."``."""
    names = [INITIALS.sub("", name) for name in re.split(r",? et al\.|, | and ", authors)]
    return f"{names[0]} et al." if len(names) > 2 or "et al." in authors else " and ".join(names)


def papers(functions):
    """The sources that most of these functions cite first."""
    found = list(filter(None, (first_citation(function.__doc__ or "") for function in functions)))
    counts = Counter(title for _, title, _ in found)
    most = [title for title, count in counts.items() if count == max(counts.values())]
    by_title = {title: (authors, source) for authors, title, source in reversed(found)}
    return tuple(
        f'{short_authors(authors)}, "{title}", {source}'
        for title in most
        for authors, source in (by_title[title],)
    )


# --- methods --------------------------------------------------------------------------------------


def is_result(value):
    """Whether a name is a type of results, not something that users call."""
    return isinstance(value, type) and (issubclass(value, tuple) or is_dataclass(value))


@functools.cache
def methods():
    """Every method, by subpackage and module."""
    return tuple(method for subpackage in ROOMS for method in methods_of(subpackage))


def methods_of(subpackage):
    package, found = importlib.import_module(f"numcore.{subpackage}"), {}
    for name in sorted(package.__all__, key=str.lower):
        value = getattr(package, name)
        module = ".".join(getattr(value, "__module__", "").split(".")[:3])
        if module.startswith("numcore."):  # not the aliases of types
            found.setdefault(module, {})[name] = value
    for module, values in sorted(found.items()):
        heading = re.match(r"[^:.]+", importlib.import_module(module).__doc__)[0]
        functions = {k: v for k, v in values.items() if callable(v) and not is_result(v)}
        yield Method(
            subpackage,
            module,
            " ".join(heading.split()),
            tuple(functions),
            tuple(name for name in values if name not in functions),
            papers(functions.values()),
        )


def method_of(subpackage, name):
    """The method that a public name of a subpackage belongs to."""
    for method in methods():
        if method.subpackage == subpackage and name in method.functions + method.results:
            return method
    raise LookupError(f"{name} must be a public name of numcore.{subpackage}")
