"""Calls everything in python-cloudservers 1.2 (JSON, Python 2.7) and checks the results.   cloudservers_tour.py AUTH_URL USER API_KEY"""
from __future__ import print_function

import inspect
import sys
import time

import cloudservers
from cloudservers import CloudServers

auth, user, key = sys.argv[1:]
cloudservers.client.CloudServersClient.AUTH_URL = auth
called = set()
MANAGERS = (cloudservers.ServerManager, cloudservers.ImageManager, cloudservers.FlavorManager,
            cloudservers.BackupScheduleManager, cloudservers.IPGroupManager)


def noted(owner, name, method):
    def wrapper(*args, **kwargs):
        called.add((owner, name))
        return method(*args, **kwargs)
    return wrapper


wanted = set()
for manager in MANAGERS:
    for name, method in inspect.getmembers(manager, inspect.ismethod):
        if not name.startswith("_"):
            wanted.add((manager.__name__, name))
            setattr(manager, name, noted(manager.__name__, name, method.__func__))


def same(found, expected):
    assert found == expected, "%r is not %r" % (found, expected)


def refused(kind, call, *args):
    try:
        call(*args)
    except kind as error:
        assert error.message, kind
        return error
    raise AssertionError("%s was not raised" % kind)


def until(what, holds):
    deadline = time.time() + 60
    while not holds():
        assert time.time() < deadline, "waited for %s" % what


def settled(server, status="ACTIVE"):
    until("%s to be %s" % (server, status), lambda: cloud.servers.get(server.id).status == status)
    return cloud.servers.get(server.id)


def gone(server):
    try:
        cloud.servers.get(server.id)
    except cloudservers.NotFound:
        return True
    return False


stranger = CloudServers(user, "wrong")
try:
    stranger.authenticate()
except (cloudservers.Unauthorized, ValueError):
    pass  # the body of the 401 is text, which the client parses as JSON
same(stranger.client.auth_token, None)
cloud = CloudServers(user, key)
cloud.authenticate()
cloud.client.auth_token = "expired"
refused(cloudservers.Unauthorized, cloud.flavors.list)  # the client signed in again; it reports that only once
flavors = cloud.flavors.list()
same([(f.id, f.name, f.ram, f.disk) for f in flavors[:2]],
     [(1, "256 MB Server", 256, 10), (2, "512 MB Server", 512, 20)])
same(cloud.flavors.get(2), flavors[1])
same(cloud.flavors.find(ram=1024).id, 3)
same([f.id for f in cloud.flavors.findall(disk=80)], [4])
image = cloud.images.list()[0]
same((image.id, image.status, cloud.images.get(1).name), (1, "ACTIVE", image.name))
same(cloud.images.find(status="ACTIVE").id, 1)
same(len(cloud.images.findall(status="ACTIVE")), 1)
same(cloud.servers.list(), [])

first = cloud.servers.create("first", image, flavors[0], meta={"role": "web"},
                             files={"/etc/banner.txt": "hello\n" * 200, "/etc/motd": open(__file__)})
same((first.name, first.status, first.progress, first.imageId, first.flavorId, first.metadata),
     ("first", "BUILD", 0, 1, 1, {"role": "web"}))
assert len(first.adminPass) >= 8 and len(first.hostId) == 32
first = settled(first)
same((first.public_ip, first.private_ip), (first.addresses["public"][0], first.addresses["private"][0]))
same(cloud.servers.find(name="first").id, first.id)
same(cloud.servers.findall(name="nobody"), [])
refused(cloudservers.NotFound, cloud.servers.get, 9999)
refused(cloudservers.BadRequest, cloud.servers.create, "no such image", 9999, 1)
refused(cloudservers.BadRequest, cloud.servers.create, "", 1, 1)

first.update(name="renamed")
same(cloud.servers.get(first).name, "renamed")
first.update(password="correct-horse")
settled(first)
cloud.servers.update(first, name="again", password="battery-staple")
same(settled(first).name, "again")
first.reboot()
settled(first)
first.reboot(cloudservers.REBOOT_HARD)
settled(first)
cloud.servers.reboot(first, cloudservers.REBOOT_SOFT)
settled(first)
first.resize(flavors[1])
same(settled(first, "VERIFY_RESIZE").flavorId, 2)
first.confirm_resize()
same(settled(first).flavorId, 2)
first.resize(flavors[2])
same(settled(first, "VERIFY_RESIZE").flavorId, 3)
first.revert_resize()
same(settled(first).flavorId, 2)
refused(cloudservers.Forbidden, first.confirm_resize)

saved = cloud.images.create("saved", first)
same((saved.name, saved.serverId, saved.status), ("saved", first.id, "QUEUED"))
until("the image", lambda: cloud.images.get(saved.id).status == "ACTIVE")
first.rebuild(saved)
same(settled(first).imageId, saved.id)
cloud.servers.rebuild(first, 1)
same(settled(first).imageId, 1)
saved.delete()
refused(cloudservers.NotFound, cloud.images.get, saved.id)

schedule = first.backup_schedule
same(schedule.enabled, False)
schedule.update(enabled=True, weekly=cloudservers.BACKUP_WEEKLY_THURSDAY,
                daily=cloudservers.BACKUP_DAILY_H_0400_0600)
schedule = cloud.backup_schedules.get(first)
same((schedule.enabled, schedule.weekly, schedule.daily), (True, "THURSDAY", "H_0400_0600"))
cloud.backup_schedules.update(first, daily=cloudservers.BACKUP_DAILY_H_2200_0000)
same((first.backup_schedule.weekly, first.backup_schedule.daily), ("DISABLED", "H_2200_0000"))
cloud.backup_schedules.create(first, weekly=cloudservers.BACKUP_WEEKLY_SUNDAY)
first.backup_schedule.delete()
same(first.backup_schedule.enabled, False)

group = cloud.ipgroups.create("group", first)
same((group.name, group.servers), ("group", [first.id]))
empty = cloud.ipgroups.create("empty")
same([(g.name, g.servers) for g in cloud.ipgroups.list()], [("group", [first.id]), ("empty", [])])
second = cloud.servers.create("second", 1, 1, ipgroup=group)
second = settled(second)
same(cloud.ipgroups.get(group).servers, [first.id, second.id])
same((cloud.ipgroups.find(name="empty").id, len(cloud.ipgroups.findall(name="group"))), (empty.id, 1))
for configure in (True, False):
    second.share_ip(group, first.public_ip, configure)
    same(settled(second).addresses["public"], [second.public_ip, first.public_ip])
    second.unshare_ip(first.public_ip)
    same(settled(second).addresses["public"], [second.public_ip])
empty.delete()

first.delete()
cloud.servers.delete(second)
until("both to be gone", lambda: gone(first) and gone(second))
cloud.ipgroups.delete(group)
same((cloud.servers.list(), cloud.ipgroups.list()), ([], []))
same(wanted - called, set())
print("cloudservers: %d methods" % len(wanted))
