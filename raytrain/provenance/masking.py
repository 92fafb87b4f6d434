"""What looks like a password, a token or a key in the changes of code, masked before it is written anywhere."""

import re
from typing import Literal, NamedTuple

MASK = "[masked]"

_WORD = r"(?:passwo?r?d|passwd|passphrase|secret|token|api_?-?key|access_?-?key|private_?-?key|credential)"
_NAME = rf"""["']?[\w.-]{{0,99}}?{_WORD}[\w.-]{{0,99}}["']?\]?"""
_START = r"(?<![\w.-])"
_LINE = r"^[-+ ]?[ \t]{0,99}"
"""The start of a line, with the mark that it has in a diff."""
_IS = r"[ \t]{0,9}(?:[:?+]?=>?(?!=)|:(?![=:]))[ \t]{0,9}"

_QUOTED = "|".join(
    rf"""{mark * 3}(?s:(?:[^\\]|\\.)*?)(?:{mark * 3}|\\?\Z)"""
    rf"""|{mark}(?:\\[^\n]|[^{mark}\\\n]|\\(?=\n|\Z))*(?:{mark}|(?=\n)|\Z)"""
    for mark in "\"'"
)
"""A string of Python. One that is cut off goes to the end of its line, or with three quotation marks to the end."""
_STRING = rf"(?:[rbfu]{{0,2}}(?:{_QUOTED}))"
_STRINGS = rf"(?P<value>{_STRING}(?:[ \t]*{_STRING})*)"
_IN_BRACKETS = (
    rf"(?P<open>(?:(?:[\w.]{{0,99}}(?:str|bytes|field|secret\w{{0,20}}))?\([-+\s]{{0,99}}){{1,9}})"
    rf"(?P<inner>{_STRING}(?:[-+\s]{{0,99}}{_STRING})*)"
)
_ARGUMENTS = r"\[(?:[^\[\]\n]|\[[^\[\]\n]*\]){0,200}\]"
_ONE_TYPE = rf"""(?:[A-Za-z_][\w.]{{0,99}}(?:{_ARGUMENTS})?|"[^"\n]{{1,99}}"|'[^'\n]{{1,99}}')"""
_ANNOTATION = rf"(?:[ \t]*:[ \t]*{_ONE_TYPE}(?:[ \t]*\|[ \t]*{_ONE_TYPE}){{0,9}}(?=[ \t]*=[^=]))?"

