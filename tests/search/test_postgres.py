"""A study in PostgreSQL, by a real server."""

import pytest
import sqlalchemy

from reid.config import ConfigError, load_config
from reid.search import open_study, study_address


@pytest.mark.cluster
def test_a_study_is_kept_and_found_again(postgres: sqlalchemy.URL, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(preset="smoke")
    assert study_address(config) is None
    monkeypatch.setenv("REID_STUDY", postgres.render_as_string(hide_password=False))
    address = study_address(config)
    assert address is not None
    study = open_study(address, "walk", ["mAP"])
    study.enqueue_trial({"a": 0.5})
    trial = study.ask()
    study.tell(trial, 0.25)
    assert [trial.value for trial in open_study(address, "walk", ["mAP"]).get_trials()] == [0.25]


@pytest.mark.cluster
def test_a_wrong_password_is_one_error_that_does_not_show_it(postgres: sqlalchemy.URL) -> None:
    secret = str(postgres.password)[::-1]
    wrong = postgres.set(password=secret).render_as_string(hide_password=False)
    with pytest.raises(ConfigError, match=r"search\.study: postgresql://reid:\*\*\*@127\.0\.0\.1") as caught:
        open_study(wrong, "walk", ["mAP"])
    assert secret not in str(caught.value)


def test_a_setting_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REID_STUDY", "sqlite:////b.db")
    assert study_address(load_config(preset="smoke", overrides=["search.study=sqlite:////a.db"])) == "sqlite:////a.db"


def test_a_driver_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"needs a driver that is not installed .* pip install 'reid\[postgres\]'"):
        open_study("postgresql+pg8000://reid@127.0.0.1/postgres", "walk", ["mAP"])
