"""The process that trains: the one place where TensorFlow is loaded. `process` starts it and says how they speak."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from typing import Any

from charrnn import errors, events
from charrnn.training.task import Task

ENDS_AT_ONCE = 2  # stops


class _Stops:
    """Counts how often somebody asked to stop. Whoever started us being gone counts as asking for it at once."""

    def __init__(self) -> None:
        self.count = 0

    def listen(self) -> None:
        for line in sys.stdin:
            if line.strip() == "stop":
                self.count += 1
        self.now()

    def now(self, *_: object) -> None:
        self.count += ENDS_AT_ONCE


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
    stops = _Stops()
    signal.signal(signal.SIGTERM, stops.now)
    import tensorflow as tf  # while the other side reads the text

    line = sys.stdin.readline()
    if not line:
        return 1
    task = Task.from_json(line)
    threading.Thread(target=stops.listen, name="charrnn-stops", daemon=True).start()
    tf.config.threading.set_intra_op_parallelism_threads(task.options["threads"])
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from charrnn.training.trainer import Trainer

    try:
        Trainer(task, sender.event, lambda: stops.count).run()
    except errors.CharRNNError as error:
        fields = getattr(error, "fields", {})
        sender.message({"error": type(error).__name__, "message": str(error), "fields": fields})
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sender.message({"error": "TrainingFailed", "message": f"{where}{error.strerror or error}", "fields": {}})
        return 1
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        text = f"out of memory: {error}; a smaller rnn_size, batch_size or seq_length would be right"
        sender.message({"error": "TrainingFailed", "message": text, "fields": {}})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
