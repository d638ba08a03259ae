"""A line chart as SVG text."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, MARGIN = 720, 440, 56
COLOURS = ("#0b6e4f", "#b23a48")
TICKS = 5


@dataclass(frozen=True)
class Line:
    """Points from left to right, each with a name or an empty string."""

    label: str
    points: Sequence[tuple[float, float]]
    names: Sequence[str]
    is_dashed: bool
    is_first: bool  # of the two colours


def chart(lines: Sequence[Line], *, x: str, y: str, x_most: float) -> str:
    """Draw shares: x from 0 to `x_most`, y from 0 to 1."""

    def at(point: tuple[float, float]) -> tuple[float, float]:
        across = MARGIN + point[0] / x_most * (WIDTH - 2 * MARGIN)
        return across, HEIGHT - MARGIN - point[1] * (HEIGHT - 2 * MARGIN)

    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for tick in range(TICKS + 1):
        share = tick / TICKS
        left, level = at((0, share))
        right, _ = at((x_most, share))
        foot, ground = at((share * x_most, 0))
        parts.append(f'<path d="M{left:.1f} {level:.1f}H{right:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6:.1f}" y="{level + 4:.1f}" text-anchor="end">{share:.0%}</text>')
        parts.append(f'<text x="{foot:.1f}" y="{ground + 16:.1f}" text-anchor="middle">{share * x_most:.0%}</text>')
    for number, line in enumerate(lines):
        colour, dash = COLOURS[not line.is_first], ' stroke-dasharray="5 4"' if line.is_dashed else ""
        inside = [(point, name) for point, name in zip(line.points, line.names, strict=True) if point[0] <= x_most]
        path = "L".join("{:.1f} {:.1f}".format(*at(point)) for point, _ in inside)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        for point, name in inside:
            across, level = at(point)
            parts.append(f'<circle cx="{across:.1f}" cy="{level:.1f}" r="{4 if name else 2}" fill="{colour}"/>')
            if name:
                below = level + 16
                parts.append(f'<text x="{across + 4:.1f}" y="{below:.1f}" fill="{colour}">{escape(name)}</text>')
        top = HEIGHT - MARGIN - 20 * (len(lines) - number)
        parts.append(f'<path d="M{WIDTH - 250} {top}h30" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(f'<text x="{WIDTH - 212}" y="{top + 4}">{escape(line.label)}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(x)}</text>')
    parts.append(f'<text x="{MARGIN}" y="{MARGIN - 20}">{escape(y)}</text></svg>')
    return "\n".join(parts) + "\n"
