"""Line charts as SVG, without any library; their colours change with the reader's light or dark theme."""
import dataclasses
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 820, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 52, 56
LEGEND_LINE, LEGEND_COLUMNS = 20, 3
# In both themes each colour has a contrast of at least 3 to 1 to its ground; shapes tell lines apart without colour.
LIGHT = ["#0b62c4", "#b3470f", "#00795c", "#a1348f", "#6b5b00", "#555555", "#c2185b", "#00728f"]
DARK = ["#6cb2ff", "#ff9a5c", "#3fcf9f", "#f08adf", "#e0c53c", "#b5b5b5", "#ff7aa8", "#4fcbe6"]
SHAPES = ["circle", "square", "diamond", "triangle"]


@dataclasses.dataclass(frozen=True)
class Line:
    """A name and its points: x, and the spread of y."""

    title: str
    points: list


@dataclasses.dataclass(frozen=True)
class Chart:
    """What stands around the lines. `ticks` are the places on the x axis with their names."""

    title: str
    x_title: str
    y_title: str
    ticks: list
    is_logarithmic_x: bool = False
    is_logarithmic_y: bool = False


def style():
    def theme(ink, grid, colours):
        lines = "".join(f".c{at}{{--c:{colour}}}" for at, colour in enumerate(colours))
        return f"svg{{--ink:{ink};--grid:{grid}}}{lines}"
    return (
        "<style>text{font:13px system-ui,sans-serif;fill:var(--ink)}.title{font-size:16px;font-weight:600}"
        ".grid{stroke:var(--grid)}.line{fill:none;stroke:var(--c);stroke-width:2}"
        ".mark{fill:var(--c)}.spread{stroke:var(--c);stroke-width:1;opacity:.6}"
        + theme("#1f2328", "#d0d7de", LIGHT)
        + "@media(prefers-color-scheme:dark){" + theme("#e6edf3", "#3d444d", DARK) + "}</style>"
    )


def mark(index, x, y):
    shape = SHAPES[index % len(SHAPES)]
    if shape == "circle":
        return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    corners = {
        "square": [(-4, -4), (4, -4), (4, 4), (-4, 4)],
        "diamond": [(0, -5), (5, 0), (0, 5), (-5, 0)],
        "triangle": [(0, -5), (5, 4), (-5, 4)],
    }[shape]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon class="mark" points="{points}"/>'


def steps(least, greatest, is_logarithmic):
    """Values for the lines of the grid, from below the least to above the greatest."""
    if is_logarithmic:
        first = math.floor(math.log10(least))
        values = [digit * 10.0 ** power for power in range(first, first + 12) for digit in (1, 2, 5)]
        low = max((value for value in values if value <= least), default=values[0])
        high = next(value for value in values if value >= greatest)
        return [value for value in values if low <= value <= max(high, 2 * low)]
    wide = greatest / 5
    unit = 10.0 ** math.floor(math.log10(wide))
    step = next(unit * digit for digit in (1, 2, 5, 10) if unit * digit >= wide)
    return [step * count for count in range(math.ceil(greatest / step) + 1)]


def scale(low, high, start, end, is_logarithmic):
    bend = math.log10 if is_logarithmic else float
    span = bend(high) - bend(low) or 1.0
    return lambda value: start + (bend(value) - bend(low)) / span * (end - start)


def svg(chart, lines):
    """The chart as text of an SVG file."""
    legend_rows = math.ceil(len(lines) / LEGEND_COLUMNS)
    top = TOP + legend_rows * LEGEND_LINE
    bottom = HEIGHT + legend_rows * LEGEND_LINE - BOTTOM
    spreads = [spread for line in lines for _, spread in line.points]
    grid = steps(min(s.least for s in spreads), max(s.greatest for s in spreads), chart.is_logarithmic_y)
    places = [place for place, _ in chart.ticks]
    x = scale(min(places), max(places), LEFT + 20, WIDTH - RIGHT - 20, chart.is_logarithmic_x)
    y = scale(grid[0], grid[-1], bottom, top, chart.is_logarithmic_y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + BOTTOM}" role="img" '
        f'aria-label="{escape(chart.title)}">', style(),
        f'<text class="title" x="{LEFT}" y="26">{escape(chart.title)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{bottom + 44}" text-anchor="middle">{escape(chart.x_title)}</text>',
        f'<text transform="translate(18 {(top + bottom) / 2}) rotate(-90)" text-anchor="middle">'
        f'{escape(chart.y_title)}</text>',
    ]
    for value in grid:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for place, name in chart.ticks:
        parts.append(f'<text x="{x(place):.1f}" y="{bottom + 20}" text-anchor="middle">{escape(name)}</text>')
    for index, line in enumerate(lines):
        parts += drawn(index, line, x, y)
    return "\n".join([*parts, "</svg>", ""])


def drawn(index, line, x, y):
    """A line with its marks, the spread at each, and its entry in the legend."""
    column, row = index % LEGEND_COLUMNS, index // LEGEND_COLUMNS
    legend_x, legend_y = LEFT + column * (WIDTH - LEFT - RIGHT) / LEGEND_COLUMNS, TOP - 2 + row * LEGEND_LINE
    path = " ".join(f"{x(place):.1f},{y(spread.median):.1f}" for place, spread in line.points)
    parts = [
        f'<g class="c{index % len(LIGHT)}">', f'<polyline class="line" points="{path}"/>',
        mark(index, legend_x + 6, legend_y - 4),
        f'<text x="{legend_x + 18:.1f}" y="{legend_y}">{escape(line.title)}</text>',
    ]
    for place, spread in line.points:
        parts.append(f'<line class="spread" x1="{x(place):.1f}" x2="{x(place):.1f}" y1="{y(spread.least):.1f}" '
                     f'y2="{y(spread.greatest):.1f}"/>')
        parts.append(mark(index, x(place), y(spread.median)))
    return [*parts, "</g>"]
