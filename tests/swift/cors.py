"""Runs Swift's test/cors with Debian's Chromium, without the features that these tests do not need."""

import os
import runpy
import sys

from selenium import webdriver

FLAGS = [
    "--headless=new",
    # Chromium's sandbox does not work as root.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
]


class Options(webdriver.ChromeOptions):
    def __init__(self):
        super().__init__()
        for flag in FLAGS:
            self.add_argument(flag)


webdriver.ChromeOptions = Options
main = sys.argv[1]
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(main))
runpy.run_path(main, run_name="__main__")
