"""Variables of the environment are read as on or off by one function."""

import pytest

from labkit.flags import is_on


@pytest.mark.parametrize(
    ("value", "on"),
    [
        (None, False),
        *((word, False) for word in ("", " ", "0", "false", "False", "no", "off", "OFF")),
        *((word, True) for word in ("1", "true", "yes", "on", "2", "fales")),
    ],
)
def test_a_variable_is_on_unless_it_says_off(monkeypatch: pytest.MonkeyPatch, value: str | None, on: bool) -> None:
    monkeypatch.delenv("LABKIT_BATCH", raising=False)
    if value is not None:
        monkeypatch.setenv("LABKIT_BATCH", value)
    assert is_on("LABKIT_BATCH") == on
