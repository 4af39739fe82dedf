"""Settings come from the environment, are documented, and never show a secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from config.errors import SettingsError
from config.settings import PREFIX, Settings, load_settings
from streams.runtime.place import Place

SECRET = "a-signing-key-of-thirty-two-chars!"


def test_defaults_need_no_environment() -> None:
    settings = load_settings()
    assert settings.redis_url is None
    assert settings.data_dir == Path(".tideline")
    assert settings.key_prefix == "tl"
    assert settings.signing_key is None


def test_environment_is_read_and_command_line_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDELINE_REDIS_URL", "rediss://example:6380/0")
    monkeypatch.setenv("TIDELINE_KEY_PREFIX", "shop")
    settings = load_settings(key_prefix="other", redis_url=None)
    assert settings.redis_url == "rediss://example:6380/0"
    assert settings.key_prefix == "other"


def test_the_password_of_the_store_shows_nowhere() -> None:
    settings = load_settings(redis_url="redis://ann:hunter2@example:6379/0", key_prefix="shop")
    place = Place(settings.data_dir, settings.redis_url, settings.key_prefix)
    assert "'shop'" in repr(settings)
    for text in (repr(settings), str(settings), f"{settings!r:.9999}", repr(place)):
        assert "hunter2" not in text


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("redis_url", "--store", "nowhere"),
        ("kafka_bootstrap_servers", "--kafka", "nowhere"),
        ("shards", "--shards", "0"),
    ],
)
def test_what_was_given_as_an_option_is_named_so(
    name: str, option: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(**{name: value})
    assert str(caught.value).startswith(f"{option}: expected ")
    monkeypatch.setenv(PREFIX + name.upper(), value)
    with pytest.raises(SettingsError) as caught:
        load_settings(**{name: None})
    assert str(caught.value).startswith(f"{PREFIX}{name.upper()}: expected ")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("REDIS_URL", "http://user:hunter2@example", "redis://, rediss:// or unix://"),
        ("WAIT_REPLICAS", "many", "a valid integer"),
        ("WAIT_REPLICAS", "-1", "greater than or equal to 0"),
        ("WAIT_ON_DISK", "perhaps", "a valid boolean"),
        ("WAIT_TIMEOUT_S", "0", "greater than 0"),
        ("KEY_PREFIX", "tl:{0}", "match pattern"),
        ("SIGNING_KEY", "hunter2", "at least 32 characters"),
    ],
)
def test_wrong_values_are_refused_by_name(
    name: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert PREFIX + name in str(caught.value)
    assert expected in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_misspelt_variable_is_refused_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDELINE_REDIS_ULR", "redis://example")
    with pytest.raises(SettingsError, match=r"TIDELINE_REDIS_ULR is not a setting; did you mean 'TIDELINE_REDIS_URL'"):
        load_settings()


def test_variables_for_the_tests_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDELINE_TEST_REDIS", "redis://example")
    load_settings()


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDELINE_SIGNING_KEY", SECRET)
    settings = load_settings()
    assert settings.signing_key is not None
    assert settings.signing_key.get_secret_value() == SECRET
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()


def test_every_setting_is_read_by_something(root: Path) -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (root / "streams").rglob("*.py"))
    read = set(re.findall(r"\b(?:settings|load_settings\(\))\.(\w+)", code))
    topics = {name for name in Settings.model_fields if re.fullmatch(r"kafka_(\w+_topic|topic_prefix)", name)}
    if "topic" in read:  # `Settings.topic` gives every topic its name
        read |= topics
    assert set(Settings.model_fields) <= read


def test_every_setting_is_documented(root: Path) -> None:
    lines = (root / "docs" / "settings.md").read_text(encoding="utf-8").splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| `TIDELINE_")
    ]
    expected = []
    for name, field in Settings.model_fields.items():
        assert field.default is not PydanticUndefined
        default = "none" if field.default is None else f"`{field.default}`"
        expected.append([f"`{PREFIX}{name.upper()}`", default, field.description])
    assert rows == expected
