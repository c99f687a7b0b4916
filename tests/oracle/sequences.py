"""Generates random sequences of requests, valid and invalid ones."""

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field

BODIES = [b"", b"a", b"hello world", b"0123456789" * 20, b"<html>\xc3\xa9</html>", bytes(range(256))]
ETAGS = [hashlib.md5(body).hexdigest() for body in BODIES]
TYPES = ["text/plain", "text/html; charset=UTF-8", "", "x", "a/b;swift_bytes=9", 'text/plain; a="b;c"', 'x/y;a="b\\"c"; d']
CONTAINERS = ["c", "d", "e e", "\u00e9"]
OBJECTS = ["o", "dir/o", "dir/sub/p", "dir/", "a b", "\u00fc", "x%y?z", "index.html", "seg/1", "seg/2"]
PERSONS = ["tester"] * 12 + ["other", "guest", "nobody", "stranger"]

OLD = "Sun, 06 Nov 1994 08:49:37 GMT"
LATE = "Fri, 01 Jan 2038 00:00:00 GMT"
FORMATS = ["json", "xml", "plain", "html"]
# Without `*` for accounts and users, which Keystone's ACLs and Nephos's support, but not TempAuth's.
ACLS = [
    ".r:*", ".r:*,.rlistings", ".r:example.com", ".r:-example.com,.r:*", "{other}:other", "{other}:guest",
    "{other}", "", "bad:acl:form", ".r:", ".rlist:x", ".r:*, .rlistings ,{other}:guest", ",", ".unknown:x",
]


# The keys for temporary URLs of a container, set by a theme.
KEYS = ["first", "second"]


@dataclass
class Signed:
    """The parts of a temporary URL. It is signed once its path is known."""

    method: str = "GET"
    expires: str = "4102444800"
    key: str = KEYS[0]
    digest: str = "sha256"
    prefix: str | None = None
    range: str | None = None
    spoiled: bool = False
    more: list = field(default_factory=list)


@dataclass
class Step:
    """One request. `{p}` in its path stands for a prefix unique to the sequence, `{tenant}` and `{other}` for accounts."""

    method: str
    path: str
    query: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    body: bytes = b""
    who: str = "tester"
    signed: Signed | None = None
    # The request target as it is sent, instead of the path and the query.
    target: str | None = None

    def __str__(self):
        query = "&".join(f"{key}={value}" if value is not None else key for key, value in self.query)
        headers = " ".join(f"{name}: {value!r}" for name, value in self.headers)
        body = f" {self.body[:60]!r}" if self.body else ""
        signed = f" {self.signed}" if self.signed else ""
        target = self.target or self.path + ("?" + query if query else "")
        return f"{self.who}: {self.method} {target} {headers}{body}{signed}"


def on_the_wire(name):
    """Encodes a name for a header: one character per byte of UTF-8."""
    return name.encode().decode("latin-1")


def detected(packed):
    """Returns the format of an archive."""
    return {b"\x1f\x8b": "tar.gz", b"BZ": "tar.bz2"}.get(packed[:2], "tar")


