"""python-cloudfiles 1.7.11, of 2011, under Python 2.7: what its README shows, and its CDN calls.

    cloudfiles_tour.py AUTH_URL USER KEY
"""

import sys

import cloudfiles
from cloudfiles import errors

auth_url, user, key = sys.argv[1:]

try:
    cloudfiles.get_connection(user, "wrong", authurl=auth_url)
    raise AssertionError("a wrong key signs in")
except errors.AuthenticationFailed:
    pass

cloud = cloudfiles.get_connection(user, key, authurl=auth_url)
assert cloud.cdn_enabled, "the sign-in names where the CDN is managed"
assert cloud.get_info() == (0, 0, {}), cloud.get_info()

box = cloud.create_container("box of things")
try:
    cloud.create_container("box of things", error_on_existing=True)
    raise AssertionError("it is there already")
except errors.ContainerExists:
    pass
for bad in ["with/slash", "x" * 257]:
    try:
        cloud.create_container(bad)
        raise AssertionError(bad)
    except errors.InvalidContainerName:
        pass

note = box.create_object("a note \xc3\xa4.txt")
note.content_type = "text/plain"
note.metadata["mood"] = "fine"
note.write("hello from 2011\n" * 1000)
note.metadata["color"] = "blue"
note.sync_metadata()
assert note.etag == box.get_object("a note \xc3\xa4.txt").etag

again = cloud.get_container("box of things").get_object("a note \xc3\xa4.txt")
assert (again.size, again.content_type) == (16000, "text/plain"), (again.size, again.content_type)
assert again.metadata == {"mood": "fine", "color": "blue"}, again.metadata
assert again.read() == "hello from 2011\n" * 1000
assert again.read(size=5, offset=6) == "from "
assert "".join(again.stream(chunksize=512)) == "hello from 2011\n" * 1000

for n in range(5):
    box.create_object("many/%d" % n).write("x" * n)
assert box.list_objects(path="many") == ["many/%d" % n for n in range(5)]
assert box.list_objects(prefix="many/", limit=2, marker="many/1") == ["many/2", "many/3"]
info = box.list_objects_info(prefix="many/4")
assert [(line["name"], line["bytes"]) for line in info] == [("many/4", 4)], info
assert [found.name for found in box.get_objects(prefix="many/")] == ["many/%d" % n for n in range(5)]
copied = again.copy_to("box of things", "copy")
assert box.get_object("copy").read() == again.read()

count = cloud.get_container("box of things").object_count
assert count == 7, count
assert cloud.list_containers() == ["box of things"]
[line] = cloud.list_containers_info()
assert (line["name"], line["count"], line["bytes"]) == ("box of things", 7, 32010), line
cloud.update_account_metadata({"X-Account-Meta-Plan": "old"})
assert cloud.get_info() == (1, 32010, {"plan": "old"}), cloud.get_info()

try:
    box.public_uri()
    raise AssertionError("it was never published")
except errors.ContainerNotPublic:
    pass
try:
    box.get_object("not there")
    raise AssertionError("it is not there")
except errors.NoSuchObject:
    pass
try:
    cloud.delete_container("box of things")
    raise AssertionError("it is not empty")
except errors.ContainerNotEmpty:
    pass
for name in box.list_objects():
    box.delete_object(name)
cloud.delete_container("box of things")
try:
    cloud.get_container("box of things")
    raise AssertionError("it is gone")
except errors.NoSuchContainer:
    pass
print("toured")
