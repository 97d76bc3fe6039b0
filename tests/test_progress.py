"""What people see while a model learns: in a terminal, in a log, in a notebook."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from typing import Any

import pytest
from rich.console import Console

from charrnn.events import Event, Finished, Note, Progress, Sampled, Saved, Started, Validated
from charrnn.progress import NotebookDisplay, PlainDisplay, in_notebook, live_display, terminal_display

OPTIONS = {"cell": "lstm", "num_layers": 1, "rnn_size": 512}
STARTED = Started(0, OPTIONS, 1_115_394, 66, 1_003_854, 111_540, 1_229_890, resumed=False)
HALFWAY = Progress(1200, 0.5, 3.2, 1.4321, 0.004, 25_600.0, 90.0, 91.4)
VALIDATED = Validated(1200, 1.5432, best=True, seconds=91.0)
SAMPLED = Sampled(1200, "ROMEO:\nO, \x1b[31mhe\x07art & <b>")
FINISHED = Finished(2400, finished=True, reason="budget", loss=1.2, validation_loss=1.4321, seconds=180.0)
RUN: tuple[Event, ...] = (
    STARTED,
    HALFWAY,
    VALIDATED,
    SAMPLED,
    Saved(1200, "m.checkpoint.safetensors", "checkpoint"),
    Note(1200, "resumed at step 600"),
    FINISHED,
)


def plain(events: Iterable[Event], *, every: float = 0.0) -> str:
    stream = io.StringIO()
    show = PlainDisplay(stream, every=every)
    for event in events:
        show(event)
    return stream.getvalue()


def test_a_log_tells_step_losses_speed_and_time_left() -> None:
    lines = plain([STARTED, VALIDATED, HALFWAY]).splitlines()
    assert lines[0].startswith("training: LSTM 1 x 512, 1,229,890 parameters")
    assert lines[-1] == " 50%  step 1,200  loss 1.4321  validation loss 1.5432  speed 25,600 characters/s  left 1:31"


def test_a_log_tells_what_was_saved_noted_and_reached() -> None:
    text = plain(RUN)
    assert "saved m.checkpoint.safetensors at step 1,200" in text
    assert "note: resumed at step 600" in text
    assert "finished at step 2,400 after 3:00, loss 1.2000, validation loss 1.4321" in text


def test_a_sample_is_one_line_and_cannot_steer_the_terminal() -> None:
    assert plain([SAMPLED]) == "writes: ROMEO:↵O, ·[31mhe·art & <b>\n"


def test_a_sample_of_source_code_does_not_fill_the_line_with_its_indentation() -> None:
    assert plain([Sampled(0, "def f():\n        return 1\n")]) == "writes: def f():↵  return 1↵\n"


def test_a_log_does_not_repeat_progress_more_often_than_asked_but_shows_the_last() -> None:
    last = Progress(2400, 1.0, 6.4, 1.2, 0.0, 25_600.0, 180.0, 0.0)
    lines = plain([HALFWAY, HALFWAY, HALFWAY, last], every=3600.0).splitlines()
    assert [line[:4] for line in lines] == [" 50%", "100%"]


def test_a_terminal_shows_the_figures_while_it_goes_on_and_keeps_what_the_model_wrote() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with terminal_display(console) as show:
        show(STARTED)
        show(HALFWAY)
        show(VALIDATED)
        show(SAMPLED)
    text = screen.getvalue()
    for figure in ("1,200", "1.4321", "1.5432", "25,600 characters/s", "1:31", "50%"):
        assert figure in text
    assert "ROMEO:↵O, ·[31mhe·art & <b>" in text


def test_nothing_is_shown_where_nobody_watches_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with live_display() as show:
        show(STARTED)
    with live_display(False) as show:
        show(STARTED)
    assert capsys.readouterr().out == ""
    with live_display(True) as show:
        show(STARTED)
    assert "1,229,890 parameters" in capsys.readouterr().out


class Screen:
    """A notebook's front end: it keeps what a display message shows, and replaces it when an update comes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from IPython.core.interactiveshell import InteractiveShell

        self.shell: Any = InteractiveShell.instance()
        self.shown: dict[str, dict[str, str]] = {}
        monkeypatch.setattr(self.shell.display_pub, "publish", self.publish)
        monkeypatch.setattr(self.shell, "kernel", object(), raising=False)

    def publish(self, data: dict[str, str], metadata: Any = None, *, transient: Any = None, **rest: Any) -> None:
        self.shown[transient["display_id"]] = data


def test_a_notebook_shows_one_output_that_is_updated_and_escapes_what_the_model_wrote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Screen(monkeypatch)
    assert in_notebook()
    with live_display() as show:
        assert isinstance(show, NotebookDisplay)
        for event in RUN[:-1]:
            show(event)
        (output,) = screen.shown.values()
        assert "<progress" in output["text/html"]
        show(FINISHED)
    (output,) = screen.shown.values()
    assert "1.4321" in output["text/html"]
    assert "art &amp; &lt;b&gt;" in output["text/html"]
    assert "<progress" not in output["text/html"]
    assert "finished at step 2,400" in output["text/plain"]


def test_a_plain_python_is_no_notebook() -> None:
    assert "IPython" not in sys.modules or not in_notebook()