class Maker:
    """Generates the steps of one sequence."""

    def __init__(self, random):
        self.random = random
        self.objects = OBJECTS

    def chance(self, of_hundred):
        return self.random.randrange(100) < of_hundred

    def one(self, things):
        return self.random.choice(things)

    def container(self):
        return "{p}" + self.one(CONTAINERS[:2] if self.chance(70) else CONTAINERS)

    def object(self):
        return self.one(self.objects[:3] if self.chance(50) else self.objects)

    def place(self):
        return self.container() + "/" + self.object()

    def sequence(self):
        settings, more = self.theme()
        if ("X-Versions-Enabled", "true") in settings:
            # Swift guesses a type by the name of the version, which ends in a time; Nephos by the object's own name.
            self.objects = [name for name in OBJECTS if "." not in name]
        steps = [Step("PUT", "{p}" + name, [], settings) for name in CONTAINERS[:1] if settings]
        steps += [Step("PUT", self.container()) for _ in range(2)]
        kinds = [
            (self.put, 30), (self.read, 25), (self.listing, 15), (self.change, 10), (self.make, 10), (self.copy, 8),
            (self.delete, 8), (self.remove, 3), (self.manifest, 6), (self.link, 4), (self.account, 3), (self.bulk, 3),
            (self.tar, 3), (self.odd, 3), (self.odd_target, 4), (self.refused_upload, 2), *more,
        ]
        makers = [maker for maker, weight in kinds for _ in range(weight)]
        steps += [self.one(makers)() for _ in range(self.random.randrange(4, 24))]
        # The resulting state.
        for name in CONTAINERS[:2]:
            steps.append(Step("GET", "{p}" + name, [("format", "json")]))
            steps.append(Step("HEAD", "{p}" + name))
        return steps

    def theme(self):
        """Chooses a sequence's theme: the settings of its first container, and which steps are more frequent."""
        keys = [("X-Container-Meta-Temp-URL-Key" + ("", "-2")[n], key) for n, key in enumerate(KEYS)]
        web = [("X-Container-Meta-Web-Index", "index.html"), ("X-Container-Meta-Web-Listings", "true"), ("X-Container-Meta-Web-Error", "x%y?z")]
        cors = [("X-Container-Meta-Access-Control-Allow-Origin", "http://example.com"), ("X-Container-Meta-Access-Control-Expose-Headers", "X-Trans-Id x-foo")]
        return self.one([
            ([], []),
            ([("X-Versions-Enabled", "true")], [(self.versioned, 40)]),
            ([("X-Versions-Enabled", "true")], [(self.versioned, 20), (self.link, 10), (self.manifest, 10), (self.copy, 10)]),
            ([(self.one(["X-Versions-Location", "X-History-Location"]), "{p}d")], [(self.delete, 20), (self.listing, 10)]),
            ([], [(self.manifest, 40), (self.read, 20)]),
            ([], [(self.link, 40), (self.change, 20)]),
            (web[: self.random.randrange(1, 4)] + [("X-Container-Read", ".r:*" + self.one(["", ",.rlistings"]))], [(self.visit, 40)]),
            (cors[: self.random.randrange(1, 3)], [(self.crossing, 40)]),
            (keys, [(self.temporary, 40)]),
            ([("X-Container-Read", self.one(ACLS)), ("X-Container-Write", self.one(ACLS[4:]))], [(self.stranger, 40)]),
            ([("X-Container-Meta-Quota-Bytes", "250"), ("X-Container-Meta-Quota-Count", "3")], [(self.tar, 10), (self.copy, 10)]),
        ])

    def versioned(self):
        """A request for a version, or for the current object."""
        method = self.one(["GET", "GET", "HEAD", "DELETE", "PUT", "POST", "COPY"])
        query = [("version-id", self.one(["{version}", "{version}", "{first}", "null", "x", "1234567890.00000", ""]))] if self.chance(80) else []
        headers = [("Destination", on_the_wire(self.place()))] if method == "COPY" else []
        if method == "GET" and self.chance(25):
            return Step("GET", self.container(), [("versions", "true"), ("format", "json"), ("limit", self.one(["1", "2", "100"]))])
        if method == "GET" and self.chance(10) and query != [("version-id", "null")]:
            # The link to the null version is listed where Swift hides the others.
            query.append(("symlink", "get"))
        if self.chance(10) and method != "PUT":
            query.append(("multipart-manifest", self.one(["get", "delete", "put"])))
        return Step(method, "{p}c/" + self.object(), query, headers, b"", self.one(PERSONS))

    def visit(self):
        """A request of an anonymous browser."""
        path = self.one(["{p}c", "{p}c/", "{p}c/dir", "{p}c/dir/", "{p}c/dir/sub/", "{p}c/x", "{p}c/" + self.object()])
        headers = [("X-Web-Mode", self.one(["true", "false", "x"]))] if self.chance(20) else []
        return Step(self.one(["GET", "GET", "HEAD"]), path, [], headers, b"", self.one(["nobody"] * 4 + ["tester", "guest", "stranger"]))

    def crossing(self):
        """A request of a page of another origin."""
        headers = [("Origin", self.one(["http://example.com", "http://other.org", "null", ""]))]
        method = self.one(["GET", "PUT", "HEAD", "OPTIONS", "OPTIONS"])
        if method == "OPTIONS" and self.chance(85):
            headers.append(("Access-Control-Request-Method", self.one(["GET", "PUT", "COPY", "PATCH", ""])))
            if self.chance(40):
                headers.append(("Access-Control-Request-Headers", self.one(["x-auth-token", "a, b", ""])))
        return Step(method, self.one([self.place(), self.container()]), [], headers, b"x" if method == "PUT" else b"", self.one(PERSONS))

    def temporary(self):
        """A request with a temporary URL; some are invalid."""
        method = self.one(["GET", "GET", "HEAD", "PUT", "POST", "DELETE"])
        signed = Signed(method, digest=self.one(["sha1", "sha256", "sha256", "sha512", "md5"]), key=self.one(KEYS + KEYS + ["wrong"]))
        if self.chance(20):
            signed.method = self.one(["GET", "HEAD", "PUT", "POST", "DELETE"])
        if self.chance(20):
            signed.expires = self.one(["1", "x", "", "2100-01-01T00:00:00Z", "2001-01-01T00:00:00Z", "2100-01-01", "99999999999"])
        if self.chance(25):
            signed.prefix = self.one(["", "dir/", "d", "\u00fc", "o"])
        if self.chance(15):
            signed.range = self.one(["127.0.0.0/8", "127.0.0.1", "10.0.0.0/8", "x", "::1"])
        signed.spoiled = self.chance(8)
        if self.chance(30):
            signed.more = [self.one([("inline", None), ("filename", "a%20b"), ("filename", "%22x%22"), ("filename", ""), ("format", "json"), ("multipart-manifest", "put")])]
        headers = []
        if method in ("PUT", "POST") and self.chance(25):
            headers.append(self.one([("X-Object-Manifest", "{p}d/x"), ("X-Object-Meta-Color", "blue"), ("X-Symlink-Target", "{p}d/x"), ("X-Delete-After", "100000")]))
        body = b"by url" if method == "PUT" else b""
        return Step(method, self.one(["{p}c/" + self.object()] * 6 + ["{p}c", "{p}d/o"]), [], headers, body, self.one(["nobody"] * 5 + ["tester", "stranger"]), signed)

    def stranger(self):
        """A request of another user than the owner, with the rights that ACLs grant."""
        step = self.one([self.put, self.read, self.read, self.listing, self.change, self.copy, self.delete, self.make, self.remove, self.versioned])()
        step.who = self.one(["other", "guest", "nobody", "stranger"])
        return step

    def tar(self):
        """An archive to extract; some are hostile. None has a file without a name: Swift creates the container for it and
        counts that as a file."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode=self.one(["w", "w:gz", "w:bz2"]), format=self.one([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])) as archive:
            for _ in range(self.random.randrange(4)):
                name = self.one([self.object(), "./" + self.object(), "c/" + self.object(), "../o", "/etc/o", "n" * 80 + "/" + "n" * 90, ".", "dir"])
                member = tarfile.TarInfo(name)
                member.mtime = 0
                kind = self.random.randrange(10)
                if kind == 0:
                    member.type, member.linkname = self.one([(tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "o"), (tarfile.DIRTYPE, ""), (tarfile.CHRTYPE, "")])
                    archive.addfile(member)
                else:
                    body = self.one(BODIES)
                    member.size = len(body)
                    archive.addfile(member, io.BytesIO(body))
        body = packed.getvalue()
        if self.chance(8):
            # Not truncated: Swift stores what it received up to there.
            body = self.one([b"", b"x"])
        query = [("extract-archive", self.one(["tar", "tar.gz", "tar.bz2", "x"]) if self.chance(8) else detected(body))]
        headers = [("Accept", self.one(["application/json", "text/plain", "application/xml", "x/y"]))]
        step = Step("PUT", self.one(["{p}c", "{p}c/dir", "{p}d", "{p}c/"]), query, headers, body)
        if self.chance(15):
            step.who = self.one(PERSONS)
        return step

    # Objects.

    def put(self):
        body = self.one(BODIES)
        headers = []
        if self.chance(40):
            headers.append(("Content-Type", self.one(TYPES)))
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
        if self.chance(20):
            # Of the source (Swift, Server side copy).
            step.headers.append((self.one(["If-Match", "If-None-Match"]), self.one(["*", "x", ETAGS[1], f'"{ETAGS[2]}"', ""])))
        if self.chance(6):
            step.headers.append((self.one(["If-Modified-Since", "If-Unmodified-Since"]), self.one([OLD, LATE, "x"])))
        step.headers += self.metadata("Object", 20)
        step.who = self.one(PERSONS)
        return step

    def delete(self):
        query = [("multipart-manifest", self.one(["delete", "x"]))] if self.chance(15) else []
        return Step("DELETE", self.place(), query, [], b"", self.one(PERSONS))

    def manifest(self):
        """A static large object; some are invalid."""
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
        if self.chance(8):
            # A byte order mark, as some editors write.
            body = b"\xef\xbb\xbf" + body
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
            # Without end_marker, which Swift ignores here.
            query = [(key, value) for key, value in query if key != "end_marker"]
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
        headers = [("Content-Type", self.one(["text/plain", "text/plain", "x/y"])), ("Accept", self.one(["application/json", "text/plain", "application/xml", "x/y"]))]
        return Step("POST", "", [("bulk-delete", None)], headers, names.encode())

    def odd(self):
        """A request that no client should send."""
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

    def odd_target(self):
        """A request target that few clients would write."""
        account = "/v1/AUTH_{tenant}"
        method = self.one(["GET", "GET", "HEAD", "PUT", "DELETE", "POST"])
        target = self.one([
            account + "/{p}c%2Fo", account + "/{p}c%2fdir%2Fo", account + "%2F{p}c/o", account + "/{p}c/dir%2Fo",
            "/v1.0/AUTH_{tenant}/{p}c", "/v1.0/AUTH_{tenant}/{p}c/o", "/v1.0/AUTH_{tenant}?prefix={p}",
            account + "/{p}c/o%FF", account + "/{p}c%FF", account + "/{p}c/a%00b", account + "/{p}c?prefix=%FF",
            account + "/{p}c?marker=%FF", account + "/{p}c?delimiter=%FF", account + "/{p}c?end_marker=%FF",
            account + "/{p}c/o?x=%FF", account + "//{p}c", account + "/{p}c//o", account + "/{p}c/./o", account + "/{p}c/../o",
            account + "/{p}c/o?", account + "/{p}c/o?a?b", account + "/{p}c/%zz", account + "/{p}c/%", account + "/{p}c/+",
        ])
        if "?prefix={p}" in target:
            # Accounts are made and deleted by ours alone.
            method = "GET"
        body = b"x" if method == "PUT" and target.endswith("o") else b""
        return Step(method, "", [], [], body, self.one(PERSONS), target=target)

    def refused_upload(self):
        """Refused by its head, while much of the body is still to come."""
        body = bytes(200_000)
        return self.one([
            Step("PUT", self.place(), [], [], body, "stranger"),
            Step("PUT", self.place(), [], [], body, "nobody"),
            Step("PUT", "{p}none/o", [], [], body),
            Step("PUT", self.place(), [], [("If-None-Match", "x")], body),
            Step("POST", self.place(), [], [], body, "stranger"),
            Step("DELETE", self.place(), [], [], body, "stranger"),
        ])
