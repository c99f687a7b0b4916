//! Sharing: who may use an image, and what `changes-since` lists show.

use std::time::Duration;

use database::on_each_engine;
use images::{Access, Error, Id, Image, Origin, Page};
use uuid::Uuid;
use work::Time;

use crate::bed::TestBed;

/// Names of the images that changed since then for a tenant, and whether they are deleted.
async fn changed(bed: &TestBed, tenant: &str, since: Time) -> Vec<(String, bool)> {
    bed.names(tenant, Some(since)).await
}

/// Advances the clock by a second and returns the time.
fn next_second(bed: &TestBed) -> Time {
    bed.clock.advance(Duration::from_secs(1));
    bed.clock.now()
}

async fn gold(bed: &TestBed) -> (Image, Id) {
    let image = bed.snapshot("100", "gold", Origin::Snapshot, Uuid::new_v4()).await;
    let id = Id::Uuid(image.id);
    (image, id)
}

fn only_gold(deleted: bool) -> Vec<(String, bool)> {
    vec![("gold".into(), deleted)]
}

on_each_engine! {
    async fn granting_and_revoking_access_is_a_change_for_that_tenant_only(location: &Location) {
        let bed = TestBed::new(location).await;
        let (made, id) = gold(&bed).await;
        let given = next_second(&bed);
        bed.images.add_member("100", id, "200").await.unwrap();
        assert_eq!(changed(&bed, "200", given).await, only_gold(false));
        assert_eq!(bed.images.latest_change("200").await.unwrap(), Some(given));
        assert_eq!(bed.images.get("200", id).await.unwrap().updated, given);
        // Nothing changed for the owner and for other tenants.
        assert_eq!(bed.images.get("100", id).await.unwrap().updated, made.updated);
        assert!(changed(&bed, "100", given).await.is_empty());
        assert_eq!(bed.images.latest_change("300").await.unwrap(), None);

        // Granting it again changes nothing.
        let again = next_second(&bed);
        bed.images.add_member("100", id, "200").await.unwrap();
        assert!(changed(&bed, "200", again).await.is_empty());

        let taken = next_second(&bed);
        bed.images.remove_member("100", id, "200").await.unwrap();
        assert_eq!(changed(&bed, "200", taken).await, only_gold(true));
        assert_eq!(bed.images.latest_change("200").await.unwrap(), Some(taken));
        let page = Page { offset: 0, limit: 10, since: Some(taken), deleted: true };
        let gone = bed.images.list("200", page).await.unwrap();
        assert_eq!((gone[0].updated, gone[0].deleted), (taken, Some(taken)));
        assert!(bed.names("200", None).await.is_empty());
        assert!(matches!(bed.images.get("200", id).await, Err(Error::NotFound)));
        // Later changes of the image are not shown.
        let after = next_second(&bed);
        bed.images.remove_member("100", id, "200").await.unwrap();
        bed.images.rename("100", id, "silver").await.unwrap();
        assert!(changed(&bed, "200", after).await.is_empty());
        bed.images.rename("100", id, "gold").await.unwrap();

        let back = next_second(&bed);
        bed.images.add_member("100", id, "200").await.unwrap();
        assert_eq!(changed(&bed, "200", back).await, only_gold(false));
        let deleted = next_second(&bed);
        bed.images.delete("100", id).await.unwrap();
        assert_eq!(changed(&bed, "200", deleted).await, only_gold(true));
        assert_eq!(changed(&bed, "100", deleted).await, only_gold(true));
        assert!(changed(&bed, "300", Time(0)).await.is_empty());
    }
}

on_each_engine! {
    async fn every_tenant_sees_a_public_image_and_its_deletion(location: &Location) {
        let bed = TestBed::new(location).await;
        let (made, id) = gold(&bed).await;
        bed.images.add_member("100", id, "200").await.unwrap();
        let public = next_second(&bed);
        bed.images.publish("100", id, true).await.unwrap();
        assert_eq!(bed.images.latest_change("100").await.unwrap(), Some(made.updated), "no change for its owner");
        assert_eq!(bed.images.latest_change("300").await.unwrap(), Some(public));
        assert_eq!(changed(&bed, "300", public).await, only_gold(false));
        let again = next_second(&bed);
        bed.images.publish("100", id, true).await.unwrap();
        assert!(changed(&bed, "300", again).await.is_empty());
        assert_eq!(bed.images.access("100", id).await.unwrap(), Access { public: true, tenants: vec!["200".into()] });
        let private = next_second(&bed);
        bed.images.publish("100", id, false).await.unwrap();
        assert_eq!(changed(&bed, "300", private).await, only_gold(true));
        assert!(bed.names("300", None).await.is_empty());
        // A tenant with access by id keeps it.
        assert_eq!(bed.names("200", None).await, only_gold(false));
        assert_eq!(bed.images.access("100", id).await.unwrap(), Access { public: false, tenants: vec!["200".into()] });
    }
}

