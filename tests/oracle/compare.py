"""Sends the same requests to Nephos and to Swift: statuses, headers and bodies must be equal.

    compare.py SWIFT_URL NEPHOS_URL TENANT OTHER --sequences N [--seed S] [--workers W] [--all]

Each sequence has names of its own. One that ends in a difference is cut down to the steps that it takes; its steps are
printed and the exit code is 1. What may differ, with the reason, is in differences.py.
"""

import argparse
import collections
import concurrent.futures
import hmac
import http.client
import random
import sys
import threading
import urllib.parse

import differences
from sequences import Maker


class Side:
    """One of the two stores."""

    def __init__(self, url, tenant, other):
        self.address = urllib.parse.urlsplit(url)
        self.names = {"tenant": tenant, "other": other}
        self.local = threading.local()
        self.tokens = {"stranger": "AUTH_tk" + "0" * 32}
        for user, account in [("tester", tenant), ("other", other), ("guest", other)]:
            headers = [("X-Auth-User", f"{account}:{user}"), ("X-Auth-Key", f"{user}-secret")]
            status, answered, _ = self.raw("GET", "/auth/v1.0", headers, b"")
            assert status == 200, f"{url}: {user} cannot sign in: {status}"
            self.tokens[user] = dict(answered)["x-auth-token"]

    def raw(self, method, path, headers, body):
        for attempt in range(2):
            link = getattr(self.local, "link", None)
            if link is None:
                link = self.local.link = http.client.HTTPConnection(self.address.hostname, self.address.port, timeout=60)
            try:
                link.putrequest(method, path, skip_accept_encoding=True)
                if not any(name == "Content-Length" for name, _ in headers) and (body or method in ("PUT", "POST")):
                    link.putheader("Content-Length", str(len(body)))
                for name, value in headers:
                    link.putheader(name, value.encode("latin-1"))
                link.endheaders(body or None)
                answer = link.getresponse()
                read = answer.read()
                if answer.will_close:
                    self.local.link = None
                return answer.status, [(name.lower(), value) for name, value in answer.getheaders()], read
            except (http.client.HTTPException, OSError):
                # The server may have closed an idle connection.
                self.local.link = None
                if attempt:
                    raise

    def send(self, step, prefix, versions):
        """Sends a step. `versions` are the version ids that this store has returned; `{version}` stands for the last one."""

        def filled(text):
            text = text.replace("{p}", prefix).replace("{tenant}", self.names["tenant"]).replace("{other}", self.names["other"])
            return text.replace("{version}", versions[-1] if versions else "null").replace("{first}", versions[0] if versions else "null")

        path = "/v1/AUTH_" + self.names["tenant"]
        if step.path:
            path += "/" + urllib.parse.quote(filled(step.path))
        if step.target:
            path = filled(step.target)
        elif step.signed:
            path += "?" + self.signature(step.signed, path, filled)
        elif step.query:
            pairs = [(key, value) if value is None else (key, urllib.parse.quote(filled(value))) for key, value in step.query]
            path += "?" + "&".join(key if value is None else f"{key}={value}" for key, value in pairs)
        headers = [(name, filled(value)) for name, value in step.headers]
        headers = [(name, value.encode().decode("latin-1") if any(ord(c) > 255 for c in value) else value) for name, value in headers]
        if step.who != "nobody":
            headers.append(("X-Auth-Token", self.tokens[step.who]))
        answer = self.raw(step.method, path, headers, filled(step.body.decode("latin-1")).encode("latin-1"))
        if answer[0] not in (401, 403):
            # Swift includes the version in rejections too.
            versions += [value for name, value in answer[1] if name == "x-object-version-id" and value != "null"]
        return answer

    def signature(self, signed, path, filled):
        """Returns the query of a temporary URL."""
        place = urllib.parse.unquote(path)
        if signed.prefix is not None:
            place = "prefix:" + "/".join(place.split("/", 4)[:4]) + "/" + filled(signed.prefix)
        text = "\n".join([signed.method, signed.expires, place])
        if signed.range:
            text = f"ip={signed.range}\n{text}"
        digest = hmac.new(signed.key.encode(), text.encode(), signed.digest).hexdigest()
        if signed.spoiled:
            digest = ("1" if digest[0] == "0" else "0") + digest[1:]
        pairs = [("temp_url_sig", digest), ("temp_url_expires", signed.expires)]
        if signed.prefix is not None:
            pairs.append(("temp_url_prefix", urllib.parse.quote(filled(signed.prefix))))
        if signed.range:
            pairs.append(("temp_url_ip_range", urllib.parse.quote(signed.range)))
        return "&".join(key if value is None else f"{key}={value}" for key, value in pairs + signed.more)


def run(swift, nephos, steps, prefix):
    """Returns the first difference: the step, the kind, and both responses."""
    versions = [], []
    is_versioned = any(name in differences.KEEPING for step in steps for name, _ in step.headers)
    for number, step in enumerate(steps):
        theirs, ours = swift.send(step, prefix, versions[0]), nephos.send(step, prefix, versions[1])
        if differences.is_spoiled(step, theirs, ours, is_versioned):
            return None
        found = differences.between(step, theirs, ours)
        if found:
            return number, *found
    return None


def cut_down(swift, nephos, steps, found, fresh):
    """Removes steps that are not needed to reproduce the difference."""
    steps = steps[: found[0] + 1]
    position = len(steps) - 2
    while position >= 0:
        tried = steps[:position] + steps[position + 1 :]
        again = run(swift, nephos, tried, fresh())
        if again and again[1] == found[1] and again[0] == len(tried) - 1:
            steps, found = tried, again
        position -= 1
    return steps, found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("swift")
    parser.add_argument("nephos")
    parser.add_argument("tenant")
    parser.add_argument("other")
    parser.add_argument("--sequences", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--all", action="store_true", help="continue after a difference; print one of each kind")
    asked = parser.parse_args()
    swift, nephos = (Side(url, asked.tenant, asked.other) for url in (asked.swift, asked.nephos))
    counter, lock = iter(range(10**9)), threading.Lock()

    def fresh():
        with lock:
            return f"s{asked.seed}n{next(counter)}-"

    kinds, requests, stop = collections.Counter(), collections.Counter(), threading.Event()

    def one(number):
        if stop.is_set():
            return
        steps = Maker(random.Random(f"{asked.seed}/{number}")).sequence()
        found = run(swift, nephos, steps, fresh())
        with lock:
            requests["sent"] += len(steps) if not found else found[0] + 1
            requests["sequences"] += 1
            if not found:
                return
            kinds[found[1]] += 1
            if kinds[found[1]] > 1:
                return
            if not asked.all:
                stop.set()
        steps, found = cut_down(swift, nephos, steps, found, fresh)
        said = "\n".join(f"  {step}" for step in steps)
        with lock:
            print(f"sequence {number} of seed {asked.seed}: {found[1]}\n{said}\n  Swift:  {found[2]}\n  Nephos: {found[3]}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(asked.workers) as pool:
        for outcome in [pool.submit(one, number) for number in range(asked.sequences)]:
            outcome.result()
    if asked.all:
        for kind, count in kinds.most_common():
            print(f"{count:6} {kind}")
    print(f"{requests['sequences']} sequences, {requests['sent']} requests, {sum(kinds.values())} differences (seed {asked.seed})")
    sys.exit(1 if kinds else 0)


if __name__ == "__main__":
    main()
