//! Calls on domains.

use super::*;

const XML_INACTIVE: c_uint = 2;
const AFFECT_LIVE: c_uint = 1;
const START_PAUSED: c_uint = 1;
/// Saved memory, snapshot and checkpoint metadata, firmware variables.
const UNDEFINE_WITH_ALL: c_uint = 1 | 2 | 4 | 16;
const BACKUP_REUSE_EXTERNAL: c_uint = 1;
const JOB_STATS_COMPLETED: c_uint = 1;
const JOB_COMPLETED: c_int = 3;
const COMMIT_SHALLOW: c_uint = 1;
const COMMIT_ACTIVE: c_uint = 4;
const ABORT_PIVOT: c_uint = 2;

impl Domain {
    pub fn name(&self) -> String {
        borrowed_text(call!(self, virDomainGetName()))
    }

    /// Returns the definition used at the next start.
    pub fn definition(&self) -> Outcome<String> {
        owned_text(call!(self, virDomainGetXMLDesc(XML_INACTIVE)))
    }

    /// Returns the definition of the running domain.
    pub fn live_definition(&self) -> Outcome<String> {
        owned_text(call!(self, virDomainGetXMLDesc(0)))
    }

    /// Changes a device of the running domain.
    pub fn change_live_device(&self, xml: &str) -> Outcome<()> {
        let xml = text(xml)?;
        done(call!(self, virDomainUpdateDeviceFlags(xml.as_ptr(), AFFECT_LIVE)))
    }

    /// Returns the `virDomainState` and its reason.
    pub fn state(&self) -> Outcome<(i32, i32)> {
        let (mut state, mut reason) = (0, 0);
        done(call!(self, virDomainGetState(&raw mut state, &raw mut reason, 0)))?;
        Ok((state, reason))
    }

    pub fn cpu_ns(&self) -> Outcome<u64> {
        let mut info = RawDomainInfo::default();
        done(call!(self, virDomainGetInfo(&raw mut info)))?;
        Ok(info.cpu_ns)
    }

    pub fn start(&self) -> Outcome<()> {
        done(call!(self, virDomainCreateWithFlags(0)))
    }

    pub fn start_paused(&self) -> Outcome<()> {
        done(call!(self, virDomainCreateWithFlags(START_PAUSED)))
    }

    pub fn destroy(&self) -> Outcome<()> {
        done(call!(self, virDomainDestroy()))
    }

    pub fn undefine(&self) -> Outcome<()> {
        done(call!(self, virDomainUndefineFlags(UNDEFINE_WITH_ALL)))
    }

    pub fn shut_down(&self) -> Outcome<()> {
        done(call!(self, virDomainShutdown()))
    }

    pub fn reboot(&self) -> Outcome<()> {
        done(call!(self, virDomainReboot(0)))
    }

    pub fn suspend(&self) -> Outcome<()> {
        done(call!(self, virDomainSuspend()))
    }

    pub fn resume(&self) -> Outcome<()> {
        done(call!(self, virDomainResume()))
    }

    /// Sets the time in seconds that the agent has for each reply.
    pub fn limit_agent(&self, seconds: i32) -> Outcome<()> {
        done(call!(self, virDomainAgentSetResponseTimeout(seconds, 0)))
    }

    pub fn set_password(&self, user: &str, password: &str) -> Outcome<()> {
        let (user, password) = (text(user)?, text(password)?);
        done(call!(self, virDomainSetUserPassword(user.as_ptr(), password.as_ptr(), 0)))
    }

    pub fn freeze_file_systems(&self) -> Outcome<()> {
        done(call!(self, virDomainFSFreeze(null(), 0, 0)))
    }

    pub fn thaw_file_systems(&self) -> Outcome<()> {
        done(call!(self, virDomainFSThaw(null(), 0, 0)))
    }

    /// Starts copying the current content of disks into existing files.
    pub fn begin_backup(&self, xml: &str) -> Outcome<()> {
        let xml = text(xml)?;
        done(call!(self, virDomainBackupBegin(xml.as_ptr(), null(), BACKUP_REUSE_EXTERNAL)))
    }

    /// Returns the copied and the total bytes of the running job, if any.
    pub fn job(&self) -> Outcome<Option<(u64, u64)>> {
        let mut job = RawJob::default();
        done(call!(self, virDomainGetJobInfo(&raw mut job)))?;
        Ok((job.kind != 0).then_some((job.file[1], job.file[0])))
    }

    /// Returns whether the last job succeeded. This clears libvirt's record of the job.
    pub fn last_job_completed(&self) -> Outcome<bool> {
        let (mut kind, mut parameters, mut count) = (0, null_mut(), 0);
        done(call!(
            self,
            virDomainGetJobStats(&raw mut kind, &raw mut parameters, &raw mut count, JOB_STATS_COMPLETED)
        ))?;
        // SAFETY: the array of `count` parameters was made by the call above for us to free.
        unsafe { (library().virTypedParamsFree)(parameters, count) };
        Ok(kind == JOB_COMPLETED)
    }

    pub fn abort_job(&self) -> Outcome<()> {
        done(call!(self, virDomainAbortJob()))
    }

    /// Starts merging a disk's top layer into the layer directly below.
    pub fn begin_commit_of_top_layer(&self, disk: &str) -> Outcome<()> {
        let disk = text(disk)?;
        let flags = COMMIT_SHALLOW | COMMIT_ACTIVE;
        done(call!(self, virDomainBlockCommit(disk.as_ptr(), null(), null(), 0, flags)))
    }

    /// Returns the copied and the total bytes of a disk's block job, if any.
    pub fn block_job(&self, disk: &str) -> Outcome<Option<(u64, u64)>> {
        let disk = text(disk)?;
        let mut job = RawBlockJob::default();
        let found = call!(self, virDomainGetBlockJobInfo(disk.as_ptr(), &raw mut job, 0));
        done(found)?;
        Ok((found > 0).then_some((job.done, job.end)))
    }

    /// Completes a merge that has caught up by switching the disk to the lower layer.
    pub fn pivot(&self, disk: &str) -> Outcome<()> {
        let disk = text(disk)?;
        done(call!(self, virDomainBlockJobAbort(disk.as_ptr(), ABORT_PIVOT)))
    }

    /// Returns the bytes that the guest received and sent through a host interface, or through a card given by its
    /// hardware address.
    pub fn interface_bytes(&self, device: &str) -> Outcome<(u64, u64)> {
        let device = text(device)?;
        let mut stats: [c_longlong; 8] = [0; 8];
        let size = size_of_val(&stats);
        done(call!(self, virDomainInterfaceStats(device.as_ptr(), stats.as_mut_ptr(), size)))?;
        Ok((stats[0].max(0) as u64, stats[4].max(0) as u64))
    }
}
