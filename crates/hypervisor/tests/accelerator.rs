//! `accel=auto` on the machine at hand.

use hypervisor::{Accelerator, Options, open};

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_is_made_once_and_remembered() {
    let uri = std::env::var("NEPHOS_TEST_LIBVIRT")
        .expect("NEPHOS_TEST_LIBVIRT is not set: run the tests by `make test`");
    let uri = uri.replace("accel=tcg", "accel=auto");
    let directory = std::env::temp_dir().join(format!("accelerator-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let options = Options { state_dir: Some(directory.clone()) };
    let found = open(&uri, &options).unwrap()[0].capacity().await.unwrap().accelerator;
    assert_ne!(found, Accelerator::None);
    let again = open(&uri, &options).unwrap().remove(0);
    assert_eq!(again.capacity().await.unwrap().accelerator, found);
    std::fs::remove_dir_all(directory).unwrap();
}
