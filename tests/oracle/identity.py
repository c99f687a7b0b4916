"""Sends generated sequences of identity v3 requests to a Keystone and to Nephos and compares status and shape.

    identity.py KEYSTONE NEPHOS PASSWORD [--sequences N] [--seed S]

Both are asked as their first user, admin of project admin. Ids differ, so each is replaced by the name that the sequence
gave it. What may differ stands in ALLOWED with its reason; everything else fails the run.
"""

import argparse
import json
import random
import sys
import urllib.error
import urllib.request

# Attributes that only one of them shows, or shows differently, and the reasons.
ALLOWED_FIELDS = {
    "links": "URLs name the server",
    "description": "Keystone leaves out or nulls what was not given; Nephos shows an empty text",
    "email": "the same",
    "options": "Nephos has none and refuses them",
    "password_expires_at": "times differ",
    "extra": "Keystone repeats further attributes there after a PATCH of a user or project",
    "enabled": "Keystone leaves it out of roles and regions",
}
# (method, first segment of the path, Keystone's status, Nephos's status): reason.
ALLOWED_STATUS = {
    ("POST", "projects", 201, 400): "domains are made by POST /domains, not as projects (is_domain); roles and projects nest less",
    ("POST", "roles", 201, 400): "roles of one domain are not supported",
    ("POST", "users", 201, 404): "a default_project_id must exist in Nephos",
    ("POST", "users", 201, 409): "a deleted user's name stays its project's",
    ("PATCH", "users", 200, 404): "a default_project_id must exist in Nephos",
    ("PATCH", "users", 200, 409): "a deleted user's name stays its project's",
    ("POST", "projects", 201, 409): "the same name in another letter case is another name in Nephos and not in MySQL; SQLite agrees",
}
RESOURCES = {
    "users": "user",
    "projects": "project",
    "domains": "domain",
    "roles": "role",
    "services": "service",
    "regions": "region",
}


