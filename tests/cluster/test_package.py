"""Tests of raytrain.cluster.package: what travels with a job is what is needed, under the name that it has here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import raytrain
from raytrain.cluster.package import FILES, Package, name_there, with_path
from raytrain.errors import PreflightError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def package(tmp_path: Path) -> Package:
    return Package(tmp_path / "package")


def write(path: Path, content: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.mark.slow
def test_the_package_runs_where_raytrain_is_not_installed(package: Package, here: Path) -> None:
    package.add_raytrain()
    # -I: neither the checkout nor an installation comes before the package
    code = (
        f"import sys; sys.path.insert(0, {str(package.folder)!r})\n"
        "import raytrain.cli.app as c; print(c.__file__); c.app()"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, "train", "quick"], capture_output=True, text=True, check=False, cwd=here
    )
    assert done.stdout.startswith(str(package.folder))
    # the shipped experiment was found: it has several trials, which train refuses
    assert "train runs one recipe, but" in done.stderr
    assert done.returncode == 2


def test_all_of_raytrain_travels_and_nothing_else(package: Package) -> None:
    package.add_raytrain()
    root = Path(raytrain.__file__).parent
    ours = {path.relative_to(root.parent).as_posix() for path in root.rglob("*") if path.is_file()}
    made = ("raytrain/_experiments/", "raytrain/_code.json")
    assert {name for name in package.sizes if not name.startswith(made)} == {n for n in ours if "__pycache__" not in n}
    assert {
        "raytrain/report/templates/page.html",
        "raytrain/_experiments/quick.yaml",
        "raytrain/_experiments/student/curves.csv",
    } <= set(package.sizes)


def test_the_package_says_which_commit_it_is_of(package: Package) -> None:
    package.add_raytrain()
    sent = json.loads((package.folder / "raytrain" / "_code.json").read_text())
    assert {"git_commit", "git_diff", "packages"} <= set(sent)


def test_every_file_has_its_size(package: Package, here: Path) -> None:
    write(here / "a.yaml", "12345")
    package.add(Path("a.yaml"))
    assert package.sizes == {"a.yaml": 5}
    assert str(package) == "1 file, 0.0 MiB"


@pytest.mark.parametrize(
    ("given", "there"),
    [("experiments/lr.yaml", "experiments/lr.yaml"), ("/etc/lr.yaml", "lr.yaml"), ("../lr.yaml", "lr.yaml")],
)
def test_what_lies_outside_the_current_folder_travels_by_its_name(given: str, there: str) -> None:
    assert name_there(Path(given)) == there


def test_the_path_of_the_file_is_renamed_in_the_command_and_nothing_else() -> None:
    words = ["tune", "--grid=/etc/lr.yaml", "--set", "lr=0.1", "--name", "lr"]
    assert with_path(words, Path("/etc/lr.yaml")) == ["tune", "--grid=lr.yaml", *words[2:]]
    assert with_path(["compare", "../a.yaml"], Path("../a.yaml")) == ["compare", "a.yaml"]


def test_ignore_files_leave_files_out(package: Package, here: Path) -> None:
    write(here / "photos" / ".gitignore", "*.tmp\n/raw/\n")
    write(here / "photos" / ".rayignore", "notes.txt\n")
    for name in ("cat/1.png", "cat/1.tmp", "raw/1.png", "notes.txt", "__pycache__/a.pyc", ".git/HEAD"):
        write(here / "photos" / name)
    package.add(Path("photos"))
    assert set(package.sizes) == {"photos/.gitignore", "photos/.rayignore", "photos/cat/1.png"}
    assert (package.folder / FILES / "photos" / "cat" / "1.png").read_text() == "x"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("path", ["..", "/", "photos/.."])
def test_what_has_no_name_cannot_be_sent(path: str, package: Package) -> None:
    """It would be copied to where raytrain itself lies, or to where it comes from."""
    with pytest.raises(PreflightError, match=f"--send {path} has no name; name the folder itself"):
        package.add(Path(path))
    assert not package.folder.exists()


@pytest.mark.usefixtures("here")
def test_what_is_not_there_cannot_be_sent(package: Package) -> None:
    with pytest.raises(PreflightError, match="nowhere: there is no such file or folder; check the path of --send"):
        package.add(Path("nowhere"))


def test_too_much_is_refused_and_the_largest_files_are_named(
    package: Package, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytrain.cluster.package.MAX_BYTES", 3 * 2**20)
    write(here / "photos" / "big.bin", "b" * 3 * 2**20)
    write(here / "photos" / "small.bin", "s" * 2**20)
    package.add(Path("photos"))
    with pytest.raises(PreflightError, match=r"4 MiB are too much .*: photos/big.bin 3 MiB, photos/small.bin 1 MiB"):
        package.check_size()
    monkeypatch.setattr("raytrain.cluster.package.MAX_BYTES", 4 * 2**20)
    package.check_size()


def test_what_lies_beside_an_experiment_file_from_elsewhere_lies_beside_it_again(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("study/data/photos", "here/own"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "a.png").touch()
    (tmp_path / "study/x.yaml").touch()
    monkeypatch.chdir(tmp_path / "here")
    for path in ("../study/x.yaml", "../study/data/photos", "own"):
        package.add(Path(path), beside=Path("../study/x.yaml"))
    assert {"x.yaml", "data/photos/a.png", "own/a.png"} <= set(package.sizes)
