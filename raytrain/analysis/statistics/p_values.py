"""P-values as they are kept and shown: never 0, whatever the arithmetic of floating-point numbers makes of them."""

import sys

LEAST = sys.float_info.min
"""The least p-value, 2.2e-308: one that is smaller is kept as this. It is the smallest float of full precision."""
SHOWN = 1e-300
"""Below this a p-value is not shown as a number."""


def p_text(p_value: float) -> str:
    """Return a p-value as text, with three digits: 0.0312, or < 1e-300."""
    return f"{p_value:.3g}" if p_value >= SHOWN else f"< {SHOWN:g}"
