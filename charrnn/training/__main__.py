"""The process that trains: the one place where TensorFlow is loaded. `process` starts it and says how they speak."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from typing import Any

from charrnn import errors, events
from charrnn.training.task import Task

ENDS_AT_ONCE = 2  # stops


class _Orders:
    """What whoever started us says: first the task, then perhaps to stop, once or more often.

    Its being gone counts as asking to stop at once; before the first step there is nothing to save, and we just end.
    """

    def __init__(self) -> None:
        self.tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        self.stops = 0
        self.stepping = False

    def listen(self) -> None:
        for line in sys.stdin:
            if line.strip() == "stop":
                self.stops += 1
            else:
                self.tasks.put(Task.from_json(line))
        if not self.stepping:
            os._exit(1)
        self.stop_at_once()

    def stop_at_once(self, *_: object) -> None:
        self.stops += ENDS_AT_ONCE


class _Sender:
    """Writes events, from any thread. With nobody left to read them, training still ends in order."""

    def __init__(self, descriptor: int) -> None:
        self.file = os.fdopen(descriptor, "w", encoding="utf-8")
        self.lock = threading.Lock()

    def event(self, event: events.Event) -> None:
        self.message(events.to_json(event))

    def message(self, message: dict[str, Any]) -> None:
        with self.lock:
            try:
                self.file.write(json.dumps(message) + "\n")
                self.file.flush()
            except BrokenPipeError:
                pass


def main() -> int:
    sender = _Sender(int(sys.argv[1]))
    orders = _Orders()
    threading.Thread(target=orders.listen, name="charrnn-orders", daemon=True).start()
    signal.signal(signal.SIGTERM, orders.stop_at_once)
    import tensorflow as tf  # while the other side reads the text

    task = orders.tasks.get()
    tf.config.threading.set_intra_op_parallelism_threads(task.options["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(task.options["shards"])
    from charrnn.training.trainer import Trainer

    def report(event: events.Event) -> None:
        orders.stepping = orders.stepping or isinstance(event, events.Started)
        sender.event(event)

    try:
        Trainer(task, report, lambda: orders.stops).run()
    except errors.CharRNNError as error:
        fields = getattr(error, "fields", {})
        sender.message({"error": type(error).__name__, "message": str(error), "fields": fields})
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else "writing a file: "
        sender.message({"error": "TrainingFailed", "message": f"{where}{error.strerror or error}", "fields": {}})
        return 1
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        text = f"out of memory: {error}; a smaller rnn_size, batch_size or seq_length would be right"
        sender.message({"error": "TrainingFailed", "message": text, "fields": {}})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
