//! v3: Keystone's dialect.
