//! The documented limits, published in `/info` (Cloud Files guide, Limits; Swift, constraints).

/// Limits of one deployment.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// An object's length, in bytes.
    pub max_file_size: u64,
    /// A metadata item's name without its prefix, in bytes.
    pub max_meta_name_length: usize,
    /// A metadata item's value, in bytes.
    pub max_meta_value_length: usize,
    /// Metadata items of one account, container or object.
    pub max_meta_count: usize,
    /// All names and values of one account, container or object, in bytes.
    pub max_meta_overall_size: usize,
    /// One header's value, in bytes.
    pub max_header_size: usize,
    /// An object's name, in bytes.
    pub max_object_name_length: usize,
    /// A container's name, in bytes.
    pub max_container_name_length: usize,
    /// An account's name, in bytes.
    pub max_account_name_length: usize,
    /// Names in one page of an account's listing.
    pub account_listing_limit: usize,
    /// Names in one page of a container's listing.
    pub container_listing_limit: usize,
    /// Segments of one static large object that are objects.
    pub max_manifest_segments: usize,
    /// The manifest of a static large object, in bytes.
    pub max_manifest_size: usize,
    /// Names in one bulk deletion.
    pub max_deletes_per_request: usize,
    /// Containers that one archive makes.
    pub max_containers_per_extraction: usize,
    /// Failures after which a bulk operation stops.
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
