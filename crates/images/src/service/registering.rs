//! Registering: an object that a tenant put into Cloud Files becomes an image (guide, Roadmap: Custom Image Upload).
//!
//! The object's present version is pinned before the request is answered. A job then copies it aside, examines it, and
//! makes the image ACTIVE or FAILED; what is refused is let go of.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use hypervisor::{DiskFormat, Progress, Reader};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;
use work::{Handler, Job, NewJob, Next, Runner, Time, jobs};

use super::import::{Aside, failed};
use super::making::{blank, fill};
use super::stream::{Tally, digest_of};
use super::{DISCARD_PAGE, Error, Images, PINNING_GRACE, checked_name};
use crate::inspect::{Hostile, examine, fitting};
use crate::model::{Content, Image, Origin, Piece, Status};
use crate::store;
use crate::vault::{Stored, VaultError};

/// Objects of one tenant that are taken in at a time: each may need its size in the scratch directory.
const IN_FLIGHT_MAX: i64 = 10;
/// Objects that are taken in at once.
const CONCURRENCY: usize = 4;
/// When a job is given up.
const WITHIN: Duration = Duration::from_secs(4 * 3600);
/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(250);
/// The copy's share of the progress; the examination is the rest.
const COPIED: u8 = 90;
/// The longest pause between attempts.
const PAUSE_MAX_SECONDS: u64 = 30;
/// Attempts at an object that cannot be read, or for which there is no room.
const FILE_ATTEMPTS_MAX: i64 = 5;
/// How often whoever waits for an image looks again, which another process may make.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// An object to be made an image of.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The tenant whose account the object is in, and whose the image will be.
    pub owner: String,
    /// The image's name.
    pub name: String,
    /// What the object is said to be; it is never probed.
    pub format: DiskFormat,
    /// The container.
    pub container: String,
    /// The object.
    pub object: String,
    /// Registered images that the tenant may have.
    pub images_max: i64,
}

/// A job's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Take {
    image: Uuid,
    pin: String,
    bytes: u64,
    format: DiskFormat,
}

struct Carrier(Weak<Images>);

#[async_trait]
impl Handler for Carrier {
    async fn step(&self, job: &Job) -> Next {
        let Some(images) = self.0.upgrade() else { return Next::Ended };
        let Some(take) = read(job) else { return Next::After(WITHIN) };
        let mut halt = images.halt.subscribe();
        tokio::select! {
            next = images.take(job, &take) => next,
            _ = halt.wait_for(|halt| *halt) => Next::Continue,
            () = images.clock.until(job.deadline) => Next::Continue,
        }
    }

    async fn expired(&self, job: &Job) -> Next {
        let Some(images) = self.0.upgrade() else { return Next::Ended };
        let Some(take) = read(job) else { return Next::Ended };
        let hours = WITHIN.as_secs() / 3600;
        images.refuse(job, &take, &format!("it could not be taken in within {hours} hours")).await
    }
}

fn read(job: &Job) -> Option<Take> {
    let take = serde_json::from_str(&job.payload);
    take.inspect_err(|error| tracing::error!(%error, job = job.id, "a job cannot be read")).ok()
}

impl Images {
    /// Takes up the objects that were left when the process ended, and those that are registered from now on.
    pub fn start(self: &Arc<Self>) {
        let runner = Runner { db: self.db.clone(), clock: self.clock.clone(), concurrency: CONCURRENCY };
        let _ = self.runner.set(runner.start(Arc::new(Carrier(Arc::downgrade(self)))));
    }

    /// Ends that: what is under way goes on at the next start.
    pub async fn stop(&self) {
        self.halt.send_replace(true);
        if let Some(runner) = self.runner.get() {
            runner.stop().await;
        }
    }

    /// Begins an image of an object's present version: QUEUED.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::OverLimit`], and the vault's where there is no such object.
    pub async fn register(&self, new: Registration) -> Result<Image, Error> {
        let name = checked_name(&new.name)?;
        let id = Uuid::new_v4();
        let pin = id.to_string();
        let announced = self.db.write((pin.clone(), self.clock.now()), |(pin, now), tx| {
            Box::pin(async move { store::announce(tx, pin, *now).await })
        });
        announced.await?;
        let mut image = blank(id, &name, self.clock.now());
        (image.owner, image.origin) = (Some(new.owner.clone()), Origin::Upload);
        let registered = self.pin_and_queue(image, &pin, &new).await;
        match &registered {
            Ok(_) => {
                if let Some(runner) = self.runner.get() {
                    runner.wake();
                }
            }
            // The image may exist: what was announced and did not arrive is given up by the sweep.
            Err(Error::Database(error)) if error.is_unknown() => {}
            Err(_) => {
                let given_up = async {
                    self.discard_unused(id).await?;
                    self.let_go().await
                };
                if let Err(error) = given_up.await {
                    tracing::warn!(%error, "a pin that nobody uses is left for the sweep");
                }
            }
        }
        registered
    }

