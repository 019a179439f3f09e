"""Hooks of the documentation site: pages from outside docs/, settings, navigation, links, names."""

from __future__ import annotations

import base64
import dataclasses
import importlib
import inspect
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

PROJECT = Path(__file__).resolve().parents[1]
# Files of the repository that are pages of the site, by their place in both.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "idrstream/errors.md": "errors.md",
}
SOURCE = re.compile(r'\b(src|srcset)="((?:\.\./)*images/[^"]+)"')
CODE = re.compile(r"<pre\b.*?</pre>|<code\b[^>]*>.*?</code>|doc-object-name[^>]*>[^<]*<", re.DOTALL)
SEAM = re.compile(r"(?<=[\w\]])([._/=]+)(?=[\w{\[])(?![^<]*>)")
LINK = re.compile(r"(?<!\\)(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
FENCE = re.compile(r"(^```.*?^```\s*?$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_DRAWN = {"image/png": "png", "image/svg+xml": "svg"}
PUBLIC_NAMES = "<!-- public names -->"
OTHER_NAMES = "<!-- public names of other modules -->"
DIRECTIVE = re.compile(r"^::: idrstream\.([\w.]+)$", re.MULTILINE)


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what lies outside docs/, and fit the navigation to the pages there are."""
    from mkdocs.structure.files import File

    from idrstream.config import SECTIONS

    files.append(File.generated(config, "settings.md", content=settings_page(SECTIONS)))
    for source, target in _outside().items():
        files.append(File.generated(config, target, abs_src_path=str(PROJECT / source)))
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        for uri, content in _notebook(path):
            files.append(File.generated(config, uri, content=content))
    for package in sorted(_packages()):
        if files.get_file_from_path(f"api/{package}.md") is None:
            page = f"::: idrstream.{package}\n"
            files.append(File.generated(config, f"api/{package}.md", content=page))
    # The first page is behind the name of the site, at the top of every page.
    there = {file.src_uri for file in files.documentation_pages()} - {"index.md"}
    listed: set[str] = set()
    config.nav = _fit(config.nav or [], there, listed)
    rest = sorted(there - listed)
    if rest:
        _pages_of(config.nav[-1]).extend(rest)
    return files


def on_post_page(output: str, *, page: Page, config: MkDocsConfig) -> str:
    """Take a script from the site itself, and name what a screen reader needs named."""
    del config
    shim = posixpath.relpath("assets/iframe-worker.js", posixpath.dirname(page.url) or ".")
    # It lets the search work on a site that is opened from a disk.
    output = output.replace("https://unpkg.com/iframe-worker/shim", shim)
    output = output.replace('role="dialog"', 'role="dialog" aria-label="Search"', 1)
    # A table whose first column needs no heading: an empty heading is read out, a cell is not.
    return re.sub(r"<th([^>]*)></th>", r"<td\1></td>", output)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let names of code break after a dot, an underscore or a slash, and not within a word."""
    del page, config, files

    def seams(match: re.Match[str]) -> str:
        return match[0] if match[0].startswith("<pre") else SEAM.sub(r"\1<wbr>", match[0])

    return CODE.sub(seams, html)


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository into links of the site."""
    del config
    target_of = {**_outside(), **_notebooks()}
    source_of = {target: source for source, target in target_of.items()}
    here = source_of.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def fix(match: re.Match[str]) -> str:
        mark, text, link = match.groups()
        path, _, anchor = link.partition("#")
        if not path or "://" in path or path.startswith(("mailto:", "/")):
            return match[0]
        source = posixpath.normpath(posixpath.join(posixpath.dirname(here), path))
        target = target_of.get(source, source.removeprefix("docs/"))
        if files.get_file_from_path(target) is None:
            # Strict builds fail on a link to nothing; what is only in the repository has no page.
            return text if (PROJECT / source).exists() else match[0]
        relative = posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")
        return f"{mark}[{text}]({relative}{'#' + anchor if anchor else ''})"

    def picture(match: re.Match[str]) -> str:
        source = posixpath.normpath(posixpath.join(posixpath.dirname(here), match[2]))
        relative = posixpath.relpath(source, posixpath.dirname(page.file.src_uri) or ".")
        return f'{match[1]}="{relative}"'

    parts = FENCE.split(markdown)
    parts[::2] = [SOURCE.sub(picture, LINK.sub(fix, part)) for part in parts[::2]]
    text = "".join(parts)
    # Asked for only where they are wanted: the names import the package.
    for mark, content in ((PUBLIC_NAMES, _public_names), (OTHER_NAMES, _other_names)):
        if mark in text:
            text = text.replace(mark, content())
    return text


def settings_page(sections: Mapping[str, type]) -> str:
    """Return the page of all settings, from the sections that declare them."""
    from idrstream.config import options_in

    lines = [
        "# All settings",
        "",
        "An option is a key of its section in the TOML file, a variable of the environment, and an",
        "option of the command line; the later ones override the earlier ones. In Python those of",
        "`[stream]` are keyword arguments of `run_stream`, those of the other sections of",
        "`init_downloader`, `init_preprocessor`, `init_segmentor` and `copy_DP_files`.",
        "",
        "For example `batch_size` in `[stream]` is `--batch-size` on the command line and",
        "`IDRSTREAM_BATCH_SIZE` in the environment. There lists are comma-separated.",
        "",
        "A path in a TOML file is relative to the folder of the file, any other to the working",
        "folder; `~` is the home folder. Paths are made absolute once, so that `idrstream resume`",
        "finds the same files from any folder. Where a setting may also be a name, a name that is",
        "known wins, then a file of that name, then a program in `PATH` or a model of Cellpose's.",
    ]
    for name, section in sections.items():
        about = (inspect.getdoc(section) or "").partition("\n")[0].partition(": ")[2]
        lines += ["", f"## [{name}]", "", about[:1].upper() + about[1:], ""]
        lines += ["| option | type | default | meaning |", "|---|---|---|---|"]
        for option in options_in(section, name):
            required = option.default is dataclasses.MISSING
            default = "(required)" if required else f"`{option.default!r}`"
            if option.default is None or option.default == ():
                default = ""
            lines.append(
                f"| `{option.name}` | {_type_text(option.kind)} | {default} | {option.help} |"
            )
    return "\n".join([*lines, ""])


def _type_text(kind: Any) -> str:
    """Return a type as a person would write it: choices, alternatives, lists."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inner)
    if origin is Annotated:
        return _type_text(inner[0])
    if origin is tuple:
        items = [item for item in inner if item is not Ellipsis]
        return f"list of {_type_text(items[0])}"
    if inner:
        texts = [_type_text(item) for item in inner if item is not type(None)]
        return " or ".join(dict.fromkeys(texts))
    return {"str": "text", "bool": "true or false", "Path": "path"}.get(
        kind.__name__, kind.__name__
    )


def _outside() -> dict[str, str]:
    """Give files of the repository that the site has, and where it has them."""
    found = {source: target for source, target in PAGES.items() if (PROJECT / source).exists()}
    for path in sorted((PROJECT / "images").glob("*.*")):
        found[f"images/{path.name}"] = f"images/{path.name}"
    for path in sorted((PROJECT / "idrstream/models").glob("*.md")):
        found[f"idrstream/models/{path.name}"] = f"models/{path.name}"
    return found


def _notebooks() -> dict[str, str]:
    paths = sorted((PROJECT / "notebooks").glob("*.ipynb"))
    return {f"notebooks/{path.name}": f"notebooks/{path.stem}.md" for path in paths}


def _fit(nav: list[Any], there: set[str], listed: set[str]) -> list[Any]:
    """Leave out pages that are not there; name in `listed` those that are."""
    kept: list[Any] = []
    for entry in nav:
        title, value = next(iter(entry.items())) if isinstance(entry, dict) else (None, entry)
        if isinstance(value, list):
            inner = _fit(value, there, listed)
            if inner:
                kept.append({title: inner})
        elif value.endswith("/"):
            inside = sorted(uri for uri in there if uri.startswith(value))
            listed.update(inside)
            if inside:
                kept.append({title: inside})
        elif value in there:
            listed.add(value)
            kept.append(entry)
    return kept


def _pages_of(section: dict[str, list[Any]]) -> list[Any]:
    return next(iter(section.values()))


def _notebook(path: Path) -> Iterator[tuple[str, str | bytes]]:
    """Give the page of a notebook and its pictures, from the outputs that it was saved with."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    lines: list[str] = []
    pictures = 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            lines += [cell.source, ""]
            continue
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        lines += ["```python", cell.source, "```", ""]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            drawn = next((kind for kind in _DRAWN if kind in data), None)
            if drawn is not None:
                pictures += 1
                name = f"{path.stem}_{pictures}.{_DRAWN[drawn]}"
                content = data[drawn]
                yield f"notebooks/{name}", content if "svg" in drawn else base64.b64decode(content)
                lines += [f"![Picture {pictures} that this cell draws]({name})", ""]
            elif "text/html" in data:
                lines += [
                    '<div class="output" tabindex="0" markdown="0">',
                    data["text/html"],
                    "</div>",
                    "",
                ]
            else:
                text = output.get("text") or data.get("text/plain") or ""
                if text.strip():
                    lines += ["``` {.text .output}", text.rstrip(), "```", ""]
    note = f"*This page is the notebook `notebooks/{path.name}` of the repository, as it was run.*"
    yield f"notebooks/{path.stem}.md", "\n".join([*lines, "", note, ""])


def _packages() -> set[str]:
    """Name the packages that say what is public in them; each has a page in the reference."""
    packages = (PROJECT / "idrstream").glob("[!_]*/__init__.py")
    return {path.parent.name for path in packages if "__all__ = " in path.read_text("utf-8")}


def _public() -> dict[str, tuple[str, str]]:
    """Give the public names: where each is documented, and the first line of its docstring."""
    package = importlib.import_module("idrstream")
    found = {}
    for name in package.__all__:
        value = getattr(package, name)
        first = (inspect.getdoc(value) or "").partition("\n")[0].replace("``", "`")
        found[name] = (f"idrstream.{package._HOMES[name]}.{value.__name__}", first)
    return found


def _public_names() -> str:
    """Give a table of `idrstream.__all__`."""
    rows = [f"| [`{name}`][{home}] | {first} |" for name, (home, first) in _public().items()]
    return "\n".join(["| name | what it is |", "|---|---|", *rows])


def _other_names() -> str:
    """Document the public names whose modules have no page of their own."""
    pages = (path.read_text(encoding="utf-8") for path in (PROJECT / "docs/api").glob("*.md"))
    packages = _packages() | {package for page in pages for package in DIRECTIVE.findall(page)}
    homes = dict.fromkeys(home for home, _ in _public().values())
    return "\n\n".join(
        f"::: {home}" for home in homes if home.rpartition(".")[0].partition(".")[2] not in packages
    )
