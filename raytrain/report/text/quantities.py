"""Shares, sizes and times as text."""

DASH = "–"
"""What stands for a value that is not known."""


def per_cent(accuracy: float | None) -> str:
    """Return a fraction as per cent with two decimals; a dash for None."""
    return DASH if accuracy is None else f"{100 * accuracy:.2f}"


def data_size(count: int) -> str:
    """Return a number of bytes in the largest decimal unit that fits, such as "3.4 MB"."""
    if count < 1000:
        return f"{count} B"
    size, units = count / 1000, iter(("kB", "MB", "GB", "TB"))
    unit = next(units)
    while size >= 999.5 and unit != "TB":
        size, unit = size / 1000, next(units)
    return f"{size:.1f} {unit}" if size < 99.95 else f"{size:.0f} {unit}"


def clock(seconds: float) -> str:
    """Return hours, minutes and seconds, such as 1:02:05."""
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def duration(seconds: float) -> str:
    """Return a time as its two largest units, such as "3 min 5 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, rest_hours = divmod(hours, 24)
    if days:
        return f"{days} d {rest_hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
