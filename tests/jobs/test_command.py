"""What the command line does before a job runs, and how soon."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from reid import jobs
from reid.config import LAYOUTS, MODELS, ConfigError, PhaseConfig, RunConfig, Section, load_config
from reid.jobs import command
from reid.jobs.settings import listed_settings, settings_text

ROOT = Path(__file__).parents[2]
SOONEST_S = 1.0
"""Of user time, which is the same on a busy machine, more or less."""


def given(*, preset: str | None = None, overrides: tuple[str, ...] = ()) -> command.Given:
    return command.Given(preset=preset, file=None, overrides=overrides)


def config_of(said: command.Given) -> RunConfig:
    with command.job(said) as config:
        return config


def run(*arguments: str, complete: str | None = None) -> subprocess.CompletedProcess[str]:
    """`reid` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "from reid.jobs import main; main(prog_name='reid')", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT / "platform")} | ({"_REID_COMPLETE": complete} if complete else {}),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_datasets_manifest_names_the_layout_where_the_settings_leave_it_open() -> None:
    assert config_of(given(preset="paper")).model.resolved_layout() == LAYOUTS["six_parts"]


def test_the_manifest_of_ones_own_folder_names_its_layout(tmp_path: Path) -> None:
    (tmp_path / "manifest.yaml").write_text("layout: three_parts\n")
    said = given(preset="paper", overrides=("data.name=folder", f"data.source={tmp_path}"))
    assert config_of(said).model.resolved_layout() == LAYOUTS["three_parts"]


def test_a_dataset_without_a_layout_needs_one_to_be_chosen() -> None:
    with pytest.raises(SystemExit, match=r"model\.layout: the manifest of coco names none; choose one"):
        config_of(given(preset="paper", overrides=("data.name=coco",)))


def test_the_same_settings_come_from_a_preset_and_from_a_whole_tree() -> None:
    config = load_config(preset="smoke", overrides=["seed=3"])
    assert load_config(base=lambda: config.model_dump(mode="json")) == config
    with pytest.raises(ConfigError, match="lss"):
        load_config(base=lambda: config.model_dump(mode="json"), overrides=["lss.gamma=1"])


def sections(section: type[Section]) -> dict[str, type[Section]]:
    """Sections within one, by their dotted path; the settings of a phase under `phases.NAME`."""
    found = {"": section}
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            found |= {f"{name}.{path}".rstrip("."): within for path, within in sections(inner).items()}
    return found


@pytest.mark.parametrize("job", [job for job in jobs.main.commands.values() if isinstance(job, command.Command)])
def test_help_has_every_setting_with_its_meaning(job: click.Command) -> None:
    text = CliRunner().invoke(job, ["--help"]).output
    trees = {**sections(RunConfig), "phases.NAME": PhaseConfig, **{f"models.{n}": s for n, s in MODELS.items()}}
    for path, section in trees.items():
        for name, field in section.model_fields.items():
            full = f"{path}.{name}".lstrip(".")
            if full in trees or full in ("phases", "models"):
                continue
            assert re.search(rf"^  {re.escape(full)}: ", text, re.MULTILINE), full
            meaning = " ".join((field.description or "").split())
            assert meaning, f"{full} has no docstring"
            assert meaning in " ".join(text.split()), full


def test_a_setting_is_listed_with_type_limits_and_default() -> None:
    lines = {setting.path: str(setting) for setting in listed_settings()}
    assert lines["loss.gamma"] == "loss.gamma: a number ≥ 0, ≤ 16; default 2.0"
    assert lines["data.height"] == "data.height: a whole number ≥ 16, ≤ 1024, a multiple of 8; default 256"
    assert lines["phases.NAME.decay"] == "phases.NAME.decay: halve or cosine; default halve"
    assert lines["phases.NAME.epochs"] == "phases.NAME.epochs: a whole number ≥ 1; no fixed default"
    assert lines["search.concurrency"].endswith("a whole number ≥ 1 or none; default none")
    assert lines["model.layout"].endswith("text or {parts, plenary_dim, plenary_triplet}; default six_parts")
    assert all(len(line) <= 60 or " " not in line.strip() for line in settings_text(60).splitlines())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["pipeline", "--help"], ["config"]])
