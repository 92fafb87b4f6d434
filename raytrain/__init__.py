"""Train, compare and tune image classifiers under Ray. Names are imported when they are used: this loads nothing else.

`__init__.pyi` lists the public names and where each of them is.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
