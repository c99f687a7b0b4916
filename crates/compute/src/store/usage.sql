CREATE TABLE readings (
    server TEXT NOT NULL PRIMARY KEY,
    until BIGINT NOT NULL,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL
);
CREATE TABLE server_usage (
    day BIGINT NOT NULL,
    tenant TEXT NOT NULL,
    number BIGINT NOT NULL,
    server TEXT NOT NULL,
    seconds BIGINT NOT NULL,
    mib_seconds BIGINT NOT NULL,
    bytes_in BIGINT NOT NULL,
    bytes_out BIGINT NOT NULL,
    PRIMARY KEY (day, tenant, number)
);
