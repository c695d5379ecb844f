"""A worker process of the local engine: Beam's own, but quiet, and never left behind.

Beam starts workers that log every connection to the terminal, and that go on when the run is killed.  A worker
that outlived a killed run would write beside the run that was started after it.

Nothing may be imported at the top but the standard library: importing Beam logs before it can be told not to.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _die_with_parent() -> None:
    """SIGKILL to this process when its parent ends (Linux; elsewhere workers notice a closed connection)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:
            os._exit(1)


def main() -> None:
    _die_with_parent()
    logging.disable(logging.WARNING)
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
