//! Registration: makes an image from an object that a tenant uploaded to Cloud Files (guide, Roadmap: Custom Image Upload).
//!
//! The object's current version is pinned before the request returns. A job then copies it to the scratch directory, checks it
//! and sets the image to ACTIVE or FAILED. The pin of a rejected object is removed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use hypervisor::{DiskFormat, Progress, Reader};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;
use work::{Handler, Job, NewJob, Next, Runner, Time, jobs};

use super::import::{ScratchFile, file_error};
use super::making::{new_image, set_content};
use super::stream::{StreamHash, digest_of};
use super::{DISCARD_PAGE, Error, Images, PINNING_GRACE, checked_name};
use crate::inspect::{UnsafeImage, check_file, check_size};
use crate::model::{Content, Image, Origin, Piece, Status};
use crate::store;
use crate::vault::{Stored, VaultError};

/// Maximum number of unfinished registrations of one tenant: each may need its size in the scratch directory.
const IN_FLIGHT_MAX: i64 = 10;
/// Number of registration jobs that run at the same time.
const CONCURRENCY: usize = 4;
/// Deadline of a registration job.
const JOB_DEADLINE: Duration = Duration::from_secs(4 * 3600);
/// Interval at which progress is written to the database.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Progress in percent once the copy is complete; the check is the rest.
const PROGRESS_AFTER_COPY: u8 = 90;
/// Longest delay between attempts.
const RETRY_DELAY_MAX_SECONDS: u64 = 30;
/// Maximum number of attempts if a file cannot be read or the check cannot run.
const FILE_ATTEMPTS_MAX: i64 = 5;
/// Interval at which a caller that waits for an image polls: another process may be running its job.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// An object to be registered as an image.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The tenant that owns the object and will own the image.
    pub owner: String,
    /// The image's name.
    pub name: String,
    /// The declared format; it is never probed.
    pub format: DiskFormat,
    /// The object's container.
    pub container: String,
    /// The object's name.
    pub object: String,
    /// Maximum number of registered images of the tenant.
    pub images_max: i64,
}

/// A registration job's payload.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Payload {
    image: Uuid,
    pin: String,
    bytes: u64,
    format: DiskFormat,
}

struct JobHandler(Weak<Images>);

#[async_trait]
impl Handler for JobHandler {
    async fn step(&self, job: &Job) -> Next {
        let Some(images) = self.0.upgrade() else { return Next::Ended };
        let Some(payload) = parse_payload(job) else { return Next::After(JOB_DEADLINE) };
        let mut stopping = images.stopping.subscribe();
        tokio::select! {
            next = images.run_registration(job, &payload) => next,
            _ = stopping.wait_for(|stopping| *stopping) => Next::Continue,
            () = images.clock.until(job.deadline) => Next::Continue,
        }
    }

    async fn expired(&self, job: &Job) -> Next {
        let Some(images) = self.0.upgrade() else { return Next::Ended };
        let Some(payload) = parse_payload(job) else { return Next::Ended };
        let hours = JOB_DEADLINE.as_secs() / 3600;
        images
            .fail_registration(job, &payload, &format!("it could not be registered within {hours} hours"))
            .await
    }
}

fn parse_payload(job: &Job) -> Option<Payload> {
    let payload = serde_json::from_str(&job.payload);
    payload
        .inspect_err(
            |error| tracing::error!(%error, job = job.id, "cannot parse the payload of a registration job"),
        )
        .ok()
}

impl Images {
    /// Starts running registration jobs, including those that an earlier process left unfinished.
    pub fn start(self: &Arc<Self>) {
        let runner = Runner { db: self.db.clone(), clock: self.clock.clone(), concurrency: CONCURRENCY };
        let _ = self.runner.set(runner.start(Arc::new(JobHandler(Arc::downgrade(self)))));
    }

