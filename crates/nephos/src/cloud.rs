//! The cloud: opens every service in order and closes them in reverse.

use std::io;
use std::sync::Arc;

use blobs::{Blobs, Local};
use cdn::Cdn;
use compute::{Compute, ResponseStyle};
use database::ExclusiveLock;
use files::Files;
use files::api::swift::Clouds;
use hypervisor::Hypervisor;
use identity::{FirstUser, Identity, MasterKey, Service};
use images::Images;
use meter::Meter;
use networks::Networks;
use work::Clock;

use crate::certificate;
use crate::cloud_id::{self, CloudId};
use crate::config::{Config, SettingError};
use crate::data_dir::{self, DataDir};
use crate::tokens::IdentityTokens;
use crate::vault::FilesVault;
use crate::{clearing, openrc, pools, rehearsal};

/// The first tenant, which owns the operator's own images.
const FIRST_TENANT: &str = "100001";
/// Maximum virtual disk size of an imported or registered image, in bytes.
const IMAGE_BYTES_MAX: u64 = 620 << 30;
/// Default host for servers.
const OWN_LIBVIRT: &str = "qemu:///system";

/// The services of one process.
pub struct Cloud {
    /// Time.
    pub clock: Clock,
    /// Whether the clock may be moved, which is the case in a rehearsal only.
    pub clock_moves: bool,
    /// Usage metering.
    pub meter: Meter,
    /// Users and tokens.
    pub identity: Arc<Identity>,
    /// Objects.
    pub files: Files,
    /// Published containers.
    pub cdn: Cdn,
    /// Images of servers.
    pub images: Arc<Images>,
    /// Servers.
    pub compute: Compute,
    /// No other process uses the databases while this lock is held.
    pub lock: ExclusiveLock,
    /// Held until everything else is closed.
    _dir: DataDir,
}

impl Cloud {
    /// Opens all services as `config` says, and creates what a first start needs.
    ///
    /// # Errors
    /// [`SettingError`] with the key at fault.
    pub async fn open(config: &Config, dir: DataDir) -> Result<Self, SettingError> {
        let (clock, clock_moves) = rehearsal::clock()?;
        let key = Arc::new(master_key(config, &dir)?);
        let database = |error: &dyn std::fmt::Display| SettingError::new("database", error);
        // Blobs are local files, which no other process could read.
        let in_use = || database(&"in use by another process; several processes need blobs on S3");
        let lock =
            ExclusiveLock::take(&config.database).await.map_err(|e| database(&e))?.ok_or_else(in_use)?;
        let stores = stores(config)?;
        let cloud_id = CloudId::check(&dir, &config.database, &stores, &key, &clock).await?;
        let meter = Meter::open(&config.database, clock.clone()).await.map_err(|e| database(&e))?;
        let identity = Identity::open(&config.database, clock.clone(), Arc::clone(&key), settings(config))
            .await
            .map_err(|e| database(&e))?;
        let files_settings = files::Settings {
            master: Some(Arc::clone(&key)),
            database_since: u64::try_from(cloud_id.files_since()).unwrap_or(0),
            ..config.files.settings.clone()
        };
        let files =
            Files::open_with(&config.database, stores.clone(), clock.clone(), meter.clone(), files_settings)
                .await
                .map_err(|e| database(&e))?;
        files.ask_tenants(Arc::new(IdentityTokens(Arc::clone(&identity))));
        cloud_id::check_named(&files, &stores).await?;
        files.carry(Arc::new(Clouds::default()));
        bootstrap(config, &identity).await?;
        let cdn_settings = cdn::Settings { host: config.edge.host.clone(), master: Arc::clone(&key) };
        let cdn = Cdn::open(&config.database, clock.clone(), cdn_settings).await.map_err(|e| database(&e))?;
        let images = Arc::new(open_images(config, &clock, &files).await?);
        images.start();
        let pools = pools::pools(&config.networks)?;
        let networks =
            Networks::open(&config.database, clock.clone(), pools).await.map_err(|e| database(&e))?;
        let compute = Compute::open(
            &config.database,
            clock.clone(),
            hosts(config, &dir)?,
            Arc::new(networks),
            Arc::clone(&images),
            compute_settings(config, &key)?,
        )
        .await
        .map_err(|e| database(&e))?;
        cloud_id.bind(&config.database, &stores).await?;
        // Start background work only after all checks have passed, since it deletes files that no row names.
        files.start();
        if let Some(sendmail) = &config.sendmail {
            identity.set_mail_transport(Arc::new(sendmail.clone()));
        }
        compute.report_to(meter.clone());
        identity.start_tenant_deletions(clearing::services(&compute, &images, &cdn, &files));
        Ok(Self { clock, clock_moves, meter, identity, files, cdn, images, compute, lock, _dir: dir })
    }

    /// Stops background work and writes pending usage counters.
    pub async fn close(self) {
        self.compute.stop().await;
        self.images.stop().await;
        self.files.stop().await;
        self.meter.stop().await;
    }
}

/// Opens the blob store of each storage policy.
fn stores(config: &Config) -> Result<Vec<Arc<dyn Blobs>>, SettingError> {
    let open = |dir: &std::path::PathBuf| {
        let store = Local::open(dir)?;
        // A store may lie outside the data directory, so its directories need their own permissions. Deeper entries cannot
        // be reached through closed directories.
        if let Err(error) = data_dir::restrict_to_owner(dir, data_dir::LEVELS) {
            tracing::warn!(%error, dir = %dir.display(), "cannot remove other users' permissions on the blob directory");
        }
        Ok::<_, blobs::Error>(Arc::new(store) as Arc<dyn Blobs>)
    };
    config.files.stores.iter().map(open).collect::<Result<_, _>>().map_err(|e| SettingError::new("blobs", e))
}

