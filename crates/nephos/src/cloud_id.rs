//! Ties a cloud's parts together: an id, and a fingerprint of the master key, in the data directory, in each service's
//! database and in each blob directory. If a part is missing or belongs to another cloud, the start is refused before
//! anything is changed.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use blobs::{Blobs, PolicyStores};
use database::{CloudBinding, CloudRow, Location};
use identity::MasterKey;
use serde::{Deserialize, Serialize};
use work::Clock;

use crate::config::SettingError;
use crate::data_dir::{DataDir, write_private};

/// The services that have databases, by database name.
const SERVICES: [&str; 7] = ["meter", "identity", "files", "cdn", "images", "networks", "compute"];
const FILE: &str = "cloud-id";

/// Content of `DIR/cloud-id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    /// The cloud's id.
    id: String,
    key_check: String,
    /// The services whose databases have recorded this cloud's id.
    databases: Vec<String>,
    /// The number of blob directories that have recorded it, one per storage policy.
    stores: usize,
}

/// What a start found. It is written once everything is open.
pub struct CloudId {
    file: File,
    path: PathBuf,
    now: i64,
    bindings: Vec<(&'static str, CloudBinding)>,
}

impl CloudId {
    /// Reads what every part records, and refuses to start if the parts do not belong together.
    ///
    /// # Errors
    /// [`SettingError`] names the part that does not belong.
    pub async fn check(
        dir: &DataDir,
        location: &Location,
        stores: &[Arc<dyn Blobs>],
        key: &MasterKey,
        clock: &Clock,
    ) -> Result<Self, SettingError> {
        let path = dir.join(FILE);
        let known = read(&path)?;
        let mut bindings = Vec::new();
        for service in SERVICES {
            let binding =
                CloudBinding::read(location, service).await.map_err(|e| SettingError::new("database", e))?;
            bindings.push((service, binding));
        }
        let marks = stores.iter().map(|store| store.cloud()).collect::<Result<Vec<_>, _>>();
        let marks = marks.map_err(|e| SettingError::new("blobs", e))?;
        let bound = bindings.iter().find_map(|(_, binding)| match binding {
            CloudBinding::Bound(row) => Some(row.clone()),
            _ => None,
        });
        let key_check = hex(&key.derive("cloud-id: which key this is")[..16]);
        // The data directory has no such file: it is a first start, a directory of an earlier version, or a new directory
        // with an existing database.
        let file = known.clone().unwrap_or_else(|| {
            let id = bound.as_ref().map(|row| row.cloud.clone());
            let id = id.or_else(|| marks.iter().flatten().next()?.split(' ').next().map(str::to_owned));
            let id = id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
            File { id, key_check: key_check.clone(), databases: Vec::new(), stores: 0 }
        });
        check_databases(&file, location, &bindings)?;
        check_stores(&file, stores, &marks, &bindings)?;
        if file.key_check != key_check || bound.is_some_and(|row| row.key_check != key_check) {
            let reason = "it is not the key that this cloud was created with";
            return Err(SettingError::new("master.key", reason));
        }
        let now = clock.now().0 / 1000;
        Ok(Self { file, path, now, bindings })
    }

    /// When the database of objects was created, in milliseconds since 1970; 0 if unknown.
    pub fn files_since(&self) -> i64 {
        match self.bindings.iter().find(|(service, _)| *service == "files") {
            Some((_, CloudBinding::Bound(row))) => row.since,
            Some((_, CloudBinding::Absent)) => self.now,
            _ => 0,
        }
    }

    /// Writes the id into every part that lacks it, now that all are open, and records which parts have it.
    ///
    /// # Errors
    /// [`SettingError`] names what could not be written.
    pub async fn bind(self, location: &Location, stores: &[Arc<dyn Blobs>]) -> Result<(), SettingError> {
        for (service, binding) in &self.bindings {
            let since = match binding {
                CloudBinding::Bound(_) => continue,
                CloudBinding::Absent => self.now,
                CloudBinding::Unbound => 0,
            };
            let (cloud, key_check) = (self.file.id.clone(), self.file.key_check.clone());
            let row = CloudRow { cloud, key_check, since };
            CloudBinding::write(location, service, &row)
                .await
                .map_err(|e| SettingError::new("database", e))?;
        }
        for (index, store) in stores.iter().enumerate() {
            let mark = mark_of(&self.file.id, index);
            if store.cloud().map_err(|e| SettingError::new("blobs", e))?.as_ref() != Some(&mark) {
                store.set_cloud(&mark).map_err(|e| SettingError::new("blobs", e))?;
            }
        }
        let databases = SERVICES.map(str::to_owned).to_vec();
        let file = File { databases, stores: stores.len().max(self.file.stores), ..self.file };
        if read(&self.path)?.as_ref() == Some(&file) {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(&file).map_err(|e| SettingError::new(FILE, e))?;
        write_private(&self.path, &(text + "\n")).map_err(|e| SettingError::new(FILE, e))
    }
}

fn read(path: &std::path::Path) -> Result<Option<File>, SettingError> {
    let shown = path.display();
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| SettingError::new(FILE, format!("{shown}: {e}"))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SettingError::new(FILE, format!("{shown}: {error}"))),
    }
}

