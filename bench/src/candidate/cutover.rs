//! The data plane alone, as `cutover proxy` is started by hand; its statistics are always on.

use std::fmt::Write as _;

use super::{Place, Prepared, Setting};
use crate::certificate::Certificate;
use crate::request::HOST;

pub(super) fn prepare(place: &Place, setting: &Setting) -> Prepared {
    let file = place.folder.join("cutover.toml");
    let arguments = vec![
        "proxy".into(),
        "--table".into(),
        file.clone().into(),
        "--admin".into(),
        place.admin.clone().into(),
        "--workers".into(),
        setting.workers.to_string().into(),
    ];
    // It is to tell both protocols apart by the client's first bytes.
    Prepared {
        configuration: table(place, setting),
        file,
        arguments,
        h2c: place.listen,
        https: setting.certificate.as_ref().map(|_| place.https),
    }
}

/// One service without a host takes every request; among several each has a host of its own.
fn table(place: &Place, setting: &Setting) -> String {
    let Setting { blue, green, services, .. } = setting;
    let mut table = format!("[listen]\nhttp = [\"{}\"]\n", place.listen);
    if let Some(certificate) = &setting.certificate {
        table.push_str(&tls(place, certificate));
    }
    // Where there is a certificate for a host, its requests without TLS would be sent to TLS.
    let https = if setting.certificate.is_some() { "https = { redirect = false }\n" } else { "" };
    for number in 0..*services {
        let (name, hosts) = match number {
            _ if *services == 1 => ("bench".to_owned(), String::new()),
            number if number == services / 2 => ("bench".to_owned(), format!("hosts = [\"{HOST}\"]\n")),
            // Before and after `bench` in every order there could be: by name, by host, by position.
            number => {
                let half = if number < services / 2 { "a" } else { "c" };
                let name = format!("{half}-{number:05}");
                let hosts = format!("hosts = [\"{name}.example\"]\n");
                (name, hosts)
            }
        };
        let written = write!(
            table,
            r#"[[service]]
name = "{name}"
{hosts}{https}weights = {{ blue = 100, green = 0 }}
blue = ["{blue}"]
green = ["{green}"]
"#
        );
        debug_assert!(written.is_ok(), "a string takes everything");
    }
    table
}

/// The rest of `[listen]`, and what is shown there. Both protocols, TLS 1.2 and tickets are what it does by itself.
fn tls(place: &Place, certificate: &Certificate) -> String {
    let Certificate { chain, key, .. } = certificate;
    format!(
        "https = [\"{}\"]\n[clients.tls]\ncertificates = [{{ certificate = \"{}\", key = \"{}\" }}]\n",
        place.https,
        chain.display(),
        key.display()
    )
}