/// Creates the first tenant and user of an empty cloud, and the file with their credentials.
async fn bootstrap(config: &Config, identity: &Identity) -> Result<(), SettingError> {
    let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let key = given("NEPHOS_ADMIN_API_KEY");
    if key.as_ref().is_some_and(|key| key.len() < 8 || !key.bytes().all(|byte| byte.is_ascii_graphic())) {
        return Err(SettingError::new(
            "NEPHOS_ADMIN_API_KEY",
            "at least 8 printable characters without blanks",
        ));
    }
    let first = identity
        .bootstrap(given("NEPHOS_ADMIN_PASSWORD"), key)
        .await
        .map_err(|e| SettingError::new("NEPHOS_ADMIN_PASSWORD", e))?;
    if let Some(first) = first {
        write_openrc(config, &first)
            .map_err(|e| SettingError::new("data_dir", format!("cannot write openrc: {e}")))?;
    }
    Ok(())
}

async fn open_images(config: &Config, clock: &Clock, files: &Files) -> Result<Images, SettingError> {
    let vault = Arc::new(FilesVault::new(files.clone(), FIRST_TENANT));
    let settings = images::Settings {
        scratch: config.data_dir.join("scratch"),
        virtual_bytes_max: IMAGE_BYTES_MAX,
        space: images::Space::of,
    };
    let failed = |e: images::Error| SettingError::new("database", e);
    let images = Images::open(&config.database, clock.clone(), vault, settings).await.map_err(failed)?;
    if !config.hypervisors.is_empty() && config.hypervisors.iter().all(|uri| uri.starts_with("simulated")) {
        images.ensure_simulated_image().await.map_err(failed)?;
    }
    Ok(images)
}

/// Returns the configured hosts, or the machine's own libvirt. Connects to none of them yet.
fn hosts(config: &Config, dir: &DataDir) -> Result<Vec<Arc<dyn Hypervisor>>, SettingError> {
    let state_dir = dir.join("hosts");
    std::fs::create_dir_all(&state_dir)
        .map_err(|e| SettingError::new("data_dir", format!("{}: {e}", state_dir.display())))?;
    let options = hypervisor::Options { state_dir: Some(state_dir), stops: rehearsal::stops() };
    let own = [OWN_LIBVIRT.to_owned()];
    let uris = if config.hypervisors.is_empty() { &own[..] } else { &config.hypervisors };
    let mut hosts = Vec::new();
    for uri in uris {
        hosts.extend(hypervisor::open(uri, &options).map_err(|e| SettingError::new("hypervisor", e))?);
    }
    Ok(hosts)
}

fn compute_settings(config: &Config, key: &MasterKey) -> Result<compute::Settings, SettingError> {
    let answers = match config.servers_v1.answers.as_deref() {
        None | Some("guide") => ResponseStyle::Guide,
        Some("live") => ResponseStyle::Live,
        Some(other) => {
            return Err(SettingError::new(
                "servers.v1.answers",
                format!("{other:?}: expected guide or live"),
            ));
        }
    };
    Ok(compute::Settings {
        region: config.region.clone(),
        rate_limits: config.rate_limits,
        response_style: answers,
        keep_images: config.servers_v1.keep_images,
        public_url: format!("{}/servers", config.public_url),
        secret: key.derive("compute"),
        fence: config.fence.clone().map(|fence| Arc::new(fence) as Arc<dyn compute::Fence>),
        ..compute::Settings::default()
    })
}

fn write_openrc(config: &Config, first: &FirstUser) -> io::Result<()> {
    let credentials = openrc::Credentials {
        user: &first.user_name,
        tenant: &first.tenant_name,
        password: &first.password,
        api_key: &first.api_key,
    };
    let authority = certificate::authority(config);
    let path = config.data_dir.join("openrc");
    openrc::write(&path, &config.public_url, &config.region, authority.as_deref(), &credentials)
}

/// Returns the key that protects secrets at rest: from the environment, or from a file in the data directory.
fn master_key(config: &Config, dir: &DataDir) -> Result<MasterKey, SettingError> {
    if let Ok(text) = std::env::var("NEPHOS_MASTER_KEY") {
        return MasterKey::from_text(&text).map_err(|e| SettingError::new("NEPHOS_MASTER_KEY", e));
    }
    // Never create a new key for a cloud that has data: everything sealed with the old one would silently become unreadable.
    let is_new = !config.database.is_shared() && !dir.join("db").exists();
    MasterKey::load_or_create(&dir.join("master.key"), is_new || first_with_shared(config, dir))
        .map_err(|e| SettingError::new("master.key", e))
}

/// Whether this is the first start with a shared database. The openrc file, which the first start writes, shows that it is
/// not.
fn first_with_shared(config: &Config, dir: &DataDir) -> bool {
    config.database.is_shared() && !dir.join("openrc").exists()
}

fn settings(config: &Config) -> identity::Settings {
    let mut settings = identity::Settings::new(&config.public_url);
    settings.region.clone_from(&config.region);
    settings.services = [Service::Files, Service::Cdn, Service::ServersV1].into();
    settings.alone = !config.database.is_shared();
    settings
}
