"""Tests of raytrain.storage.credentials: what is masked, and that nothing else is."""

import pytest

from raytrain.errors import PreflightError
from raytrain.storage.credentials import refuse_credentials, without_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://u:hunter2@host:5000/x", "http://***@host:5000/x"),
        ("s3://hunter2@bucket/x", "s3://***@bucket/x"),
        ("http://u:hunt/er2@host", "http://***@host"),
        ("http://u:h@unt/er2@host", "http://***@host"),
        ("s3://bucket/x?region=a&secret_key=hunter2&b=1", "s3://bucket/x?region=a&secret_key=***&b=1"),
        ("no answer from http://u:hunter2@a, nor http://b", "no answer from http://***@a, nor http://b"),
    ],
)
def test_what_is_refused_is_masked(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    with pytest.raises(PreflightError) as refused:
        refuse_credentials(text)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("text", ["http://127.0.0.1:5000/x", "sqlite:////home/a@b/mlflow.db", "s3://bucket/x?region=a"])
def test_an_address_without_credentials_is_shown_as_it_is(text: str) -> None:
    assert without_credentials(text) == text
    refuse_credentials(text)
