"""A report that a browser opens without a network: one HTML file, with its figures as PNG files beside it."""

import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sciten.files import write_text

_STYLE = """
:root { color-scheme: light; --ink: #1d2329; --soft: #5b6670; --line: #d9dee3; --paper: #ffffff;
  --accent: #2f5d8a; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f5f7; color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", sans-serif; }
main { max-width: 1060px; margin: 2.5rem auto; padding: 2.5rem 3rem; background: var(--paper);
  border: 1px solid var(--line); border-radius: 6px; }
h1 { margin: 0 0 .4rem; font-size: 1.7rem; font-weight: 600; }
h2 { margin: 2.4rem 0 .6rem; padding-top: 1.2rem; border-top: 1px solid var(--line); font-size: 1.15rem;
  font-weight: 600; color: var(--accent); }
p { margin: .5rem 0 1rem; color: var(--soft); white-space: pre-line; }
table { border-collapse: collapse; margin: .6rem 0 1.2rem; font-size: .92rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
.wide { overflow-x: auto; }
figure { display: inline-block; margin: .4rem 1rem .8rem 0; vertical-align: top; max-width: 100%; }
img { max-width: 100%; height: auto; }
"""


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: its heading.
        text: plain text below the heading; line breaks are kept.
        table: cells as text, headings first.
        figures: PNG files in the folder of the report.
    """

    title: str
    text: str = ""
    table: Sequence[Sequence[str]] | None = None
    figures: Sequence[str | os.PathLike[str]] = ()


def write_report(path: str | os.PathLike[str], title: str, sections: Sequence[Section]) -> Path:
    """Write `sections` as an HTML file that needs nothing but the PNG files beside it; returns its path."""
    path = Path(path)
    body = "\n".join(_section(section, path.parent) for section in sections)
    write_text(
        path,
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{html.escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n",
    )
    return path


def _section(section: Section, folder: Path) -> str:
    parts = [f"<section>\n<h2>{html.escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{html.escape(section.text)}</p>")
    if section.table:
        parts.append(_table(section.table))
    parts += [_figure(Path(figure), folder) for figure in section.figures]
    return "\n".join([*parts, "</section>"])


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    lines = [_row(head, "th"), *(_row(row, "td") for row in rest)]
    return '<div class="wide"><table>\n' + "\n".join(lines) + "\n</table></div>"


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"


def _figure(figure: Path, folder: Path) -> str:
    source = (
        os.path.relpath(figure, folder) if figure.is_absolute() or figure.parent != Path() else str(figure)
    )
    alternative = html.escape(figure.stem.replace("_", " "))
    return f'<figure><img src="{html.escape(source)}" alt="{alternative}"></figure>'