    /// As [`Images::register`], and waits until the image is ACTIVE. One that fails is no image.
    ///
    /// # Errors
    /// Those too; [`Error::Refused`] says why it failed.
    pub async fn register_and_wait(&self, new: Registration) -> Result<Image, Error> {
        let owner = new.owner.clone();
        let image = self.settled(self.register(new).await?.id).await?;
        if image.status != Status::Failed {
            return Ok(image);
        }
        self.delete(&owner, crate::Id::Uuid(image.id)).await?;
        Err(Error::Refused(image.reason.unwrap_or_default()))
    }

    /// The image once it is in flight no more.
    async fn settled(&self, id: Uuid) -> Result<Image, Error> {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            let image = self.by_id(id).await?;
            if !image.status.in_flight() {
                return Ok(image);
            }
            let _ = tokio::time::timeout(LOOK_EVERY, settled).await;
        }
    }

    async fn pin_and_queue(&self, image: Image, pin: &str, new: &Registration) -> Result<Image, Error> {
        let Stored { pin, bytes } = self.vault.pin(pin, &new.owner, &new.container, &new.object).await?;
        let limit = self.settings.virtual_bytes_max;
        if bytes > limit {
            let reason = format!("the object has {bytes} bytes, and an image {limit} at most");
            return Err(Error::OverLimit(reason));
        }
        let take = Take { image: image.id, pin, bytes, format: new.format };
        let input = (image, take, new.images_max, self.clock.now());
        self.db
            .write(input, |(image, take, images_max, now), tx| {
                Box::pin(async move {
                    if !store::arrived(tx, &take.pin).await? {
                        let reason = "pinning the object took too long".to_owned();
                        return Err(VaultError::Failed(reason).into());
                    }
                    let owner = image.owner.as_deref().unwrap_or_default();
                    if store::uploads_in_flight(tx, owner).await? >= IN_FLIGHT_MAX {
                        let reason = format!("{IN_FLIGHT_MAX} images are being taken in already");
                        return Err(Error::OverLimit(reason));
                    }
                    if store::uploads_beside(tx, owner, &image.name).await? >= *images_max {
                        let reason = format!("the account may have {images_max} registered images");
                        return Err(Error::OverLimit(reason));
                    }
                    let mut image = image.clone();
                    image.number = store::next_number(tx).await?;
                    store::insert(tx, &image).await?;
                    let payload = serde_json::to_string(take).unwrap_or_default();
                    let (subject, deadline) = (image.id.to_string(), now.after(WITHIN));
                    let job = NewJob { kind: "register", subject: &subject, payload, due: *now, deadline };
                    jobs::enqueue(tx, *now, &job).await?;
                    Ok(image)
                })
            })
            .await
    }

    /// One attempt at an image.
    async fn take(&self, job: &Job, take: &Take) -> Next {
        let content = match self.content(take).await {
            Ok(content) => content,
            Err(error) if may_pass(&error, job.attempts) => return later(job, &error),
            // Where this machine keeps its files is nobody's business.
            Err(Error::File { reason, .. }) => {
                return self.refuse(job, take, &format!("its bytes cannot be copied: {reason}")).await;
            }
            Err(error) => return self.refuse(job, take, &error.to_string()).await,
        };
        let input = (job.clone(), take.image, content, self.clock.now());
        let taken = self.db.write(input, |(job, image, content, now), tx| {
            Box::pin(async move {
                if job.finish(tx).await? {
                    fill(tx, *image, content, *now).await?;
                }
                Ok::<_, Error>(())
            })
        });
        self.ended(job, taken.await).await
    }

    /// The image FAILED, and its bytes are let go of.
    async fn refuse(&self, job: &Job, take: &Take, reason: &str) -> Next {
        let input = (job.clone(), take.clone(), reason.to_owned(), self.clock.now());
        let refused = self.db.write(input, |(job, take, reason, now), tx| {
            Box::pin(async move {
                if !job.finish(tx).await? {
                    return Ok(());
                }
                store::discard(tx, &take.pin).await?;
                if let Some(mut image) = store::by_id(tx, take.image).await? {
                    (image.status, image.updated) = (Status::Failed, *now);
                    image.reason = Some(reason.clone());
                    store::update(tx, &image).await?;
                }
                Ok::<_, Error>(())
            })
        });
        self.ended(job, refused.await).await
    }

    async fn ended(&self, job: &Job, written: Result<(), Error>) -> Next {
        if let Err(error) = written {
            return later(job, &error);
        }
        if let Err(error) = self.let_go().await {
            tracing::warn!(%error, "images' bytes are kept until the next sweep");
        }
        self.settled.notify_waiters();
        Next::Ended
    }

    /// Reads the pinned bytes, and what they are.
    async fn content(&self, take: &Take) -> Result<Content, Error> {
        self.shown(take.image, Status::Preparing, 0).await?;
        let reader = self.vault.open(&take.pin).await?;
        let progress = Progress::new();
        progress.begin(take.bytes);
        let (reader, tally) = Tally::over(reader, progress.clone());
        self.shown(take.image, Status::Saving, 0).await?;
        let virtual_bytes = self.showing(take.image, &progress, self.examined(take, reader)).await?;
        Ok(Content {
            digest: digest_of(take.format, virtual_bytes, &[Some(tally.sha256()), None, None])
                .parse()
                .map_err(|_| Error::NotFound)?,
            format: take.format,
            virtual_bytes,
            disk: Piece { pin: take.pin.clone(), bytes: take.bytes },
            kernel: None,
            initrd: None,
            command_line: None,
        })
    }

    /// Reads all of an image and answers its virtual size. A raw one is what it is, and not copied aside.
    async fn examined(&self, take: &Take, mut reader: Reader) -> Result<u64, Error> {
        let limit = self.settings.virtual_bytes_max;
        if take.format == DiskFormat::Raw {
            let size = fitting(take.bytes, limit)?;
            let read = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
            read.map_err(|error| failed("the object".as_ref(), &error))?;
            return Ok(size);
        }
        // One at a time: what is free is not promised twice.
        let _alone = self.aside.lock().await;
        let aside = Aside::new(&self.settings.scratch).await?;
        let space = (self.settings.space)(&self.settings.scratch);
        let space = space.map_err(|error| failed(&self.settings.scratch, &error))?;
        if !space.holds(take.bytes) {
            return Err(Error::NoRoom { length: take.bytes, free: space.free });
        }
        let mut file = tokio::fs::File::create(&aside.0).await.map_err(|e| failed(&aside.0, &e))?;
        tokio::io::copy(&mut reader, &mut file).await.map_err(|e| failed(&aside.0, &e))?;
        file.flush().await.map_err(|e| failed(&aside.0, &e))?;
        Ok(examine(&aside.0, take.format, limit).await?)
    }

    /// Shows how far the copy is while something runs.
    async fn showing<T>(
        &self,
        image: Uuid,
        progress: &Progress,
        running: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::pin!(running);
        loop {
            tokio::select! {
                done = &mut running => return done,
                () = tokio::time::sleep(SHOW_EVERY) => {
                    let percent = u16::from(progress.percent()) * u16::from(COPIED) / 100;
                    self.shown(image, Status::Saving, u8::try_from(percent).unwrap_or(COPIED)).await?;
                }
            }
        }
    }

    /// Moves an image on, never back: an attempt after a crash begins anew where nobody sees it.
    async fn shown(&self, image: Uuid, status: Status, progress: u8) -> Result<(), Error> {
        self.change(image, move |image| {
            let back = image.status == Status::Saving && status == Status::Preparing;
            let moves =
                image.status.in_flight() && !back && (image.status != status || progress > image.progress);
            if moves {
                (image.status, image.progress) = (status, progress.max(image.progress));
            }
            moves
        })
        .await
    }

    /// A pin of which no image came is let go of, also one that arrived after a sweep had given it up.
    async fn discard_unused(&self, image: Uuid) -> Result<(), Error> {
        let discarded = self.db.write(image, |image, tx| {
            Box::pin(async move {
                // What failed may have been the answer alone, and not the unit.
                if !store::was_begun(tx, *image).await? {
                    store::arrived(tx, &image.to_string()).await?;
                    store::discard(tx, &image.to_string()).await?;
                }
                Ok::<_, Error>(())
            })
        });
        discarded.await
    }

    /// Pins that nobody is going to use are let go of, whether they were made or not.
    async fn give_up(&self, pins: Vec<String>) -> Result<(), Error> {
        let given_up = self.db.write(pins, |pins, tx| {
            Box::pin(async move {
                for pin in pins {
                    if store::arrived(tx, pin).await? {
                        store::discard(tx, pin).await?;
                    }
                }
                Ok::<_, Error>(())
            })
        });
        given_up.await
    }

    /// What requests that died announced.
    pub(super) async fn give_up_overdue(&self) -> Result<(), Error> {
        let before = Time(self.clock.now().0 - i64::try_from(PINNING_GRACE.as_micros()).unwrap_or(0));
        let overdue = self.db.read(before, |before, tx| {
            Box::pin(async move { store::overdue(tx, *before, DISCARD_PAGE).await })
        });
        let overdue = overdue.await?;
        if overdue.is_empty() { Ok(()) } else { self.give_up(overdue).await }
    }
}

/// Whether another attempt may fare better.
fn may_pass(error: &Error, attempts: i64) -> bool {
    match error {
        Error::Vault(VaultError::Failed(_)) | Error::Database(_) | Error::NoRoom { .. } => true,
        Error::File { .. } | Error::Hostile(Hostile::CannotTell(_)) => attempts < FILE_ATTEMPTS_MAX,
        _ => false,
    }
}

fn later(job: &Job, error: &Error) -> Next {
    let attempts = u32::try_from(job.attempts.clamp(1, 6)).unwrap_or(1);
    let pause = (1u64 << (attempts - 1)).min(PAUSE_MAX_SECONDS);
    tracing::info!(image = job.subject, %error, pause, "an image is taken in later");
    Next::After(Duration::from_secs(pause))
}
