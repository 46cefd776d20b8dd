"""Colours of a figure for those who read in the dark."""

DARK = {
    "ffffff": "14171b", "000000": "e6e9ec", "222222": "e6e9ec", "444444": "a3adb8", "dddddd": "3a424b",
    "0072b2": "4aa8e0", "e69f00": "f0b429", "009e73": "2fc896", "d55e00": "ff8a4c", "cc79a7": "e39cc6",
    "56b4e9": "9ad0f5", "882255": "d9668f", "999999": "a0a0a0", "5d3a9b": "a98be8", "117733": "7fbf6a",
    "661100": "c98a72",
}  # fmt: skip
"""What a colour of `plots/paper.mplstyle` becomes on the page's dark paper."""
_RULES = "".join(
    f'[style*="{what}: #{light}"]{{{what}:#{dark}!important}}'
    for light, dark in DARK.items()
    for what in ("fill", "stroke")
)
_STYLE = f"<style>@media (prefers-color-scheme: dark){{svg{{fill:#{DARK['000000']}}}{_RULES}}}</style>"


def with_dark_colours(svg: bytes) -> bytes:
    """An SVG of matplotlib that is drawn in other colours where the reader's browser asks for a dark page."""
    head, end, rest = svg.partition(b"<defs>")
    return head + _STYLE.encode() + end + rest
