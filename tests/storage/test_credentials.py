"""Tests of raytrain.storage.credentials: what is masked, and that nothing else is."""

import pytest

from raytrain.errors import PreflightError
from raytrain.storage.credentials import is_cut_short, refuse_credentials, shown_uri, without_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:hunter2@host:5000/x", "http://***@host:5000/x"),
        ("s3://hunter2@bucket/x", "s3://***@bucket/x"),
        ("http://u:hunt/er2@host", "http://***@host"),
        ("http://u:h@unt/er2@host", "http://***@host"),
        ("http://u:?hunter2@host/x", "http://***@host/x"),
        ("http://u:1?hunter2@host/x?b=1", "http://***@host/x?b=1"),
        ("http://u:1#hunter2@host/x", "http://***@host/x"),
        ("http://u:/?#@hunter2@host/x", "http://***@host/x"),
        ("http://?hunter2@host/x", "http://***@host/x"),
        ("http://me/you:hunter2@host/x", "http://***@host/x"),
        ("s3://key:hunt/er2@bucket/x", "s3://***@bucket/x"),
        ("s3://key:hunt/er2@bucket/2024:01/x@2", "s3://***@2"),
        ("s3://b/runs?endpoint_override=me:hunter2@minio:9000", "s3://***@minio:9000"),
        ("s3://b/2024:01/x@2?endpoint_override=me:hunter2@minio:9000", "s3://***@minio:9000"),
        ("gs://anonymous@hunter2@bucket/x", "gs://***@bucket/x"),
        ("gs://anonymous:hunter2@bucket/x", "gs://***@bucket/x"),
        ("gs://anonymous2@bucket/x", "gs://***@bucket/x"),
        ("HTTP://u:a?hunter2@host: no answer", "HTTP://***@host: no answer"),
        ("s3://bucket/x?secret_key=a#hunter2&b=1", "s3://bucket/x?secret_key=***&b=1"),
        ("s3://bucket/x#token=hunter2", "s3://bucket/x#token=***"),
        ("runs?secret_key=hunter2", "runs?secret_key=***"),
        ("s3://bucket/x?region=a&secret_key=hunter2&b=1", "s3://bucket/x?region=a&secret_key=***&b=1"),
        ("no answer from http://u:hunter2@a, nor http://b", "no answer from http://***@a, nor http://b"),
    ],
)
def test_what_is_refused_is_masked(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    with pytest.raises(PreflightError) as refused:
        refuse_credentials(text)
    assert "hunter2" not in str(refused.value)


def test_a_space_in_a_password_ends_neither_the_refusal_nor_the_mask_of_a_whole_address() -> None:
    with pytest.raises(PreflightError):
        refuse_credentials("http://u:a hunter2@host")
    assert shown_uri("http://u:a hunter2@host") == "http://***@host"


@pytest.mark.parametrize("password", ["a/b", "a?b", "1#b", "a b"])
def test_a_password_that_other_programs_would_cut_is_told(password: str) -> None:
    assert is_cut_short(f"http://u:{password}@host:5000/x")


@pytest.mark.parametrize(
    "uri", ["http://u:a%2Fb@host/x", "http://u:a@b@host/x", "http://host:5000/x", "http://host/a@b"]
)
def test_an_address_that_all_programs_read_alike_is_not_cut(uri: str) -> None:
    assert not is_cut_short(uri)


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/x",
        "sqlite:////home/a@b/mlflow.db",
        "s3://bucket/x?region=a",
        "gs://anonymous@bucket/photos",
        "s3://bucket/2024:01/x@2",
        "s3://bucket/2024:01/x@2?endpoint_override=http://minio:9000",
        "gs://anonymous@bucket/2024:01/x@2",
    ],
)
def test_an_address_without_credentials_is_shown_as_it_is(text: str) -> None:
    assert without_credentials(text) == text
    refuse_credentials(text)
