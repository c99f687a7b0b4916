//! Step mode: every change of a simulated host waits until a test releases it, so that a test can inspect the state
//! between two changes without races.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

/// The gate that blocks changes. Clones share it, as do all hosts of a fleet.
#[derive(Clone, Default)]
pub struct Steps(Arc<Gate>);

#[derive(Default)]
struct Gate {
    queue: Mutex<Queue>,
    arrived: Notify,
}

#[derive(Default)]
struct Queue {
    held: bool,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    operation: &'static str,
    machine: Option<Uuid>,
    release: oneshot::Sender<()>,
}

/// A blocked change. Dropping it releases the change.
pub struct Step {
    /// Name of the trait's method: `start`, `upload_image`, …
    pub operation: &'static str,
    /// The machine concerned, if any.
    pub machine: Option<Uuid>,
    release: oneshot::Sender<()>,
}

impl Step {
    /// Releases the change.
    pub fn release(self) {
        let _ = self.release.send(());
    }
}

impl Steps {
    /// Blocks every change from now on.
    pub fn hold(&self) {
        self.0.queue.lock().unwrap().held = true;
    }

    /// Releases all blocked changes and stops blocking.
    pub fn free(&self) {
        let mut queue = self.0.queue.lock().unwrap();
        queue.held = false;
        queue.waiting.clear();
    }

    /// Waits for the next blocked change, in order of arrival.
    pub async fn next(&self) -> Step {
        self.next_where(|_, _| true).await
    }

    /// Waits for the next blocked change by this operation. Others stay blocked.
    pub async fn next_of(&self, operation: &str) -> Step {
        self.next_where(|waiting, _| waiting == operation).await
    }

    /// Waits for the next blocked change of this machine. Others stay blocked.
    pub async fn next_for(&self, machine: Uuid) -> Step {
        self.next_where(|_, waiting| waiting == Some(machine)).await
    }

    async fn next_where(&self, wanted: impl Fn(&str, Option<Uuid>) -> bool) -> Step {
        loop {
            let arrived = self.0.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if let Some(step) = self.take(&wanted) {
                return step;
            }
            arrived.await;
        }
    }

    fn take(&self, wanted: impl Fn(&str, Option<Uuid>) -> bool) -> Option<Step> {
        let mut queue = self.0.queue.lock().unwrap();
        queue.waiting.retain(|waiting| !waiting.release.is_closed());
        let position = queue.waiting.iter().position(|w| wanted(w.operation, w.machine))?;
        let Waiting { operation, machine, release } = queue.waiting.remove(position)?;
        Some(Step { operation, machine, release })
    }

    /// Waits for `delay`, or in step mode until the test releases this change.
    pub(super) async fn pass(&self, operation: &'static str, machine: Option<Uuid>, delay: Duration) {
        let released = {
            let mut queue = self.0.queue.lock().unwrap();
            queue.held.then(|| {
                let (release, released) = oneshot::channel();
                queue.waiting.push_back(Waiting { operation, machine, release });
                released
            })
        };
        match released {
            Some(released) => {
                self.0.arrived.notify_waiters();
                let _ = released.await;
            }
            None if delay.is_zero() => {}
            None => tokio::time::sleep(delay).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_step_mode_a_change_waits_only_for_the_delay() {
        let before = tokio::time::Instant::now();
        Steps::default().pass("start", None, Duration::from_secs(3)).await;
        assert_eq!(before.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test]
    async fn a_change_waits_for_its_release() {
        let steps = Steps::default();
        steps.hold();
        let machine = Uuid::from_u128(1);
        let passing = {
            let steps = steps.clone();
            tokio::spawn(async move { steps.pass("start", Some(machine), Duration::ZERO).await })
        };
        let step = steps.next_for(machine).await;
        assert_eq!((step.operation, step.machine), ("start", Some(machine)));
        assert!(!passing.is_finished());
        step.release();
        passing.await.unwrap();
    }

    #[tokio::test]
    async fn free_releases_all_changes() {
        let steps = Steps::default();
        steps.hold();
        let passing = {
            let steps = steps.clone();
            tokio::spawn(async move { steps.pass("stop", None, Duration::ZERO).await })
        };
        tokio::task::yield_now().await;
        steps.free();
        passing.await.unwrap();
        steps.pass("stop", None, Duration::ZERO).await;
    }
}
