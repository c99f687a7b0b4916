//! `database`: a URL, or a table with the URL and connection settings.

use std::fmt;
use std::path::Path;

use database::Location;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};

use super::SettingError;
use crate::cli::Common;

/// `database = "URL"` or `[database]`.
#[derive(Clone, Debug, Default)]
pub struct Database {
    url: Option<String>,
    connections: Option<usize>,
}

/// `[database]`
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Table {
    url: Option<String>,
    connections: Option<usize>,
}

impl<'de> Deserialize<'de> for Database {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UrlOrTable;

        impl<'de> Visitor<'de> for UrlOrTable {
            type Value = Database;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL, or a table with url and connections")
            }

            fn visit_str<E: Error>(self, url: &str) -> Result<Database, E> {
                Ok(Database { url: Some(url.to_owned()), connections: None })
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Database, M::Error> {
                let Table { url, connections } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Database { url, connections })
            }
        }

        deserializer.deserialize_any(UrlOrTable)
    }
}

impl Database {
    /// Returns the databases' location. Flags override the file.
    ///
    /// # Errors
    /// [`SettingError`] with the key at fault.
    pub fn location(self, flags: &Common, data_dir: &Path) -> Result<Location, SettingError> {
        let url = flags.database.clone().or(self.url).unwrap_or_else(|| "sqlite:".into());
        let location = Location::parse(&url, data_dir).map_err(|e| SettingError::new("database", e))?;
        match flags.database_connections.or(self.connections) {
            None => Ok(location),
            Some(connections) if (2..=10_000).contains(&connections) => {
                Ok(location.with_connections(connections))
            }
            Some(other) => Err(SettingError::new(
                "database.connections",
                format!("{other}: expected a number from 2 to 10000"),
            )),
        }
    }
}
