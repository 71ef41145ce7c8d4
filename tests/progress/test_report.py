"""One listener for each process."""

import pytest

from reid.progress import Bar, Printer, Silence, listening, move, note, say, track, tracked


class Ears(Silence):
    """Keeps all that it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def say(self, line: str) -> None:
        self.heard.append(line)

    def note(self, text: str) -> None:
        self.heard.append(("note", text))

    def move(self, bar: Bar) -> None:
        self.heard.append((bar.title, bar.done, bar.total, bar.ended))


def test_whoever_listens_hears_all_and_before_and_after_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    ears = Ears()
    say("before")
    with listening(ears):
        say("within")
        note("aside")
        with listening(Silence()):
            say("unheard")
    say("after")
    assert ears.heard == ["within", ("note", "aside")]
    assert capsys.readouterr().out == "before\nafter\n"


def test_how_far_something_has_come() -> None:
    ears = Ears()
    with listening(ears), track("work", 5, "images") as advance:
        advance(2)
        advance(3)
    assert ears.heard == [("work", 0, 5, False), ("work", 2, 5, False), ("work", 5, 5, False), ("work", 5, 5, True)]


def test_what_breaks_has_ended() -> None:
    ears = Ears()
    with listening(ears), pytest.raises(RuntimeError), track("work"):
        raise RuntimeError
    assert ears.heard[-1] == ("work", 0, None, True)


def test_parts_come_as_they_are() -> None:
    ears = Ears()
    with listening(ears):
        assert [*tracked(iter(["ab", "c"]), "words", total=3, unit="letters", size=len)] == ["ab", "c"]
    assert [heard[1:] for heard in ears.heard if isinstance(heard, tuple)] == [
        (0, 3, False),
        (2, 3, False),
        (3, 3, False),
        (3, 3, True),
    ]


def test_a_bar_is_not_printed_where_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(Printer()):
        move(Bar(title="work"))
    assert capsys.readouterr().out == ""
