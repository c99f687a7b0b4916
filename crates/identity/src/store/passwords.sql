CREATE TABLE password_policies (
    tenant_id TEXT NOT NULL PRIMARY KEY REFERENCES tenants (id) ON DELETE CASCADE,
    duration TEXT NOT NULL,
    lasts BIGINT NOT NULL,
    history BIGINT NOT NULL
);
CREATE TABLE former_passwords (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at BIGINT NOT NULL,
    password TEXT NOT NULL,
    PRIMARY KEY (user_id, at, password)
);
CREATE TABLE password_resets (
    user_id TEXT NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    hash BLOB NOT NULL UNIQUE,
    expires BIGINT NOT NULL
);
