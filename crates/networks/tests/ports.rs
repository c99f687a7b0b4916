//! Ports and addresses, on PostgreSQL and SQLite.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use async_trait::async_trait;
use database::{Location, on_each_engine};
use hypervisor::Forward;
use networks::{Config, Error, Label, Networks, Pool, PublicAddress, Servers};
use uuid::Uuid;
use work::{Clock, Time};

fn config() -> Config {
    let pool = |cidr: &str, gateway: [u8; 4], bridge: &str| Pool {
        cidr: cidr.parse().unwrap(),
        gateway: gateway.into(),
        bridge: bridge.into(),
        forward: Forward::Nat,
    };
    Config {
        public: pool("192.0.2.0/29", [192, 0, 2, 1], "pub"),
        private: pool("10.0.0.0/24", [10, 0, 0, 1], "priv"),
    }
}

async fn open(location: &Location, clock: &Clock) -> Networks {
    Networks::open(location, clock.clone(), config()).await.unwrap()
}

fn public(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

on_each_engine! {
    async fn a_server_gets_its_ports_once(location: &Location) {
        let networks = open(location, &Clock::system()).await;
        let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
        let ports = networks.allocate(one, PublicAddress::Own).await.unwrap();
        assert_eq!(ports.iter().map(|port| port.label).collect::<Vec<_>>(), Label::ALL);
        assert_eq!(ports[0].addresses[0].address, public(2));
        assert_eq!(ports[1].addresses[0].address, Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(ports[0].mac.to_string(), "02:4e:00:00:00:01");
        assert_eq!(networks.allocate(one, PublicAddress::Own).await.unwrap(), ports);
        assert_eq!(networks.allocate(two, PublicAddress::Own).await.unwrap()[0].addresses[0].address, public(3));
        assert_eq!(networks.ports(one).await.unwrap(), ports);
    }
}

on_each_engine! {
    async fn allocating_from_an_exhausted_pool_fails_and_keeps_nothing(location: &Location) {
        let clock = Clock::frozen_at(Time::from_seconds(1000));
        let networks = open(location, &clock).await;
        let servers: Vec<Uuid> = (0..5).map(|_| Uuid::new_v4()).collect();
        for server in &servers {
            networks.allocate(*server, PublicAddress::Own).await.unwrap();
        }
        let late = Uuid::new_v4();
        let refused = networks.allocate(late, PublicAddress::Own).await.unwrap_err();
        assert!(matches!(refused, Error::Exhausted(Label::Public)), "{refused}");
        assert!(networks.ports(late).await.unwrap().is_empty());
        networks.release(servers[3]).await.unwrap();
        clock.advance(Duration::from_secs(1));
        networks.release(servers[1]).await.unwrap();
        networks.release(servers[1]).await.unwrap();
        // The address that has been free for longest is allocated first.
        assert_eq!(networks.allocate(late, PublicAddress::Own).await.unwrap()[0].addresses[0].address, public(5));
        assert_eq!(networks.allocate(servers[1], PublicAddress::Own).await.unwrap()[0].addresses[0].address, public(3));
    }
}

on_each_engine! {
    async fn a_shared_address_is_not_reallocated_while_any_port_holds_it(location: &Location) {
        let networks = open(location, &Clock::system()).await;
        let (owner, other) = (Uuid::new_v4(), Uuid::new_v4());
        networks.allocate(owner, PublicAddress::Own).await.unwrap();
        networks.allocate(other, PublicAddress::Own).await.unwrap();
        let held = |ports: &[networks::Port]| -> Vec<(Ipv4Addr, bool)> {
            ports[0].addresses.iter().map(|held| (held.address, held.shared)).collect()
        };
        for _ in 0..2 {
            let ports = networks.share(other, public(2)).await.unwrap();
            assert_eq!(held(&ports), [(public(3), false), (public(2), true)]);
        }
        assert!(matches!(networks.share(other, public(6)).await, Err(Error::NotHeld(_))));
        networks.release(owner).await.unwrap();
        for last in [4, 5, 6] {
            let ports = networks.allocate(Uuid::new_v4(), PublicAddress::Own).await.unwrap();
            assert_eq!(ports[0].addresses[0].address, public(last));
        }
        assert!(matches!(networks.allocate(owner, PublicAddress::Own).await, Err(Error::Exhausted(_))));
        assert_eq!(held(&networks.unshare(other, public(2)).await.unwrap()), [(public(3), false)]);
        // A server's own address is not removed.
        assert_eq!(held(&networks.unshare(other, public(3)).await.unwrap()), [(public(3), false)]);
        let again = networks.allocate(owner, PublicAddress::Own).await.unwrap();
        assert_eq!(held(&again), [(public(2), false)]);
        let launched = networks.allocate(Uuid::new_v4(), PublicAddress::Shared(public(2))).await.unwrap();
        assert_eq!(held(&launched), [(public(2), true)]);
    }
}

struct Known(HashSet<Uuid>);

#[async_trait]
impl Servers for Known {
    async fn existing(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, database::Error> {
        Ok(ids.iter().filter(|id| self.0.contains(id)).copied().collect())
    }
}

on_each_engine! {
    async fn a_sweep_frees_the_ports_of_servers_that_do_not_exist(location: &Location) {
        let clock = Clock::frozen_at(Time::from_seconds(1000));
        let networks = open(location, &clock).await;
        let (kept, orphan, fresh) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
        networks.allocate(kept, PublicAddress::Own).await.unwrap();
        networks.allocate(orphan, PublicAddress::Own).await.unwrap();
        clock.advance(Duration::from_secs(600));
        networks.allocate(fresh, PublicAddress::Own).await.unwrap();
        let known = Known([kept].into());
        assert_eq!(networks.sweep(&known, Duration::from_secs(300)).await.unwrap(), 1);
        assert_eq!(networks.sweep(&known, Duration::from_secs(300)).await.unwrap(), 0);
        assert!(networks.ports(orphan).await.unwrap().is_empty());
        assert_eq!(networks.ports(kept).await.unwrap().len(), 2);
        assert_eq!(networks.ports(fresh).await.unwrap().len(), 2);
    }
}
