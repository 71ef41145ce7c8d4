"""What a run says of itself in the experiment browser, in Markdown; see `RunRecord.note` for its links."""

from collections.abc import Iterable, Mapping, Sequence

from reid.config import RunConfig
from reid.storage import Place
from reid.tracking import DatasetInput

MOST_RUNS, MOST_PICTURES = 20, 8
"""That are linked to and shown; MLflow takes some thousand characters."""


def begun(kind: str, config: RunConfig, inputs: Sequence[DatasetInput], command: str) -> str:
    """What runs, on what data, by what command."""
    phases = " → ".join(f"{name} ({phase.epochs} epochs)" for name, phase in config.phases.items())
    return _paragraphs(
        f"**{kind}** `{config.name}`, seed {config.seed}. Phases: {phases}",
        f"Data: {'; '.join(_of_data(data) for data in inputs)}",
        f"Command: `{command}`",
    )


def with_results(note: str, table: str, artifacts: Mapping[str, str], runs: Mapping[str, str] | None = None) -> str:
    """What came out, before a note that says what ran, and pictures after it.

    Args:
        table: of results, in Markdown.
        artifacts: see `RunRecord.artifacts`; PNG files among them are shown, others linked to.
        runs: keys of runs worth a look, by title.
    """
    files = list(_files(artifacts))
    pictures = [file for file in files if file.endswith(".png")]
    links = [f"[{title}](run:{key})" for title, key in (runs or {}).items()]
    rest = [f"and {len(links) - MOST_RUNS} more"] if len(links) > MOST_RUNS else []
    return _paragraphs(
        table,
        links and f"Runs: {', '.join([*links[:MOST_RUNS], *rest])}",
        f"Files: {', '.join(f'[{file}](file:{file})' for file in files)}",
        note,
        *(f"![{file}](file:{file})" for file in pictures[:MOST_PICTURES]),
    )


def _of_data(data: DatasetInput) -> str:
    counts = ", ".join(f"{count:,} {split}" for split, count in data.profile.items())
    return f"{data.name} ({counts}; digest `{data.digest[:12]}`)"


def _files(artifacts: Mapping[str, str]) -> Iterable[str]:
    """Paths among the artifacts, as far as files and folders are there."""
    for place, folder in artifacts.items():
        names = Place(place).names() if Place(place).size() is None else [Place(place).name]
        yield from (f"{folder}/{name}" if folder else name for name in names)


def _paragraphs(*texts: object) -> str:
    return "\n\n".join(str(text).strip() for text in texts if text)
