"""Settings: read from the environment, with an error for invalid variables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from kombu.transport import TRANSPORT_ALIASES
from sqlalchemy.engine import make_url

from paaplus import setting_values
from paaplus.db import migrate
from paaplus.errors import InvalidInput
from paaplus.settings import Settings, get_settings

FIRST_REVISION = "29c7da1e5b7a"  # of the database: the steps after it take most of a second


def test_wrong_variables_are_named_all_at_once_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAAPLUS_API_PORT", "canary-port")
    monkeypatch.setenv("PAAPLUS_FEATURES_QUEUE", "canary-queue")
    with pytest.raises(InvalidInput, match=r"PAAPLUS_API_PORT: .*integer.*; PAAPLUS_FEATURES_QUEUE: .*cpu") as error:
        get_settings()
    assert "canary" not in str(error.value)


def test_tilde_is_the_home_and_an_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PAAPLUS_NIMA_FILE", "PAAPLUS_API_PORT", "PAAPLUS_DATABASE_URL", "PAAPLUS_DEVICE"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PAAPLUS_HOME", "~/paa")
    settings = Settings()
    assert settings.home == tmp_path / "paa"
    assert (settings.nima_file, settings.api_port, settings.device) == (None, 8000, "auto")
    assert make_url(settings.resolved_database_url).database == str(tmp_path / "paa" / "paaplus.db")
    monkeypatch.setenv("PAAPLUS_HOME", "")
    monkeypatch.setenv("PAAPLUS_NIMA_FILE", "~/nima.pth")
    assert Settings().home == Path("var")
    assert Settings().nima_file == tmp_path / "nima.pth"
    monkeypatch.setenv("PAAPLUS_HOME", "~nobody-of-this-name/paa")
    get_settings.cache_clear()
    with pytest.raises(InvalidInput, match=r"PAAPLUS_HOME: .*home directory"):
        get_settings()


@pytest.mark.parametrize("folder", ["100%41 sure?mode=ro", "a#b", "~tilde", "ünï 写真", "with:colon@host"])
def test_database_lies_in_the_folder_whatever_it_is_called(tmp_path: Path, folder: str) -> None:
    home = tmp_path / folder
    url = Settings(home=home).resolved_database_url
    migrate.upgrade(url, FIRST_REVISION)
    assert (home / "paaplus.db").is_file()
    assert [file.name for file in tmp_path.iterdir()] == [folder]


def test_tilde_in_the_url_of_a_database_is_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    url = Settings(database_url="sqlite:///~/a b.db").resolved_database_url
    assert make_url(url).database == str(tmp_path / "a b.db")
    postgres = "postgresql://ann:s%40fe@[::1]:5433/paaplus?sslmode=require"
    assert Settings(database_url=postgres).resolved_database_url == postgres


@pytest.mark.parametrize(("name", "value"), [("API_PORT", "80_80"), ("API_PORT", "٨٠"), ("MAX_WAIT_S", "1_0")])
def test_numbers_are_not_guessed(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"PAAPLUS_{name}", value)
    with pytest.raises(InvalidInput, match=rf"PAAPLUS_{name}: .*not a"):
        get_settings()


@pytest.mark.parametrize(("given", "host"), [("[::1]", "::1"), ("::1", "::1")])
def test_address_of_ipv6_may_have_the_brackets_of_a_url(monkeypatch: pytest.MonkeyPatch, given: str, host: str) -> None:
    monkeypatch.setenv("PAAPLUS_API_HOST", given)
    assert get_settings().api_host == host


@pytest.mark.parametrize("weight", ['"1_0"', "true", "Infinity", "NaN", "0"])
def test_weights_are_numbers(monkeypatch: pytest.MonkeyPatch, weight: str) -> None:
    monkeypatch.setenv("PAAPLUS_APPLICATION_WEIGHTS", f'{{"shop": {weight}}}')
    with pytest.raises(InvalidInput, match="PAAPLUS_APPLICATION_WEIGHTS"):
        get_settings()


def test_a_variable_of_an_earlier_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAAPLUS_COHORT_SIZE", "4")
    with pytest.raises(InvalidInput, match="PAAPLUS_CLAIM_SIZE"):
        get_settings()


@pytest.mark.parametrize(
    ("text", "why"),
    [("junk", "a JSON object"), ("[1]", "dictionary"), ('{"a": 1, "a": 2}', "occurs twice"), ('{"a": NaN}', "NaN"),
     ('{"a": 0}', "greater than 0"), ('{"a": "1"}', "number")],
)  # fmt: skip
def test_weights_that_are_none_are_told_with_their_variable(
    text: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAAPLUS_APPLICATION_WEIGHTS", text)
    get_settings.cache_clear()
    with pytest.raises(InvalidInput, match=f"PAAPLUS_APPLICATION_WEIGHTS.*{why}"):
        get_settings()
    monkeypatch.setenv("PAAPLUS_APPLICATION_WEIGHTS", ' {"shop": 2} ')
    get_settings.cache_clear()
    assert get_settings().application_weights == {"shop": 2.0}


def test_spaces_around_a_value_do_not_count_and_blank_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HOME": "  ", "DATABASE_URL": " \n", "NIMA_FILE": "\t", "API_PORT": " ", "APPLICATION_WEIGHTS": " ",
        "STORAGE_URL": " s3://bucket\n", "LOG_LEVEL": "INFO ",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"PAAPLUS_{name}", value)
    get_settings.cache_clear()
    found = get_settings()
    assert (found.home, found.database_url, found.nima_file) == (Path("var"), "", None)
    assert (found.api_port, found.application_weights) == (8000, {})
    assert (found.storage_url, found.log_level) == ("s3://bucket", "INFO")


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/path", "https://a b", "https://u@app.example"])
def test_origin_that_no_browser_names_is_refused(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAAPLUS_CORS_ORIGINS", f"https://good.example, {origin}")
    get_settings.cache_clear()
    with pytest.raises(InvalidInput, match=r"PAAPLUS_CORS_ORIGINS: .*entry 2 is no origin"):
        get_settings()
    monkeypatch.setenv("PAAPLUS_CORS_ORIGINS", "https://good.example/, http://localhost:5173, http://[::1]:80")
    get_settings.cache_clear()
    assert get_settings().allowed_origins == ["https://good.example", "http://localhost:5173", "http://[::1]:80"]


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("DEVICE", "canary", "is no device: auto, cpu, cuda or cuda:N"),
        ("DEVICE", "cuda:x", "is no device"),
        ("DEVICE", "cuda:٣", "is no device"),
        ("BROKER_URL", "canary", "is no URL of a broker, such as redis://"),
        ("BROKER_URL", "http://canary", "is no URL of a broker, such as redis://"),
        ("BROKER_URL", "redis://canary:99999/0", "host or port cannot be read"),
        ("BROKER_URL", "redis://[::1/canary", "host or port cannot be read"),
        ("BROKER_URL", "redis://one:6379/0;redis:///0", "it has no host"),
        ("STORAGE_URL", "/canary", "is no URL of a storage"),
        ("STORAGE_URL", "nope://canary", "is no URL of a storage"),
        ("ERASURES_URL", "file://canary", "is no URL of a folder: file:///folder"),
        ("DATABASE_URL", "mysql://canary", "it begins with sqlite:/// or postgresql://"),
        ("DEFAULT_BASE_MODEL", "lite2@canary", "NAME or NAME@VERSION"),
        ("API_HOST", "[canary]", "neither a host's name nor an address"),
        ("API_HOST", "ca nary", "neither a host's name nor an address"),
        ("API_HOST", "0.0.0.0:80", "a port is given by PAAPLUS_API_PORT"),
        ("NIMA_ASPECT", "a\x07b", "a control character"),
        ("FAULT", "canary", "is no fault point; known: job_claimed"),
        ("FAULT", "canary:stop", "is no fault point"),
        ("FAULT", "trained:canary", "is no fault point"),
    ],
)
def test_junk_is_told_at_the_start_with_its_variable_and_without_its_value(
    name: str, value: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PAAPLUS_{name}", value)
    with pytest.raises(InvalidInput, match=rf"^PAAPLUS_{name}: .*{re.escape(why)}") as error:
        get_settings()
    assert "canary" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEVICE", "cuda:1"),
        ("BROKER_URL", "sentinel://:secret@one:26379;sentinel://two:26379"),
        ("BROKER_URL", "redis+socket:///run/redis.sock"),
        ("BROKER_URL", "memory://"),
        ("STORAGE_URL", "file:///srv/blobs"),
        ("ERASURES_URL", "az://container/prefix"),
        ("DATABASE_URL", "postgresql+psycopg://ann@host/paaplus"),
        ("DEFAULT_BASE_MODEL", "timm:vit_base_patch16_clip_224.openai@12"),
        ("API_HOST", "fe80::1%eth0"),
        ("FAULT", "trained:stop"),
        ("FAULT", "@/tmp/named later"),
        ("API_HOST", "paaplus.example"),
        ("SERVICE_HOST", "10.0.0.1"),  # of Kubernetes, for a service called paaplus
        ("PORT_8000_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_what_is_right_is_taken(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"PAAPLUS_{name}", value)
    settings = get_settings()
    if name.lower() in Settings.model_fields:
        assert getattr(settings, name.lower()) == value


@pytest.mark.parametrize(
    ("given", "meant"), [("DATABSE_URL", "DATABASE_URL"), ("API_PROT", "API_PORT"), ("HOEM", "HOME")]
)
def test_misspelled_variable_is_refused_and_not_ignored(
    given: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PAAPLUS_{given}", "canary")
    with pytest.raises(InvalidInput, match=f"PAAPLUS_{given} is not known; is PAAPLUS_{meant} meant") as error:
        get_settings()
    assert "canary" not in str(error.value)


def test_brokers_are_those_that_kombu_knows() -> None:
    assert {name.lower() for name in TRANSPORT_ALIASES} == setting_values.BROKERS


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://ann:canary@1/canary@host/paaplus", "has an '@' in a name or password: write it as %40"),
        ("postgresql://ann:canary@canary@host/paaplus", "has an '@' in a name or password: write it as %40"),
        ("sqlite://", "is a database in memory"),
        ("sqlite:///:memory:", "is a database in memory"),
        ("sqlite:////data/what?.db", "has a '?' that begins no options"),
    ],
)
def test_database_urls_that_would_be_read_as_something_else_are_refused(
    monkeypatch: pytest.MonkeyPatch, url: str, why: str
) -> None:
    monkeypatch.setenv("PAAPLUS_DATABASE_URL", url)
    with pytest.raises(InvalidInput, match=re.escape(why)) as error:
        get_settings()
    assert "canary" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann@server:s%40fe@host:1/paaplus?application_name=a@b",
        "postgresql:///paaplus?host=/var/run&user=a@b",
        "sqlite:////data/a@b.db?timeout=5",
    ],
)
def test_other_database_urls_stay_as_they_are(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PAAPLUS_DATABASE_URL", url)
    assert get_settings().resolved_database_url == url


def test_one_setting_by_two_spellings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAAPLUS_API_PORT", "8001")
    monkeypatch.setenv("paaplus_api_port", "8002")
    with pytest.raises(InvalidInput, match="are the same setting"):
        get_settings()


def test_home_is_a_folder_whose_name_can_stand_in_a_url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path / "file"))
    with pytest.raises(InvalidInput, match=r"PAAPLUS_HOME: '.*file' is a file; a folder is needed"):
        get_settings()
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path / "caf\udce9"))
    with pytest.raises(InvalidInput, match=r"PAAPLUS_HOME: .*is not UTF-8: rename the folder"):
        get_settings()
