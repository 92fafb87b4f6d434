"""Trying again while storage is away, and only then."""

import errno

import pytest

from raytrain.errors import StorageError
from raytrain.storage.folder import Folder
from raytrain.storage.retry import passes, persistently


def failing(times: int, error: OSError):
    calls: list[int] = []

    def act() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    return act, calls


class Clock:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Put a clock in the place of the time module, in tenacity alone."""
    clock = Clock()
    monkeypatch.setattr("tenacity.time", clock)
    monkeypatch.setattr("tenacity.nap.time", clock)
    return clock


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.ESTALE, "Stale file handle"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        OSError("When getting information for key: AWS Error NETWORK_CONNECTION during HeadObject: curlCode: 7"),
        OSError("AWS Error SLOW_DOWN during PutObject operation"),
        OSError("AWS Error UNKNOWN (HTTP status 429) during HeadObject operation: No response body."),
        OSError("google::cloud::Status(UNAVAILABLE: Permanent error: HTTP status 429 Too Many Requests)"),
        OSError("AWS Error UNKNOWN (HTTP status 500) during HeadObject operation: No response body."),
        OSError("AWS Error UNKNOWN (HTTP status 503) during HeadObject operation: No response body."),
    ],
)
def test_what_passes_is_tried_again(error: OSError, caplog: pytest.LogCaptureFixture) -> None:
    act, calls = failing(3, error)
    assert persistently(act, retry_s=60, what="runs") == "done"
    assert len(calls) == 4
    assert [record.message.startswith("runs does not answer") for record in caplog.records] == [True]


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "no"),
        PermissionError(errno.EACCES, "no"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("AWS Error ACCESS_DENIED during PutObject operation"),
        OSError("AWS Error UNKNOWN (HTTP status 403) during HeadObject operation: No response body."),
        OSError("AWS Error UNKNOWN (HTTP status 404) during HeadObject operation: No response body."),
    ],
)
def test_what_does_not_pass_is_raised_at_once(error: OSError) -> None:
    act, calls = failing(1, error)
    with pytest.raises(OSError):  # noqa: PT011 (the very one)
        persistently(act, retry_s=60, what="runs")
    assert len(calls) == 1


def test_waits_double_up_to_the_longest_until_the_time_is_over(clock: Clock) -> None:
    act, calls = failing(10**6, OSError(errno.EIO, "Input/output error"))
    with pytest.raises(OSError, match="Input/output error"):
        persistently(act, retry_s=60, what="runs")
    assert clock.slept == [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert clock.monotonic() == 60.5  # the first try at or after the 60 s is the last
    assert len(calls) == 9


def test_without_time_to_retry_there_is_one_try() -> None:
    act, calls = failing(1, OSError(errno.EIO, "Input/output error"))
    assert passes(OSError(errno.EIO, ""))
    with pytest.raises(OSError, match="Input/output error"):
        persistently(act, retry_s=0, what="runs")
    assert len(calls) == 1


def test_a_folder_retries_for_the_folders_below_it_and_gives_up_with_one_error(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act, calls = failing(10**6, OSError(errno.EIO, "Input/output error"))
    monkeypatch.setattr("raytrain.storage.folder.Folder._file", lambda *_: act())
    monkeypatch.setattr("tenacity.stop_after_delay", lambda _: lambda state: state.attempt_number >= 5)
    folder = Folder.at(tmp_path).retrying(30) / "trials"
    with pytest.raises(StorageError, match="the storage does not answer for 30 s"):
        folder.read("x")
    assert len(calls) == 5


class Away:
    """Object storage that never answers."""

    type_name = "s3"

    def __getattr__(self, name: str):
        def fail(*_: object, **__: object) -> None:
            raise OSError(f"AWS Error NETWORK_CONNECTION during {name}: curlCode: 7")

        return fail


ASKED = {
    "exists": lambda folder: folder.exists("x"),
    "names": lambda folder: folder.names(),
    "files": lambda folder: folder.files(),
    "delete": lambda folder: folder.delete("x"),
    "remove": lambda folder: folder.remove(),
    "read": lambda folder: folder.read("x"),
    "write": lambda folder: folder.write("x", b""),
    "append": lambda folder: folder.append("x", b""),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_storage_that_does_not_answer_in_time_is_a_storage_error_whatever_was_asked(ask) -> None:
    with pytest.raises(StorageError, match=r"runs.*: the storage does not answer for 30 s"):
        ask(Folder(Away(), "bucket/runs").retrying(30))
