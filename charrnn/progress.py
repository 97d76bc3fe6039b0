"""Shows a training run while it goes on: live in a terminal and in a notebook, as plain lines anywhere else.

It knows events and screens. It does not know who trains, and nothing here changes what is trained.
"""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from charrnn.events import Event, Finished, Note, Progress, Sampled, Started
from charrnn.lines import PROGRESS_EVERY, Lines, Story, closing, one_line, opening

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Listener = Callable[[Event], None]

NOTEBOOK_UPDATE_EVERY = 0.25  # seconds
FIGURE_STYLE = "display: inline-block; margin-right: 1.5em"
SAMPLE_STYLE = "white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere"  # JupyterLab breaks within words


@contextmanager
def live_display(wanted: bool | None = None, *, every: float = PROGRESS_EVERY) -> Iterator[Listener]:
    """A listener that shows the events it is called with, for as long as the context lasts.

    `wanted` None shows them in a notebook or a terminal only, True also (as plain lines) where stdout is neither,
    False nowhere. `every` is the least time in seconds between two plain progress lines.
    """
    if wanted is False:
        yield lambda event: None
    elif in_notebook():
        yield NotebookDisplay()
    elif sys.stdout.isatty():
        with terminal_display() as show:
            yield show
    elif wanted:
        yield PlainDisplay(sys.stdout, every=every)
    else:
        yield lambda event: None


def in_notebook() -> bool:
    """Whether this process is a Jupyter kernel (a terminal IPython is not). Imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and getattr(shell, "kernel", None) is not None


# -- plain lines --------------------------------------------------------------------------------------------------


class PlainDisplay:
    """Writes one line an event to `stream`, progress at most once in `every` seconds."""

    def __init__(self, stream: TextIO, *, every: float = PROGRESS_EVERY) -> None:
        self.stream = stream
        self.lines = Lines(every)

    def __call__(self, event: Event) -> None:
        if line := self.lines.line(event):
            print(line, file=self.stream, flush=True)


# -- a terminal ---------------------------------------------------------------------------------------------------


@contextmanager
def terminal_display(console: Console | None = None) -> Iterator[Listener]:
    """A bar and the figures at the foot of the terminal; samples and notes scroll by above it."""
    from rich.console import Console
    from rich.live import Live

    screen = console or Console(highlight=False)
    show = TerminalDisplay(screen)
    with Live(console=screen, refresh_per_second=8, get_renderable=show.foot, transient=True):
        yield show


class TerminalDisplay:
    """Listens, prints what stays, and draws the foot that is redrawn."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.story = Story()
        self.waiting_for = "starting"

    def __call__(self, event: Event) -> None:
        from rich.text import Text

        self.story.hear(event)
        match event:
            case Started():
                self.waiting_for = "compiling"
                self.console.print(Text(opening(event)))
            case Sampled() if event.text:
                prefix = f"{event.step:>8,}  "
                line = one_line(event.text, max(20, self.console.width - len(prefix) - 1))
                self.console.print(
                    Text(prefix, style="dim") + Text(line, style="cyan"), no_wrap=True, overflow="ellipsis"
                )
            case Note():
                self.console.print(Text(event.text, style="yellow"))
            case Finished():
                self.console.print(Text(closing(event), style="bold"))

    def foot(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        if self.story.finished is not None:
            return Text("")
        if self.story.progress is None:
            return Spinner("line", Text(f"{self.waiting_for} …", style="dim"))
        figures = Text("  ").join(
            Text(f"{name} ", style="dim") + Text(value, style="bold") for name, value in self.story.figures()
        )
        bar = Table.grid(padding=(0, 1))
        done = self.story.progress.progress
        bar.add_row(ProgressBar(total=1.0, completed=done, width=max(10, self.console.width - 8)), f"{done:.0%}")
        return Group(bar, figures)


# -- a notebook ---------------------------------------------------------------------------------------------------


class NotebookDisplay:
    """One HTML output under the cell, redrawn in place. Needs no widgets, so it is saved with the notebook."""

    def __init__(self) -> None:
        self.story = Story()
        self.heading = "starting …"
        self.notes: list[str] = []
        self.last_update = -float("inf")
        self.handle: Any = None

    def __call__(self, event: Event) -> None:
        self.story.hear(event)
        match event:
            case Started():
                self.heading = opening(event)
            case Note():
                self.notes.append(event.text)
            case Finished():
                self.heading = closing(event)
        now = time.monotonic()
        if isinstance(event, Progress) and now - self.last_update < NOTEBOOK_UPDATE_EVERY:
            return
        self.last_update = now
        self.draw()

    def draw(self) -> None:
        from IPython import display

        data = {"text/html": self.html(), "text/plain": self.text()}
        if self.handle is None:
            show: Any = display.display  # IPython leaves it untyped
            self.handle = show(data, raw=True, display_id=True)
        else:
            self.handle.update(data, raw=True)

    def text(self) -> str:
        return "\n".join([self.heading, "  ".join(f"{name} {value}" for name, value in self.story.figures())])

    def html(self) -> str:
        done = 0.0 if self.story.progress is None else self.story.progress.progress
        parts = [f"<div>{html.escape(self.heading)}</div>"]
        if self.story.finished is None:
            parts.append(f'<progress value="{done:.4f}" max="1" style="width: 100%"></progress>')
        parts += [f"<span style='{FIGURE_STYLE}'>{name} <b>{value}</b></span>" for name, value in self.figures()]
        parts += [f"<div><i>{html.escape(note)}</i></div>" for note in self.notes]
        if self.story.sample:
            parts.append(f"<pre style='{SAMPLE_STYLE}'>{html.escape(self.story.sample)}</pre>")
        return "<div aria-live='off' style='padding: 0 .4em'>" + "".join(parts) + "</div>"

    def figures(self) -> list[tuple[str, str]]:
        return [(html.escape(name), html.escape(value)) for name, value in self.story.figures()]
