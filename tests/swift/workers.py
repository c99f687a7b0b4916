"""Assigns each pytest worker its own cloud, since Swift's tests empty the accounts that they use."""

import os

worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
os.environ["SWIFT_TEST_CONFIG_FILE"] = os.path.join(os.environ["NEPHOS_SWIFT_CLOUDS"], worker, "test.conf")
