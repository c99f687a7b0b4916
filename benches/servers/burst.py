"""Many creates at once, each on a connection of its own, until every server is ACTIVE.   burst.py BASE_URL TOKEN COUNT
Prints: seconds until all were accepted, seconds until all are ACTIVE, hosts used, most servers on one host."""
import collections
import http.client
import json
import sys
import threading
import time
import urllib.parse

base, token, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
url = urllib.parse.urlsplit(base)
headers = {"X-Auth-Token": token, "Content-Type": "application/json"}
threading.stack_size(256 * 1024)
start, codes, accepted = threading.Barrier(count + 1), collections.Counter(), []


def create(number):
    connection = http.client.HTTPConnection(url.netloc, timeout=300)
    connection.connect()
    body = json.dumps({"server": {"name": "burst-%d" % number, "imageId": 1, "flavorId": 1}})
    start.wait()
    connection.request("POST", url.path + "/servers", body, headers)
    answer = connection.getresponse()
    server = json.loads(answer.read())
    codes[answer.status] += 1
    accepted.append(server["server"]["id"])


threads = [threading.Thread(target=create, args=(number,)) for number in range(count)]
for thread in threads:
    thread.start()
start.wait()
began = time.monotonic()
for thread in threads:
    thread.join()
seconds_accepted = time.monotonic() - began
assert codes == {202: count}, codes
connection = http.client.HTTPConnection(url.netloc, timeout=300)


def page(offset):
    connection.request("GET", "%s/servers/detail?limit=1000&offset=%d" % (url.path, offset), headers=headers)
    return json.loads(connection.getresponse().read())["servers"]


def mine():
    servers, offset = [], 0
    while found := page(offset):
        servers += found
        offset += len(found)
    wanted = set(accepted)
    return [server for server in servers if server["id"] in wanted]


servers = mine()
while any(server["status"] != "ACTIVE" for server in servers):
    time.sleep(0.2)  # looking is work for the cloud, too
    servers = mine()
    failed = [server for server in servers if server["status"] not in ("ACTIVE", "BUILD")]
    assert not failed, failed[:3]
hosts = collections.Counter(server["hostId"] for server in servers)
print("%.2f %.2f %d %d" % (seconds_accepted, time.monotonic() - began, len(hosts), max(hosts.values())))
