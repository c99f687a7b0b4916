"""Sequences of requests, made at random from what clients send and what they should not."""

import hashlib
import json
from dataclasses import dataclass, field

BODIES = [b"", b"a", b"hello world", b"0123456789" * 20, b"<html>\xc3\xa9</html>", bytes(range(256))]
ETAGS = [hashlib.md5(body).hexdigest() for body in BODIES]
CONTAINERS = ["c", "d", "e e", "\u00e9"]
OBJECTS = ["o", "dir/o", "dir/sub/p", "dir/", "a b", "\u00fc", "x%y?z", "index.html", "seg/1", "seg/2"]
PERSONS = ["tester"] * 12 + ["other", "guest", "nobody", "stranger"]

OLD = "Sun, 06 Nov 1994 08:49:37 GMT"
LATE = "Fri, 01 Jan 2038 00:00:00 GMT"
FORMATS = ["json", "xml", "plain", "html"]
# Without `*` for accounts and users: that is of Keystone's ACLs, which Nephos has, and not of TempAuth's.
ACLS = [
    ".r:*", ".r:*,.rlistings", ".r:example.com", ".r:-example.com,.r:*", "{other}:other", "{other}:guest",
    "{other}", "", "bad:acl:form", ".r:", ".rlist:x", ".r:*, .rlistings ,{other}:guest", ",", ".unknown:x",
]


@dataclass
class Step:
    """One request. `{p}` in its path stands for what keeps sequences apart, `{tenant}` and `{other}` for accounts."""

    method: str
    path: str
    query: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    body: bytes = b""
    who: str = "tester"

    def __str__(self):
        query = "&".join(f"{key}={value}" if value is not None else key for key, value in self.query)
        headers = " ".join(f"{name}: {value!r}" for name, value in self.headers)
        body = f" {self.body[:60]!r}" if self.body else ""
        return f"{self.who}: {self.method} {self.path}{'?' + query if query else ''} {headers}{body}"


def on_the_wire(name):
    """A name in a header: its bytes in UTF-8, a character each."""
    return name.encode().decode("latin-1")


