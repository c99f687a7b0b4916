//! Metrics use bounded memory whether or not anybody reads them; measured at the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// The system allocator with a count of bytes in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is forwarded to the system allocator with unchanged arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller upholds the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[tokio::test(start_paused = true)]
async fn unread_samples_do_not_accumulate() {
    let metrics = web::metrics::install();
    tokio::spawn(web::metrics::upkeep_loop(metrics.clone()));
    let mut after_first = 0;
    for round in 0..20 {
        for sample in 0..50_000 {
            metrics::histogram!("nephos_request_seconds", "service" => "test")
                .record(f64::from(sample) / 1e4);
        }
        // Upkeep runs every few seconds.
        tokio::time::sleep(Duration::from_secs(6)).await;
        if round == 1 {
            after_first = IN_USE.load(Relaxed);
        }
    }
    let grown = IN_USE.load(Relaxed).saturating_sub(after_first);
    assert!(grown < 256 << 10, "{grown} bytes more after a million samples");
    assert!(metrics.render().contains("nephos_request_seconds_count{service=\"test\"} 1000000"));
}