def test_what_starts_nothing_is_there_at_once(arguments: list[str]) -> None:
    before = os.times()
    outcome = run(*arguments)
    after = os.times()
    assert outcome.returncode == 0, outcome.stderr
    assert after.children_user - before.children_user < SOONEST_S


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pipeline", "--set", "loss.gama=1"], "loss.gama: unknown key (did you mean 'gamma'?)"),
        (["sweep", "--preset", "nope"], "invalid preset 'nope', expected one of demo"),
        (["ablation", "--config", "nowhere.yaml"], "there is no configuration file nowhere.yaml: check --config"),
        (["prepare", "--set", "data.name=nowhere"], "nowhere"),
        (["extract", "--images", "here"], "--checkpoint is missing: give --checkpoint, --images and --output"),
        (["extract", "--descriptors", "d", "--query", "q", "--top", "0"], "error: --top is 0: ask for at least 1"),
    ],
)
def test_what_is_wrong_with_the_settings_is_said_at_once(arguments: list[str], message: str) -> None:
    before = os.times()
    outcome = run(*arguments)
    after = os.times()
    assert outcome.returncode in (1, 2)
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert after.children_user - before.children_user < SOONEST_S


def test_nothing_that_is_slow_to_import_is_imported() -> None:
    slow = {"torch", "ray", "mlflow", "pyarrow", "matplotlib"}
    code = f"import sys, reid.jobs; print(*({slow} & {{*sys.modules}}))"
    outcome = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "platform", capture_output=True, text=True)
    assert outcome.stdout == "\n", outcome.stderr


def test_config_prints_what_config_reads(tmp_path: Path) -> None:
    printed = run("config", "--preset", "paper", "--set", "seed=5").stdout
    assert yaml.safe_load(printed)["phases"]["final"]["epochs"] == 400
    (tmp_path / "paper.yaml").write_text(printed)
    assert run("config", "--preset", "paper", "--config", str(tmp_path / "paper.yaml")).stdout == printed


def test_the_shell_completes_commands_presets_and_settings() -> None:
    def completed(words: str, number: int) -> str:
        environment = {"COMP_WORDS": words, "COMP_CWORD": str(number), "_REID_COMPLETE": "bash_complete"}
        code = "from reid.jobs import main; main(prog_name='reid')"
        path = os.environ | environment | {"PYTHONPATH": str(ROOT / "platform")}
        return subprocess.run([sys.executable, "-c", code], env=path, capture_output=True, text=True).stdout

    assert "plain,prepare" in completed("reid pr", 1)
    assert "plain,san_demo" in completed("reid pipeline --preset san", 3)
    assert "plain,phases.final.epochs=" in completed("reid pipeline --set phases.final.ep", 3)
    assert run(complete="bash_source").stdout.lstrip().startswith("_reid_completion()")


@pytest.mark.parametrize("place", ["s3://key:s3/cr et@bucket/x", "s3://bucket/x?access_key=ab&secret_key=s3/cr et"])
@pytest.mark.parametrize(
    "arguments",
    [
        *(f"{job} --checkpoint" for job in ("evaluate", "export", "extract")),
        "export --output",
        *(f"extract --{option}" for option in ("images", "output", "descriptors", "sheet")),
        "page",
        "page table.parquet --images",
        "ui --storage",
    ],
)
def test_a_place_that_holds_a_secret_is_refused_unseen(arguments: str, place: str) -> None:
    """Scores, exports and tables name the places that they are of, for whoever reads them to find these."""
    outcome = CliRunner().invoke(jobs.main, [*arguments.split(), place])
    assert outcome.exit_code == 2
    assert "the address holds a password, which every record would show" in outcome.output
    assert "s3/cr" not in outcome.output


def test_no_error_and_no_log_line_shows_a_password(capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with command.job(given(preset="smoke")):
            logging.getLogger("somebody.else").warning("cannot reach %s", "http://me:s3/cr et@host")
            raise ValueError("cannot open postgresql://host/db?password=s3/cr et")

    with pytest.raises(SystemExit) as caught:
        work()
    assert "cannot reach http://me:***@host" in capfd.readouterr().err
    assert caught.value.code == "error: cannot open postgresql://host/db?password=***"


def test_an_error_that_nobody_can_remedy_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), command.job(given(preset="smoke")):
        _ = 1 / 0
