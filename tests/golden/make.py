#!/usr/bin/env python3
"""Creates a golden data directory: data of every stored format, written by one release and opened by all later ones.

    make.py NEPHOS OUTPUT.tar.xz

Its master key, passwords and token are for tests alone.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

API_KEY = "a86850deb2742ec3cb41518e26aa2d89"
PORT = 18100
ACCOUNT = "/v1/AUTH_100001"
VARIABLES = {
    "NEPHOS_ADMIN_PASSWORD": "correct horse battery",
    "NEPHOS_ADMIN_API_KEY": API_KEY,
    "NEPHOS_SERVERS_RATE_LIMITS": "off",
}


class Cloud:
    def __init__(self, binary, data):
        self.binary, self.data, self.token = binary, data, None
        arguments = ["serve", "--data-dir", data, "--listen", f"127.0.0.1:{PORT}", "--edge-listen", "off", "--hypervisor", "simulated:?delay=1"]
        self.environment = dict(os.environ, **VARIABLES)
        self.server = subprocess.Popen([binary, *arguments], env=self.environment, stdout=subprocess.PIPE)
        assert self.server.stdout.readline().startswith(b"ready "), "it does not start"

    def send(self, method, path, body=None, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            headers["X-Auth-Token"] = self.token
        url = f"http://127.0.0.1:{PORT}{path}"
        request = urllib.request.Request(url, data=body, method=method, headers=headers)
        with urllib.request.urlopen(request) as response:
            found = {name.lower(): value for name, value in response.headers.items()}
            return found, response.read()

    def sign_in(self):
        self.token = self.send("GET", "/v1.0", X_Auth_User="admin", X_Auth_Key=API_KEY)[0]["x-auth-token"]

    def administer(self, *words):
        command = [self.binary, *words, "--data-dir", self.data]
        subprocess.check_call(command, env=self.environment, stdout=subprocess.DEVNULL)

    def stop(self):
        self.server.terminate()
        self.server.wait()


def objects(cloud):
    def put(path, body=b"", **headers):
        cloud.send("PUT", ACCOUNT + path, body, **headers)

    put("/c", X_Container_Meta_Kind="golden", X_Container_Read=".r:*")
    for n in range(40):
        put(f"/c/small-{n:02}", f"small {n} ".encode() * (n * 7 + 1), X_Object_Meta_N=str(n))
    for n in range(0, 40, 2):
        put(f"/c/small-{n:02}", f"again {n} ".encode() * (n * 5 + 1), X_Object_Meta_N=str(n))
    cloud.send("DELETE", f"{ACCOUNT}/c/small-39")
    put("/c/large", b"large " * 250_000)
    put("/c/empty")
    cloud.send("COPY", f"{ACCOUNT}/c/large", Destination="c/copy")
    put("/v", X_Versions_Enabled="true")
    for n in range(3):
        put("/v/o", f"version {n}".encode())
    put("/c/part-1", b"one " * 1000)
    put("/c/part-2", b"two " * 1000)
    manifest = json.dumps([{"path": "/c/part-1"}, {"path": "/c/part-2"}])
    put("/c/slo?multipart-manifest=put", manifest.encode())
    put("/c/link", X_Symlink_Target="c/small-01")
    put("/c/expiring", b"later", X_Delete_At="4102444800")
    cloud.send("POST", ACCOUNT, b"", X_Account_Meta_Temp_URL_Key="golden")


def server(cloud):
    body = {"server": {"name": "golden", "imageId": 1, "flavorId": 2, "metadata": {"k": "v"}}}
    cloud.send("POST", "/servers/v1.0/100001/servers", json.dumps(body).encode(), Content_Type="application/json")
    while True:
        shown = json.loads(cloud.send("GET", "/servers/v1.0/100001/servers/1.json")[1])["server"]
        if shown["status"] == "ACTIVE":
            return
        time.sleep(0.05)


def main(binary, output):
    with tempfile.TemporaryDirectory() as scratch:
        data = os.path.join(scratch, "data")
        cloud = Cloud(os.path.abspath(binary), data)
        cloud.sign_in()
        objects(cloud)
        server(cloud)
        cloud.administer("tenant", "create", "acme")
        key = "0123456789abcdef0123456789abcdef"
        cloud.administer("user", "create", "ann", "--tenant", "acme", "--password", "another horse", "--api-key", key)
        cloud.stop()
        for name in ["lock", "db/lock", "db/reserve"]:
            if os.path.exists(os.path.join(data, name)):
                os.remove(os.path.join(data, name))
        with open(os.path.join(data, "token"), "w", encoding="ascii") as token:
            token.write(cloud.token)
        archive = ["tar", "-C", data, "--sparse", "--sort=name", "--owner=0", "--group=0", "-cf", "-", "."]
        packed = subprocess.run(archive, check=True, capture_output=True).stdout
        with open(output, "wb") as target:
            subprocess.run(["xz", "-9e"], input=packed, check=True, stdout=target)
        shutil.rmtree(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
