//! The documented limits, published in `/info` (Cloud Files guide, Limits; Swift, constraints).

/// The limits of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Length of an object, in bytes.
    pub max_file_size: u64,
    /// Length of a metadata item's name without its prefix, in bytes.
    pub max_meta_name_length: usize,
    /// Length of a metadata item's value, in bytes.
    pub max_meta_value_length: usize,
    /// Number of metadata items of one account, container or object.
    pub max_meta_count: usize,
    /// Total length of all names and values of one account, container or object, in bytes.
    pub max_meta_overall_size: usize,
    /// Length of a header's value, in bytes.
    pub max_header_size: usize,
    /// Length of an object's name, in bytes.
    pub max_object_name_length: usize,
    /// Length of a container's name, in bytes.
    pub max_container_name_length: usize,
    /// Length of an account's name, in bytes.
    pub max_account_name_length: usize,
    /// Number of names in a page of an account's listing.
    pub account_listing_limit: usize,
    /// Number of names in a page of a container's listing.
    pub container_listing_limit: usize,
    /// Number of segments of a static large object that are objects.
    pub max_manifest_segments: usize,
    /// Length of a static large object's manifest, in bytes.
    pub max_manifest_size: usize,
    /// Number of names in a bulk deletion.
    pub max_deletes_per_request: usize,
    /// Number of containers that one archive creates.
    pub max_containers_per_extraction: usize,
    /// Number of failures after which a bulk operation stops.
    pub max_failed: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_file_size: 5_368_709_122,
            max_meta_name_length: 128,
            max_meta_value_length: 256,
            max_meta_count: 90,
            max_meta_overall_size: 4096,
            max_header_size: 8192,
            max_object_name_length: 1024,
            max_container_name_length: 256,
            max_account_name_length: 256,
            account_listing_limit: 10_000,
            container_listing_limit: 10_000,
            max_manifest_segments: 1000,
            max_manifest_size: 8 << 20,
            max_deletes_per_request: 10_000,
            max_containers_per_extraction: 10_000,
            max_failed: 1000,
        }
    }
}
