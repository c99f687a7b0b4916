//! A published container, as an edge serves it.

use std::collections::HashMap;

use super::{Hash, Publication, Ttl};

/// What an edge needs to know of a published container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// What its host names are derived from.
    pub hash: Hash,
    /// The tenant whose account it is in.
    pub tenant: String,
    /// Its name.
    pub container: String,
    /// How long objects are served without asking the origin.
    pub ttl: Ttl,
    /// Whether accesses are logged.
    pub log_retention: bool,
    /// Counts purges. What is fetched now carries this number.
    pub generation: u64,
    purged: u64,
    objects: HashMap<String, u64>,
}

impl Site {
    /// The site of a publication, with the generations of its purged objects; `None` while it is not enabled.
    #[must_use]
    pub fn of(publication: Publication, objects: HashMap<String, u64>) -> Option<Self> {
        (publication.enabled && !publication.removed).then_some(Self {
            hash: publication.hash,
            tenant: publication.tenant,
            container: publication.container,
            ttl: publication.ttl,
            log_retention: publication.log_retention,
            generation: publication.generation,
            purged: publication.purged,
            objects,
        })
    }

    /// The generation that a copy must have not to be purged. `is_object` tells whether the copy is an object of that name:
    /// directories, their indexes and error pages are made of other objects, so any purge concerns them.
    #[must_use]
    pub fn required(&self, path: &str, is_object: bool) -> u64 {
        if is_object && !path.is_empty() && !path.ends_with('/') {
            self.objects.get(path).map_or(self.purged, |purged| self.purged.max(*purged))
        } else {
            self.generation
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_concerns_its_object_and_what_may_be_made_of_it() {
        let hash = Hash::of_container("1", "c", b"");
        let publication = Publication { generation: 5, purged: 2, ..Publication::new(hash, "1", "c") };
        let objects =
            HashMap::from([("a".to_owned(), 4), ("dir/index.html".to_owned(), 5), ("old".to_owned(), 1)]);
        let site = Site::of(publication.clone(), objects).unwrap();
        for (path, is_object, required) in [
            ("a", true, 4),
            ("b", true, 2),
            ("old", true, 2),
            ("a", false, 5),
            ("", true, 5),
            ("dir/", true, 5),
            ("dir/index.html", true, 5),
        ] {
            assert_eq!(site.required(path, is_object), required, "{path:?} {is_object}");
        }
        for off in [
            Publication { enabled: false, ..publication.clone() },
            Publication { removed: true, ..publication },
        ] {
            assert_eq!(Site::of(off, HashMap::new()), None);
        }
    }
}
