"""A process that is paused for a test, so that what it is asked finds nobody."""

from __future__ import annotations

import os
import signal
import subprocess


def pause(process: subprocess.Popen[bytes]) -> None:
    """Stop a child with all its threads until SIGCONT. On a busy machine they go on for a while after the signal."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
