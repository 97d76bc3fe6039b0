"""What a notebook is told to show: a real kernel runs the cells, and what it sends is looked at."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.command_line import variables
from tests.server.running import PACKAGES
from tests.workspace.played import TEXT

WIDGET = "application/vnd.jupyter.widget-view+json"
PATIENCE = 120.0  # seconds without a word from the kernel
Message = dict[str, Any]


class Notebook:
    """A kernel, and somebody who runs cells in it."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager, self.client = manager, client

    def run(self, cell: str, hear: Callable[[Message], None] = lambda message: None) -> list[Message]:
        """All that the kernel sends because of a cell; `hear` gets each message as it comes."""
        id, messages = self.client.execute(cell), []
        while True:
            try:
                message = self.client.get_iopub_msg(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"nothing comes any more; until now: {messages}") from None
            if message["parent_header"].get("msg_id") != id:
                continue
            messages.append(message)
            hear(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                return messages

    def result(self, cell: str) -> dict[str, Any]:
        """What stands below a cell which shows its value, and says nothing else."""
        messages = self.run(cell)
        assert of_kind(messages, "error", "stream") == []
        return dict(of_kind(messages, "execute_result")[0]["data"])


def of_kind(messages: list[Message], *kinds: str) -> list[Message]:
    return [message["content"] for message in messages if message["msg_type"] in kinds]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A notebook that lies beside `poems.txt`, with an empty workspace."""
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "poems.txt").write_bytes(TEXT)
    own = {name: str(folder / name.lower()) for name in ("HOME", "IPYTHONDIR", "CHARRNN_DATA_FOLDER")}
    manager = KernelManager()
    manager.start_kernel(cwd=str(folder), env=variables(**own, PYTHONPATH=PACKAGES))
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=PATIENCE)
        yield Notebook(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_training_shows_itself_in_place_and_the_stop_button_leaves_the_model_so_far(notebook: Notebook) -> None:
    shown: list[dict[str, Any]] = []
    pressed: list[bool] = []

    def stop_when_it_learns(message: Message) -> None:
        if message["msg_type"] in ("display_data", "update_display_data"):
            shown.append(message["content"])
            if not pressed and "loss <b>" in shown[-1]["data"]["text/html"]:
                notebook.manager.interrupt_kernel()
                pressed.append(True)

    options = "minutes=60, rnn_size=16, num_layers=1, learning_rate=1e-6"
    cell = f"import charrnn\nmodel = charrnn.train('poems.txt', {options})"
    messages = notebook.run(cell, stop_when_it_learns)
    assert of_kind(messages, "error", "stream") == []
    assert len(of_kind(messages, "display_data")) == 1
    assert len({each["transient"]["display_id"] for each in shown}) == 1
    assert "<progress" not in shown[-1]["data"]["text/html"]
    assert "interrupted at step" in shown[-1]["data"]["text/plain"]

    model = notebook.result("model")
    assert "not finished" in model["text/html"]
    assert "poems.txt" in model["text/html"]
    assert model["text/plain"].startswith("<charrnn.Model lstm 1x16")
    writer = notebook.result("charrnn.widgets.Writer(model)")
    assert writer[WIDGET]["model_id"]
    assert writer["text/plain"] == "charrnn.widgets.Writer: run this cell to see it"

    (error,) = of_kind(notebook.run("charrnn.widgets.TrainingView(model)"), "error")
    assert error["ename"] == "InvalidOptions"
    assert "Writer(model) writes with it" in error["evalue"]


RECORD = """
import charrnn
workspace = charrnn.Workspace()
found = workspace.list().models
record = found[0] if found else workspace.create("poems", "poems.txt")
"""
VIEWS = ["Dashboard()", "TrainingView(record)", "TrainingView('poems')", "Writer(record.id)", "CompareView([record])"]


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_a_widget_and_says_what_it_is_where_there_is_no_kernel(notebook: Notebook, view: str) -> None:
    notebook.run(RECORD)
    shown = notebook.result(f"charrnn.widgets.{view}")
    assert shown[WIDGET]["model_id"]
    assert shown["text/plain"] == f"charrnn.widgets.{view.split('(')[0]}: run this cell to see it"