class Maker:
    """Makes the steps of one sequence."""

    def __init__(self, random):
        self.random = random

    def chance(self, of_hundred):
        return self.random.randrange(100) < of_hundred

    def one(self, things):
        return self.random.choice(things)

    def container(self):
        return "{p}" + self.one(CONTAINERS[:2] if self.chance(70) else CONTAINERS)

    def object(self):
        return self.one(OBJECTS[:3] if self.chance(50) else OBJECTS)

    def place(self):
        return self.container() + "/" + self.object()

    def sequence(self):
        steps = [Step("PUT", self.container()) for _ in range(2)]
        kinds = [
            (self.put, 30), (self.read, 25), (self.listing, 15), (self.change, 10), (self.make, 10), (self.copy, 8),
            (self.delete, 8), (self.remove, 3), (self.manifest, 6), (self.link, 4), (self.account, 3), (self.bulk, 3),
            (self.odd, 3),
        ]
        makers = [maker for maker, weight in kinds for _ in range(weight)]
        steps += [self.one(makers)() for _ in range(self.random.randrange(4, 24))]
        # What all of it came to.
        for name in CONTAINERS[:2]:
            steps.append(Step("GET", "{p}" + name, [("format", "json")]))
            steps.append(Step("HEAD", "{p}" + name))
        return steps

    # Objects.

    def put(self):
        body = self.one(BODIES)
        headers = []
        if self.chance(40):
            headers.append(("Content-Type", self.one(["text/plain", "text/html; charset=UTF-8", "", "x", "a/b;swift_bytes=9"])))
        if self.chance(15):
            headers.append(("ETag", self.one(ETAGS + ["", "x", '"' + hashlib.md5(body).hexdigest() + '"'])))
        if self.chance(10):
            headers.append(("If-None-Match", self.one(["*", '"*"', "*, *", ETAGS[1], ""])))
        if self.chance(15):
            headers.append(("X-Delete-After", self.one(["100000", "0", "-1", "x", "1.5", "99999999999999"])))
        if self.chance(8):
            headers.append(("X-Delete-At", self.one(["4102444800", "1", "x", "", "4102444800.5", "1e10"])))
        if self.chance(10):
            headers.append(("Content-Disposition", self.one(['attachment; filename="x"', "\u00e9".encode().decode("latin-1")])))
        if self.chance(10):
            headers.append(("Content-Encoding", self.one(["gzip", "", "gzip, x"])))
        if self.chance(4):
            headers.append(("X-Object-Manifest", self.one(["{p}c/seg", "{p}c/seg/", "{p}c", "/x", "{p}c/dir/?x", "a%20b/c"])))
        headers += self.metadata("Object", 25)
        return Step("PUT", self.place(), [], headers, body, self.one(PERSONS))

    def metadata(self, kind, likely):
        headers = []
        while self.chance(likely) and len(headers) < 3:
            prefix = self.one([f"X-{kind}-Meta-", f"X-{kind}-Meta-", f"X-Remove-{kind}-Meta-"])
            name = self.one(["Color", "color-2", "Long", "n" * 128, "n" * 129, "Under_score", ""])
            headers.append((prefix + name, self.one(["blue", "", "v" * 256, "v" * 257, "\u00e9".encode().decode("latin-1"), " x "])))
        return headers

    def read(self):
        method = self.one(["GET", "GET", "HEAD"])
        query, headers = [], []
        if self.chance(30):
            headers.append(("Range", self.one([
                "bytes=0-0", "bytes=0-4", "bytes=-3", "bytes=5-", "bytes=0-1,4-5", "bytes=1000-", "bytes=-0", "bytes=5-2",
                "bytes=a-b", "bytes=", "bits=0-1", "bytes=0-1,0-1,0-1", "bytes=0-3, 2-5", "bytes=0-99999",
                "bytes=,0-1", "bytes=0-0,-1", "bytes=99999999999999999999-", "bytes= 0-4",
            ])))
        if self.chance(25):
            headers.append((self.one(["If-Match", "If-None-Match"]), self.one(
                ["*", '"*"', "x", f'"{ETAGS[1]}"', ETAGS[2], f'"{ETAGS[1]}", "{ETAGS[2]}"', f'W/"{ETAGS[1]}"', ""])))
        if self.chance(15):
            headers.append((self.one(["If-Modified-Since", "If-Unmodified-Since"]), self.one([OLD, LATE, "x", "", "1994-11-06"])))
        if self.chance(5):
            headers.append(("If-Range", self.one([OLD, f'"{ETAGS[1]}"', "x"])))
        if self.chance(8):
            query.append(("multipart-manifest", self.one(["get", "put", "delete", "x"])))
            if self.chance(40):
                query.append(("format", "raw"))
        if self.chance(4):
            query.append(("part-number", self.one(["1", "2", "0", "x", "10001"])))
        if self.chance(4):
            query.append(("symlink", self.one(["get", "x"])))
        if self.chance(5):
            headers.append(("Referer", self.one(["http://example.com/x", "http://other.org/"])))
        return Step(method, self.place(), query, headers, b"", self.one(PERSONS))

    def change(self):
        if self.chance(50):
            headers = self.metadata("Object", 60)
            if self.chance(15):
                headers.append(("Content-Type", self.one(["text/html", "", "x/y;z=1"])))
            if self.chance(15):
                headers.append(("X-Delete-After", self.one(["100000", "x", "0"])))
            if self.chance(5):
                headers.append(("X-Remove-Delete-At", "x"))
            return Step("POST", self.place(), [], headers, b"", self.one(PERSONS))
        return Step("POST", self.container(), [], self.of_container(), b"", self.one(PERSONS))

    def of_container(self):
        headers = self.metadata("Container", 40)
        if self.chance(35):
            headers.append((self.one(["X-Container-Read", "X-Container-Write"]), self.one(ACLS)))
        if self.chance(10):
            headers.append((self.one(["X-Container-Meta-Quota-Bytes", "X-Container-Meta-Quota-Count"]), self.one(["1", "100", "x", "-1", ""])))
        if self.chance(6):
            headers.append((self.one(["X-Versions-Location", "X-History-Location"]), self.one(["{p}d", "", "x/y", "{p}e e", "{p}e%20e"])))
        if self.chance(5):
            headers.append(("X-Versions-Enabled", self.one(["true", "false", "x", ""])))
        if self.chance(5):
            headers.append(("X-Container-Meta-Web-" + self.one(["Index", "Error", "Listings", "Listings-CSS"]), self.one(["index.html", "true", "x"])))
        if self.chance(3):
            headers.append((self.one(["X-Remove-Container-Read", "X-Remove-Container-Write", "X-Remove-Versions-Location"]), "x"))
        return headers

    def copy(self):
        target = on_the_wire(self.place())
        quoted = self.one([target, target, "/" + target, target.replace(" ", "%20")])
        if self.chance(50):
            headers = [("Destination", self.one([quoted, quoted, "x", "", "/"]))]
            if self.chance(10):
                headers.append(("Destination-Account", self.one(["AUTH_{tenant}", "AUTH_{other}", "x/y", ""])))
            step = Step("COPY", self.place(), [], headers)
        else:
            step = Step("PUT", self.place(), [], [("X-Copy-From", self.one([quoted, quoted, "x", "", "/"])), ("Content-Length", "0")])
            if self.chance(10):
                step.headers.append(("X-Copy-From-Account", self.one(["AUTH_{tenant}", "AUTH_{other}"])))
        if self.chance(20):
            step.headers.append(("X-Fresh-Metadata", self.one(["true", "false", "x"])))
        if self.chance(15):
            step.headers.append(("Content-Type", "copied/type"))
        if self.chance(10):
            step.headers.append(("Range", "bytes=1-3"))
        if self.chance(8):
            step.query.append(("multipart-manifest", "get"))
        step.headers += self.metadata("Object", 20)
        step.who = self.one(PERSONS)
        return step

    def delete(self):
        query = [("multipart-manifest", self.one(["delete", "x"]))] if self.chance(15) else []
        return Step("DELETE", self.place(), query, [], b"", self.one(PERSONS))

    def manifest(self):
        """A static large object, some of them wrong."""
        entries = []
        for _ in range(self.random.randrange(0, 4)):
            entry = {"path": "/" + self.one(["{p}c/", "{p}d/"]) + self.object()}
            if self.chance(30):
                entry["etag"] = self.one(ETAGS + [None, "x"])
            if self.chance(30):
                entry["size_bytes"] = self.one([0, 1, 11, 200, "1", -1, None, "x"])
            if self.chance(10):
                entry["range"] = self.one(["0-1", "-2", "1-", "x", "0-1,2-3", "900-"])
            if self.chance(8):
                entry = {"data": self.one(["aGVsbG8=", "", "***"])}
            if self.chance(4):
                entry[self.one(["extra", "path"])] = self.one([1, "x", "/x"])
            entries.append(entry)
        body = json.dumps(entries).encode() if self.chance(93) else self.one([b"", b"{", b"{}", b"[1]", b"[[]]", b"null"])
        headers = [("ETag", self.one(["x", ETAGS[0]]))] if self.chance(5) else []
        return Step("PUT", self.place(), [("multipart-manifest", "put")], headers, body)

    def link(self):
        headers = [("X-Symlink-Target", self.one([on_the_wire(self.place()), on_the_wire(self.place()), "x", "", "/a", "a/"])), ("Content-Length", "0")]
        if self.chance(30):
            headers.append(("X-Symlink-Target-Etag", self.one(ETAGS + ["x"])))
        if self.chance(10):
            headers.append(("X-Symlink-Target-Account", self.one(["AUTH_{tenant}", "AUTH_{other}", "a/b"])))
        return Step("PUT", self.place(), [], headers, b"")

    # Containers.

    def listing(self):
        query = []
        if self.chance(55):
            query.append(("format", self.one(FORMATS)))
        if self.chance(30):
            query.append(("limit", self.one(["0", "1", "2", "x", "-1", "10000", "10001", ""])))
        for key in ["marker", "end_marker", "prefix"]:
            if self.chance(20):
                query.append((key, self.one(["", "dir/", "dir", "o", "\u00fc", "a b", "z", "seg"])))
        if self.chance(25):
            query.append(("delimiter", self.one(["/", "/", "i", "", "//", "\u00fc", "ir/"])))
        if self.chance(8):
            query.append(("path", self.one(["", "dir", "dir/", "/"])))
        if self.chance(15):
            query.append(("reverse", self.one(["true", "1", "no", "x"])))
        if self.chance(4):
            query.append(("versions", self.one(["true", "x"])))
        headers = [("Accept", self.one(["application/json", "text/xml", "application/xml", "text/plain", "*/*", "image/png", "x", "text/*;q=0.5, application/json"]))] if self.chance(25) else []
        return Step(self.one(["GET", "GET", "GET", "HEAD"]), self.container(), query, headers, b"", self.one(PERSONS))

    def make(self):
        headers = self.of_container()
        if self.chance(10):
            headers.append(("X-Storage-Policy", self.one(["default", "archive", "ARCHIVE", "none", ""])))
        name = self.container() if self.chance(90) else "{p}" + "n" * self.one([200, 260])
        return Step("PUT", name, [], headers, b"", self.one(PERSONS))

    def remove(self):
        return Step("DELETE", self.container(), [], [], b"", self.one(PERSONS))

    # Accounts, and the rest.

    def account(self):
        query = [("prefix", "{p}")]
        if self.chance(70):
            query.append(("format", self.one(FORMATS)))
        if self.chance(20):
            query.append(("limit", self.one(["1", "x", "10001"])))
        if self.chance(20):
            query.append(("delimiter", "e"))
        if self.chance(20):
            query.append(("reverse", "true"))
        return Step("GET", "", query, [], b"", self.one(PERSONS))

    def bulk(self):
        names = "\n".join(self.one([self.place(), "/" + self.place(), "{p}c", "", "x" * 20, "%ff", "a/b/c"]) for _ in range(self.random.randrange(4)))
        headers = [("Content-Type", self.one(["text/plain", "text/plain", "x/y"])), ("Accept", self.one(["application/json", "text/plain", "application/xml"]))]
        return Step("POST", "", [("bulk-delete", None)], headers, names.encode())

    def odd(self):
        """What no client should send."""
        return self.one([
            Step("PATCH", self.place()),
            Step("OPTIONS", self.place(), [], [("Origin", "http://example.com"), ("Access-Control-Request-Method", "GET")]),
            Step("GET", self.container() + "/" + "n" * 1025),
            Step("PUT", self.container() + "/" + "n" * 1025, [], [], b"x"),
            Step("PUT", self.place(), [], [("X-Object-Meta-" + str(n), "x") for n in range(91)], b"x"),
            Step("GET", self.container() + "//"),
            Step("GET", "/"),
            Step("PUT", self.place(), [], [("Transfer-Encoding", "gzip")], b""),
            Step("POST", self.place(), [("multipart-manifest", "put")]),
            Step("HEAD", self.place(), [("temp_url_sig", "x"), ("temp_url_expires", "4102444800")], [], b"", "nobody"),
            Step("GET", self.place(), [("temp_url_sig", "0" * 40), ("temp_url_expires", "x")], [], b"", "nobody"),
        ])
