"""What a diagram must be like; docs/contributing.md has the rules in words."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from labkit.lab.figures import PALETTE

BYTES = 40_000  # at most
SHOWN, SMALLEST = 720, 11  # pixels across where it is shown, at most; height of text there, at least
CONTRAST = 4.5  # of text on the card, as WCAG 2 asks for
LIGHT = 0.8  # luminance of the card, at least
ELEMENTS = {"svg", "title", "desc", "g", "path", "rect", "circle", "ellipse", "line", "polygon", "polyline"}
ELEMENTS |= {"text", "tspan"}
LOOKS = {"style", "class", "href", "src"}  # of a style sheet, or from somewhere else
SVG = "{http://www.w3.org/2000/svg}"


def flaws(path: Path) -> list[str]:
    """What is wrong with the diagram, one phrase each."""
    content = path.read_bytes()
    found = [f"{len(content)} bytes"] if len(content) > BYTES else []
    if b"<!DOCTYPE" in content or b"<?xml-stylesheet" in content:  # what could define or fetch anything
        return [*found, "a declaration before its root"]
    try:
        root = ET.fromstring(content)
    except ET.ParseError as error:
        return [*found, f"not well-formed XML: {error}"]
    return [*found, *_of_root(root), *_of_parts(root), *_of_text(root)]


def _of_root(root: ET.Element) -> Iterator[str]:
    """A title, a description, and a light card of its own behind everything else."""
    named = {}
    for name in ("title", "desc"):
        found = root.findall(f"{SVG}{name}")
        if len(found) != 1 or not (found[0].text or "").strip():
            yield f"no <{name}>"
        else:
            named[name] = found[0].get("id")
    if root.get("role") != "img" or (root.get("aria-labelledby") or "").split() != [*named.values()]:
        yield "not role=img, labelled by title and desc"
    box = _numbers(root.get("viewBox", ""))
    if len(box) != 4 or min(box[2:]) <= 0:
        yield "no viewBox"
        return
    card = next((part for part in root if part.tag not in (f"{SVG}title", f"{SVG}desc")), root)
    size = [float(card.get(side) or 0) for side in ("width", "height")] if card.tag == f"{SVG}rect" else [0, 0]
    if size[0] < 0.95 * box[2] or size[1] < 0.95 * box[3] or _luminance(card.get("fill", "")) < LIGHT:
        yield "no light card behind it"


def _of_parts(root: ET.Element) -> Iterator[str]:
    """Plain shapes and text in the course's colours, from nowhere else, doing nothing."""
    for part in root.iter():
        if part.tag.removeprefix(SVG) not in ELEMENTS:
            yield f"an element {part.tag.removeprefix(SVG)}"
        for key, value in part.attrib.items():
            name = key.rpartition("}")[2]
            if name in LOOKS or name.startswith("on") or "url(" in value:
                yield f"an attribute {name}={value!r}"
            if name in ("fill", "stroke") and value != "none" and value not in PALETTE and not _is_grey(value):
                yield f"the color {value}"


def _of_text(root: ET.Element, size: float = 16, fill: str = "#000000", unit: float | None = None) -> Iterator[str]:
    """Large enough where it is shown, and dark enough for the card."""
    if unit is None:
        width = (_numbers(root.get("viewBox", "")) + [0] * 4)[2]
        unit = min(1, SHOWN / width) if width > 0 else 1
    unit *= min(map(float, re.findall(r"scale\(\s*([\d.]+)", root.get("transform", ""))), default=1)
    size, fill = float(root.get("font-size", size)), root.get("fill", fill)
    if root.tag in (f"{SVG}text", f"{SVG}tspan") and (root.text or "").strip():
        if size * unit < SMALLEST - 1e-9:
            yield f"text of {size * unit:.1f} pixels: {root.text.strip()}"
        if 1.05 / (_luminance(fill) + 0.05) < CONTRAST:
            yield f"text too pale: {root.text.strip()}"
    for part in root:
        yield from _of_text(part, size, fill, unit)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.?\d*", text)]


def _is_grey(color: str) -> bool:
    return bool(re.fullmatch(r"#([0-9a-f]{2})\1\1", color))


def _luminance(color: str) -> float:
    """Relative luminance, from 0 to 1, as WCAG 2 defines it; 0 for what is no #rrggbb."""
    if not re.fullmatch(r"#[0-9a-f]{6}", color):
        return 0
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
