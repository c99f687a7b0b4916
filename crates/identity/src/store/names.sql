CREATE TABLE former_names (
    domain_id TEXT NOT NULL,
    name TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    PRIMARY KEY (domain_id, name)
);
