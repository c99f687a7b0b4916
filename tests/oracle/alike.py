"""Synchronises a container between Swift and Nephos in both directions, with Swift's own daemon and with Nephos.

    alike.py SWIFT_URL NEPHOS_URL TENANT OTHER SWIFT_SH SWIFT_DIRECTORY
"""

import hashlib
import subprocess
import sys
import time

from compare import Side

SECONDS = 60
# The headers of an object to compare.
TOLD = ["etag", "content-type", "content-length", "content-encoding", "content-disposition", "x-timestamp", "x-delete-at"]


class Store:
    def __init__(self, url, tenant, other):
        self.side = Side(url, tenant, other)
        self.account = f"/v1/AUTH_{tenant}"

    def ask(self, method, path, headers=(), body=b"", expected=None):
        headers = [*headers, ("X-Auth-Token", self.side.tokens["tester"])]
        status, answered, read = self.side.raw(method, f"{self.account}/{path}", headers, body)
        if expected is not None:
            assert status == expected, f"{method} {path}: {status} {read[:300]}"
        return status, dict(answered), read

    def shows(self, path):
        """Returns what a client reads; manifests and links as they are stored."""
        status, headers, read = self.ask("GET", path + "?multipart-manifest=get&symlink=get")
        if status != 200:
            return status
        told = {name: value for name, value in headers.items() if name in TOLD or name.startswith(("x-object-", "x-symlink-"))}
        return told, hashlib.sha256(read).hexdigest()

    def lists(self, container):
        return self.ask("GET", container, expected=200)[2].decode().splitlines()


def until_alike(here, there, names, carry):
    """Waits until both have the same objects under each of these names (here, there)."""
    end = time.monotonic() + SECONDS
    while True:
        carry()
        differing = [(one, here.shows(one), there.shows(other)) for one, other in names]
        differing = [found for found in differing if found[1] != found[2]]
        if not differing:
            return
        assert time.monotonic() < end, f"not alike: {differing}"
        time.sleep(0.2)


def carried(here, there, name, cluster, carry):
    """Checks that objects stored, updated and deleted in a container here are replicated to its target."""
    source, target = f"{name}-here", f"{name}-there"
    key = ("X-Container-Sync-Key", "shared by both")
    there.ask("PUT", target, [key], expected=201)
    to = f"//both/{cluster}{there.account[3:]}/{target}"
    here.ask("PUT", source, [key, ("X-Container-Sync-To", to)], expected=201)
    for store in (here, there):
        store.ask("PUT", f"{name}-parts", expected=201)
        store.ask("PUT", f"{name}-parts/1", body=b"x" * 1000, expected=201)

    objects = {
        "plain": ([("Content-Type", "text/plain")], b"what is in it\n"),
        "empty": ([("Content-Type", "application/x-none")], b""),
        "b%C3%BCcher/%3F%25%20and%20more": ([("X-Object-Meta-Colour", "blue"), ("X-Object-Meta-Size", "9")], b"\x00\xff" * 500),
        "told": ([("Content-Encoding", "gzip"), ("Content-Disposition", "attachment"), ("X-Delete-At", "4102444800")], b"z"),
        "large": ([("X-Object-Manifest", f"{name}-parts/1")], b""),
        "link": ([("X-Symlink-Target", f"{name}-parts/1")], b""),
        "long": ([("Content-Type", "application/octet-stream")], bytes(range(256)) * 8000),
    }
    for path, (headers, body) in objects.items():
        here.ask("PUT", f"{source}/{path}", headers, body, expected=201)
    here.ask("PUT", f"{source}/whole?multipart-manifest=put", body=f'[{{"path": "{name}-parts/1"}}]'.encode(), expected=201)
    names = [(f"{source}/{path}", f"{target}/{path}") for path in [*objects, "whole"]]
    until_alike(here, there, names, carry)
    assert there.ask("GET", f"{target}/whole", expected=200)[2] == b"x" * 1000
    assert there.ask("GET", f"{target}/link", expected=200)[2] == b"x" * 1000
    assert there.lists(target) == here.lists(source)

    # New metadata, new bytes, and an expiry.
    here.ask("POST", f"{source}/plain", [("X-Object-Meta-Colour", "red"), ("Content-Type", "text/html")], expected=202)
    here.ask("PUT", f"{source}/empty", body=b"not any more", expected=201)
    here.ask("DELETE", f"{source}/told", expected=204)
    until_alike(here, there, names, carry)
    shown = there.shows(f"{target}/plain")[0]
    assert (shown["x-object-meta-colour"], shown["content-type"]) == ("red", "text/html"), shown
    assert there.shows(f"{target}/told") == 404
    # A later write to the target is kept.
    there.ask("PUT", f"{target}/plain", body=b"later", expected=201)
    here.ask("PUT", f"{source}/last", body=b"last", expected=201)
    until_alike(here, there, [(f"{source}/last", f"{target}/last")], carry)
    assert there.ask("GET", f"{target}/plain", expected=200)[2] == b"later"
    # A source with another key changes nothing.
    there.ask("POST", target, [("X-Container-Sync-Key", "another")], expected=204)
    here.ask("PUT", f"{source}/refused", body=b"refused", expected=201)
    carry()
    assert there.shows(f"{target}/refused") == 404
    there.ask("POST", target, [key], expected=204)
    until_alike(here, there, [(f"{source}/refused", f"{target}/refused")], carry)


def main():
    swift_url, nephos_url, tenant, other, script, directory = sys.argv[1:]
    swift, nephos = Store(swift_url, tenant, other), Store(nephos_url, tenant, other)

    def carry():
        done = subprocess.run([script, "sync", directory], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    carried(swift, nephos, "from-swift", "nephos", carry)
    carried(nephos, swift, "from-nephos", "swift", lambda: None)
    print("synchronised: from Swift to Nephos with Swift's daemon, and from Nephos to Swift")


if __name__ == "__main__":
    main()
