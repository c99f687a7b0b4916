//! What a guest is told at its first boot: OpenStack's config drive, read by cloud-init and by our own guest.

use hypervisor::ConfigDrive;
use networks::{Config, Label};
use serde_json::{Value, json};

use crate::model::{File, Server};

/// Letters of a host name at most (RFC 1035, a label).
const HOSTNAME_MAX: usize = 63;

/// The files of a server's config drive.
pub(super) fn build(
    server: &Server,
    password: Option<&str>,
    files: &[File],
    networks: &Config,
) -> ConfigDrive {
    let paths: Vec<Value> = files
        .iter()
        .enumerate()
        .map(|(index, file)| json!({ "path": file.path, "content_path": content_path(index) }))
        .collect();
    let meta: serde_json::Map<String, Value> =
        server.metadata.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect();
    let shared: Vec<String> = server
        .interfaces
        .iter()
        .flat_map(|port| &port.addresses)
        .filter(|held| held.shared)
        .map(|held| held.address.to_string())
        .collect();
    let mut metadata = json!({
        "uuid": server.id,
        "name": server.name,
        "hostname": hostname(&server.hostname),
        "launch_index": 0,
        "availability_zone": "nova",
        "project_id": server.tenant,
        "meta": meta,
        "files": paths,
        "shared_addresses": shared,
    });
    if let Some(password) = password {
        metadata["admin_pass"] = password.into();
    }
    let metadata = metadata.to_string().into_bytes();
    let network = network_data(server, networks).to_string().into_bytes();
    let vendor = vendor_data(password, files).to_string().into_bytes();
    let mut drive: ConfigDrive = vec![
        ("openstack/latest/meta_data.json".into(), metadata.clone()),
        ("openstack/2012-08-10/meta_data.json".into(), metadata),
        ("openstack/latest/network_data.json".into(), network),
        ("openstack/latest/vendor_data.json".into(), vendor),
    ];
    for (index, file) in files.iter().enumerate() {
        drive.push((format!("openstack{}", content_path(index)), file.contents.clone()));
    }
    drive
}

/// A name that a guest can bear: servers may be called what host names may not.
fn hostname(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = name.chars().map(allowed).take(HOSTNAME_MAX).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "server".to_owned() } else { name.to_owned() }
}

fn content_path(index: usize) -> String {
    format!("/content/{index:04}")
}

/// cloud-init configures only the first card without it, and wants each link's hardware address.
fn network_data(server: &Server, networks: &Config) -> Value {
    let (mut links, mut nets) = (Vec::new(), Vec::new());
    for (index, port) in server.interfaces.iter().enumerate() {
        let link = format!("eth{index}");
        links.push(json!({
            "id": link, "type": "phy", "ethernet_mac_address": port.mac.to_string(), "mtu": 1500, "vif_id": port.id,
        }));
        let pool = networks.pool(port.label);
        // Its own address; or, launched with a shared one only, that one.
        let Some(held) = port.addresses.iter().find(|held| !held.shared).or(port.addresses.first()) else {
            continue;
        };
        let routes = match port.label {
            Label::Public => {
                json!([{ "network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": pool.gateway.to_string() }])
            }
            Label::Private => json!([]),
        };
        nets.push(json!({
            "id": format!("network{index}"), "link": link, "type": "ipv4", "network_id": port.label.network(),
            "ip_address": held.address.to_string(), "netmask": pool.cidr.netmask().to_string(), "routes": routes,
        }));
    }
    json!({ "links": links, "networks": nets, "services": [] })
}

/// cloud-init reads neither `admin_pass` nor a mode for files: it is told in its own words (JSON is YAML).
fn vendor_data(password: Option<&str>, files: &[File]) -> Value {
    let mut config = json!({ "ssh_pwauth": true, "disable_root": false });
    if let Some(password) = password {
        config["chpasswd"] = json!({ "expire": false, "list": format!("root:{password}\n") });
    }
    let restrict: Vec<Value> = files
        .iter()
        .flat_map(|file| [json!(["chown", "0:0", file.path]), json!(["chmod", "0440", file.path])])
        .collect();
    if !restrict.is_empty() {
        config["runcmd"] = restrict.into();
    }
    json!({ "cloud-init": format!("#cloud-config\n{config}\n") })
}

#[cfg(test)]
mod tests {
    use super::hostname;

    #[test]
    fn a_guest_gets_a_name_that_it_can_bear() {
        assert_eq!(hostname("web1.example.com"), "web1.example.com");
        assert_eq!(hostname("My Server (ü)"), "My-Server");
        assert_eq!(hostname("日本"), "server");
        assert_eq!(hostname(&"x".repeat(200)).len(), 63);
    }
}
