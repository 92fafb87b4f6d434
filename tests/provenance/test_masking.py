"""Tests of raytrain.provenance.masking: what looks like a secret is masked, and ordinary code stays as it is."""

import pytest

from raytrain.provenance.masking import MASK, masked

KEY_ID, KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # of AWS's documentation
HEX = "3f786850e387550fdab836ed7e6dc881de23001b"
"""40 digits, as a commit and a key of W&B have them."""


def in_file(name: str, *lines: str) -> str:
    """Return lines as the diff of a file has them."""
    return f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n" + "".join(f"+{line}\n" for line in lines)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"key = '{KEY_ID}'", KEY_ID),
        (f"x = '{KEY}'", KEY),
        ("+password: hunter2", "hunter2"),
        ("PASSWORD=123456", "123456"),
        ('{"api_key": "abc123"}', "abc123"),
        ('os.environ["HF_TOKEN"] = "abc"', "abc"),
        ("export WANDB_API_KEY=abcdef", "abcdef"),
        ("s = 'ghp_" + "a1" * 18 + "'", "a1a1"),
        ("url = 'postgres://me:hunter2@host/db'", "hunter2"),
        ("url = 'postgres://me:a/hunter2@host/db'", "hunter2"),
        ("url = 'postgres://me:a@hunter2@host/db'", "hunter2"),
        ("url = 'redis://:hunter2@host/0'", "hunter2"),
        ('headers = {"Authorization": "Bearer abcDEF123456"}', "abcDEF123456"),
        ("curl -H 'Authorization: Basic bWU6aHVudGVyMg=='", "bWU6aHVudGVyMg"),
        ("+-----BEGIN RSA PRIVATE KEY-----\n+MIIE\n+-----END RSA PRIVATE KEY-----", "MIIE"),
        ("+-----BEGIN PRIVATE KEY-----\n+MIIE", "MIIE"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in masked(text)
    assert MASK in masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "width = 16",
        "tokens_per_batch = 128",
        "token = None",
        "# basic augmentations of the bearer are in augment.py",
        "index 83db48f..f735c4e 100644",
        "fingerprint = '3f786850e387550fdab836ed7e6dc881de23001b'",
        "from raytrain.metrics.predictions import class_accuracies",
    ],
)
def test_code_without_secrets_stays_as_it_is(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('password: str = "hunter2"', f"password: str = {MASK}"),
        ('+    api_key: Annotated[str, Field(max_length=9)] | None = "hunter2"', None),
        ('token: "str" = "hunter2"', f'token: "str" = {MASK}'),
        ('password = f"hunter2"', f"password = {MASK}"),
        ('password = b"hunter2"', f"password = {MASK}"),
        ("password = Rb'hunter2'", f"password = {MASK}"),
        ('password = """hunter2"""', f"password = {MASK}"),
        ("password = '''one\n+hunter2'''\n+x = 1", f"password = {MASK}\n+x = 1"),
        ('password = """hunter2', f"password = {MASK}"),
        ('password = "hunter2', f"password = {MASK}"),
        (r'password = "a\"hunter2"', f"password = {MASK}"),
        ('password = ("hunter2")', f"password = ({MASK})"),
        ('password = (\n+    "one"\n+    "hunter2"\n+)', f"password = (\n+    {MASK}\n+)"),
        ('password = "one" "hunter2"', f"password = {MASK}"),
        ('login(password=SecretStr("hunter2"), width=3)', f"login(password=SecretStr({MASK}), width=3)"),
        ("password: correct horse hunter2", f"password: {MASK}"),
        ("+  - db-password: correct horse # hunter2", f"+  - db-password: {MASK}"),
        ("+  secret: !tag hunter2", f"+  secret: {MASK}"),
        ("password: |\n  one\n  hunter2\nwidth: 3", f"password: |\n  {MASK}\nwidth: 3"),
        ("PASSWORD := hunter2", f"PASSWORD := {MASK}"),
        ("ENV API_KEY hunter2", f"ENV API_KEY {MASK}"),
        ("+ENV API_KEY one hunter2", f"+ENV API_KEY {MASK}"),
        ("ENV MODE=a API_KEY=hunter2", f"ENV MODE=a API_KEY={MASK}"),
        ("ARG DB_PASSWORD=hunter2", f"ARG DB_PASSWORD={MASK}"),
        ("mysql --password hunter2 --host x", f"mysql --password {MASK} --host x"),
        ("mysql --password 'hunter2 x'", f"mysql --password {MASK}"),
        ("mysql --password=hunter2", f"mysql --password={MASK}"),
        ('run(["mysql", "--password", "hunter2"])', f'run(["mysql", "--password", {MASK}])'),
        (f'os.environ.setdefault("WANDB_API_KEY", "{HEX}")', f'os.environ.setdefault("WANDB_API_KEY", {MASK})'),
        ('os.environ.setdefault("WANDB_API_KEY", "hunter2")', f'os.environ.setdefault("WANDB_API_KEY", {MASK})'),
        ('os.getenv("HF_TOKEN", "hunter2")', f'os.getenv("HF_TOKEN", {MASK})'),
        (f'wandb.login(key="{HEX}")', f'wandb.login(key="{MASK}")'),
        (f"# the key of W&B is {HEX}", f"# the key of W&B is {MASK}"),
    ],
)
def test_a_secret_is_masked_however_it_is_written(text: str, shown: str | None) -> None:
    found = masked(text)
    assert "hunter2" not in found
    assert HEX not in found
    assert MASK in found
    assert shown in {None, found}


