"""Data sets of the Hugging Face hub by name, against a stand-in of the hub on loopback."""

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from raytrain.data import is_here, load
from raytrain.errors import DataError, ExitCode

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "someone/birds"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAYTRAIN_DATA", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "home"


class Hub:
    """Answers as the hub does for one repository.

    Attributes:
        asked: Paths of the requests so far.
        files: Content of each file, by its name.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked.append(unquote(self.path.partition("?")[0]))
                self.answer(*hub.found(hub.asked[-1]))

            def do_HEAD(self) -> None:
                self.do_GET()

            def answer(self, status: int, content: bytes) -> None:
                self.send_response(status)
                for name, value in (
                    ("Content-Length", str(len(content))),
                    ("ETag", f'"{sha256(content).hexdigest()}"'),
                    ("X-Repo-Commit", COMMIT),
                    *([("X-Error-Code", "RepoNotFound")] if status == 404 else []),
                ):
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.files = files
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def found(self, path: str) -> tuple[int, bytes]:
        about = f"/api/datasets/{REPOSITORY}"
        if path.startswith(f"{about}/tree/"):
            tree = [{"type": "file", "path": name, "size": len(one), "oid": "0"} for name, one in self.files.items()]
            return 200, json.dumps(tree).encode()
        if path.startswith(about):
            listed = [{"rfilename": name} for name in self.files]
            return 200, json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": listed}).encode()
        name = path.removeprefix(f"/datasets/{REPOSITORY}/resolve/{COMMIT}/")
        return (200, self.files[name]) if name in self.files else (404, b"{}")

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def hub(tiny_images: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub")
    images = [path for path in Path(tiny_images).rglob("*.png") if int(path.stem) < 3]
    files = {path.relative_to(tiny_images).as_posix(): path.read_bytes() for path in images}
    stand_in = Hub({**files, "README.md": b"birds", "extra/0.PNG": images[0].read_bytes()})
    monkeypatch.setenv("HF_ENDPOINT", stand_in.address)
    yield stand_in
    stand_in.stop()


@pytest.mark.filterwarnings("default")  # the library's own
def test_a_repository_is_fetched_once_and_used_without_the_hub_afterwards(hub: Hub):
    name = f"hf:{REPOSITORY}"
    assert not is_here(name)
    first = load(name, image_size=8)
    assert (len(first.train), len(first.test), first.classes) == (6, 6, ("bright", "dark"))
    assert f"the hub's commit {COMMIT[:12]} was fetched" in first.origin.remarks
    assert not any(path.endswith("README.md") for path in hub.asked)
    assert any(path.endswith("extra/0.PNG") for path in hub.asked)  # an image, too, though of no class
    hub.stop()
    assert is_here(name)
    assert load(name, image_size=8).fingerprint == first.fingerprint


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("hub")
def test_a_download_that_lacks_files_is_no_data_set(monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub

    real: Any = huggingface_hub.snapshot_download

    def cut_short(*arguments: Any, local_dir: Path, **named: Any) -> Any:
        found = real(*arguments, local_dir=local_dir, **named)
        shutil.rmtree(local_dir / "test")
        return found

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cut_short)
    with pytest.raises(DataError, match="6 of 13 files did not arrive; run the command again"):
        load(f"hf:{REPOSITORY}", image_size=8)
    assert not is_here(f"hf:{REPOSITORY}")


@pytest.mark.filterwarnings("default")
def test_without_a_network_one_message_says_what_to_do(hub: Hub):
    hub.stop()
    with pytest.raises(DataError, match=r"cannot be fetched from the Hugging Face hub .*; check the name") as caught:
        load(f"hf:{REPOSITORY}", image_size=8)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == ExitCode.INVALID == 2


@pytest.mark.filterwarnings("default")
@pytest.mark.usefixtures("hub")
def test_a_name_that_the_hub_does_not_know_is_refused():
    with pytest.raises(DataError, match=r"hf:someone/fish is not in .*RepositoryNotFoundError"):
        load("hf:someone/fish", image_size=8)


def test_without_the_package_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DataError, match=r"pip install '\.\[hf\]'"):
        load("hf:someone/birds@v1", image_size=8)


def test_without_a_place_to_keep_it_one_message_says_what_to_do(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAYTRAIN_DATA", str(home.parent / ("x" * 300)))  # an OSError for root too, as that of no access
    assert not is_here("hf:someone/birds")
    assert not is_here("cifar10")
    with pytest.raises(DataError, match=r"hf:someone/birds cannot be kept in .*; set RAYTRAIN_DATA to a folder"):
        load("hf:someone/birds", image_size=8)


@pytest.mark.parametrize("name", ["hf:", "hf:mnist", "hf:a/b/c", "hf:a b", "hf:../..", "hf:a/b@"])
def test_a_malformed_name_is_refused(name: str):
    with pytest.raises(DataError, match="hf:OWNER/NAME"):
        load(name, image_size=8)
