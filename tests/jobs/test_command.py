"""What the command line does to a configuration before a job sees it."""

import logging
from pathlib import Path
from typing import Any

import pytest

from reid.config import LAYOUTS, ConfigError, RunConfig, load_config
from reid.jobs import command, evaluate, export, extract
from reid.jobs.full_pipeline import main


def test_the_datasets_manifest_names_the_layout_where_the_settings_leave_it_open() -> None:
    seen: list[RunConfig] = []
    command.run(seen.append, command.parse("", ["--preset", "paper"]))
    assert seen[0].model.resolved_layout() == LAYOUTS["six_parts"]


def test_the_manifest_of_ones_own_folder_names_its_layout(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text("layout: three_parts\n")
    seen: list[RunConfig] = []
    settings = ("data.name=folder", f"data.source={tmp_path}")
    arguments = ["--preset", "paper", *(part for setting in settings for part in ("--set", setting))]
    command.run(seen.append, command.parse("", arguments))
    assert seen[0].model.resolved_layout() == LAYOUTS["three_parts"]


def test_a_dataset_without_a_layout_needs_one_to_be_chosen() -> None:
    arguments = command.parse("", ["--preset", "paper", "--set", "data.name=coco"])
    with pytest.raises(SystemExit, match=r"model\.layout: the manifest of coco names none; choose one"):
        command.run(lambda config: None, arguments)


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(option in printed for option in ("--preset", "--config", "--set", "demo, models_demo"))


def test_the_same_settings_come_from_a_preset_and_from_a_whole_tree() -> None:
    config = load_config(preset="smoke", overrides=["seed=3"])
    assert load_config(base=lambda: config.model_dump(mode="json")) == config
    with pytest.raises(ConfigError, match="lss"):
        load_config(base=lambda: config.model_dump(mode="json"), overrides=["lss.gamma=1"])


@pytest.mark.parametrize("place", ["s3://key:s3/cr et@bucket/x", "s3://bucket/x?access_key=ab&secret_key=s3/cr et"])
@pytest.mark.parametrize("job", [evaluate, export, extract])
def test_a_checkpoint_whose_address_holds_a_secret_is_refused_unseen(
    job: Any, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scores, exports and tables name the checkpoint that they are of, for whoever reads them to find it."""
    with pytest.raises(SystemExit, match="2"):
        job.main(["--checkpoint", place])
    printed = capsys.readouterr().err
    assert "argument --checkpoint: the address holds a password, which every record would show" in printed
    assert "s3/cr" not in printed


def test_no_error_and_no_log_line_shows_a_password(capfd: pytest.CaptureFixture[str]) -> None:
    def job(config: RunConfig) -> None:
        logging.getLogger("somebody.else").warning("cannot reach %s", "http://me:s3/cr et@host")
        raise ValueError("cannot open postgresql://host/db?password=s3/cr et")

    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers.clear()  # pytest's own: logging is set up only where nobody has
    try:
        with pytest.raises(SystemExit) as caught:
            command.run(job, command.parse("", ["--preset", "smoke"]))
    finally:
        root.handlers[:] = before
    printed = capfd.readouterr().err
    assert "cannot reach http://me:***@host" in printed
    assert caught.value.code == "error: cannot open postgresql://host/db?password=***"