@pytest.mark.parametrize(
    "text",
    [
        "token = tokens[0]",
        "token: str = tokens[0]",
        "self.token = token",
        "token = request.token",
        "search(page_token=token)",
        "password = getpass()",
        "token = await read(token=token)",
        "def login(password: str, token: bytes | None = None) -> None:",
        "    password: str,",
        "    tokens: list[int] | None = None",
        "def forward(self, tokens: torch.Tensor) -> torch.Tensor:",
        "    tokens: torch.Tensor,",
        "    tokens: torch.Tensor | None = None,",
        "    token: typing.Optional[str] = None,",
        "    if not token: return",
        "if token == 'end':",
        'token = ""',
        "std::token::value",
        'parser.add_argument("--password", "-p", help="asked for if it is missing")',
        "program --max-tokens 128",
        "tokens_per_second = 0.5",
        f"commit = '{HEX}'",
        f"# tokenizers at commit {HEX}",
        f"index {HEX}..{HEX[::-1]} 100644",
    ],
)
def test_ordinary_code_with_such_names_stays_as_it_is(text: str) -> None:
    assert masked(text) == text
    assert masked(in_file("net.py", text)) == in_file("net.py", text)


def test_the_name_of_a_file_says_how_it_is_read() -> None:
    code = ["num_tokens = count * 2", "Args:", "    token: Embedding of the class, in words."]
    assert masked(in_file("net.py", code[0])) == in_file("net.py", code[0])
    assert "of the class, in words" in masked(in_file("net.py", *code))  # no value of YAML
    text = in_file("x.yaml", "password: one hunter2", "width: 3") + in_file("net.py", "token = count")
    assert masked(text) == in_file("x.yaml", f"password: {MASK}", "width: 3") + in_file("net.py", "token = count")
    assert "hunter2" not in masked(in_file("run.sh", "PASSWORD=hunter2", "TOKEN = hunter2"))
    assert "hunter2" not in masked(in_file("net.py", 'run("PASSWORD=hunter2 ./x")', "# password = hunter2"))


@pytest.mark.parametrize(
    ("name", "line", "shown"),
    [
        ("run.sh", "TOKEN=config.hunter2", f"TOKEN={MASK}"),
        ("run.sh", "PASSWORD=hunter2(x", f"PASSWORD={MASK}(x"),
        ("run.sh", "export WANDB_API_KEY=self.hunter2", f"export WANDB_API_KEY={MASK}"),
        ("x.toml", "token = settings.hunter2", f"token = {MASK}"),
        ("Dockerfile", "ENV API_KEY=os.hunter2", f"ENV API_KEY={MASK}"),
        ("net.py", "password = hunter2", f"password = {MASK}"),  # in a string that holds an INI file
        ("net.py", "    api_key = hunter2", f"    api_key = {MASK}"),
    ],
)
def test_what_looks_like_code_is_masked_where_there_is_none(name: str, line: str, shown: str) -> None:
    assert masked(in_file(name, line)) == in_file(name, shown)


