"""What diagrams are made of: pieces of SVG as text, on a panel for light and dark pages.

Places are in pixels, from the upper left. Colours are classes of the style sheet below, so that a
reader's dark mode changes them; the panel has its own ground, whatever the page around it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
.ground{fill:#ffffff}
text{font:13px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#1f2328}
.small{font-size:11.5px;fill:#57606a}
.strong{font-weight:600}
.line{fill:none;stroke:#57606a;stroke-width:1.5}
.faint{fill:none;stroke:#d0d7de;stroke-width:1}
.curve{fill:none;stroke:#0969da;stroke-width:2.5}
.tip{fill:#57606a}
.plain{fill:#f6f8fa;stroke:#8c959f}
.good{fill:#dafbe1;stroke:#1a7f37}
.wait{fill:#fff8c5;stroke:#9a6700}
.bad{fill:#ffebe9;stroke:#cf222e}
.net{fill:#ddf4ff;stroke:#0969da}
@media (prefers-color-scheme:dark){
.ground{fill:#161b22}
text{fill:#e6edf3}
.small{fill:#9da7b3}
.line{stroke:#9da7b3}
.faint{stroke:#30363d}
.curve{stroke:#58a6ff}
.tip{fill:#9da7b3}
.plain{fill:#21262d;stroke:#6e7681}
.good{fill:#12361f;stroke:#3fb950}
.wait{fill:#3b2e05;stroke:#d29922}
.bad{fill:#4a1719;stroke:#f85149}
.net{fill:#0c2d4a;stroke:#58a6ff}
}
"""


def picture(width: int, height: int, title: str, *parts: str) -> str:
    """A whole diagram. The title is what a screen reader says."""
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{escape(title)}">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        f'<rect class="ground" width="{width}" height="{height}" rx="8"/>\n{inside}\n</svg>\n'
    )


def words(x: float, y: float, text: str, look: str = "", anchor: str = "middle") -> str:
    """One line of text; ``y`` is its base."""
    named = f' class="{look}"' if look else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{named}>{escape(text)}</text>'


def box(
    x: float, y: float, width: float, height: float, look: str, *lines: str, below: str = ""
) -> str:
    """A box with lines in its middle, the first one strong; ``below`` is small and under it."""
    parts = [
        f'<rect class="{look}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5"/>'
    ]
    middle, first = x + width / 2, y + height / 2 + 4.5 - 8 * (len(lines) - 1)
    for number, line in enumerate(lines):
        parts.append(words(middle, first + 16 * number, line, "small" if number else "strong"))
    if below:
        parts.append(words(middle, y + height + 16, below, "small"))
    return "\n".join(parts)


def line(*places: tuple[float, float], look: str = "line") -> str:
    """A line through several places."""
    points = " ".join(f"{x:g},{y:g}" for x, y in places)
    return f'<polyline class="{look}" points="{points}"/>'


def arrow(*places: tuple[float, float]) -> str:
    """A line with a head at its last place, which it reaches along an axis."""
    (x0, y0), (x, y) = places[-2:]
    dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
    sides = [(x - 8 * dx + 4 * dy * s, y - 8 * dy + 4 * dx * s) for s in (1, -1)]
    head = " ".join(f"{a:g},{b:g}" for a, b in [(x, y), *sides])
    return f'{line(*places)}\n<polygon class="tip" points="{head}"/>'


def ticks(x: float, y: float, marks: Iterable[tuple[float, str]]) -> str:
    """Short strokes below a time line, with what stands there."""
    parts = []
    for at, text in marks:
        parts += [line((x + at, y), (x + at, y + 6)), words(x + at, y + 20, text, "small")]
    return "\n".join(parts)


def curve(places: Sequence[tuple[float, float]]) -> str:
    """A curve of figures."""
    return line(*places, look="curve")
