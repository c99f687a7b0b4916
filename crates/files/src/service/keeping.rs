//! Stores objects in containers that may keep old versions.

use database::Tx;

use super::write::{Named, replace};
use super::{archive, versions};
use crate::error::Result;
use crate::model::entry::{Container, Object};
use crate::model::version::VersioningMode;

/// Points a name at an object whose blob is already counted, and keeps the old object as the container requires.
pub(super) async fn store_object(
    tx: &mut Tx,
    container: &Container,
    name: &str,
    object: &Object,
    only_new: bool,
) -> Result<Named> {
    match VersioningMode::of(&container.metadata) {
        VersioningMode::Nothing => {}
        VersioningMode::Versions => return versions::store(tx, container, name, object, only_new).await,
        VersioningMode::Stack(place) | VersioningMode::History(place) => {
            archive::keep(tx, container, &place, name, object.created).await?;
        }
    }
    replace(tx, container, name, object, only_new).await
}
