"""The allowed differences between Nephos and Swift, with their reasons; everything else must be equal."""

import re
import urllib.parse

# Headers that differ between requests or identify the responding machine.
VOLATILE = {"date", "x-trans-id", "x-openstack-request-id", "connection", "keep-alive", "server"}

# Headers with times, which differ; their formats must not.
TIMED = {"x-timestamp", "x-put-timestamp", "last-modified", "x-object-version-id", "x-copied-from-last-modified",
         "x-copied-from-version-id", "x-object-current-version-id"}

# A daemon updates Swift's counters some seconds later; those of Nephos are exact at once.
COUNTERS = re.compile(r"^x-account-(container-count|object-count|bytes-used|storage-policy-.*)$")

FORM = re.compile(r"[0-9]+|[A-Z][a-z][a-z]\b")

# Times in listings, and ids derived from them.
TIMES = [
    (re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}"), b"TIME"),
    (re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), b"TIME"),
    (re.compile(rb"/\d{10}\.\d{5}"), b"/TIME"),
    (re.compile(rb'("version_id": "|version-id=)[0-9.]+'), rb"\1ID"),
    # A library's message about an archive that it cannot read.
    (re.compile(rb"Invalid Tar File: (?!No Valid Files)[^<\"\n]*"), b"Invalid Tar File: WHY"),
    (re.compile(rb"tx[0-9a-f]{21}-[0-9a-f]{10}[^ <]*"), b"TRANSACTION"),
]

# Responses that Swift sends in chunks even if they are short.
STREAMED = {("bulk-delete", None), ("multipart-manifest", "put"), ("multipart-manifest", "delete")}
STREAMED |= {("extract-archive", kind) for kind in ("tar", "tar.gz", "tar.bz2")}

# Lists in the order of a set, which differs at each start of Swift.
SETS = ["allow", "access-control-allow-methods", "access-control-expose-headers", "access-control-allow-headers", "vary"]


# Counters in an account's listing, which lag like its own; their digits are left out.
LISTED = re.compile(rb'("count": |"bytes": |<count>|<bytes>)\d+')


VERSIONED = re.compile(rb'("content_type": "[^";]*)(?:;[^"]*)?(", "last_modified": "[^"]*", "symlink_path": "[^"]*version-id=)')

MANIFESTS = re.compile(rb'("hash": ")[0-9a-f]{32}("[^}]*"slo_etag")')

# Headers that make a container keep old versions.
KEEPING = {"X-Versions-Enabled", "X-Versions-Location", "X-History-Location"}

CONDITIONS = {"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"}


def is_allowed(step, theirs, ours):
    """Returns whether two statuses may differ."""
    given = {name.lower() for name, _ in step.headers}
    if "if-range" in given and ours == 200 and theirs in (206, 416):
        # RFC 9110, 13.1.5: a stale If-Range selects the whole object. Swift sends the range of what is now another object.
        return True
    if theirs == 500 and ours == 400 and (("multipart-manifest", "put") in step.query or "transfer-encoding" in given):
        # Swift fails on some lists that are not manifests, and, if a container has versions, on both lengths in one request.
        return True
    if theirs == 500 and ours == 400 and "x-versions-enabled" in given:
        # Swift fails to create the container for old versions if the name is too long.
        return True
    if "x-versions-enabled" in given and "x-storage-policy" in given and (theirs, ours) == (400, 409):
        # Two faults: another policy, and another way of keeping old versions.
        return True
    if "versions" in dict(step.query) and theirs in (401, 403) and ours == 412:
        # Swift authenticates the caller of a list of versions before it checks the query.
        return True
    if theirs == 500 and ours in (401, 403, 404) and step.method == "HEAD":
        # Swift fails on a HEAD of a website that may not be listed.
        return True
    if len(given & CONDITIONS) > 1 and {theirs, ours} <= {200, 206, 304, 412, 416}:
        # RFC 9110, 13.2.2: which of several conditions applies. Swift has its own order.
        return True
    if ours in (401, 403) and ((step.method == "DELETE" and theirs == 409) or ("x-versions-enabled" in given and theirs == 400)):
        # Swift reveals to strangers how a container keeps versions.
        return True
    if "version-id" in dict(step.query) and theirs in (400, 404) and ours in (401, 403):
        # Swift reveals whether there are versions, and a given one, before it authenticates the caller.
        return True
    if step.method == "PUT" and "etag" in given and {theirs, ours} == {412, 422}:
        # Two faults, in a container that keeps old versions: in the bytes, and either that the name exists or that the container
        # for old versions is missing.
        return True
    if theirs in (200, 400, 406, 411, 413) and ours in (401, 403) and {"bulk-delete", "extract-archive"} & dict(step.query).keys():
        # Nephos authorises the sender on the path before it reads the body. Swift reads it, and reports for each name or file
        # that the sender may not.
        return True
    if theirs in (200, 202, 400, 404, 411, 413, 422) and ours in (401, 403) and ("multipart-manifest", "put") in step.query:
        # Nephos authorises the sender before it reads a manifest; Swift reports faults of the manifest first.
        return True
    if step.method == "PUT" and given & {"x-delete-at", "x-delete-after"} and (theirs, ours) == (422, 400):
        # In a container with versions, Swift stores the object before it checks the expiry.
        return True
    if any(name == "If-None-Match" and value.startswith("W/") for name, value in step.headers) and {theirs, ours} <= {200, 206, 304}:
        # RFC 9110, 13.1.2: a weak tag matches in If-None-Match. Swift compares it as text.
        return True
    if any(name == "Range" and "," in value for name, value in step.headers) and (theirs, ours) == (200, 416):
        # RFC 9110, 14.1.2: a suffix range of an empty object is unsatisfiable. Swift agrees unless there are several ranges.
        return True
    if ("Access-Control-Request-Method", "COPY") in step.headers and (theirs, ours) == (401, 200):
        # Swift lists COPY in preflight responses and rejects the request itself.
        return True
    if step.target and any(byte in step.target for byte in ("%FF", "%00")) and theirs in (401, 403) and ours == 412:
        # A path that is not UTF-8 names nothing that anyone may see: ours says so first.
        return True
    if step.target and "{tenant}//" in step.target and theirs in (401, 403) and ours == 404:
        # No account has a container without a name: ours says so to everyone, Swift only to who may look.
        return True
    if ("limit", "10001") in step.query and theirs == 412 and ours in (401, 403):
        # Swift reveals to strangers that a container is missing; for Nephos it looks like a private one.
        return True
    # RFC 9112, 6.1: a request with both lengths is rejected before anything else; Swift accepts the first one.
    return {"transfer-encoding"} <= given and step.method == "PUT" and ours == 400 and 400 <= theirs < 500


