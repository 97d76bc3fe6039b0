"""How events read as lines: in a log on the screen, and in the log of a job."""

from __future__ import annotations

import pytest

from charrnn.events import Finished, Note, Progress, Sampled, Saved, Started, Validated
from charrnn.lines import Lines, duration, one_line, printable

HALFWAY = Progress(1200, 0.5, 3.2, 1.4321, 0.004, 25_600.0, 90.0, 91.4)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0:00"), (59.6, "1:00"), (151, "2:31"), (3723, "1:02:03"), (None, "until stopped")]
)
def test_durations_read_as_clocks_do(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_every_event_that_is_worth_a_line_is_exactly_one() -> None:
    lines = Lines(every=0)
    started = Started(0, {"cell": "gru", "num_layers": 2, "rnn_size": 64}, 1000, 11, 1000, 0, 5000, resumed=True)
    finished = Finished(2400, finished=False, reason="interrupted", loss=1.2, validation_loss=None, seconds=180.0)
    assert [
        lines.line(event)
        for event in (
            started,
            Validated(1200, 1.5432, best=True, seconds=91.0),
            HALFWAY,
            Sampled(1200, "two\nlines"),
            Saved(1200, "a checkpoint", "checkpoint"),
            Note(1200, "resumed at step 600"),
            finished,
        )
    ] == [
        "going on at step 0: GRU 2 x 64, 5,000 parameters, 1,000 characters (nothing held out), 10 distinct",
        "validation loss 1.5432 at step 1,200, the best",
        " 50%  step 1,200  loss 1.4321  validation loss 1.5432  speed 25,600 characters/s  left 1:31",
        "writes: two↵lines",
        "saved a checkpoint at step 1,200",
        "note: resumed at step 600",
        "interrupted at step 2,400 after 3:00, loss 1.2000",
    ]


def test_what_is_not_worth_a_line_is_none() -> None:
    lines = Lines(every=3600)
    assert lines.line(HALFWAY)
    assert lines.line(HALFWAY) == ""
    assert lines.line(Sampled(0, "")) == ""
    assert lines.line(Sampled(1, "once"))
    assert lines.line(Sampled(2, "once")) == ""
    assert lines.line(Sampled(5, "twice"))
    assert lines.line(Saved(1, "m.safetensors", "model")) == ""


def test_a_line_is_cut_to_its_width_and_holds_nothing_that_steers_a_terminal() -> None:
    assert one_line("a\nb    c", 80) == "a↵b  c"
    assert one_line("abcdef", 4) == "abc…"
    assert printable("\x1b[31mred\x07") == "·[31mred·"
