"""What the source of user code is, how it is named, and how it is imported from its text."""

import hashlib
import json
import re
import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest

from raytrain.errors import ExperimentError, ModelError, RunFolderError
from raytrain.runs.user_code import read_code, write_code
from raytrain.storage.folder import Folder
from raytrain.user_code import source as sources
from raytrain.user_code.modules import imported
from raytrain.user_code.reference import Reference, digests_in, reference_of, without_digest
from raytrain.user_code.source import Source, difference, keep, keep_all, kept, read


def reference(name: str, folder: Path) -> Reference:
    found = reference_of(name)
    assert found
    return read(found, folder=folder)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "photos", "./photos", "s3://bucket/photos", "timm:resnet18d", "torchvision:resnet18", "a b:c", "x:"],
)
def test_other_names_are_no_references(name: str) -> None:
    assert reference_of(name) is None


@pytest.mark.parametrize(
    ("name", "place", "attribute"),
    [
        ("my_net.py:MyNet", "my_net.py", "MyNet"),
        ("../a b/n.py:f", "../a b/n.py", "f"),
        ("p.nets:make", "p.nets", "make"),
    ],
)
def test_a_file_or_a_module_with_a_name_is_a_reference(name: str, place: str, attribute: str) -> None:
    assert reference_of(name) == Reference(place, attribute, None)


def test_a_digest_is_found_in_a_text_and_left_out_of_what_is_shown() -> None:
    text = "my_net.py:MyNet@0123456789ab(depth=3)"
    assert digests_in([text, "crop", ("x",)]) == ["0123456789ab"]
    assert without_digest(text) == "my_net.py:MyNet(depth=3)"


def test_the_source_is_the_file_and_what_it_imports_from_beside_it(folder: Path) -> None:
    found = kept(reference("my_net.py:MyNet", folder).digest)
    assert found
    assert sorted(found.files) == ["my_layers.py", "my_net.py"]


def test_the_digest_is_the_sha256_of_the_names_and_texts_with_their_lengths() -> None:
    one = Source({"b.py": "x = 1\n", "a.py": "ä"})
    expected = hashlib.sha256("4:a.py2:ä4:b.py6:x = 1\n".encode()).hexdigest()
    assert one.sha256 == expected
    assert one.digest == expected[:12]


@pytest.mark.parametrize("changed", ["my_net.py", "my_layers.py"])
def test_a_change_of_any_of_its_files_changes_the_digest(folder: Path, changed: str) -> None:
    before = reference("my_net.py:MyNet", folder)
    with (folder / changed).open("a") as file:
        file.write("\n# changed\n")
    assert reference("my_net.py:MyNet", folder).digest != before.digest


def test_a_change_beside_it_does_not_change_the_digest(folder: Path) -> None:
    before = reference("my_net.py:MyNet", folder)
    (folder / "my_rest.py").write_text("")
    assert reference("my_net.py:MyNet", folder) == before


def test_identity_does_not_depend_on_where_the_file_lies(folder: Path) -> None:
    (folder / "deep").mkdir()
    for name in ("my_net.py", "my_layers.py"):
        (folder / "deep" / name).write_text((folder / name).read_text())
    assert reference("deep/my_net.py:MyNet", folder) == reference("my_net.py:MyNet", folder)


def test_two_versions_of_a_file_stand_side_by_side(folder: Path) -> None:
    (folder / "size.py").write_text("import part\n\ndef of(): return part.SIZE\n")
    made = []
    for size in (1, 2):
        (folder / "part.py").write_text(f"SIZE = {size}\n")
        made.append(imported(reference("size.py:of", folder)))
    assert [function() for function in made] == [1, 2]
    assert "part" not in sys.modules


def test_an_import_inside_a_function_finds_the_file_beside_when_it_is_called(folder: Path) -> None:
    (folder / "late.py").write_text("def of():\n    from my_layers import block\n    return block\n")
    function = imported(reference("late.py:of", folder))
    for name in ("late.py", "my_layers.py"):
        (folder / name).unlink()
    assert function().__name__ == "block"


def test_a_byte_order_mark_is_no_part_of_the_code(folder: Path) -> None:
    (folder / "marked.py").write_bytes(b"\xef\xbb\xbfdef make(num_classes):\n    return num_classes\n")
    (folder / "plain.py").write_text("import marked\n\nmake = marked.make\n")
    assert imported(reference("marked.py:make", folder))(3) == 3
    assert imported(reference("plain.py:make", folder))(4) == 4


