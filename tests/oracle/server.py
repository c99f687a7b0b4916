"""Runs one of Swift's servers with its configuration and the policies in the same directory: Swift's own commands read
those from /etc/swift before they know of another.

    server.py account|container|object|proxy CONFIGURATION
    server.py container-sync CONFIGURATION      carries changes once, and ends
"""

import os
import sys

import eventlet.patcher

from swift.common import utils

utils.SWIFT_CONF_FILE = os.path.join(os.path.dirname(sys.argv[2]), "swift.conf")

from swift.common.daemon import run_daemon  # noqa: E402: imported after the policies were read
from swift.common.wsgi import run_wsgi  # noqa: E402
from swift.container.sync import ContainerSync  # noqa: E402

if sys.argv[1] == "container-sync":
    run_daemon(ContainerSync, sys.argv[2], section_name="container-sync", once=True, verbose=True)
    sys.exit()
eventlet.patcher.monkey_patch(all=False, socket=True, select=True, thread=True)
sys.exit(run_wsgi(sys.argv[2], f"{sys.argv[1]}-server", verbose=False))
