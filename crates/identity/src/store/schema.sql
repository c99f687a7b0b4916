CREATE TABLE sequences (
    name TEXT NOT NULL PRIMARY KEY,
    next BIGINT NOT NULL
);
INSERT INTO sequences (name, next) VALUES ('tenant', 100001);
CREATE TABLE domains (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    enabled BIGINT NOT NULL
);
INSERT INTO domains (id, name, description, enabled) VALUES ('default', 'Default', 'The default domain', 1);
CREATE TABLE tenants (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    domain_id TEXT NOT NULL REFERENCES domains (id),
    description TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    created BIGINT NOT NULL,
    session_timeout TEXT NOT NULL DEFAULT 'PT15M'
);
CREATE INDEX tenants_domain ON tenants (domain_id, id);
CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    domain_id TEXT NOT NULL REFERENCES domains (id),
    tenant_id TEXT REFERENCES tenants (id) ON DELETE SET NULL,
    email TEXT,
    description TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    password TEXT,
    password_set BIGINT,
    api_key BLOB,
    region TEXT,
    created BIGINT NOT NULL
);
CREATE INDEX users_tenant ON users (tenant_id, id);
CREATE INDEX users_domain ON users (domain_id, id);
CREATE INDEX users_email ON users (email, id);
CREATE TABLE roles (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    builtin BIGINT NOT NULL
);
CREATE TABLE grants (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    role_id TEXT NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, scope, role_id)
);
CREATE INDEX grants_scope ON grants (scope, user_id, role_id);
CREATE INDEX grants_role ON grants (role_id, user_id, scope);
CREATE TABLE application_credentials (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    description TEXT NOT NULL,
    secret TEXT NOT NULL,
    roles TEXT NOT NULL,
    expires BIGINT,
    unrestricted BIGINT NOT NULL,
    UNIQUE (user_id, name)
);
CREATE TABLE tokens (
    hash BLOB NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    methods TEXT NOT NULL,
    issued BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    audit_ids TEXT NOT NULL,
    credential_id TEXT REFERENCES application_credentials (id) ON DELETE CASCADE
);
CREATE INDEX tokens_user ON tokens (user_id);
CREATE INDEX tokens_scope ON tokens (scope);
CREATE INDEX tokens_expires ON tokens (expires);
CREATE INDEX tokens_credential ON tokens (credential_id);
CREATE TABLE ec2_credentials (
    access TEXT NOT NULL PRIMARY KEY,
    secret BLOB NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
    created BIGINT NOT NULL
);
CREATE INDEX ec2_credentials_user ON ec2_credentials (user_id, access);
CREATE TABLE regions (
    id TEXT NOT NULL PRIMARY KEY,
    parent_id TEXT REFERENCES regions (id),
    description TEXT NOT NULL
);
CREATE TABLE services (
    id TEXT NOT NULL PRIMARY KEY,
    type TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    enabled BIGINT NOT NULL
);
CREATE TABLE endpoints (
    id TEXT NOT NULL PRIMARY KEY,
    service_id TEXT NOT NULL REFERENCES services (id) ON DELETE CASCADE,
    interface TEXT NOT NULL,
    region TEXT,
    url TEXT NOT NULL,
    enabled BIGINT NOT NULL
);
CREATE INDEX endpoints_service ON endpoints (service_id, id);
CREATE TABLE audit (
    id TEXT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor_id TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_subject ON audit (subject, at);
