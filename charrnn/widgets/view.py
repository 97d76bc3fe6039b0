"""What every view of the dashboard is: one widget whose page asks, and whose kernel answers and tells what is new.

It knows messages, threads, and that nothing which comes from a browser can be trusted. It does not know models, and
not what is shown: each view has its own front end beside it, a .js and a .css file of the same name.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import anywidget
import pydantic
import traitlets

from charrnn.errors import CharRNNError
from charrnn.widgets.visitor import workspace_of_visitor
from charrnn.workspace import Workspace

LOG = logging.getLogger(__name__)
HERE = Path(__file__).parent
PULSE = 1.0  # seconds between two looks at what is new
THREADS = 8  # answers in the making at a time: texts that are written, files that are read
ALONE = threading.Lock()  # for what reads whole texts and trainings: one at a time in a process, which has one visitor

Method = TypeVar("Method", bound=Callable[..., Any])


def asked(method: Method) -> Method:
    """Mark a method of a view as one that its page may call, by name, with arguments of the types it declares.

    It is called in a thread. What it returns is the answer, as JSON; what an iterator yields is sent piece by piece.
    """
    method.__asked__ = True  # type: ignore[attr-defined]
    return method


class View(anywidget.AnyWidget):
    """A part of the dashboard on a workspace, by default that of whoever runs this notebook.

    `state` is what the page shows. Only `show` writes it: what a browser sets of it is not looked at.
    """

    state = traitlets.Dict().tag(sync=True)

    front: ClassVar[tuple[str, ...]] = ()  # files of the front end that come before its own, such as "chart.js"
    _pool: ClassVar[ThreadPoolExecutor] = ThreadPoolExecutor(THREADS, "charrnn-view")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if any((each.__module__, each.__qualname__) == (cls.__module__, cls.__qualname__) for each in cls.__mro__[1:]):
            return  # the class that traitlets makes of an instance to which traits are added
        own = Path(sys.modules[cls.__module__].__file__ or "").with_suffix("")
        if own.with_suffix(".js").exists():  # a view without a front end of its own shows its parent's
            cls._esm = _joined(".js", cls.front, own)
            cls._css = _joined(".css", cls.front, own)

    def __init__(self, workspace: Workspace | None = None) -> None:
        self._shown: dict[str, Any] = {}
        self._showing = threading.Lock()
        self._cancelled: dict[str, threading.Event] = {}
        self._go: Callable[[str, str | None], None] | None = None
        self.attended = False
        self.workspace = workspace_of_visitor() if workspace is None else workspace
        super().__init__()
        self.add_class("charrnn-view")
        self.on_msg(self._heard)
        self.attend(True)
        Pulse.attend(self)

    # to the page ------------------------------------------------------------------------------------------------------

    def show(self, **changes: Any) -> None:
        """Change what the page shows, any thread's. Nothing is sent where nothing is new."""
        with self._showing:
            changed = {name: value for name, value in changes.items() if self._shown.get(name, _NOTHING) != value}
            if changed:
                self._shown = {**self._shown, **changed}
                self.state = self._shown

    def refresh(self) -> None:
        """Look at what is new and `show` it: called in a thread, once a second while somebody looks at the view.

        A CharRNNError that it raises is shown above the view until a later look succeeds.
        """

    def look(self) -> None:
        """Refresh now, and show why that cannot be done if it cannot."""
        try:
            self.refresh()
        except CharRNNError as error:
            self.show(problem=str(error))
        else:
            self.show(problem="")

    # from the page ----------------------------------------------------------------------------------------------------

    def _heard(self, _: Any, message: Any, __: Any) -> None:
        """Take a message of the page: a question, or word that an answer is not wanted any more."""
        if not isinstance(message, dict):
            return
        if isinstance(cancelled := message.get("cancel"), str):
            if cancelled in self._cancelled:
                self._cancelled[cancelled].set()
        elif isinstance(number := message.get("ask"), str):
            event = self._cancelled[number] = threading.Event()
            self._pool.submit(self._answer, number, message.get("what"), message.get("with"), event)

    def _answer(self, number: str, what: object, given: object, cancelled: threading.Event) -> None:
        try:
            value = self._asked(what, given)
            if isinstance(value, Iterator):
                for part in value:
                    if cancelled.is_set():
                        break
                    self.send({"answer": number, "part": part})
                value.close() if hasattr(value, "close") else None
                value = None
            self.send({"answer": number, "value": value})
        except Exception as error:
            self.send({"answer": number, "error": described(error)})
        finally:
            self._cancelled.pop(number, None)

    def _asked(self, what: object, given: object) -> Any:
        method = getattr(type(self), what, None) if isinstance(what, str) else None
        if not getattr(method, "__asked__", False) or not isinstance(given, Mapping):
            raise CharRNNError(f"the page asked for {str(what)[:60]!r}, which this view does not do: reload the page")
        return _checked(method)(self, **given)

    @asked
    def go(self, place: str, id: str | None = None) -> None:
        """Open another place of the dashboard. Raises CharRNNError where the view is part of none."""
        if self._go is None:
            raise CharRNNError("This view stands alone. charrnn.widgets.Dashboard() shows all of them together.")
        self._go(place, id)

    def lead(self, place: str, id: str | None = None) -> None:
        """Open another place after something was done here, if the view is part of a dashboard."""
        if self._go is not None:
            self._go(place, id)

    # its life ---------------------------------------------------------------------------------------------------------

    def attend(self, attended: bool) -> None:
        """Refresh from now on, or leave it while nobody looks."""
        self.attended = attended
        if attended:
            self._pool.submit(self.look)

    def __repr__(self) -> str:
        return unseen(self)

    def close(self) -> None:
        """End everything that is being answered."""
        for event in list(getattr(self, "_cancelled", {}).values()):  # a view that could not be made has none
            event.set()
        self.attended = False
        super().close()


