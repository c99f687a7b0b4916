"""Calls every method of libcloud's first-generation driver (XML) and checks the results.   libcloud_tour.py AUTH_URL USER API_KEY"""
import sys
import time

from libcloud.compute.drivers import openstack, rackspace
from libcloud.compute.providers import get_driver
from libcloud.compute.types import NodeState, Provider

auth, user, key = sys.argv[1:]
called = set()


class Recorded:
    """The driver, recording its calls."""

    def __init__(self, driver):
        self._driver = driver

    def __getattr__(self, name):
        called.add(name)
        return getattr(self._driver, name)


driver = Recorded(get_driver(Provider.RACKSPACE_FIRST_GEN)(
    user, key, region="us", secure=False, ex_force_auth_url=auth))


def node_of(id):
    return next((node for node in driver.list_nodes() if node.id == id), None)


def settled(id, status="ACTIVE"):
    """Returns the node once it has this status. The driver does not show it: it calls VERIFY_RESIZE running too."""
    deadline = time.monotonic() + 60
    while (found := dict(statuses()).get(id)) != status:
        assert time.monotonic() < deadline, (id, status, found)
    return node_of(id)


def statuses():
    servers = driver.connection.request("/servers/detail").object
    return [(server.get("id"), server.get("status")) for server in servers]


def same(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def unreadable(kind, call, *args):
    """The request is correct and the response is as in the guide; the driver fails to read the response."""
    try:
        call(*args)
    except kind:
        return
    raise AssertionError("libcloud was fixed: assert what it returns")


same([location.id for location in driver.list_locations()], ["0"])
sizes = driver.list_sizes()
same([(size.id, size.name, size.ram, size.disk) for size in sizes][:2],
     [("1", "256 MB Server", 256, 10), ("2", "512 MB Server", 512, 20)])
images = driver.list_images()
unreadable(TypeError, driver.get_image, "1")  # requests XML and parses the response as JSON
same(images[0].extra["status"], "ACTIVE")
same(driver.ex_limits()["absolute"], {"maxTotalRAMSize": "51200", "maxIPGroups": "25", "maxIPGroupMembers": "25"})
same(driver.list_nodes(), [])

first = driver.create_node("first", sizes[0], images[0], ex_metadata={"role": "web", "tier": "1"},
                           ex_files={"/etc/banner.txt": "hello", "/root/.ssh/authorized_keys": "ssh-rsa AAAA"})
same((first.name, first.state, first.extra["imageId"], first.extra["flavorId"], first.extra["metadata"]),
     ("first", NodeState.PENDING, "1", "1", {"role": "web", "tier": "1"}))
assert len(first.extra["password"]) >= 8 and len(first.extra["hostId"]) == 32
same((len(first.public_ips), len(first.private_ips)), (1, 1))
first = settled(first.id)
same(first.extra["password"], None)
unreadable(IndexError, driver.ex_get_node_details, first.id)  # looks for a server inside the server element
unreadable(AttributeError, driver.ex_get_node_details, "9999")  # parses faults with an API that Python 3.9 removed
addresses = driver.ex_list_ip_addresses(first.id)
same((addresses.public_addresses, addresses.private_addresses), (first.public_ips, first.private_ips))

for reboot in (driver.reboot_node, driver.ex_soft_reboot_node, driver.ex_hard_reboot_node):
    assert reboot(first)
    settled(first.id)
assert driver.ex_set_server_name(first, "renamed")
same(node_of(first.id).name, "renamed")
assert driver.ex_set_password(node_of(first.id), "correct-horse")
same(settled(first.id).name, "renamed")

assert driver.ex_resize(first, sizes[1])
same(settled(first.id, "VERIFY_RESIZE").state, NodeState.RUNNING)
assert driver.ex_confirm_resize(first)
same(settled(first.id).extra["flavorId"], "2")
assert driver.ex_resize_node(first, sizes[2])
same(settled(first.id, "VERIFY_RESIZE").extra["flavorId"], "3")
# The guide returns 202, but the driver accepts only 204 as success: it returns False although the request succeeded.
same(driver.ex_revert_resize(first), False)
same(settled(first.id).extra["flavorId"], "2")

image = driver.create_image(first, "saved")
same((image.name, image.extra["serverId"], image.extra["status"]), ("saved", first.id, "QUEUED"))
deadline = time.monotonic() + 60
while image.id not in [active.id for active in driver.list_images()]:
    assert time.monotonic() < deadline
assert driver.ex_rebuild(first, image)
same(settled(first.id).extra["imageId"], image.id)
assert driver.ex_rebuild(first.id, images[0].id)
same(settled(first.id).extra["imageId"], "1")
assert driver.delete_image(image)
same([image.name for image in driver.list_images()], [images[0].name])

group = driver.ex_create_ip_group("group", first)
same((group.name, group.servers), ("group", [first.id]))
empty = driver.ex_create_ip_group("empty")
same([(g.id, g.servers) for g in driver.ex_list_ip_groups()], [(group.id, None), (empty.id, None)])
second = driver.create_node("second", sizes[0], images[0], ex_shared_ip_group_id=group.id)
settled(second.id)
same([g.servers for g in driver.ex_list_ip_groups(details=True)], [[first.id, second.id], []])
assert second.public_ips != first.public_ips
for configure in (True, False):
    assert driver.ex_share_ip(group.id, second.id, first.public_ips[0], configure_node=configure)
    same(settled(second.id).public_ips, second.public_ips + first.public_ips)
    assert driver.ex_unshare_ip(second.id, first.public_ips[0])
    same(settled(second.id).public_ips, second.public_ips)

for node in (first, second):
    assert driver.destroy_node(node)
for node in (first, second):
    settled(node.id, None)
for each in (group, empty):
    assert driver.ex_delete_ip_group(each.id)
same(driver.ex_list_ip_groups(), [])

# Volumes, and starting and stopping, were added in the second generation: the driver has no such request for the first.
later = {"create_volume", "destroy_volume", "attach_volume", "detach_volume", "list_volumes", "ex_get_volume",
         "start_node", "stop_node"}
classes = (rackspace.RackspaceFirstGenNodeDriver, openstack.OpenStack_1_0_NodeDriver, openstack.OpenStackNodeDriver)
methods = {name for each in classes for name, value in vars(each).items()
           if callable(value) and not name.startswith("_") and name != "connectionCls"}
same(methods - later - called, set())
print(f"libcloud: {len(methods - later)} methods")
