"""Addresses within MLflow's browser, and the links of a note."""

from urllib.parse import unquote

from reid.tracking.view import experiment_page, linked, run_page

NOTE = "**pipeline** [final](run:walk-1.final), [config.yaml](file:config.yaml)\n\n![a](file:pictures/a b.png)"


def test_a_note_links_to_runs_and_artifacts_and_shows_pictures() -> None:
    note = linked(NOTE.replace("a b", "a"), "3", "f00", {"walk-1.final": "ba5"}.get)
    assert "[final](#/experiments/3/runs/ba5?workflowType=machine_learning)" in note
    assert "[config.yaml](#/experiments/3/runs/f00/artifacts/config.yaml?workflowType=machine_learning)" in note
    assert "![a](get-artifact?path=pictures%2Fa.png&run_uuid=f00)" in note
    assert note.startswith("**pipeline** ")


def test_a_run_that_is_not_there_yet_is_searched_for() -> None:
    note = linked(NOTE, "3", "f00", lambda key: None)
    address = note.partition("[final](")[2].partition(")")[0]
    assert address.startswith(experiment_page("3"))
    assert unquote(address).endswith("searchFilter=tags.`reid.run`+=+'walk-1.final'")


def test_any_other_link_stays() -> None:
    note = "[paper](https://example.org/paper.pdf) ![x](picture.png)"
    assert linked(note, "3", "f00", lambda key: None) == note


def test_pages_open_on_training() -> None:
    assert experiment_page("3") == "#/experiments/3/runs?workflowType=machine_learning&viewStateShareKey=reid"
    assert run_page("3", "f00") == "#/experiments/3/runs/f00?workflowType=machine_learning"