def test_packages_and_relative_imports_work(folder: Path) -> None:
    (folder / "nets" / "parts").mkdir(parents=True)
    (folder / "nets" / "__init__.py").write_text("DEPTH = 3\n")
    (folder / "nets" / "parts" / "__init__.py").write_text("")
    (folder / "nets" / "parts" / "stem.py").write_text("from ... import nets\nfrom .. import DEPTH\nSTEM = DEPTH + 1\n")
    (folder / "nets" / "small.py").write_text(
        "import nets.parts.stem\nfrom .parts import stem\n\ndef make(): return nets.parts.stem.STEM, stem.STEM\n"
    )
    found = reference("nets.small:make", folder)
    source = kept(found.digest)
    assert source
    assert sorted(source.files) == ["nets/__init__.py", "nets/parts/__init__.py", "nets/parts/stem.py", "nets/small.py"]
    assert imported(found)() == (4, 4)


def test_an_installed_package_takes_only_its_own_modules_along(folder: Path) -> None:
    found = reference("typing_extensions:deprecated", folder)
    source = kept(found.digest)
    assert source
    assert list(source.files) == ["typing_extensions.py"]


def test_a_package_that_is_installed_as_a_link_is_found_by_its_finder_and_not_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = folder / "elsewhere" / "flat_nets"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('was run')\n")
    (package / "small.py").write_text("import my_net\n\ndef make(): return 5\n")

    class Finder:
        @staticmethod
        def find_spec(name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
            return spec_from_file_location(name, package / "__init__.py") if name == "flat_nets" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    source = kept(reference("flat_nets.small:make", folder).digest)
    assert source
    assert sorted(source.files) == ["flat_nets/__init__.py", "flat_nets/small.py"]
    assert "flat_nets" not in sys.modules
    for absent in ("no_such_nets", "__main__"):
        with pytest.raises(ExperimentError, match=f"there is no module '{absent}'"):
            reference(f"{absent}:make", folder)


def test_code_that_arrives_as_text_is_imported_without_a_file() -> None:
    one = Source({"there.py": "VALUE = 7\n\ndef value(): return VALUE\n"})
    keep_all({one.digest: one.files})
    assert imported(Reference("there.py", "value", one.digest))() == 7


def test_text_that_is_not_what_its_digest_says_is_refused() -> None:
    with pytest.raises(ModelError, match=r"the code of evil\.py has been changed"):
        keep_all({"0" * 12: {"evil.py": "1 / 0\n"}})
    assert kept("0" * 12) is None


def test_code_that_this_process_was_not_given_is_not_run() -> None:
    with pytest.raises(ExperimentError, match="nobody has allowed to run"):
        imported(Reference("there.py", "value", "1" * 12))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("def f(:\n", r"^bad\.py:1: is not valid Python"),
        ("\nimport no_such_module\n", r"^bad\.py:2: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\n1 / 0\n", r"^bad\.py:2: ZeroDivisionError"),
        ("def g(): pass\n", r"^bad\.py: has no 'f'; it has g"),
        ("import sys\nsys.exit('no')\n", r"^bad\.py:2: SystemExit: no"),
        ("f = 3\n", r"^bad\.py: f is int; name a class or a function"),
        ("-" * 100_000 + "1", r"^bad\.py: is nested too deeply"),
        ("f = a" + ".b" * 50_000, r"^bad\.py: is nested too deeply"),
    ],
)
def test_broken_code_is_one_message_with_file_and_line(folder: Path, text: str, problem: str) -> None:
    (folder / "bad.py").write_text(text)
    with pytest.raises(ExperimentError, match=problem):
        imported(reference("bad.py:f", folder))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("gone.py:f", r"gone\.py: no such file"),
        ("no_such_package.nets:f", "there is no module 'no_such_package'"),
        ("typing_extensions.nets:f", "there is no module 'typing_extensions.nets'"),
        ("os:getcwd", "there is no module 'os'"),
    ],
)
def test_code_that_is_not_there_says_so(folder: Path, name: str, problem: str) -> None:
    with pytest.raises(ExperimentError, match=problem):
        reference(name, folder)


@pytest.mark.parametrize(
    ("name", "better"), [("resnet.v2.py", "resnet_v2.py"), ("my.net.old.py", "my_net_old.py"), (".net.py", "net.py")]
)
def test_a_file_whose_name_cannot_be_imported_is_refused_with_a_better_name(
    folder: Path, name: str, better: str
) -> None:
    (folder / name).write_text("class Net: ...\n")
    with pytest.raises(
        ExperimentError, match=rf"^{re.escape(name)} cannot be imported.*; rename it, such as {better}$"
    ):
        reference(f"{name}:Net", folder)


def test_a_source_of_too_many_files_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FILES", 1)
    with pytest.raises(ExperimentError, match="imports more than 1 files"):
        reference("my_net.py:MyNet", folder)


