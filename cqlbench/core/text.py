"""Numbers of things, in words."""


def counted(number: int, noun: str) -> str:
    """So many of something, in words."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """How long, in the unit that suits."""
    minutes = seconds / 60
    if seconds < 100:
        return counted(round(seconds), "second")
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"
