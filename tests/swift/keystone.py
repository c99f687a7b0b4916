"""Creates what Swift's tests for Keystone require: a tenant and user in a separate domain, and a role for the user without
rights, since Keystone issues no token for a project without a role there. Signs in with openrc.
"""

import os

from keystoneauth1.identity import v3
from keystoneauth1.session import Session
from keystoneclient.v3.client import Client

env = os.environ
auth = v3.Password(
    auth_url=env["OS_AUTH_URL"],
    username=env["OS_USERNAME"],
    password=env["OS_PASSWORD"],
    project_name=env["OS_PROJECT_NAME"],
    user_domain_name=env["OS_USER_DOMAIN_NAME"],
    project_domain_name=env["OS_PROJECT_DOMAIN_NAME"],
)
keystone = Client(session=Session(auth=auth), endpoint_override=env["OS_AUTH_URL"])
domain = keystone.domains.create(name="test-domain")
project = keystone.projects.create(name="test4", domain=domain)
user = keystone.users.create(
    name="tester4", domain=domain, password="tester4-secret", default_project=project
)
keystone.roles.grant(keystone.roles.list(name="admin")[0], user=user, project=project)

visitor = keystone.roles.create(name="visitor")
keystone.roles.grant(
    visitor,
    user=keystone.users.list(name="tester3")[0],
    project=keystone.projects.list(name="test")[0],
)
