"""novaclient 2.17.0 with Rackspace's plugin: signs in with an API key and gets the catalog.   novaclient_tour.py AUTH_URL USER API_KEY"""
import sys

from novaclient import auth_plugin, client, exceptions

auth, user, key = sys.argv[1:]
auth_plugin.discover_auth_systems()


def signed_in(service_type, key=key, service_name=None):
    http = client.HTTPClient(user, key, auth_url=auth, region_name="DFW", service_type=service_type,
                             service_name=service_name, auth_system="rackspace",
                             auth_plugin=auth_plugin.load_plugin("rackspace"))
    http.authenticate()
    return http


def same(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


files = signed_in("object-store")
tenant = files.service_catalog.get_tenant_id()
root = auth.split("/v2.0")[0]
same(tenant, "100001")
same((files.tenant_id, files.auth_token), (tenant, files.service_catalog.get_token()))
same(files.management_url, f"{root}/v1/AUTH_{tenant}")
resp, _ = files.request(files.management_url, "HEAD", headers={"X-Auth-Token": files.auth_token})
same(resp.status_code, 204)
same(signed_in("identity").management_url, f"{root}/identity/v2.0")
same(signed_in("rax:object-cdn").management_url, f"{root}/cdn/v1/AUTH_{tenant}")

# The client uses only the second of the two generations of servers: the first is in the catalog, and is ignored.
catalog = files.service_catalog.catalog["access"]["serviceCatalog"]
first = [entry for entry in catalog if (entry["type"], entry["name"]) == ("compute", "cloudServers")]
same([endpoint["versionId"] for endpoint in first[0]["endpoints"]], ["1.0"])
url = first[0]["endpoints"][0]["publicURL"]
same(url, f"{root}/servers/v1.0/{tenant}")
_, body = files.request(f"{url}/flavors/1", "GET", headers={"X-Auth-Token": files.auth_token})
same(body["flavor"]["ram"], 256)
try:
    signed_in("compute", service_name="cloudServers")
    raise AssertionError("an endpoint of the first generation was taken for one of the second")
except exceptions.EndpointNotFound:
    pass
try:
    signed_in("identity", key="wrong")
    raise AssertionError("a wrong key opened the catalog")
except exceptions.Unauthorized:
    pass
print("novaclient: token, tenant and 4 endpoints")
