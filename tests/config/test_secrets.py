"""No secret of an address survives in what is shown of it, whatever the secret holds and wherever it stands."""

import json
import re
import string
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from reid.config import ConfigError, RunConfig, flatten, load_config, require_no_password, without_passwords

SHOWN = "the rest of a message: see models:/reid-descriptor"
"""Around addresses; no secret that is drawn is part of it, since all of those begin with Q and end with Z."""
RESERVED = "/ @:?#&=%;,'\"\\[]{}()*+$!<>|~^`"
PASSWORDS = st.text(string.ascii_letters + string.digits + RESERVED + "éß…", min_size=1, max_size=24).map("Q{}Z".format)
TOKENS = st.text(string.ascii_letters + string.digits + "/+=_-.%", min_size=1, max_size=40).map("Q{}Z".format)
USERS = st.text(string.ascii_letters + string.digits + "._-%", max_size=8)
HOSTS = st.sampled_from(("host", "host:5432", "10.0.0.1:80", "[::1]:5000", "db.example.org"))
PATHS = st.sampled_from(("", "/", "/db", "/api/2.0/x", "/a@b", "/a b"))
SCHEMES = st.sampled_from(("http", "https", "s3", "postgresql", "postgresql+psycopg", "mysql+pymysql", "redis", "hdfs"))
OPTIONS = st.sampled_from(
    ("password", "sslpassword", "secret_key", "access_key", "session_token", "account_key", "sas_token",
     "client_secret", "Password", "X-Amz-Signature", "AWSAccessKeyId", "api-key", "key", "sig", "odbc_connect",
     "passwd", "PWD")
)  # fmt: skip


@st.composite
def with_password(draw: st.DrawFn) -> tuple[str, str]:
    """An address, and the password in it."""
    secret = draw(PASSWORDS)
    user, host, path = draw(USERS), draw(HOSTS), draw(PATHS)
    return f"{draw(SCHEMES)}://{user}:{secret}@{host}{path}", secret


@st.composite
def with_token(draw: st.DrawFn) -> tuple[str, str]:
    secret = draw(TOKENS)
    return f"{draw(st.sampled_from(('http', 'https', 'git+https', 'ftp')))}://{secret}@{draw(HOSTS)}", secret


@st.composite
def with_option(draw: st.DrawFn) -> tuple[str, str]:
    secret = draw(PASSWORDS)
    assume("&" not in secret)  # where the option ends, also for whoever opens the address
    before, after = draw(st.sampled_from(("", "region=eu&"))), draw(st.sampled_from(("", "&scheme=http")))
    return f"{draw(SCHEMES)}://{draw(HOSTS)}{draw(PATHS)}?{before}{draw(OPTIONS)}={secret}{after}", secret


ADDRESSES = st.one_of(with_password(), with_token(), with_option())
fast, slow = (
    settings(max_examples=300, deadline=None, derandomize=True),
    settings(max_examples=30, deadline=None, derandomize=True),
)


@fast
@given(ADDRESSES)
def test_no_secret_survives(address_and_secret: tuple[str, str]) -> None:
    address, secret = address_and_secret
    masked = without_passwords(address)
    assert secret not in masked
    assert "***" in masked
    assert without_passwords(masked) == masked
    for text in (
        f"{SHOWN} {address} {SHOWN}",
        f"('{address}', {SHOWN})",
        f"{SHOWN}\n{address}\n{SHOWN}",
        repr(address),
    ):
        shown = without_passwords(text)
        assert secret not in shown
        assert repr(secret)[1:-1] not in shown
        assert without_passwords(shown) == shown


@fast
@given(ADDRESSES, ADDRESSES)
def test_nor_do_two_on_one_line(first: tuple[str, str], second: tuple[str, str]) -> None:
    masked = without_passwords(f"from {first[0]} to {second[0]}")
    assert first[1] not in masked
    assert second[1] not in masked


@fast
@example(("http://:Q:Z@host/a@b", "Q:Z"))
@given(ADDRESSES)
def test_nor_what_libraries_show_of_a_known_address(address_and_secret: tuple[str, str]) -> None:
    address, secret = address_and_secret
    first = re.split("[/?#]", secret)[0]
    for said in (f"invalid port: '{secret}'", f"failed to parse {quote(secret)}", f"no host {secret} in {address}"):
        assert secret not in without_passwords(said, address)
    assert len(first) < 3 or first not in without_passwords(f"{first} is no valid port", address)


