//! The cloud: every service, opened in order and closed in reverse.

use std::io;
use std::sync::Arc;

use blobs::Local;
use files::Files;
use identity::{FirstUser, Identity, MasterKey, Service};
use meter::Meter;
use work::Clock;

use crate::config::{Bad, Config};
use crate::data_dir::DataDir;
use crate::openrc;

/// The services of one process.
pub struct Cloud {
    /// Time.
    pub clock: Clock,
    /// Usage.
    pub meter: Meter,
    /// Users and tokens.
    pub identity: Arc<Identity>,
    /// Objects.
    pub files: Files,
    /// Kept until all else is closed.
    _dir: DataDir,
}

impl Cloud {
    /// Opens everything that `config` says, making what a first start needs.
    ///
    /// # Errors
    /// [`Bad`] with the key to blame.
    pub async fn open(config: &Config, dir: DataDir) -> Result<Self, Bad> {
        let clock = Clock::system();
        let key = Arc::new(master_key(config, &dir)?);
        let database = |error: &dyn std::fmt::Display| Bad::new("database", error);
        let meter = Meter::open(&config.database, clock.clone()).await.map_err(|e| database(&e))?;
        let identity = Identity::open(&config.database, clock.clone(), Arc::clone(&key), settings(config))
            .await
            .map_err(|e| database(&e))?;
        let blobs = Local::open(&config.blobs).map_err(|e| Bad::new("blobs", e))?;
        let files_settings = files::Settings { limits: config.files_limits.clone() };
        let files =
            Files::open(&config.database, Arc::new(blobs), clock.clone(), meter.clone(), files_settings)
                .await
                .map_err(|e| database(&e))?;
        let cloud = Self { clock, meter, identity, files, _dir: dir };
        cloud.bootstrap(config).await?;
        Ok(cloud)
    }

    /// On an empty cloud: the first tenant and user, and the file that tells how to sign in.
    async fn bootstrap(&self, config: &Config) -> Result<(), Bad> {
        let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let first = self
            .identity
            .bootstrap(given("NEPHOS_ADMIN_PASSWORD"), given("NEPHOS_ADMIN_API_KEY"))
            .await
            .map_err(|e| Bad::new("NEPHOS_ADMIN_PASSWORD", e))?;
        if let Some(first) = first {
            write_openrc(config, &first)
                .map_err(|e| Bad::new("data_dir", format!("cannot write openrc: {e}")))?;
        }
        Ok(())
    }

    /// Ends background work and writes what is counted.
    pub async fn close(self) {
        self.files.stop();
        self.meter.stop().await;
    }
}

fn write_openrc(config: &Config, first: &FirstUser) -> io::Result<()> {
    let credentials = openrc::Credentials {
        user: &first.user_name,
        tenant: &first.tenant_name,
        password: &first.password,
        api_key: &first.api_key,
    };
    openrc::write(&config.data_dir.join("openrc"), &config.public_url, &config.region, &credentials)
}

/// The key that secrets at rest hang on: from the environment, or a file beside the data.
fn master_key(config: &Config, dir: &DataDir) -> Result<MasterKey, Bad> {
    if let Ok(text) = std::env::var("NEPHOS_MASTER_KEY") {
        return MasterKey::from_text(&text).map_err(|e| Bad::new("NEPHOS_MASTER_KEY", e));
    }
    // A cloud that has data already must not get a new key: what the old one sealed would be lost silently.
    let is_new = !config.database.is_shared() && !dir.join("db").exists();
    MasterKey::load_or_create(&dir.join("master.key"), is_new || first_with_shared(config, dir))
        .map_err(|e| Bad::new("master.key", e))
}

/// A shared database may be new, too: the openrc that the first start writes tells.
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