def is_spoiled(step, theirs, ours, is_versioned):
    """Returns whether the two have different contents from here on because of Swift: it stores and counts a version
    of an object whose PUT it then rejects; it loses a container's versions if a stranger tries to delete or change it;
    it stores a link to itself under a version's name."""
    if theirs[0] == 500 and theirs[2].startswith(b"The versions container does not exist."):
        return True
    if is_versioned and step.method in ("DELETE", "POST", "PUT") and step.path.count("/") == 0 and ours[0] in (401, 403):
        return True
    if ours[0] == 400 and ours[2].startswith(b"Cannot set a container's x-versions-location"):
        # Swift accepts two ways of keeping old versions at the same time.
        return True
    if is_versioned and step.method == "PUT" and "/" in step.path and theirs[0] in (400, 412, 422) and ours[0] == theirs[0]:
        return True
    if is_versioned and ours[2] == b"Symlink cannot target itself":
        return True
    return False


def too_much(step, status):
    """Returns the headers that only Swift sends."""
    if step.method == "OPTIONS" and step.who != "stranger":
        # Nephos does not ask pages of another origin to sign in, and does not reveal versions to them.
        return ["www-authenticate", "x-object-version-id"] if status in (200, 401) else []
    if status in (401, 403):
        # Swift reveals to strangers that there are versions.
        return ["x-object-version-id", "x-object-current-version-id"] + ["etag"] * ("version-id" in dict(step.query))
    if status == 405:
        return ["x-object-version-id"]
    if status == 412 and step.method == "PUT":
        # The validators of the existing object, for a name with versions.
        return ["etag", "x-object-version-id"]
    if status == 422:
        # The time at which the object would have been stored.
        return ["last-modified"]
    return []


