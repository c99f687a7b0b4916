//! Schema, WADL and guide. Every XML response that a test checks, and every accepted XML request, must be valid by the schema.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use web::xml::Element;

use crate::bed::TestBed;

/// Returns a file with the schema for `xmllint`.
fn schema() -> &'static Path {
    static SCHEMA: OnceLock<PathBuf> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("servers-{}.xsd", std::process::id()));
        std::fs::write(&path, compute::api::v1::schema()).unwrap();
        path
    })
}

/// Validates a document by the schema. Returns `xmllint`'s message if it is invalid.
fn validate(document: &str) -> Result<(), String> {
    let mut xmllint = Command::new("xmllint")
        .args(["--noout", "--nonet", "--schema"])
        .arg(schema())
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("xmllint, of libxml2-utils (scripts/need.sh test)");
    xmllint.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    let output = xmllint.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

pub fn assert_valid(document: &str) {
    if let Err(reason) = validate(document) {
        panic!("{reason}\n{document}");
    }
}

#[test]
fn the_schema_rejects_invalid_documents() {
    let ns = crate::bed::NAMESPACE;
    for wrong in [
        format!(r#"<server xmlns="{ns}" id="x"/>"#),
        format!(r#"<server xmlns="{ns}" status="DANCING"/>"#),
        format!(r#"<servers xmlns="{ns}"><image id="1"/></servers>"#),
        format!(r#"<unauthorized xmlns="{ns}"><message>no</message></unauthorized>"#),
        format!(r#"<limits xmlns="{ns}"/>"#),
        format!(r#"<reboot xmlns="{ns}" type="WARM"/>"#),
        format!(r#"<nothing xmlns="{ns}"/>"#),
        "<versions/>".to_owned(),
    ] {
        assert!(validate(&wrong).is_err(), "{wrong}");
    }
}

fn names<'a>(parent: &'a Element, kind: &str) -> Vec<&'a str> {
    let children = parent.children.iter().filter(|child| child.name == kind);
    children.filter_map(|child| child.attribute("name")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_the_guide_extends_the_common_type() {
    let bed = TestBed::new().await;
    let xsd = bed.get("//v1.0/docs/servers.xsd").await;
    assert_eq!((xsd.status.as_u16(), xsd.body.as_str()), (200, compute::api::v1::schema().as_str()));
    let xsd = web::xml::parse(xsd.body.as_bytes()).unwrap();
    let declared = names(&xsd, "element");
    for fault in [
        "cloudServersFault",
        "serviceUnavailable",
        "unauthorized",
        "badRequest",
        "overLimit",
        "badMediaType",
        "badMethod",
        "itemNotFound",
        "rescueModelInUse",
        "rescueModeInUse",
        "buildInProgress",
        "serverCapacityUnavailable",
        "backupOrResizeInProgress",
        "resizeNotAllowed",
        "notImplemented",
    ] {
        assert!(declared.contains(&fault), "{fault}");
        let element = xsd.children.iter().find(|child| child.attribute("name") == Some(fault)).unwrap();
        let extension = &element.children[0].children[0].children[0];
        assert_eq!(extension.attribute("base"), Some("api:CloudServersAPIFault"));
    }
}

/// Returns the child element with this name.
fn find<'a>(parent: &'a Element, kind: &str) -> &'a Element {
    parent.find(kind).unwrap_or_else(|| panic!("no {kind} in {}", parent.to_document()))
}

fn elements(of: &Element) -> Vec<&str> {
    of.children.iter().filter_map(|child| child.attribute("element")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wadl_describes_every_operation() {
    let bed = TestBed::new().await;
    let answer = bed.get("//v1.0/application.wadl").await;
    assert_eq!(answer.header("content-type"), "application/vnd.sun.wadl+xml");
    let wadl = web::xml::parse(answer.body.as_bytes()).unwrap();
    let xsd = web::xml::parse(compute::api::v1::schema().as_bytes()).unwrap();
    let declared: HashSet<String> = names(&xsd, "element").iter().map(|name| format!("api:{name}")).collect();
    let mut served: HashSet<(String, String)> = compute::api::v1::routes()
        .entries()
        .iter()
        .map(|entry| (entry.method.to_string(), entry.path.trim_start_matches('/').to_owned()))
        .collect();
    served.extend(["", "v1.0"].map(|path| ("GET".to_owned(), path.to_owned())));
    let (mut used, mut described) = (HashSet::new(), HashSet::new());
    for resource in &find(&wadl, "resources").children {
        let path = resource.attribute("path").unwrap();
        assert_eq!(names(resource, "param").len(), path.matches('{').count(), "{path}");
        for method in resource.children.iter().filter(|child| child.name == "method") {
            let verb = method.attribute("name").unwrap();
            described.insert((verb.to_owned(), path.to_owned()));
            let responses: Vec<_> = method.children.iter().filter(|child| child.name == "response").collect();
            let good: Vec<_> =
                responses.iter().filter(|r| r.attribute("status").unwrap().starts_with('2')).collect();
            assert!(!good.is_empty(), "{verb} {path}");
            for response in &good {
                assert_eq!(
                    elements(response).len(),
                    usize::from(verb == "GET" || (verb == "POST" && path.ends_with('s'))),
                    "{verb} {path}"
                );
            }
            let request = find(method, "request");
            assert_eq!(
                elements(request).is_empty(),
                matches!(verb, "GET" | "DELETE") || path.ends_with("{member}"),
                "{verb} {path}"
            );
            used.extend(responses.iter().copied().chain([request]).flat_map(elements).map(str::to_owned));
            let queries = names(request, "param");
            let list = verb == "GET" && (path.ends_with("/detail") || path.ends_with("/servers"));
            assert_eq!(queries.contains(&"limit"), list || queries.contains(&"offset"), "{verb} {path}");
            assert_eq!(
                queries.contains(&"changes-since"),
                verb == "GET" && path.contains("{tenant}"),
                "{path}"
            );
        }
    }
    assert_eq!(described, served);
    assert!(used.is_subset(&declared), "{:?}", used.difference(&declared));
    // The schema declares only elements that are used, and the guide's faults that Nephos never returns.
    let mut unused: Vec<_> = declared.difference(&used).map(String::as_str).collect();
    unused.sort_unstable();
    assert_eq!(unused, ["api:badMethod", "api:rescueModeInUse", "api:rescueModelInUse"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guide_lists_every_operation() {
    let bed = TestBed::new().await;
    let guide = bed.get("//v1.0/docs/guide.html").await;
    assert_eq!(guide.header("content-type"), "text/html; charset=UTF-8");
    assert!(guide.body.contains("<code>http://127.0.0.1:8080/servers/v1.0/{tenant}</code>"));
    assert!(guide.body.contains("<td>/shared_ip_groups/detail</td>") && !guide.body.contains("<td>/v1.0"));
}