def test_a_difference_shows_the_changed_lines_of_each_file() -> None:
    shown = difference({"a.py": "one\ntwo\n", "b.py": "same\n"}, {"a.py": "one\n2\n", "b.py": "same\n"})
    assert shown.splitlines()[2:] == ["@@ -1,2 +1,2 @@", " one", "-two", "+2"]


def test_a_source_is_where_it_was_read_last() -> None:
    read_here, arrived, read_there = (Source({"k.py": ""}, root=root) for root in (Path("/here"), None, Path("/there")))
    assert keep(read_here) == keep(arrived) == keep(read_there)
    assert kept(read_here.digest) is read_there
    keep(arrived)
    assert kept(read_here.digest) is read_there


OUTSIDE = ["../evil.py", "/tmp/evil.py", "a/../../evil.py", "a//b.py", "", "..", "a\0.py"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_code_from_elsewhere_has_no_file_outside_of_its_folder(name: str) -> None:
    evil = Source({name: "x = 1\n"})
    with pytest.raises(ModelError, match="is no path below its folder"):
        keep_all({evil.digest: evil.files})
    assert kept(evil.digest) is None


@pytest.mark.parametrize("listed", [*([name] for name in OUTSIDE), [7], {"a.py": 1}, 7, None])
def test_a_run_folder_that_lists_its_code_elsewhere_is_refused(listed: object, tmp_path: Path) -> None:
    evil = Source({name: "x = 1\n" for name in listed if isinstance(name, str)} if isinstance(listed, list) else {})
    folder = tmp_path / "code" / evil.digest
    folder.mkdir(parents=True)
    (folder / "files.json").write_text(json.dumps(listed))
    with pytest.raises(RunFolderError, match="is no list of paths below it"):
        read_code(Folder.at(tmp_path), [evil.digest])


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff", None])
def test_a_list_of_code_that_cannot_be_read_is_one_message(content: bytes | None, tmp_path: Path) -> None:
    digest = keep(Source({"net.py": "def net(): ...\n"}))
    write_code(Folder.at(tmp_path), [f"net.py:net@{digest}"])
    listed = tmp_path / "code" / digest / "files.json"
    if content is None:
        listed.unlink()
        listed.mkdir()
    else:
        listed.write_bytes(content)
    with pytest.raises(RunFolderError, match="cannot be read"):
        read_code(Folder.at(tmp_path), [digest])


def test_code_in_folders_below_is_read_as_it_was_written(tmp_path: Path) -> None:
    files = {"a/b/net.py": "def net(depth=3): ...\n", "...py": "y = 2\n"}
    digest = keep(Source(files))
    write_code(Folder.at(tmp_path), [f"a/b/net.py:net@{digest}"])
    assert read_code(Folder.at(tmp_path), [digest]) == {digest: files}


def test_what_code_prints_and_sets_on_import_changes_neither_results_nor_other_trials(
    folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    (folder / "loud.py").write_text(
        "import os\nimport torch\ntorch.set_default_dtype(torch.float64)\nos.chdir('/')\nprint('hello')\n"
        "def f(num_classes): pass\n"
    )
    imported(reference("loud.py:f", folder))
    assert torch.get_default_dtype() == torch.float32
    assert Path.cwd() == folder
    assert tuple(capsys.readouterr()) == ("", "hello\n")
    assert "loud.py (6 lines) sets PyTorch's default dtype to torch.float64 when it is imported" in caplog.text
    assert "sets the working folder to / when it is imported; this is undone" in caplog.text


@pytest.mark.parametrize(
    ("device", "said"), [("meta", "meta"), ("cuda", r"(cuda:\d|one that this machine does not have)")]
)
def test_a_default_device_that_code_sets_on_import_is_undone_and_said(
    device: str, said: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import torch

    (folder / "placed.py").write_text(f"import torch\ntorch.set_default_device('{device}')\ndef f(num_classes): pass\n")
    try:
        imported(reference("placed.py:f", folder))
        assert torch.zeros(1).device.type == "cpu"
    finally:
        torch.set_default_device(None)
    assert re.search(rf"placed.py \(3 lines\) sets PyTorch's default device to {said} when it is imported", caplog.text)


@pytest.mark.parametrize("name", ["files.json", "one.py"])
def test_code_of_a_run_folder_is_read_up_to_a_limit(name: str, tmp_path: Path) -> None:
    digest = keep(Source({"one.py": "def x(): ...\n"}))
    write_code(Folder.at(tmp_path), [f"one.py:x@{digest}"])
    with (tmp_path / "code" / digest / name).open("ab") as file:
        file.truncate(sources.MAX_BYTES + 1)  # sparse
    with pytest.raises(RunFolderError, match="larger than 5,000,000 bytes"):
        read_code(Folder.at(tmp_path), [digest])