@slow
@given(ADDRESSES)
def test_nor_in_what_is_recorded_or_said_of_a_configuration(address_and_secret: tuple[str, str]) -> None:
    address, secret = address_and_secret
    config = load_config(preset="smoke")
    tracking = config.tracking.model_copy(update={"uri": address})
    data = config.data.model_copy(update={"source": address})
    search = config.search.model_copy(update={"study": address})
    config = config.model_copy(update={"tracking": tracking, "data": data, "search": search})
    tree = config.model_dump(mode="json")
    for held in (tree["tracking"]["uri"], tree["data"]["source"], tree["search"]["study"], *flatten(config).values()):
        assert secret not in held
    assert json.dumps(secret)[1:-1] not in config.model_dump_json()
    assert config.model_dump()["tracking"]["uri"] == address, "whoever connects needs it as it is"
    with pytest.raises(ValueError, match="holds a password, which every record would show") as caught:
        require_no_password(address)
    assert secret not in str(caught.value)


@slow
@given(with_password())
def test_nor_in_an_error_of_the_settings(address_and_secret: tuple[str, str]) -> None:
    address, secret = address_and_secret
    tree = load_config(preset="smoke").model_dump()
    for wrong in ({"storage": address}, {"precision": address}, {"data": {"height": address}}, {"seed": address * 9}):
        with pytest.raises(ConfigError) as caught:
            load_config(base=lambda wrong=wrong: {**tree, **wrong})
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/reid?endpoint_override=127.0.0.1:9000&scheme=http&region=eu-west-1",
        "abfss://container@account.dfs.core.windows.net/reid?credential_kind=anonymous",
        "postgresql://someone@host:5432/db",
        "hdfs://someone@host/reid",
        "models:/reid-descriptor@pipeline",
        "MLflow at http://127.0.0.1:5000 lacks 3 records, which wait in /data/reid/outbox",
        "sqlite:////data/reid/mlflow.db",
        "someone@example.org",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(text: str) -> None:
    assert without_passwords(text) == text
    require_no_password(text)


def test_the_rest_of_an_address_stays() -> None:
    assert without_passwords("http://me:s3/cr@e t@host:5000/api") == "http://me:***@host:5000/api"
    assert without_passwords("https://t0ken@host/api?x=1") == "https://***@host/api?x=1"
    assert without_passwords("s3://b/x?secret_key=a b&region=eu") == "s3://b/x?secret_key=***&region=eu"
    assert (
        without_passwords("postgresql://me@corp:pw@host/db?sslpassword=x")
        == "postgresql://me@corp:***@host/db?sslpassword=***"
    )


@pytest.mark.parametrize("place", ["s3://key:s3cret@bucket/reid", "s3://bucket/reid?access_key=ab&secret_key=s3cret"])
def test_a_storage_with_a_secret_is_refused(place: str) -> None:
    with pytest.raises(ConfigError, match="storage: holds a password, which every record would show") as caught:
        load_config(preset="smoke", overrides=[f"storage={place}"])
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    ["tracking.uri=http://me:s3cret@host: x", "tracking.uri http://me:s3cret@host", "seed=http://me:s3cret@h"],
)
def test_a_setting_that_cannot_be_read_is_shown_without_its_secret(override: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(preset="smoke", overrides=[override])
    assert "s3cret" not in str(caught.value)
    file = tmp_path / "mine.yaml"
    file.write_text("tracking:\n  uri: http://me:s3cret@host: x\n")
    with pytest.raises(ConfigError) as caught:
        load_config(preset="smoke", file=file)
    assert "s3cret" not in str(caught.value)


def test_every_text_of_a_configuration_is_masked_when_recorded() -> None:
    """Also those that no address is expected in."""
    config: RunConfig = load_config(preset="smoke", overrides=["tracking.experiment='http://me:s3cret@host'"])
    assert config.tracking.experiment == "http://me:s3cret@host"
    assert "s3cret" not in config.model_dump_json()