on_each_engine! {
    async fn only_the_owner_can_share_and_within_limits(location: &Location) {
        let bed = TestBed::new(location).await;
        let base = bed.images.ensure_simulated_image().await.unwrap();
        let (_, id) = gold(&bed).await;
        bed.images.add_member("100", id, "200").await.unwrap();
        for (tenant, id, seen) in [("200", id, true), ("300", id, false), ("100", Id::Uuid(base.id), true)] {
            let refused = [
                bed.images.publish(tenant, id, true).await,
                bed.images.add_member(tenant, id, "400").await,
                bed.images.remove_member(tenant, id, "200").await,
                bed.images.access(tenant, id).await.map(|_| ()),
                bed.images.delete(tenant, id).await,
            ];
            for error in refused {
                let as_expected = match error {
                    Err(Error::NotOwner) => seen && tenant == "200",
                    Err(Error::OwnedByCloud) => seen && tenant == "100",
                    Err(Error::NotFound) => !seen,
                    _ => false,
                };
                assert!(as_expected, "{tenant}: {error:?}");
            }
        }
        let long = "9".repeat(256);
        for wrong in ["100", "*", "", "20\n0", &long] {
            let refused = bed.images.add_member("100", id, wrong).await;
            assert!(matches!(refused, Err(Error::Invalid { field: "tenant", .. })), "{wrong}: {refused:?}");
        }
        bed.images.publish("100", id, true).await.unwrap();
        bed.images.remove_member("100", id, "*").await.unwrap();
        assert_eq!(bed.names("300", None).await.len(), 2);
        for n in 201..300 {
            bed.images.add_member("100", id, &n.to_string()).await.unwrap();
        }
        bed.images.add_member("100", id, "200").await.unwrap();
        assert!(matches!(bed.images.add_member("100", id, "300").await, Err(Error::OverLimit(_))));
        bed.images.delete_tenant_access("250").await.unwrap();
        bed.images.add_member("100", id, "300").await.unwrap();
        assert_eq!(bed.images.access("100", id).await.unwrap().tenants.len(), 100);
    }
}

on_each_engine! {
    async fn the_operator_can_share_the_clouds_images(location: &Location) {
        let bed = TestBed::new(location).await;
        let base = bed.images.ensure_simulated_image().await.unwrap();
        let id = Id::Uuid(base.id);
        assert!(bed.images.access("", id).await.unwrap().public);
        bed.images.publish("", id, false).await.unwrap();
        bed.images.add_member("", id, "200").await.unwrap();
        assert_eq!(bed.names("200", None).await.len(), 1);
        assert!(bed.names("300", None).await.is_empty());
        assert_eq!(bed.names("", None).await.len(), 1);
        // It exists, though it is private: the next start does not create another one.
        assert_eq!(bed.images.ensure_simulated_image().await.unwrap().id, base.id);
        bed.images.publish("", id, true).await.unwrap();
        assert_eq!(bed.names("300", None).await.len(), 1);
    }
}

on_each_engine! {
    async fn deletions_are_shown_for_a_week(location: &Location) {
        let bed = TestBed::new(location).await;
        let (image, id) = gold(&bed).await;
        let lost = bed.snapshot("100", "lost", Origin::Snapshot, Uuid::new_v4()).await;
        bed.images.publish("100", id, true).await.unwrap();
        bed.images.add_member("100", Id::Uuid(lost.id), "200").await.unwrap();
        let since = next_second(&bed);
        bed.images.remove_member("100", Id::Uuid(lost.id), "200").await.unwrap();
        bed.images.delete("100", id).await.unwrap();
        let day = Duration::from_secs(86_400);
        bed.clock.advance(7 * day);
        bed.images.delete_old_access().await.unwrap();
        assert_eq!(changed(&bed, "200", since).await, [("gold".into(), true), ("lost".into(), true)]);
        assert_eq!(changed(&bed, "100", since).await, only_gold(true));
        bed.clock.advance(Duration::from_secs(1));
        for forgotten in [false, true] {
            if forgotten {
                bed.images.delete_old_access().await.unwrap();
                assert_eq!(bed.images.latest_change("200").await.unwrap(), None);
            }
            for tenant in ["100", "200"] {
                assert!(changed(&bed, tenant, since).await.is_empty(), "{tenant}, {forgotten}");
            }
        }
        // Servers created from it still boot, and hosts may delete it from their caches.
        let kept = bed.images.by_id_or_tombstone(image.id).await.unwrap();
        assert_eq!(kept.content, image.content);
        let digest = image.content.unwrap().digest;
        assert_eq!(bed.images.has_content(&digest).await.unwrap(), Some(false));
        assert_eq!(bed.names("100", None).await, [("lost".into(), false)]);
    }
}

on_each_engine! {
    async fn a_tenant_may_have_at_most_ten_public_images(location: &Location) {
        let bed = TestBed::new(location).await;
        let mut ids = Vec::new();
        for n in 0..11 {
            let image = bed.snapshot("100", &format!("gold-{n}"), Origin::Snapshot, Uuid::new_v4()).await;
            ids.push(Id::Uuid(image.id));
        }
        for id in &ids[..10] {
            bed.images.publish("100", *id, true).await.unwrap();
        }
        let over = bed.images.publish("100", ids[10], true).await;
        assert!(matches!(over, Err(Error::OverLimit(_))), "{over:?}");
        bed.images.publish("100", ids[3], true).await.unwrap();
        assert_eq!(bed.names("300", None).await.len(), 10);
        bed.images.publish("100", ids[0], false).await.unwrap();
        bed.images.publish("100", ids[10], true).await.unwrap();
        // The limit is per tenant.
        let theirs = bed.snapshot("200", "x", Origin::Snapshot, Uuid::new_v4()).await;
        bed.images.publish("200", Id::Uuid(theirs.id), true).await.unwrap();
        assert_eq!(bed.names("300", None).await.len(), 11);
    }
}