_TOKENS = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS
    r"|\bgh[opsur]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"
    r"|\bhf_[A-Za-z0-9]{20,}|\bsk-[\w-]{20,}|\bxox[abeoprs]-[\w-]{10,}|\bAIza[\w-]{30,}"
    r"|\beyJ[\w-]{10,300}\.eyJ[\w-]{10,2000}\.[\w-]+"  # JSON Web Token
    r"|(?<=://)[^/\s:@]{0,200}:[^\s\"']{1,200}(?=@)"  # user:password in a URL, whatever the password holds
    # any key in base64: at least 32 characters, with capitals, small letters and digits
    r"|(?<![\w/+-])(?=[\w/+-]{0,99}[a-z])(?=[\w/+-]{0,99}[A-Z])(?=[\w/+-]{0,99}[0-9])[A-Za-z0-9/+_-]{32,}=*(?![\w/+])"
)
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_HEADER = re.compile(r"\b(bearer|basic)([ \t]+)(?=[\w.~+/-]*[\d=])[\w.~+/-]{6,}=*", re.IGNORECASE)
_HEX = re.compile(
    r"(?P<name>(?:(?:(?<![a-z])|api|access|private|auth|secret)key|token|secret|passwo?r?d|passphrase|credential)s?"
    r"(?![a-z])(?P<between>[^\n]{0,60}?)(?<![0-9a-z]))[0-9a-f]{32,}(?![0-9a-z])",
    re.IGNORECASE,
)
"""Such as the 40 digits of a key of W&B, beside a name that says what they are."""
_NO_KEY = re.compile(r"commit|revision|fingerprint|digest|checksum", re.IGNORECASE)
_CALL = re.compile(
    rf"""(?P<name>(?:setdefault|setenv|putenv|getenv|environ\.get|setattr)\([^()\n]{{0,99}}?["'][\w.-]{{0,99}}?{_WORD}"""
    rf"""[\w.-]{{0,99}}["'][ \t]*,[ \t]*){_STRINGS}""",
    re.IGNORECASE,
)
_INSTRUCTION = re.compile(
    rf"(?P<name>{_LINE}(?:(?-i:ENV|ARG)|setenv)[ \t]+[\w.-]{{0,99}}?{_WORD}[\w.-]{{0,99}}[ \t]+)"
    r"(?P<value>[^\s=][^\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
"""Of a Dockerfile, or of a C shell: without a sign between the name and its value."""
_FLAG_NAME = rf"--[\w-]{{0,99}}?{_WORD}[\w-]{{0,99}}"
_FLAG = re.compile(
    rf"""(?P<name>(?<![\w-]){_FLAG_NAME}[ \t]+|["']{_FLAG_NAME}["'][ \t]*,[ \t]*(?=["'](?!-)))"""
    rf"""(?P<value>{_STRING}|[^\s"'$<>{{}}()\[\]|\\,;=`-][^\s"',;)\]]*)""",
    re.IGNORECASE,
)
_STRING_VALUE = re.compile(rf"(?P<name>{_START}{_NAME}{_ANNOTATION}{_IS})(?:{_IN_BRACKETS}|{_STRINGS})", re.IGNORECASE)
_YAML_NAME = rf"(?:-[ \t]+)?[\w.-]{{0,99}}?{_WORD}[\w.-]{{0,99}}[ \t]*:[ \t]+"
_YAML_BLOCK = re.compile(rf"[ \t]{{0,99}}{_YAML_NAME}[|>]", re.IGNORECASE)
_INDENT = re.compile(r"[ \t]*(?:-[ \t]+)?")
"""What is before a name in YAML, with the dash of a list."""
_YAML_VALUE = re.compile(rf"(?P<name>{_LINE}{_YAML_NAME})(?P<value>[^\s\[{{|>*#][^\n]*)", re.IGNORECASE | re.MULTILINE)
"""To the end of the line: a value may have spaces."""
_BARE_VALUE = re.compile(
    rf"""(?P<name>{_START}(?P<known>{_NAME}){_ANNOTATION}(?P<is>{_IS}))(?P<value>[^\s"',;}}{{)(\]\[]+)""", re.IGNORECASE
)

_PLAIN = re.compile(r"""["']?(none|null|true|false)["']?|""|''|[|>][-+0-9]*""", re.IGNORECASE)
"""Nothing, a truth value, or the sign of YAML that lines follow."""
_COMMENT = re.compile(r"[ \t]+#[^\n]*\Z")
_NUMBER = re.compile(r"\d+(\.\d+)?")
_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
"""A name of code, such as tokens or self.token."""
_OWNER = re.compile(r"(self|cls|args|config|settings|options|cfg|os|sys)\.")
_KEYWORDS = {"await", "break", "continue", "lambda", "new", "not", "pass", "raise", "return", "yield"}
_TYPES = (
    *("Annotated", "Any", "Callable", "Iterable", "Literal", "Mapping", "None", "Optional", "Path", "SecretStr"),
    *("Sequence", "Tensor", "Union", "bool", "bytes", "dict", "float", "int", "list", "object", "set", "str", "tuple"),
)
_ANNOTATED = re.compile(
    rf"(?:\w{{1,99}}\.){{0,9}}(?:{'|'.join(_TYPES)})(?:{_ARGUMENTS})?"
    rf"(?:[ \t]*\|[ \t]*{_ONE_TYPE})*[ \t]*(?:[,)=:#][^\n]*)?"
    rf"""|["'][^"'\n]+["'][ \t]*=[ \t]*{re.escape(MASK)}[^\n]*"""
)
"""A type behind the colon, in code."""

Kind = Literal["code", "yaml", "other", "unknown"]
_KINDS: dict[Kind, tuple[str, ...]] = {
    "yaml": (".yaml", ".yml"),
    "code": (".py", ".pyi", ".pyx", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp"),
}
_FILES = re.compile(r"^(?=diff --git )", re.MULTILINE)
_HUNKS = re.compile(r"^(?=@@ )", re.MULTILINE)
_MARKS = ("-", "+", " ", "@", "\\", "")
"""What the lines of a hunk begin with; an empty one may have lost its mark."""
_GONE = "\0"
"""Stands for what a line held of a value of several lines, behind its first: no line of a text has it."""


class _Bare(NamedTuple):
    """A value without quotation marks: its name, the sign between them, and what stands around them."""

    name: str
    sign: str
    value: str
    before: str
    after: str


def masked(text: str) -> str:
    """Return a text in which everything that looks like a password, a token or a private key is replaced by `MASK`.

    In a diff, the name of each file says how it is read: in YAML a value goes to the end of its line, and in code a
    value without quotation marks is an expression. A text that is no diff is read as either.
    """
    text = _KEY_BLOCK.sub(MASK, text.replace(_GONE, "\N{REPLACEMENT CHARACTER}"))
    text = _TOKENS.sub(MASK, text)
    text = _HEADER.sub(rf"\1\2{MASK}", text)
    return "".join(_masked_file(part, _kind_of(part)) for part in _FILES.split(text))


def _kind_of(part: str) -> Kind:
    if not part.startswith("diff --git "):
        return "unknown"
    path = part.partition("\n")[0].rstrip('"')
    for kind, ends in _KINDS.items():
        if path.endswith(ends):
            return kind
    return "other"


def _masked_file(text: str, kind: Kind) -> str:
    """Mask the hunks of a file one by one: what is between them is not in a diff, so no string goes on behind one."""
    return "".join(_masked_hunk(hunk, kind) for hunk in _HUNKS.split(text))


def _masked_hunk(text: str, kind: Kind) -> str:
    """Mask the lines before a change and those after it by themselves: a string may begin or end in one of both only.

    A line without a mark is read with both, and what either of them masks is masked.
    """
    whole = text.removesuffix("\n")  # a string that is cut off ends before the last line break
    lines = whole.split("\n")
    shown = [*lines]
    for other in "+-":
        own = [place for place, line in enumerate(lines) if not line.startswith(other)]
        read = _masked_side("\n".join(lines[place] for place in own), kind).split("\n") if own else []
        for place, line in zip(own, read, strict=True):
            shown[place] = _more_masked(shown[place], line, of=lines[place])
    return "\n".join(line for line in shown if line != _GONE) + text[len(whole) :]


def _more_masked(one: str, other: str, *, of: str) -> str:
    """Return what two readings of a line leave of it."""
    mark = of[: of[:1] in {"-", "+", " "}]
    if other.startswith(_GONE) and (rest := other.removeprefix(_GONE)):
        other = mark + MASK + rest
    if one in {of, other}:
        return other
    if other == of:
        return one
    return _GONE if _GONE in {one, other} else mark + MASK


def _masked_side(text: str, kind: Kind) -> str:
    """Mask the lines of a file. There are as many as before: one of which nothing is left is `_GONE`."""
    if kind in {"yaml", "unknown"}:
        text = _masked_blocks(text, marks=kind == "yaml" or all(line[:1] in _MARKS for line in text.split("\n")))
    text = _HEX.sub(lambda found: found[0] if _NO_KEY.search(found["between"]) else found["name"] + MASK, text)
    for pattern in (_CALL, _INSTRUCTION, _FLAG, _STRING_VALUE):
        text = pattern.sub(_masked_value, text)
    if kind in {"yaml", "unknown"}:
        text = _YAML_VALUE.sub(lambda found: _masked_line(found, kind), text)
    return _BARE_VALUE.sub(lambda found: _masked_bare(found, kind), text)


def _masked_value(found: re.Match[str]) -> str:
    groups = found.groupdict()
    value = groups.get("inner") or groups["value"]
    if value.startswith(MASK) or _is_plain(found["name"], value):
        return found[0]
    return found["name"] + (groups.get("open") or "") + MASK + value.count("\n") * f"\n{_GONE}"


def _masked_blocks(text: str, *, marks: bool) -> str:
    """Mask the lines below a name in YAML that are its value: those further to the right, and empty ones between them.

    Args:
        text: The text.
        marks: Whether each line begins with the mark that it has in a diff.
    """
    lines = text.split("\n")
    column, first = -1, False
    for place, line in enumerate(lines):
        mark = line[:1] if marks else ""
        content = (
            line.rpartition(" @@ ")[2] if mark == "@" else line.removeprefix(mark)
        )  # the line that a hunk is below
        indent = content[: len(content) - len(content.lstrip(" \t"))]
        if column >= 0 and not content.strip():
            continue
        if 0 <= column < len(indent):
            lines[place] = mark + indent + MASK if first else _GONE
            first = False
        elif _YAML_BLOCK.match(content) and (before := _INDENT.match(content)):
            column, first = before.end(), True
        else:
            column = -1
    return "\n".join(lines)


def _masked_line(found: re.Match[str], kind: Kind) -> str:
    annotated = kind == "unknown" and _ANNOTATED.fullmatch(found["value"])
    number = _is_number(found["name"], _COMMENT.sub("", found["value"]))
    return found[0] if annotated or number else _masked_value(found)


def _masked_bare(found: re.Match[str], kind: Kind) -> str:
    text, start, end = found.string, found.start(), found.end()
    before = text[text.rfind("\n", 0, start) + 1 : start]
    bare = _Bare(found["known"], found["is"], found["value"], before, text[end : end + 1])
    code = kind in {"code", "unknown"} and _is_code(bare, statement=kind == "code")
    return found[0] if code or _is_plain(found["name"], found["value"]) else found["name"] + MASK


def _is_plain(name: str, value: str) -> bool:
    """Return whether a value is none that anybody hides: nothing, true or false, or a number of tokens."""
    return bool(_PLAIN.fullmatch(value)) or _is_number(name, value)


def _is_number(name: str, value: str) -> bool:
    return "token" in name.lower() and _NUMBER.fullmatch(value) is not None


def _is_code(bare: _Bare, *, statement: bool) -> bool:
    """Return whether a value without quotation marks is an expression or a type, not the secret itself.

    Args:
        bare: The value.
        statement: Whether what a number of tokens or the like is set to by " = ", at the start of a line, is one: in a
            file of code. What a password is set to there may stand in a string of several lines, such as an INI file.
    """
    last = bare.value.rpartition(".")[2]
    if bare.value in _KEYWORDS or (bare.sign.strip() == ":" and last in _TYPES):
        return True
    if not _PATH.fullmatch(bare.value):
        return False
    called = bare.after in {"(", "["}  # such as tokens[0] and read()
    name = re.findall(r"\w+", bare.name)[-1]
    passed_on = name == last or name.endswith(f"_{last}")  # such as token=request.token and page_token=token
    assigned = statement and bare.sign == " = " and not bare.before.strip("+- \t") and "token" in bare.name.lower()
    return bool(called or passed_on or assigned or _OWNER.match(bare.value))
