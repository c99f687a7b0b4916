//! The tables of Cloud Files. Contains all SQL of the service and no policy.

pub(crate) mod accounts;
pub(crate) mod audit;
pub(crate) mod blobs;
pub(crate) mod carried;
pub(crate) mod containers;
pub(crate) mod damage;
pub(crate) mod objects;
pub(crate) mod pins;
pub(crate) mod versions;

use database::Migration;

/// Names are `BLOB`, so that both engines order them by bytes. Counters are spread over several slots. A version's key is
/// its negated time, so that the newest version of a name is first in key order.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: TABLES },
    // Encrypted blobs, and the queue of container sync.
    Migration {
        version: 2,
        sql: "ALTER TABLE blobs ADD COLUMN sealed BLOB;
              CREATE TABLE carried (
                  container BIGINT NOT NULL, name BLOB NOT NULL, changed BIGINT NOT NULL, due BIGINT NOT NULL,
                  attempts BIGINT NOT NULL, PRIMARY KEY (container, name)
              ) WITHOUT ROWID;
              CREATE INDEX carried_by_due ON carried (due);
              CREATE TABLE walks (
                  container BIGINT NOT NULL PRIMARY KEY, after BLOB NOT NULL
              ) WITHOUT ROWID;",
    },
    // An index of blobs by location, for compaction and the scrub; damage found, and the scrub's progress.
    Migration {
        version: 3,
        sql: "CREATE INDEX blobs_by_place ON blobs (volume, place, size);
              CREATE TABLE damaged (
                  blob BLOB NOT NULL PRIMARY KEY, found BIGINT NOT NULL, what TEXT NOT NULL
              ) WITHOUT ROWID;
              CREATE TABLE scrub (
                  id BIGINT NOT NULL PRIMARY KEY, volume BIGINT NOT NULL, place BIGINT NOT NULL, blob BLOB NOT NULL,
                  begun BIGINT NOT NULL, checked BIGINT NOT NULL, finished BIGINT
              ) WITHOUT ROWID;",
    },
    // Create all counters together with their container.
    Migration {
        version: 4,
        sql: "INSERT INTO container_counts (container, slot, objects, bytes)
              SELECT c.id, s.slot, 0, 0 FROM containers c CROSS JOIN (
                  SELECT 0 AS slot UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
                  UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7) AS s
              WHERE NOT EXISTS (
                  SELECT 1 FROM container_counts n WHERE n.container = c.id AND n.slot = s.slot);",
    },
    // Accounts with one id would share their containers. Those of containers are unique by their counters.
    Migration { version: 5, sql: "CREATE UNIQUE INDEX accounts_by_id ON accounts (id);" },
];

const TABLES: &str = "CREATE TABLE accounts (
              name BLOB NOT NULL PRIMARY KEY, id BIGINT NOT NULL, created BIGINT NOT NULL, meta TEXT NOT NULL
          ) WITHOUT ROWID;
          CREATE TABLE containers (
              account BIGINT NOT NULL, name BLOB NOT NULL, id BIGINT NOT NULL, created BIGINT NOT NULL,
              changed BIGINT NOT NULL, meta TEXT NOT NULL, policy BIGINT NOT NULL, PRIMARY KEY (account, name)
          ) WITHOUT ROWID;
          CREATE INDEX containers_by_id ON containers (id);
          CREATE TABLE objects (
              container BIGINT NOT NULL, name BLOB NOT NULL, created BIGINT NOT NULL, changed BIGINT NOT NULL,
              etag BLOB NOT NULL, size BIGINT NOT NULL, content_type TEXT NOT NULL, meta TEXT NOT NULL, blob BLOB,
              shape TEXT, expires BIGINT, version BIGINT, PRIMARY KEY (container, name)
          ) WITHOUT ROWID;
          CREATE INDEX objects_by_expiry ON objects (expires) WHERE expires IS NOT NULL;
          CREATE TABLE versions (
              container BIGINT NOT NULL, name BLOB NOT NULL, back BIGINT NOT NULL, created BIGINT NOT NULL,
              changed BIGINT NOT NULL, etag BLOB NOT NULL, size BIGINT NOT NULL, content_type TEXT NOT NULL,
              meta TEXT NOT NULL, blob BLOB, shape TEXT, PRIMARY KEY (container, name, back)
          ) WITHOUT ROWID;
          CREATE TABLE blobs (
              id BLOB NOT NULL PRIMARY KEY, volume BIGINT NOT NULL, place BIGINT NOT NULL, size BIGINT NOT NULL,
              refs BIGINT NOT NULL
          ) WITHOUT ROWID;
          CREATE TABLE volumes (
              volume BIGINT NOT NULL, slot BIGINT NOT NULL, dead BIGINT NOT NULL, PRIMARY KEY (volume, slot)
          ) WITHOUT ROWID;
          CREATE TABLE pins (
              pin TEXT NOT NULL PRIMARY KEY, blob BLOB, size BIGINT NOT NULL
          ) WITHOUT ROWID;
          CREATE TABLE garbage (blob BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID;
          CREATE TABLE account_counts (
              account BIGINT NOT NULL, policy BIGINT NOT NULL, slot BIGINT NOT NULL, containers BIGINT NOT NULL,
              objects BIGINT NOT NULL, bytes BIGINT NOT NULL, PRIMARY KEY (account, policy, slot)
          ) WITHOUT ROWID;
          CREATE TABLE container_counts (
              container BIGINT NOT NULL, slot BIGINT NOT NULL, objects BIGINT NOT NULL, bytes BIGINT NOT NULL,
              PRIMARY KEY (container, slot)
          ) WITHOUT ROWID;";
