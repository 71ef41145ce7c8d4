"""`reid`, the command that has all others."""

import click

from reid.jobs.ablation import ablation
from reid.jobs.config import config
from reid.jobs.evaluate import evaluate
from reid.jobs.export import export
from reid.jobs.extract import extract
from reid.jobs.flush import flush
from reid.jobs.page import page
from reid.jobs.pipeline import pipeline
from reid.jobs.prepare import prepare
from reid.jobs.sweep import sweep
from reid.jobs.ui import ui

COMMANDS = (pipeline, prepare, evaluate, sweep, ablation, export, extract, flush, config, ui, page)


class _InTheirOrder(click.Group):
    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    name="reid",
    context_settings={"max_content_width": 110},
    cls=_InTheirOrder,
    commands=list(COMMANDS),
    epilog="Each has --help, with every setting. Shell completion, also for zsh and fish: "
    'eval "$(_REID_COMPLETE=bash_source reid)"',
)
@click.version_option(package_name="reid")
def main() -> None:
    """Train person re-identification models on a Ray cluster, and search with them."""
