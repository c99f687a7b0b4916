//! Accounts' password policies, and forgotten passwords.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use database::on_each_engine;
use http::Method;
use identity::{Mail, MailTransport};
use serde_json::{Value, json};

use crate::cloud::{Cloud, PASSWORD, Reply};

const DAY: Duration = Duration::from_secs(86_400);

fn policy(duration: &str, history: &str) -> Value {
    json!({"passwordPolicy": {"passwordDuration": duration, "passwordHistoryRestriction": history}})
}

async fn change(cloud: &Cloud, user: &str, old: &str, new: &str) -> Reply {
    let body = json!({"RAX-AUTH:changePasswordCredentials": {
        "username": user, "password": old, "newPassword": new}});
    cloud.json(Method::POST, "/v2.0/users/RAX-AUTH/change-pwd", "", body).await
}

on_each_engine! {
    async fn a_policy_is_set_shown_and_deleted_by_the_accounts_managers(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, _, owner) = cloud.account("shop", &[]).await;
        let (_, observer) = cloud.user("clerk", &tenant, &["observer"]).await;
        let (_, _, stranger) = cloud.account("other", &[]).await;
        let path = format!("/v2.0/RAX-AUTH/domains/{tenant}/password-policy");
        cloud.get(&path, &owner).await.expect(404);
        cloud.delete(&path, &owner).await.expect(404);
        let sample = policy("P90DT6H30M5S", "10");
        let set = cloud.json(Method::PUT, &path, &owner, sample.clone()).await.expect(200).value();
        assert_eq!(set, sample);
        assert_eq!(cloud.get(&path, &owner).await.expect(200).value(), sample);
        assert_eq!(cloud.get(&path, &cloud.admin().await).await.expect(200).value(), sample);
        cloud.get(&path, &observer).await.expect(403);
        cloud.get(&path, &stranger).await.expect(404);
        cloud.json(Method::PUT, &path, &stranger, policy("P1D", "0")).await.expect(404);
        for bad in [policy("P1Y", "0"), policy("P1D", "11"), policy("", "0"), json!({"passwordPolicy": {}}), json!({})] {
            cloud.json(Method::PUT, &path, &owner, bad).await.expect(400);
        }
        let headers = [("x-auth-token", owner.as_str()), ("content-type", "application/xml")];
        cloud.send(Method::PUT, &path, &headers, "<passwordPolicy/>").await.expect(415);
        assert_eq!(cloud.get(&path, &owner).await.expect(200).value(), sample, "nothing was changed");
        cloud.delete(&path, &owner).await.expect(204);
        cloud.get(&path, &owner).await.expect(404);
    }
}

on_each_engine! {
    async fn an_expired_password_must_be_changed_first(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, id, owner) = cloud.account("shop", &[]).await;
        let path = format!("/v2.0/RAX-AUTH/domains/{tenant}/password-policy");
        cloud.json(Method::PUT, &path, &owner, policy("P2D", "0")).await.expect(200);
        let admin = cloud.admin().await;
        let shown = cloud.get(&format!("/v3/users/{id}"), &admin).await.expect(200).value();
        assert_eq!(shown["user"]["password_expires_at"], "2010-10-12T12:00:00.000000Z");
        cloud.clock.advance(DAY * 2 - Duration::from_secs(1));
        cloud.sign_in("shop", PASSWORD).await.expect(200);
        cloud.clock.advance(Duration::from_secs(1));
        let refused = cloud.sign_in("shop", PASSWORD).await.expect(403).value();
        assert_eq!(refused["forbidden"]["message"], "The password for this user has expired and must be changed.");
        let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {
            "name": "shop", "password": PASSWORD, "domain": {"id": "default"}}}}}});
        let refused = cloud.json(Method::POST, "/v3/auth/tokens", "", body).await.expect(401).value();
        let said = format!("The password is expired and needs to be changed for user: {id}.");
        assert_eq!(refused["error"]["message"], said.as_str());
        let wrong = cloud.sign_in("shop", "wrong").await.expect(401).value();
        assert!(!wrong.to_string().contains("expired"), "only a caller with the right password learns that it expired");
        change(&cloud, "shop", PASSWORD, "Password2").await.expect(204);
        cloud.sign_in("shop", "Password2").await.expect(200);
        // Other accounts have no policy.
        cloud.sign_in("admin", PASSWORD).await.expect(200);
    }
}