_NOTHING = object()


def unseen(widget: object) -> str:
    """What stands in a saved notebook where the widget was: it needs a kernel to be seen."""
    return f"charrnn.widgets.{type(widget).__name__}: run this cell to see it"


def _joined(kind: str, front: tuple[str, ...], own: Path) -> str:
    """What all views share, what the view takes from others, and its own: one file of the front end."""
    files = (HERE / f"view{kind}", *(HERE / name for name in front if name.endswith(kind)), own.with_suffix(kind))
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


@functools.cache
def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, which raises ValidationError for arguments that are not of its types."""
    return pydantic.validate_call(config={"arbitrary_types_allowed": True, "strict": True})(method)


def described(error: Exception) -> dict[str, Any]:
    """An error as the page gets it: a sentence, what kind it is, and which fields are wrong."""
    if isinstance(error, CharRNNError):
        fields = getattr(error, "fields", {})
        return {"message": str(error), "reason": type(error).__name__, "fields": fields}
    if isinstance(error, pydantic.ValidationError):
        wrong = {str(each["loc"][0] if each["loc"] else ""): each["msg"] for each in error.errors()}
        told = "; ".join(f"{name}: {message}" for name, message in wrong.items())
        return {"message": told, "reason": "InvalidOptions", "fields": wrong}
    if isinstance(error, MemoryError):
        too_much = "This takes more memory than there is: ask for less at a time."
        return {"message": too_much, "reason": "MemoryError", "fields": {}}
    LOG.error("a view could not answer", exc_info=error)
    return {"message": f"Something went wrong inside charrnn: {error!r}", "reason": "Error", "fields": {}}


class Pulse:
    """One thread that lets the views which somebody looks at see what is new. It keeps none of them alive."""

    _views: ClassVar[weakref.WeakSet[View]] = weakref.WeakSet()
    _starting: ClassVar[threading.Lock] = threading.Lock()
    _thread: ClassVar[threading.Thread | None] = None

    @classmethod
    def attend(cls, view: View) -> None:
        """Look after a view too, until it is gone."""
        with cls._starting:
            cls._views.add(view)
            if cls._thread is None:
                cls._thread = threading.Thread(target=cls._beat, name="charrnn-pulse", daemon=True)
                cls._thread.start()

    @classmethod
    def _beat(cls) -> None:
        pause = threading.Event()
        while not pause.wait(PULSE):
            with cls._starting:
                views = [view for view in cls._views if view.attended]
            for view in views:
                try:
                    view.look()
                except Exception as error:
                    LOG.error("a view could not refresh", exc_info=error)
            del views
