"""A worker that only says that it was there: `python -m tests.jobs.quick_worker MODEL_ID ATTEMPT HOST`.

It stands in for the real one where many of them are needed at once, which would each load TensorFlow.
"""

from __future__ import annotations

import os
import sys
import time

from charrnn.config import Settings
from charrnn.jobs.database import Database
from charrnn.jobs.records import Claim, Delivery
from charrnn.jobs.status import Status
from charrnn.jobs.store import Store


def main() -> None:
    settings, claim, host = Settings(), Claim(sys.argv[1], int(sys.argv[2])), sys.argv[3]
    store = Store(Database(settings.database_url.get_secret_value()))
    record = store.begin(claim, host, os.getpid(), settings.lease_seconds)
    for word in record.name.split():
        match word:
            case "dies":
                sys.exit("there is no such thing as luck")
            case "waits":
                while not store.deliver(claim, Delivery(), settings.lease_seconds):
                    time.sleep(0.1)
    line = (store.last_position(claim.model_id) + 1, f"attempt {claim.attempt} on {host}")
    store.finish(claim, Status.COMPLETE, Delivery(lines=[line]))


if __name__ == "__main__":
    main()