on_each_engine! {
    async fn a_new_password_differs_from_those_that_the_policy_checks(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, id, owner) = cloud.account("shop", &[]).await;
        let path = format!("/v2.0/RAX-AUTH/domains/{tenant}/password-policy");
        for (old, new) in [(PASSWORD, "Password2"), ("Password2", "Password3"), ("Password3", "Password4")] {
            cloud.clock.advance(DAY);
            change(&cloud, "shop", old, new).await.expect(204);
        }
        let admin = cloud.admin().await;
        cloud.json(Method::PUT, &path, &admin, policy("P300D", "2")).await.expect(200);
        cloud.get("/v2.0/tenants", &owner).await.expect(401);
        for former in ["Password2", "Password3"] {
            let refused = change(&cloud, "shop", "Password4", former).await.expect(400).value();
            let said = refused["badRequest"]["message"].as_str().unwrap().to_owned();
            assert_eq!(said, "password must differ from the present one and the 2 before");
        }
        // The policy also applies to an operator's command. The third password before is allowed again.
        let set = |password: &str| json!({"user": {"password": password}});
        cloud.json(Method::PATCH, &format!("/v3/users/{id}"), &admin, set("Password4")).await.expect(400);
        cloud.json(Method::PATCH, &format!("/v3/users/{id}"), &admin, set(PASSWORD)).await.expect(200);
        cloud.sign_in("shop", PASSWORD).await.expect(200);
    }
}

on_each_engine! {
    async fn a_forgotten_password_is_set_by_the_mailed_token_once(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (_, id, token) = cloud.account("shop", &[]).await;
        let admin = cloud.admin().await;
        let email = json!({"user": {"email": "shop@example.com"}});
        cloud.json(Method::PATCH, &format!("/v3/users/{id}"), &admin, email).await.expect(200);
        let letterbox = Arc::new(Letterbox::default());
        cloud.identity.set_mail_transport(Arc::clone(&letterbox) as Arc<dyn MailTransport>);
        let forgot = async |user: &str| {
            let body = json!({"RAX-AUTH:forgotPasswordCredentials": {"username": user}});
            let reply = cloud.json(Method::POST, "/v2.0/users/RAX-AUTH/forgot-pwd", "", body).await.expect(204);
            assert_eq!(reply.header("x-user-name"), user);
        };
        forgot("nobody").await;
        forgot("admin").await; // The user has no mail address
        forgot("shop").await;
        let mail = letterbox.next().await;
        assert_eq!((mail.to.as_str(), mail.subject.as_str()), ("shop@example.com", "Your password"));
        let mailed = mail.text.lines().find_map(|line| line.strip_prefix("    ")).unwrap().to_owned();
        let reset = async |token: &str, password: &str| {
            let body = json!({"RAX-AUTH:passwordReset": {"password": password}});
            cloud.json(Method::POST, "/v2.0/users/RAX-AUTH/pwd-reset", token, body).await
        };
        // The token opens nothing else, and no other token resets passwords.
        cloud.get("/v2.0/tenants", &mailed).await.expect(401);
        reset(&token, "Password2").await.expect(403);
        reset("0123456789", "Password2").await.expect(401);
        reset(&mailed, "short").await.expect(400);
        let done = reset(&mailed, "Password2").await.expect(204);
        assert_eq!(done.header("x-user-name"), "shop");
        reset(&mailed, "Password3").await.expect(401);
        cloud.get("/v2.0/tenants", &token).await.expect(401);
        cloud.sign_in("shop", "Password2").await.expect(200);
        cloud.sign_in("shop", PASSWORD).await.expect(401);
        // The next token expires. XML works as well.
        let headers = [("content-type", "application/xml")];
        let xml = r#"<forgotPasswordCredentials username="shop" xmlns="http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0"/>"#;
        cloud.send(Method::POST, "/v2.0/users/RAX-AUTH/forgot-pwd", &headers, xml).await.expect(204);
        let mail = letterbox.next().await;
        let late = mail.text.lines().find_map(|line| line.strip_prefix("    ")).unwrap().to_owned();
        assert_ne!(late, mailed);
        cloud.clock.advance(Duration::from_secs(1800));
        reset(&late, "Password3").await.expect(401);
        assert!(letterbox.mails.lock().unwrap().is_empty(), "no mail went to anyone else");
    }
}

/// Stores the mails that are sent.
#[derive(Default)]
struct Letterbox {
    mails: Mutex<Vec<Mail>>,
    arrived: tokio::sync::Notify,
}

impl Letterbox {
    async fn next(&self) -> Mail {
        loop {
            let arrived = self.arrived.notified();
            if let Some(mail) = self.mails.lock().unwrap().pop() {
                return mail;
            }
            arrived.await;
        }
    }
}

#[async_trait]
impl MailTransport for Letterbox {
    async fn send(&self, mail: Mail) -> Result<(), String> {
        self.mails.lock().unwrap().push(mail);
        self.arrived.notify_waiters();
        self.arrived.notify_one();
        Ok(())
    }
}
