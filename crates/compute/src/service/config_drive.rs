//! The config drive that a guest reads at boot, in OpenStack's format for cloud-init and for the test guest.

use hypervisor::ConfigDrive;
use networks::{Config, Label};
use serde_json::{Value, json};

use crate::model::{File, Server};

/// Maximum length of a host name (RFC 1035, a label).
const HOSTNAME_MAX: usize = 63;

/// Returns the files of a server's config drive.
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

/// Returns a valid host name for a server's name, which may contain other characters.
fn hostname(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = name.chars().map(allowed).take(HOSTNAME_MAX).collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "server".to_owned() } else { name.to_owned() }
}

fn content_path(index: usize) -> String {
    format!("/content/{index:04}")
}

/// Returns `network_data.json`. Without it cloud-init configures only the first interface. It needs each link's
/// hardware address.
fn network_data(server: &Server, networks: &Config) -> Value {
    let (mut links, mut nets) = (Vec::new(), Vec::new());
    for (index, port) in server.interfaces.iter().enumerate() {
        let link = format!("eth{index}");
        links.push(json!({
            "id": link, "type": "phy", "ethernet_mac_address": port.mac.to_string(), "mtu": 1500, "vif_id": port.id,
        }));
        let pool = networks.pool(port.label);
        // The server's own address. A server that was created with only a shared address gets that one.
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

/// Returns `vendor_data.json`. cloud-init ignores `admin_pass` and has no mode for files in `meta_data.json`, so both
/// are set by a cloud-config (JSON is valid YAML).
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
    fn a_server_name_becomes_a_valid_host_name() {
        assert_eq!(hostname("web1.example.com"), "web1.example.com");
        assert_eq!(hostname("My Server (ü)"), "My-Server");
        assert_eq!(hostname("日本"), "server");
        assert_eq!(hostname(&"x".repeat(200)).len(), 63);
    }
}
