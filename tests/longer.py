"""Write tests/longer.txt, the tests that `make check` leaves to `make test`, from what pytest measured.

python tests/longer.py JUNIT.xml       # `make longer` runs the tests first

A function of tests is in the list when one of its cases takes more than a tenth of a second, or all of them together
more than half of one.
"""

import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

LIST = Path(__file__).with_name("longer.txt")
CASE_SECONDS = 0.1
FUNCTION_SECONDS = 0.5


def longer_functions(measured: Path) -> list[str]:
    """Return the functions of tests that take longer, as pytest names them: "tests/file.py::test_name", sorted."""
    seconds = defaultdict[str, list[float]](list)
    for case in ElementTree.parse(measured).iter("testcase"):
        function = case.attrib["name"].partition("[")[0]
        seconds[f"{case.attrib['classname'].replace('.', '/')}.py::{function}"].append(float(case.attrib["time"]))
    return sorted(function for function, of in seconds.items() if max(of) > CASE_SECONDS or sum(of) > FUNCTION_SECONDS)


if __name__ == "__main__":
    LIST.write_text("".join(f"{function}\n" for function in longer_functions(Path(sys.argv[1]))))
