//! Checks the invariants of everything that is stored. Used by `nephos doctor --deep`, the soak and the power-cut tests.
//!
//! 1. A blob's row has the number of objects, versions and pins that refer to it, and every referenced blob has a row.
//! 2. The counters of containers and accounts equal the sums over their rows.
//! 3. No blob is queued for removal while a row refers to it.
//! 4. Every object and version is in a container, every container in an account.
//! 5. Every blob that a row refers to exists and matches its checksums.
//! 6. Every file with a single blob is referred to by a row, queued for removal, or set aside.

use database::{BoxFuture, Tx};

use super::Files;
use crate::error::{Error, Result};
use crate::store;
use crate::store::audit::{PolicySums, References};

/// Rows read per round.
const ROUND: usize = 256;

/// What an audit covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditOptions {
    /// Whether to read and verify all bytes too.
    pub bytes: bool,
    /// Whether to correct wrong counters and reference counts.
    pub repair: bool,
}

/// The result of an audit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Number of containers whose counters were checked.
    pub containers: u64,
    /// Number of blobs that were read and verified.
    pub blobs: u64,
    /// Faults that were corrected.
    pub repaired: Vec<String>,
    /// Faults that remain.
    pub broken: Vec<String>,
}

impl AuditReport {
    fn found(&mut self, repaired: bool, what: String) {
        if repaired { self.repaired.push(what) } else { self.broken.push(what) }
    }
}

impl Files {
    /// Checks the invariants of everything that is stored. Reads all rows, so it is for operators and tests.
    ///
    /// # Errors
    /// The database's.
    pub async fn audit(&self, options: AuditOptions) -> Result<AuditReport> {
        let mut report = AuditReport::default();
        self.audit_references(options, &mut report).await?;
        self.audit_containers(options, &mut report).await?;
        self.audit_accounts(options, &mut report).await?;
        let strays = store::audit::strays(&self.0.db).await?;
        if strays > 0 {
            report.broken.push(format!("{strays} rows belong to containers or accounts that do not exist"));
        }
        if options.bytes {
            report.blobs = self.scrub_all().await?;
            self.audit_files(&mut report).await?;
        }
        for damage in self.damage(ROUND).await? {
            report.broken.push(format!("blob {} is damaged: {}", damage.blob, damage.what));
        }
        Ok(report)
    }

    /// Returns whether any row refers to a blob in volumes with these numbers, or to a single file that counts as one of them.
    ///
    /// # Errors
    /// The database's.
    pub async fn refers_to_blobs_in(&self, numbers: std::ops::Range<i64>) -> Result<bool> {
        Ok(store::blobs::refers_to_store(&self.0.db, numbers).await?)
    }

    async fn audit_references(&self, options: AuditOptions, report: &mut AuditReport) -> Result<()> {
        let mut wrong = self
            .0
            .db
            .scan((), |(), tx| Box::pin(store::audit::references(tx)))
            .await
            .map_err(|e: database::Error| Error::from(e))?;
        if options.repair && !wrong.is_empty() {
            // Count again within the transaction that corrects: the first counts may be outdated.
            let recounted = self.0.db.write((), |(), tx| Box::pin(recount_references(tx)));
            wrong = recounted.await.map_err(|e: database::Error| Error::from(e))?;
        }
        for wrong in wrong {
            let what = format!("blob {} is named {} times, not {}", wrong.blob, wrong.found, wrong.counted);
            report.found(options.repair, what);
        }
        for blob in store::audit::without_rows(&self.0.db).await? {
            report.broken.push(format!("rows refer to blob {blob}, but no row has its location"));
        }
        for blob in store::audit::queued_although_referenced(&self.0.db).await? {
            if options.repair {
                store::audit::remove_from_queue(&self.0.db, blob).await?;
            }
            report
                .found(options.repair, format!("blob {blob} is queued for removal while a row refers to it"));
        }
        Ok(())
    }

    async fn audit_containers(&self, options: AuditOptions, report: &mut AuditReport) -> Result<()> {
        let mut after = i64::MIN;
        loop {
            let keys = store::audit::containers(&self.0.db, after, ROUND).await?;
            let Some(last) = keys.last() else { return Ok(()) };
            after = last.id;
            for key in keys {
                report.containers += 1;
                let sums = self
                    .0
                    .db
                    .scan(key.id, |id, tx| {
                        Box::pin(async move { store::audit::container_sums(tx, *id).await })
                    })
                    .await
                    .map_err(|e: database::Error| Error::from(e))?;
                if sums.counted == sums.found {
                    continue;
                }
                if options.repair {
                    self.repair(key.id, |id, tx| {
                        Box::pin(async move {
                            tx.flush().await?;
                            let sums = store::audit::container_sums(tx, *id).await?;
                            store::audit::set_container_sums(tx, *id, sums.found).await
                        })
                    })
                    .await?;
                }
                let what = format!(
                    "container {} of account {} counts {:?} objects and bytes, and holds {:?}",
                    key.id, key.account, sums.counted, sums.found
                );
                report.found(options.repair, what);
            }
        }
    }

    async fn audit_accounts(&self, options: AuditOptions, report: &mut AuditReport) -> Result<()> {
        let mut after = i64::MIN;
        loop {
            let accounts = store::audit::accounts(&self.0.db, after, ROUND).await?;
            let Some(last) = accounts.last() else { return Ok(()) };
            after = *last;
            for account in accounts {
                let sums: Vec<PolicySums> = self
                    .0
                    .db
                    .scan(account, |id, tx| {
                        Box::pin(async move { store::audit::account_sums(tx, *id).await })
                    })
                    .await
                    .map_err(|e: database::Error| Error::from(e))?;
                let wrong: Vec<_> = sums.into_iter().filter(|sums| sums.counted != sums.found).collect();
                if options.repair && !wrong.is_empty() {
                    self.repair(account, |account, tx| {
                        Box::pin(async move {
                            tx.flush().await?;
                            for sums in store::audit::account_sums(tx, *account).await? {
                                store::audit::set_account_sums(tx, *account, &sums).await?;
                            }
                            Ok(())
                        })
                    })
                    .await?;
                }
                for sums in wrong {
                    let what = format!(
                        "account {account} counts {:?} containers, objects and bytes of policy {}, and holds {:?}",
                        sums.counted, sums.policy, sums.found
                    );
                    report.found(options.repair, what);
                }
            }
        }
    }

    /// Checks files with a single blob for those that nothing refers to.
    async fn audit_files(&self, report: &mut AuditReport) -> Result<()> {
        for store in self.0.blobs.stores() {
            let mut page = 0;
            while let Some(found) = store.singles_of_earlier_processes(page).await? {
                page += 1;
                for id in found {
                    if !store::blobs::is_known(&self.0.db, id).await? {
                        report.broken.push(format!("{}: no row refers to blob {id}", store.describe()));
                    }
                }
            }
        }
        Ok(())
    }

    async fn repair<S, F>(&self, input: S, unit: F) -> Result<()>
    where
        S: Send + Sync + 'static,
        F: for<'a> Fn(&'a S, &'a mut database::Tx) -> BoxFuture<'a, std::result::Result<(), database::Error>>
            + Send
            + Sync
            + 'static,
    {
        Ok(self.0.db.write(input, unit).await?)
    }
}

/// Corrects the reference counts of blobs; returns those that were wrong.
async fn recount_references(tx: &mut Tx) -> std::result::Result<Vec<References>, database::Error> {
    let wrong = store::audit::references(tx).await?;
    for wrong in &wrong {
        store::audit::set_references(tx, wrong.blob, wrong.found).await?;
    }
    Ok(wrong)
}
