"""Times as they are read."""


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
