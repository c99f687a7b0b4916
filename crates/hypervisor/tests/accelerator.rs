//! Tests `accel=auto` on the current machine.

use hypervisor::{Accelerator, Hypervisor, Options, open};

async fn accelerator(host: &dyn Hypervisor) -> Accelerator {
    assert!(
        host.capacity().await.unwrap().memory_mib > 0,
        "the capacity is known before the probe has ended"
    );
    host.accelerator().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_runs_once_and_its_result_is_stored() {
    let uri = std::env::var("NEPHOS_TEST_LIBVIRT")
        .expect("NEPHOS_TEST_LIBVIRT is not set: run the tests by `tests/hosts/hypervisor.sh`");
    let uri = uri.replace("accel=tcg", "accel=auto");
    let directory = tempfile::tempdir().unwrap();
    let options = Options { state_dir: Some(directory.path().to_owned()), ..Options::default() };
    let found = accelerator(open(&uri, &options).unwrap()[0].as_ref()).await;
    assert_ne!(found, Accelerator::None);
    let offered = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    let memory = std::fs::read_dir(directory.path()).unwrap().next();
    assert_eq!(memory.is_some(), offered, "the probe runs if and only if KVM is offered");
    let Some(memory) = memory else {
        assert_eq!(found, Accelerator::Tcg);
        return;
    };

    // A changed result is used, which shows that the probe does not run again.
    let memory = memory.unwrap().path();
    let (other, name, other_name) = match found {
        Accelerator::Kvm => (Accelerator::Tcg, r#""kvm""#, r#""tcg""#),
        _ => (Accelerator::Kvm, r#""tcg""#, r#""kvm""#),
    };
    let remembered = std::fs::read_to_string(&memory).unwrap();
    assert!(remembered.contains(name), "{remembered}");
    std::fs::write(&memory, remembered.replace(name, other_name)).unwrap();
    assert_eq!(accelerator(open(&uri, &options).unwrap()[0].as_ref()).await, other);
}
