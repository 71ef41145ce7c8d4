"""What the command line does to a configuration before a job sees it."""

from pathlib import Path

import pytest

from reid.config import LAYOUTS, ConfigError, RunConfig, load_config
from reid.jobs import command
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
    assert all(option in printed for option in ("--preset", "--config", "--set", "demo, paper, smoke"))


def test_the_same_settings_come_from_a_preset_and_from_a_whole_tree() -> None:
    config = load_config(preset="smoke", overrides=["seed=3"])
    assert load_config(base=lambda: config.model_dump(mode="json")) == config
    with pytest.raises(ConfigError, match="lss"):
        load_config(base=lambda: config.model_dump(mode="json"), overrides=["lss.gamma=1"])