/// Returns the content of a store's own file: its cloud and its storage policy. Volumes are numbered per store, so without
/// the policy two swapped stores would be mistaken for each other.
fn mark_of(id: &str, index: usize) -> String {
    format!("{id} {index}")
}

fn check_databases(
    file: &File,
    location: &Location,
    bindings: &[(&str, CloudBinding)],
) -> Result<(), SettingError> {
    let place = match location {
        Location::Sqlite(dir) => dir.display().to_string(),
        Location::Postgres(_) => "the PostgreSQL server".to_owned(),
    };
    let refuse = |what: String| Err(SettingError::new("database", what));
    for (service, binding) in bindings {
        let noted = file.databases.iter().any(|known| known == service);
        match binding {
            CloudBinding::Bound(row) if row.cloud != file.id => {
                return refuse(format!("{place}: the {service} database is another cloud's ({})", row.cloud));
            }
            CloudBinding::Absent if noted => {
                return refuse(format!(
                    "{place}: the {service} database of this cloud is missing; restore it, or configure its location"
                ));
            }
            CloudBinding::Unbound if noted => {
                return refuse(format!("{place}: the {service} database is not the one that this cloud had"));
            }
            _ => {}
        }
    }
    // A directory of an earlier version: if any database exists, the ones that every cloud has must exist too.
    let is_there =
        |service: &str| bindings.iter().any(|(name, b)| *name == service && *b != CloudBinding::Absent);
    if !is_there("identity")
        && SERVICES.iter().any(|service| !["meter", "identity"].contains(service) && is_there(service))
    {
        return refuse(format!(
            "{place}: the identity database is missing although others exist; restore it"
        ));
    }
    Ok(())
}

fn check_stores(
    file: &File,
    stores: &[Arc<dyn Blobs>],
    marks: &[Option<String>],
    bindings: &[(&str, CloudBinding)],
) -> Result<(), SettingError> {
    let refuse = |store: &Arc<dyn Blobs>, what: String| {
        Err(SettingError::new("blobs", format!("{}: {what}", store.describe())))
    };
    let files_is_absent = bindings.iter().any(|(name, b)| *name == "files" && *b == CloudBinding::Absent);
    for (index, (store, mark)) in stores.iter().zip(marks).enumerate() {
        match mark {
            // The first releases wrote only the cloud's id.
            Some(mark) if *mark == file.id || *mark == mark_of(&file.id, index) => {}
            Some(mark) if mark.split(' ').next() == Some(file.id.as_str()) => {
                let what =
                    format!("it holds the objects of another storage policy than number {index} ({mark})");
                return refuse(store, what);
            }
            Some(mark) => {
                return refuse(store, format!("the objects in it are another cloud's ({mark})"));
            }
            None if files_is_absent && !store.is_empty() => {
                return refuse(
                    store,
                    "it holds objects, and the files database is missing; restore it".into(),
                );
            }
            _ => {}
        }
    }
    Ok(())
}

/// Refuses a store that is empty although rows name blobs in it: a directory of an earlier version that was moved.
///
/// # Errors
/// [`SettingError`] names the store.
pub async fn check_named(files: &files::Files, stores: &[Arc<dyn Blobs>]) -> Result<(), SettingError> {
    let failed = |e: files::Error| SettingError::new("database", e);
    let beyond = PolicyStores::numbers(stores.len()).start..i64::MAX;
    if files.refers_to_blobs_in(beyond).await.map_err(failed)? {
        let reason =
            format!("there are objects of more storage policies than the {} configured ones", stores.len());
        return Err(SettingError::new("files.policies", reason));
    }
    for (index, store) in stores.iter().enumerate() {
        if store.is_empty()
            && files
                .refers_to_blobs_in(PolicyStores::numbers(index))
                .await
                .map_err(|e| SettingError::new("database", e))?
        {
            let reason = format!("{}: it is empty, but objects refer to blobs in it", store.describe());
            return Err(SettingError::new("blobs", reason));
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