class Cloud:
    def __init__(self, url, password):
        self.url = url.rstrip("/")
        self.ids = {}
        self.token = None
        user = {"name": "admin", "domain": {"id": "default"}, "password": password}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}},
                         "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}}
        status, _, headers = self.send("POST", "/auth/tokens", body)
        assert status == 201, f"{url}: cannot sign in: {status}"
        self.token = headers["X-Subject-Token"]

    def send(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("X-Auth-Token", self.token)
        try:
            answer = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        text = answer.read().decode()
        return answer.status, json.loads(text) if text.startswith("{") else {}, answer.headers

    def fill(self, value):
        """Replaces names by this cloud's ids."""
        if isinstance(value, str) and value.startswith("@"):
            return self.ids.get(value, "missing")
        if isinstance(value, dict):
            return {key: self.fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.fill(item) for item in value]
        return value

    def ask(self, method, path, body, made):
        path = "/".join(self.fill(part) for part in path.split("/"))
        status, answer, _ = self.send(method, path, self.fill(body))
        if made and status == 201:
            one = next(value for value in answer.values() if isinstance(value, dict))
            self.ids[made] = one["id"]
        names = {value: name for name, value in self.ids.items()}
        return status, plain(answer, names)


def plain(value, names):
    if isinstance(value, dict):
        return {key: plain(item, names) for key, item in value.items() if key not in ALLOWED_FIELDS}
    if isinstance(value, list):
        return [plain(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


class Sequence:
    """One sequence. Its resources have unique names, so that sequences do not interfere."""

    def __init__(self, number, chance):
        self.number, self.chance, self.made, self.count = number, chance, [], 0

    def name(self, kind):
        self.count += 1
        return f"{kind}-{self.number}-{self.count}"

    def one_of(self, kind):
        found = [name for name in self.made if name.startswith(f"@{kind}-")]
        return self.chance.choice(found) if found and self.chance.random() < 0.9 else "@nothing"

    def attributes(self, kind):
        """Returns a body for a resource: mostly valid, sometimes invalid."""
        chance = self.chance
        body = {}
        if kind == "services":
            body["type"] = self.name("type")
        if kind != "regions":
            body["name"] = chance.choice([self.name(kind), self.name(kind), self.name(kind), "", " ", "x" * 65, "x" * 300])
            if kind in ("services", "users", "roles") and body["name"] == "x" * 65:
                body["name"] = self.name(kind)
            if kind == "services" and not isinstance(body["name"], int):
                body["name"] = self.name(kind)
        else:
            body["id"] = self.name("region")
        if kind in ("projects", "users") and chance.random() < 0.3:
            body["domain_id"] = self.one_of("domains")
        if kind in ("projects", "domains") and chance.random() < 0.4:
            body["tags"] = chance.choice([["a"], ["a", "b"], [], ["a", "a"], ["a/b"], "a"])
        if kind == "projects" and chance.random() < 0.1:
            body["parent_id"] = chance.choice(["missing", "default"])
        if kind == "regions" and chance.random() < 0.3:
            body["parent_region_id"] = self.one_of("regions")
        if chance.random() < 0.4:
            body["colour"] = chance.choice(["red", None, 1, ["a"], {"a": {"b": 1}}])
        if kind in ("projects", "domains") and chance.random() < 0.2:
            body["enabled"] = chance.choice([True, False])
        return body

    def steps(self, length):
        chance = self.chance
        for _ in range(length):
            kind = chance.choice(list(RESOURCES))
            one = RESOURCES[kind]
            action = chance.random()
            if action < 0.4:
                made = "@" + self.name(kind)
                self.made.append(made)
                yield "POST", f"/{kind}", {one: self.attributes(kind)}, made
            elif action < 0.55:
                body = self.attributes(kind)
                for fixed in ("domain_id", "id", "parent_id", "parent_region_id", "type"):
                    body.pop(fixed, None)
                yield "PATCH", f"/{kind}/{self.one_of(kind)}", {one: body}, None
            elif action < 0.7:
                yield "GET", f"/{kind}/{self.one_of(kind)}", None, None
            elif action < 0.8:
                yield "DELETE", f"/{kind}/{self.one_of(kind)}", None, None
            elif action < 0.9 and kind in ("users", "projects", "domains", "roles"):
                operator = chance.choice(["contains", "startswith", "endswith", "icontains"])
                part = f"-{self.number}-" if operator != "endswith" else f"-{self.number}-1"
                if operator == "startswith":
                    part = f"{kind}-{self.number}-"
                yield "GET", f"/{kind}?name__{operator}={part}", None, None
            elif action < 0.95:
                role = self.one_of("roles")
                path = f"/projects/{self.one_of('projects')}/users/{self.one_of('users')}/roles/{role}"
                yield chance.choice(["PUT", "PUT", "DELETE", "GET"]), path, None, None
            else:
                yield "POST", f"/{kind}", {one: {}}, "@" + self.name(kind)


def in_order(answer):
    """Sorts lists, since neither server guarantees an order."""
    return {key: sorted(value, key=json.dumps) if isinstance(value, list) else value for key, value in answer.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("keystone")
    parser.add_argument("nephos")
    parser.add_argument("password")
    parser.add_argument("--sequences", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    words = parser.parse_args()
    keystone, nephos = Cloud(words.keystone, "secret"), Cloud(words.nephos, words.password)
    requests, differences, allowed = 0, 0, {}
    for number in range(words.sequences):
        sequence = Sequence(number, random.Random(words.seed * 100_003 + number))
        for method, path, body, made in sequence.steps(25):
            requests += 1
            theirs, ours = keystone.ask(method, path, body, made), nephos.ask(method, path, body, made)
            kind = path.split("/")[1].split("?")[0]
            if theirs[0] != ours[0]:
                reason = ALLOWED_STATUS.get((method, kind, theirs[0], ours[0]))
                if theirs[0] == 500:
                    reason = f"Keystone fails: {method} {kind}"
                if method == "PATCH" and (theirs[0], ours[0]) == (400, 404):
                    reason = "Keystone says what is wrong with a body before it says that the resource is not there"
                if reason:
                    allowed[reason] = allowed.get(reason, 0) + 1
                    if theirs[0] < 400 or ours[0] < 400:
                        # From here on the two have different resources.
                        break
                    continue
            same = theirs[0] == ours[0] and (theirs[0] >= 400 or in_order(theirs[1]) == in_order(ours[1]))
            if not same:
                differences += 1
                print(f"sequence {number}: {method} {path} {json.dumps(body)}\n  keystone {theirs}\n  nephos   {ours}")
                break
    for reason, count in sorted(allowed.items()):
        print(f"allowed {count}: {reason}")
    print(f"{words.sequences} sequences, {requests} requests, {differences} differences (seed {words.seed})")
    sys.exit(1 if differences else 0)


main()
