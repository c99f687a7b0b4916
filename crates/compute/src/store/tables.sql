CREATE TABLE cursors (name TEXT NOT NULL PRIMARY KEY, next BIGINT NOT NULL);
CREATE TABLE hosts (
    name TEXT NOT NULL PRIMARY KEY,
    up BIGINT NOT NULL,
    drained BIGINT NOT NULL,
    memory_mib BIGINT NOT NULL,
    disk_gib BIGINT NOT NULL,
    used_memory_mib BIGINT NOT NULL,
    used_disk_gib BIGINT NOT NULL
);
CREATE TABLE servers (
    id TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    user_id TEXT NOT NULL,
    name TEXT NOT NULL,
    hostname TEXT NOT NULL,
    host TEXT NOT NULL,
    flavor BIGINT NOT NULL,
    image TEXT NOT NULL,
    image_number BIGINT NOT NULL,
    vm TEXT NOT NULL,
    task TEXT,
    power TEXT NOT NULL,
    progress BIGINT NOT NULL,
    metadata TEXT NOT NULL,
    interfaces TEXT NOT NULL,
    key_name TEXT,
    locked BIGINT NOT NULL,
    ip_group BIGINT,
    fault TEXT,
    resize_from BIGINT,
    created BIGINT NOT NULL,
    updated BIGINT NOT NULL,
    deleted BIGINT NOT NULL,
    gone BIGINT NOT NULL,
    held_memory_mib BIGINT NOT NULL,
    held_disk_gib BIGINT NOT NULL
);
CREATE INDEX servers_tenant ON servers (tenant, deleted, number);
CREATE INDEX servers_changed ON servers (tenant, updated);
CREATE INDEX servers_host ON servers (host, gone, id);
CREATE INDEX servers_group ON servers (ip_group, deleted);
CREATE TABLE secrets (
    server TEXT NOT NULL,
    name TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (server, name)
);
CREATE TABLE placements (
    tenant TEXT NOT NULL,
    host TEXT NOT NULL,
    servers BIGINT NOT NULL,
    PRIMARY KEY (tenant, host)
);
CREATE TABLE tenants (tenant TEXT NOT NULL PRIMARY KEY, ram_mib BIGINT NOT NULL);
CREATE TABLE actions (
    id TEXT NOT NULL PRIMARY KEY,
    server TEXT NOT NULL,
    action TEXT NOT NULL,
    request TEXT NOT NULL,
    user_id TEXT NOT NULL,
    started BIGINT NOT NULL,
    finished BIGINT,
    message TEXT
);
CREATE INDEX actions_server ON actions (server, id);
CREATE TABLE tenant_limits (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);
CREATE TABLE windows (
    tenant TEXT NOT NULL,
    rule TEXT NOT NULL,
    started BIGINT NOT NULL,
    used BIGINT NOT NULL,
    PRIMARY KEY (tenant, rule)
);
CREATE TABLE ip_groups (
    id TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    updated BIGINT NOT NULL,
    deleted BIGINT NOT NULL
);
CREATE INDEX ip_groups_tenant ON ip_groups (tenant, deleted, number);
CREATE TABLE schedules (
    server TEXT NOT NULL PRIMARY KEY,
    enabled BIGINT NOT NULL,
    weekly TEXT NOT NULL,
    daily TEXT NOT NULL,
    updated BIGINT NOT NULL
);