@pytest.mark.parametrize(
    "line", ["max_tokens: 128  # per image", "  - max_tokens: 128\t# per image", "max_tokens: 128"]
)
def test_a_number_of_tokens_stays_whatever_is_said_of_it(line: str) -> None:
    assert masked(in_file("x.yaml", line)) == in_file("x.yaml", line)
    assert masked(line) == line
    assert "hunter2" not in masked(in_file("x.yaml", "token: 12 hunter2  # 3", "password: null  # hunter2"))


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        (  # lines beside the name are others
            " password: |\n   one\n width: 3\n epochs: 4",
            f" password: |\n   {MASK}\n width: 3\n epochs: 4",
        ),
        (  # a line without a letter does not end the value
            "+password: |\n+  one\n+\n+  hunter2\n+width: 3",
            f"+password: |\n+  {MASK}\n+\n+width: 3",
        ),
        (" password: >-\n \n   one\n \n   hunter2\n width: 3", f" password: >-\n \n   {MASK}\n \n width: 3"),
        (  # a name in a list begins behind the dash
            " - password: |\n     hunter2\n   width: 3\n - width: 4",
            f" - password: |\n     {MASK}\n   width: 3\n - width: 4",
        ),
        (  # of each line that was changed, the one before and the one after
            " password: |\n-  old\n+  hunter2\n   rest\n-width: 3\n+width: 4",
            f" password: |\n-  {MASK}\n+  {MASK}\n-width: 3\n+width: 4",
        ),
        (  # the name is above the hunk
            "@@ -9,3 +9,3 @@ password: |\n   one\n+  hunter2\n width: 3",
            f"@@ -9,3 +9,3 @@ password: |\n   {MASK}\n width: 3",
        ),
        (
            "-password: old\n+password: |\n+  hunter2\n width: 3",
            f"-password: {MASK}\n+password: |\n+  {MASK}\n width: 3",
        ),
        (
            "+password: |\n+  one\n+token: |\n+  hunter2\n+width: 3",
            f"+password: |\n+  {MASK}\n+token: |\n+  {MASK}\n+width: 3",
        ),
    ],
)
def test_a_block_of_yaml_is_masked_and_what_is_beside_it_stays(lines: str, shown: str) -> None:
    header = "diff --git a/x.yaml b/x.yaml\n--- a/x.yaml\n+++ b/x.yaml\n@@ -1,4 +1,4 @@\n"
    assert masked(f"{header}{lines}\n") == f"{header}{shown}\n"
    assert masked(lines) == shown


DIFF = "diff --git a/net.py b/net.py\n--- a/net.py\n+++ b/net.py\n"


@pytest.mark.parametrize(
    ("hunks", "shown"),
    [
        (  # the first line of a string is edited
            '@@ -1,4 +1,4 @@\n-PASSWORD = """old\n+PASSWORD = """hunter2\n rest hunter2\n hunter2"""\n x = 1\n',
            f"@@ -1,4 +1,4 @@\n-PASSWORD = {MASK}\n+PASSWORD = {MASK}\n x = 1\n",
        ),
        (  # its end is behind the hunk, and other strings come in the next one
            '@@ -1,2 +1,2 @@\n-PASSWORD = """old\n+PASSWORD = """hunter2\n hunter2\n@@ -20 +20 @@\n+x = """one"""\n',
            f'@@ -1,2 +1,2 @@\n-PASSWORD = {MASK}\n+PASSWORD = {MASK}\n@@ -20 +20 @@\n+x = """one"""\n',
        ),
        (  # its last line is edited
            '@@ -1,2 +1,3 @@\n PASSWORD = """one\n-two""", 1\n+two\n+hunter2""", 2\n x = 1\n',
            f"@@ -1,2 +1,3 @@\n PASSWORD = {MASK}\n-{MASK}, 1\n+{MASK}, 2\n x = 1\n",
        ),
        (  # one in the middle
            '@@ -1,3 +1,3 @@\n PASSWORD = """one\n-two\n+hunter2\n hunter2"""\n x = 1\n',
            f"@@ -1,3 +1,3 @@\n PASSWORD = {MASK}\n x = 1\n",
        ),
        (  # the string begins in the new lines only
            '@@ -1,2 +1,3 @@\n+PASSWORD = """\n hunter2\n-x = 1\n+""", x = 2\n y = 3\n',
            f"@@ -1,2 +1,3 @@\n+PASSWORD = {MASK}\n-x = 1\n+{MASK}, x = 2\n y = 3\n",
        ),
        (
            '@@ -1 +1 @@\n+PASSWORD = """one \\""" hunter2"""\n+x = 1\n',
            f"@@ -1 +1 @@\n+PASSWORD = {MASK}\n+x = 1\n",
        ),
    ],
)
def test_a_string_of_several_lines_is_masked_in_the_old_lines_and_in_the_new_ones(hunks: str, shown: str) -> None:
    assert masked(DIFF + hunks) == DIFF + shown


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "-",
        "=",
        "password",
        "token=",
        "://a:",
        "aB1",
        "eyJ-",
        "bearer a",
        "--",
        "key",
        "key=",
        'token="',
        'token="""',
        '-token="""\n+',
        'token=("""\\\\\n',
        "token:\n",
        "password=(",
        "password: a|",
        "ENV token ",
    ],
)
def test_no_text_takes_long_to_mask(text: str) -> None:
    """A search that goes back would take hours here; the time limit of the tests ends it."""
    masked(text * (200_000 // len(text)))