def masked(step, status, headers, body):
    """Returns a response without what may differ."""
    kept = {}
    for name, value in headers:
        if name in VOLATILE or COUNTERS.match(name):
            continue
        if name in TIMED:
            value = FORM.sub(lambda found: "Aaa" if found[0].isalpha() else "0" * len(found[0]), value)
        kept.setdefault(name, []).append(value)
    for name in SETS:
        if name in kept:
            kept[name] = [", ".join(sorted(kept[name][0].split(", ")))]
    if "location" in kept:
        kept["location"] = [re.sub(r"//127.0.0.1:[0-9]+", "//HOST", kept["location"][0])]
    if step.method == "HEAD" and status >= 300:
        # The length of the body that HEAD omits: Swift sends 0 or none, Nephos that of the GET.
        kept.pop("content-length", None)
    if any(pair in step.query for pair in STREAMED):
        kept.pop("content-length", None)
        kept.pop("transfer-encoding", None)
    if ("multipart-manifest", "get") in step.query and kept.get("content-type", [""])[0].startswith("application/json"):
        # The MD5 of a text that contains times.
        kept.pop("etag", None)
    if step.method == "GET" and not step.path and status == 200 and LISTED.search(body):
        body = LISTED.sub(rb"\g<1>0", body)
        kept.pop("content-length", None)
    if "x-object-version-id" in kept:
        # In Swift the name expires, but the response describes a version.
        kept.pop("x-delete-at", None)
    if "content-location" in kept:
        # Where a request says /v1.0, Swift repeats that; ours names the place by its one path.
        place = re.sub("^/v1.0/", "/v1/", kept["content-location"][0])
        kept["content-location"] = [re.sub("version-id=[0-9.]+", "version-id=ID", place)]
    if status == 304:
        # RFC 9110, 8.6: it would be the length of a body that is not sent; Swift sends 0.
        kept.pop("content-length", None)
    if status == 409 and "content-location" in kept:
        # Swift does not percent-encode the target of a broken link.
        kept["content-location"] = [urllib.parse.unquote(kept["content-location"][0], "latin-1")]
    if body.startswith(b"Errors:\n"):
        # Swift checks segments concurrently and reports them in the order of completion.
        body = b"".join(sorted(body.splitlines(keepends=True)))
    if VERSIONED.search(body):
        # Swift's listings of names with versions omit the parameters of types.
        body = VERSIONED.sub(rb"\g<1>\g<2>", body)
        kept.pop("content-length", None)
    # The MD5 of a manifest, which contains times.
    body = MANIFESTS.sub(rb"\g<1>MD5\g<2>", body)
    for pattern, mark in TIMES:
        body = pattern.sub(mark, body)
    boundary = re.search(r"boundary=([0-9a-f]+)", kept.get("content-type", [""])[0])
    if boundary:
        kept["content-type"] = [kept["content-type"][0].replace(boundary[1], "BOUNDARY")]
        body = body.replace(boundary[1].encode(), b"BOUNDARY")
    return status, kept, body


# Faults in a request's headers that are reported before anything is done.
COMPLAINTS = re.compile(
    rb"Object name length |version-aware operations |Metadata |Too many metadata|Non-integer X-Delete|X-Delete-A|Cannot enable object versioning|Referrers not allowed|Invalid |ACL ")


def are_both_right(theirs, ours):
    """Returns whether each names one of two faults in a request's headers: Swift's middleware checks them in turn, in
    another order if the container has versions."""
    return theirs[0] == ours[0] == 400 and all(COMPLAINTS.match(each[2]) for each in (theirs, ours))


def are_near(theirs, ours):
    """Returns whether two times in seconds are near enough to derive from consecutive requests."""
    both = [theirs, ours]
    return all(each and len(each) == 1 and each[0].isdigit() for each in both) and abs(int(theirs[0]) - int(ours[0])) <= 2


def between(step, theirs, ours):
    """Returns the kind of the difference and both responses; nothing if they agree."""
    if theirs[0] != ours[0] and is_allowed(step, theirs[0], ours[0]):
        return None
    if theirs[0] == ours[0] == 400 and any(name == "Transfer-Encoding" for name, _ in step.headers):
        # HTTP's own rejection takes precedence over Swift's.
        return None
    if ("symlink", "get") in step.query and any("?version-id=" in value for name, value in theirs[1] if name == "x-symlink-target"):
        # Swift stores versions as targets of links, and shows the link.
        return None
    theirs, ours = masked(step, *theirs), masked(step, *ours)
    if step.target and theirs[0] == 412 and theirs[1].get("x-object-version-id") == ["null"]:
        # Swift says it of every object in a container that keeps versions, also of what cannot be one.
        theirs[1].pop("x-object-version-id")
    for name in too_much(step, theirs[0]):
        theirs[1].pop(name, None)
    same = next((n for n, (one, other) in enumerate(zip(theirs[2], ours[2])) if one != other), 0)
    start = max(0, same - 150)
    said = lambda answer: f"{answer[0]} {dict(sorted(answer[1].items()))} {answer[2][start : start + 300]!r}"
    what = f"{step.method} {'account container object'.split()[min(step.path.count('/') + bool(step.path), 2)]}"
    if theirs[0] != ours[0]:
        return f"{what}: status {theirs[0]} {ours[0]}", said(theirs), said(ours)
    if are_both_right(theirs, ours):
        return None
    for name in sorted(theirs[1].keys() | ours[1].keys()):
        if name == "x-delete-at" and are_near(theirs[1].get(name), ours[1].get(name)):
            continue
        if theirs[1].get(name) != ours[1].get(name):
            return f"{what} {theirs[0]}: header {name}", said(theirs), said(ours)
    if theirs[2] != ours[2]:
        return f"{what} {theirs[0]}: body", said(theirs), said(ours)
    return None
