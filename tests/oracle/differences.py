"""What may differ between Nephos and Swift, each with its reason; everything else must be equal."""

import json
import re
import urllib.parse

# Headers that differ from one request to the next, or tell of the machine that answers.
VOLATILE = {
    "date", "x-trans-id", "x-openstack-request-id", "x-timestamp", "x-put-timestamp", "last-modified", "connection",
    "keep-alive", "server", "x-object-version-id", "transfer-encoding",
    "x-copied-from-last-modified",
}

# Swift's counters are brought up to date by a daemon some seconds later; ours are true at once.
COUNTERS = re.compile(r"^x-account-(container-count|object-count|bytes-used|storage-policy-.*)$")

# Times in listings, and ids made of them.
TIMES = [
    (re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}"), b"TIME"),
    (re.compile(rb"/\d{10}\.\d{5}"), b"/TIME"),
    (re.compile(rb'"version_id": "[0-9.]+"'), b'"version_id": "ID"'),
    (re.compile(rb"tx[0-9a-f]{21}-[0-9a-f]{10}[^ <]*"), b"TRANSACTION"),
]

# What Swift answers in pieces, even where they are short.
STREAMED = [("bulk-delete", None), ("multipart-manifest", "put"), ("multipart-manifest", "delete")]


# The counters of an account's listing, which are as late as its own; their digits are left out.
LISTED = re.compile(rb'("count": |"bytes": |<count>|<bytes>)\d+')


def is_allowed(step, theirs, ours):
    """Whether two statuses may differ."""
    given = {name.lower() for name, _ in step.headers}
    if "if-range" in given and ours == 200 and theirs in (206, 416):
        # RFC 9110, 13.1.5: a stale If-Range asks for the whole. Swift gives the range of what is now another object.
        return True
    if step.query == [("multipart-manifest", "put")] and (theirs, ours) == (500, 400):
        # Swift fails on some lists that are no manifests.
        return True
    if ("limit", "10001") in step.query and theirs == 412 and ours in (401, 403):
        # A stranger is told by Swift that there is no such container; to ours it looks like one that is closed.
        return True
    # RFC 9112, 6.1: a request with both lengths is refused before anything is looked at; Swift takes the first one.
    return {"transfer-encoding"} <= given and step.method == "PUT" and ours == 400 and 400 <= theirs < 500


def is_spoiled(step, theirs):
    """Whether Swift refused a PUT in a container with versions and yet kept, and counted, the version, whose ETag it
    tells: from there on the two do not hold the same."""
    return step.method == "PUT" and theirs[0] == 400 and any(name == "etag" for name, _ in theirs[1])


def masked(step, status, headers, body):
    """An answer without what may differ."""
    kept = {}
    for name, value in headers:
        if name in VOLATILE or COUNTERS.match(name):
            continue
        kept.setdefault(name, []).append(value)
    if "allow" in kept:
        # Swift names them in the order of a set, which is another one each time it starts.
        kept["allow"] = [", ".join(sorted(kept["allow"][0].split(", ")))]
    if step.method == "HEAD" and status >= 400:
        # The length of a body that HEAD leaves out: Swift says 0 or nothing, HTTP that of GET's.
        kept.pop("content-length", None)
    if any(pair in step.query for pair in STREAMED):
        kept.pop("content-length", None)
    if status == 200 and kept.get("content-type", [""])[0].startswith("application/json"):
        # The order of an object's members and the blanks between them mean nothing.
        try:
            body = json.dumps(json.loads(body), sort_keys=True).encode()
            kept.pop("content-length", None)
            kept.pop("etag", None) if "multipart-manifest" in dict(step.query) else None
        except ValueError:
            pass
    if step.method == "GET" and not step.path and status == 200 and LISTED.search(body):
        body = LISTED.sub(rb"\g<1>0", body)
        kept.pop("content-length", None)
    if status == 304:
        # RFC 9110, 8.6: it would be the length of what is not sent; Swift says 0.
        kept.pop("content-length", None)
    if status == 409 and "content-location" in kept:
        # Swift does not encode the place of a link that leads nowhere.
        kept["content-location"] = [urllib.parse.unquote(kept["content-location"][0], "latin-1")]
    if body.startswith(b"Errors:\n"):
        # Swift looks at segments side by side, and names them as it comes to know of them.
        body = b"".join(sorted(body.splitlines(keepends=True)))
    for pattern, mark in TIMES:
        body = pattern.sub(mark, body)
    boundary = re.search(r"boundary=([0-9a-f]+)", kept.get("content-type", [""])[0])
    if boundary:
        kept["content-type"] = [kept["content-type"][0].replace(boundary[1], "BOUNDARY")]
        body = body.replace(boundary[1].encode(), b"BOUNDARY")
    return status, kept, body


def between(step, theirs, ours):
    """The kind of the difference, and what Swift and Nephos said; nothing where they agree."""
    if is_allowed(step, theirs[0], ours[0]):
        return None
    theirs, ours = masked(step, *theirs), masked(step, *ours)
    said = lambda answer: f"{answer[0]} {dict(sorted(answer[1].items()))} {answer[2][:300]!r}"
    what = f"{step.method} {'account container object'.split()[min(step.path.count('/') + bool(step.path), 2)]}"
    if theirs[0] != ours[0]:
        return f"{what}: status {theirs[0]} {ours[0]}", said(theirs), said(ours)
    for name in sorted(theirs[1].keys() | ours[1].keys()):
        if theirs[1].get(name) != ours[1].get(name):
            return f"{what} {theirs[0]}: header {name}", said(theirs), said(ours)
    if theirs[2] != ours[2]:
        return f"{what} {theirs[0]}: body", said(theirs), said(ours)
    return None