    /// Stops running jobs. Unfinished ones continue at the next start.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        if let Some(runner) = self.runner.get() {
            runner.stop().await;
        }
    }

    /// Pins an object's current version and inserts a QUEUED image of it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the name, [`Error::OverLimit`] for the object's size or the number of images, and the vault's,
    /// for example if there is no such object.
    pub async fn register(&self, new: Registration) -> Result<Image, Error> {
        let name = checked_name(&new.name)?;
        let id = Uuid::new_v4();
        let pin = id.to_string();
        let recorded = self.db.write((pin.clone(), self.clock.now()), |(pin, now), tx| {
            Box::pin(async move { store::record_pending_pin(tx, pin, *now).await })
        });
        recorded.await?;
        let mut image = new_image(id, &name, self.clock.now());
        (image.owner, image.origin) = (Some(new.owner.clone()), Origin::Upload);
        let registered = self.pin_and_queue(image, &pin, &new).await;
        match &registered {
            Ok(_) => {
                if let Some(runner) = self.runner.get() {
                    runner.wake();
                }
            }
            // The image may exist. If it does not, the sweep removes the pin.
            Err(Error::Database(error)) if error.is_unknown() => {}
            Err(_) => {
                let unpinned = async {
                    self.discard_unused_pin(id).await?;
                    self.unpin_discarded().await
                };
                if let Err(error) = unpinned.await {
                    tracing::warn!(%error, "cannot remove the pin of a failed registration; the next sweep retries");
                }
            }
        }
        registered
    }

    /// As [`Images::register`], and waits until the image is ACTIVE. If its creation fails, the image is deleted.
    ///
    /// # Errors
    /// Those of [`Images::register`], and [`Error::Refused`] with the reason if the creation fails.
    pub async fn register_and_wait(&self, new: Registration) -> Result<Image, Error> {
        let owner = new.owner.clone();
        let image = self.wait_until_finished(self.register(new).await?.id).await?;
        if image.status != Status::Failed {
            return Ok(image);
        }
        self.delete(&owner, crate::Id::Uuid(image.id)).await?;
        Err(Error::Refused(image.reason.unwrap_or_default()))
    }

    /// Waits until an image is no longer being created and returns it.
    async fn wait_until_finished(&self, id: Uuid) -> Result<Image, Error> {
        loop {
            let finished = self.finished.notified();
            tokio::pin!(finished);
            finished.as_mut().enable();
            let image = self.by_id(id).await?;
            if !image.status.in_flight() {
                return Ok(image);
            }
            let _ = tokio::time::timeout(POLL_INTERVAL, finished).await;
        }
    }

    async fn pin_and_queue(&self, image: Image, pin: &str, new: &Registration) -> Result<Image, Error> {
        let Stored { pin, bytes } = self.vault.pin(pin, &new.owner, &new.container, &new.object).await?;
        let limit = self.settings.virtual_bytes_max;
        if bytes > limit {
            let reason = format!("the object has {bytes} bytes; an image may have at most {limit}");
            return Err(Error::OverLimit(reason));
        }
        let payload = Payload { image: image.id, pin, bytes, format: new.format };
        let input = (image, payload, new.images_max, self.clock.now());
        self.db
            .write(input, |(image, payload, images_max, now), tx| {
                Box::pin(async move {
                    if !store::remove_pending_pin(tx, &payload.pin).await? {
                        let reason = "pinning the object took too long".to_owned();
                        return Err(VaultError::Failed(reason).into());
                    }
                    let owner = image.owner.as_deref().unwrap_or_default();
                    if store::count_uploads_in_flight(tx, owner).await? >= IN_FLIGHT_MAX {
                        let reason =
                            format!("{IN_FLIGHT_MAX} images of the account are being created already");
                        return Err(Error::OverLimit(reason));
                    }
                    if store::count_other_uploads(tx, owner, &image.name).await? >= *images_max {
                        let reason = format!("the account may have at most {images_max} registered images");
                        return Err(Error::OverLimit(reason));
                    }
                    let mut image = image.clone();
                    image.number = store::next_number(tx).await?;
                    store::insert(tx, &image).await?;
                    let payload = serde_json::to_string(payload).unwrap_or_default();
                    let (subject, deadline) = (image.id.to_string(), now.after(JOB_DEADLINE));
                    let job = NewJob { kind: "register", subject: &subject, payload, due: *now, deadline };
                    jobs::enqueue(tx, *now, &job).await?;
                    Ok(image)
                })
            })
            .await
    }

    /// Makes one attempt to create the image.
    async fn run_registration(&self, job: &Job, payload: &Payload) -> Next {
        let content = match self.read_content(payload).await {
            Ok(content) => content,
            Err(error) if is_temporary(&error, job.attempts) => return retry_later(job, &error),
            // Do not disclose the path of the scratch file to the tenant.
            Err(Error::File { reason, .. }) => {
                return self
                    .fail_registration(job, payload, &format!("its bytes cannot be copied: {reason}"))
                    .await;
            }
            Err(error) => return self.fail_registration(job, payload, &error.to_string()).await,
        };
        let input = (job.clone(), payload.image, content, self.clock.now());
        let activated = self.db.write(input, |(job, image, content, now), tx| {
            Box::pin(async move {
                if job.finish(tx).await? {
                    set_content(tx, *image, content, *now).await?;
                }
                Ok::<_, Error>(())
            })
        });
        self.finish(job, activated.await).await
    }

    /// Ends the job, sets the image to FAILED and removes its pin.
    async fn fail_registration(&self, job: &Job, payload: &Payload, reason: &str) -> Next {
        let input = (job.clone(), payload.clone(), reason.to_owned(), self.clock.now());
        let failed = self.db.write(input, |(job, payload, reason, now), tx| {
            Box::pin(async move {
                if !job.finish(tx).await? {
                    return Ok(());
                }
                store::discard(tx, &payload.pin).await?;
                if let Some(mut image) = store::by_id(tx, payload.image).await? {
                    (image.status, image.updated) = (Status::Failed, *now);
                    image.reason = Some(reason.clone());
                    store::update(tx, &image).await?;
                }
                Ok::<_, Error>(())
            })
        });
        self.finish(job, failed.await).await
    }

    /// After the job was ended: unpins discarded bytes and wakes the callers that wait for the image.
    async fn finish(&self, job: &Job, written: Result<(), Error>) -> Next {
        if let Err(error) = written {
            return retry_later(job, &error);
        }
        if let Err(error) = self.unpin_discarded().await {
            tracing::warn!(%error, "cannot unpin the bytes of images; the next sweep retries");
        }
        self.finished.notify_waiters();
        Next::Ended
    }

    /// Reads and checks the pinned bytes.
    async fn read_content(&self, payload: &Payload) -> Result<Content, Error> {
        self.set_progress(payload.image, Status::Preparing, 0).await?;
        let reader = self.vault.open(&payload.pin).await?;
        let progress = Progress::new();
        progress.begin(payload.bytes);
        let (reader, hash) = StreamHash::wrap(reader, progress.clone());
        self.set_progress(payload.image, Status::Saving, 0).await?;
        let virtual_bytes =
            self.report_progress(payload.image, &progress, self.check(payload, reader)).await?;
        Ok(Content {
            digest: digest_of(payload.format, virtual_bytes, &[Some(hash.sha256()), None, None])
                .parse()
                .map_err(|_| Error::NotFound)?,
            format: payload.format,
            virtual_bytes,
            disk: Piece { pin: payload.pin.clone(), bytes: payload.bytes },
            kernel: None,
            initrd: None,
            command_line: None,
        })
    }

    /// Reads an image to its end, checks it and returns its virtual size in bytes. Any bytes are a valid raw image,
    /// so it is not copied to the scratch directory.
    async fn check(&self, payload: &Payload, mut reader: Reader) -> Result<u64, Error> {
        let limit = self.settings.virtual_bytes_max;
        if payload.format == DiskFormat::Raw {
            let size = check_size(payload.bytes, limit)?;
            let read = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
            read.map_err(|error| file_error("the object".as_ref(), &error))?;
            return Ok(size);
        }
        // One copy at a time, so that two do not count on the same free space.
        let _guard = self.copy_lock.lock().await;
        let copy = ScratchFile::new(&self.settings.scratch).await?;
        let space = (self.settings.space)(&self.settings.scratch);
        let space = space.map_err(|error| file_error(&self.settings.scratch, &error))?;
        if !space.has_room_for(payload.bytes) {
            return Err(Error::NoRoom { length: payload.bytes, free: space.free });
        }
        let mut file = tokio::fs::File::create(&copy.0).await.map_err(|e| file_error(&copy.0, &e))?;
        tokio::io::copy(&mut reader, &mut file).await.map_err(|e| file_error(&copy.0, &e))?;
        file.flush().await.map_err(|e| file_error(&copy.0, &e))?;
        Ok(check_file(&copy.0, payload.format, limit).await?)
    }

    /// Runs `running` and writes the progress of the copy to the database meanwhile.
    async fn report_progress<T>(
        &self,
        image: Uuid,
        progress: &Progress,
        running: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::pin!(running);
        loop {
            tokio::select! {
                done = &mut running => return done,
                () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                    let percent = u16::from(progress.percent()) * u16::from(PROGRESS_AFTER_COPY) / 100;
                    self.set_progress(image, Status::Saving, u8::try_from(percent).unwrap_or(PROGRESS_AFTER_COPY)).await?;
                }
            }
        }
    }

    /// Sets an image's status and progress, which never go back: an attempt after a crash starts again, but users do
    /// not see it.
    async fn set_progress(&self, image: Uuid, status: Status, progress: u8) -> Result<(), Error> {
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

    /// Marks the pin of an image that was not inserted for unpinning, even if a sweep has already done so: the pin
    /// may have been created after that.
    async fn discard_unused_pin(&self, image: Uuid) -> Result<(), Error> {
        let discarded = self.db.write(image, |image, tx| {
            Box::pin(async move {
                // The transaction may have been committed although the caller got an error.
                if !store::ever_existed(tx, *image).await? {
                    store::remove_pending_pin(tx, &image.to_string()).await?;
                    store::discard(tx, &image.to_string()).await?;
                }
                Ok::<_, Error>(())
            })
        });
        discarded.await
    }

    /// Marks pins of abandoned registrations for unpinning, whether they were created or not.
    async fn discard_pins(&self, pins: Vec<String>) -> Result<(), Error> {
        let discarded = self.db.write(pins, |pins, tx| {
            Box::pin(async move {
                for pin in pins {
                    if store::remove_pending_pin(tx, pin).await? {
                        store::discard(tx, pin).await?;
                    }
                }
                Ok::<_, Error>(())
            })
        });
        discarded.await
    }

    /// Marks pending pins for unpinning that are older than [`PINNING_GRACE`]: their requests crashed.
    pub(super) async fn discard_overdue_pins(&self) -> Result<(), Error> {
        let before = Time(self.clock.now().0 - i64::try_from(PINNING_GRACE.as_micros()).unwrap_or(0));
        let overdue = self.db.read(before, |before, tx| {
            Box::pin(async move { store::overdue_pins(tx, *before, DISCARD_PAGE).await })
        });
        let overdue = overdue.await?;
        if overdue.is_empty() { Ok(()) } else { self.discard_pins(overdue).await }
    }
}

/// Returns whether a retry may succeed.
fn is_temporary(error: &Error, attempts: i64) -> bool {
    match error {
        Error::Vault(VaultError::Failed(_)) | Error::Database(_) | Error::NoRoom { .. } => true,
        Error::File { .. } | Error::Unsafe(UnsafeImage::CheckFailed(_)) => attempts < FILE_ATTEMPTS_MAX,
        _ => false,
    }
}

fn retry_later(job: &Job, error: &Error) -> Next {
    let attempts = u32::try_from(job.attempts.clamp(1, 6)).unwrap_or(1);
    let seconds = (1u64 << (attempts - 1)).min(RETRY_DELAY_MAX_SECONDS);
    tracing::info!(image = job.subject, %error, "cannot register an image now; retrying in {seconds} s");
    Next::After(Duration::from_secs(seconds))
}
