//! Files in PEM (RFC 7468) taken apart as text: what is not needed in them, or twice, is not passed on.

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// A chain and a key in one text: the certificates of the one, the first private key of the other.
pub(super) fn whole(chain: &[u8], key: &[u8]) -> Vec<u8> {
    let mut text = certificates(chain);
    let key = String::from_utf8_lossy(key);
    text.extend(
        blocks(&key).filter(|(label, _)| label.ends_with("PRIVATE KEY")).map(|(_, block)| block).take(1),
    );
    text.into_bytes()
}

/// The certificates alone.
pub(super) fn certificates(pem: &[u8]) -> String {
    let pem = String::from_utf8_lossy(pem);
    blocks(&pem).filter(|(label, _)| *label == "CERTIFICATE").map(|(_, block)| block).collect()
}

/// Each block that is whole, with its label.
fn blocks(text: &str) -> impl Iterator<Item = (&str, String)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let begun = &rest[rest.find(BEGIN)?..];
            rest = &begun[BEGIN.len()..];
            let Some((label, _)) = rest.split_once(DASHES) else { continue };
            let end = format!("{END}{label}{DASHES}");
            let Some(at) = begun.find(&end) else { continue };
            let block = &begun[..at + end.len()];
            // An end that is missing would take the next block along.
            if block[BEGIN.len()..].contains(BEGIN) {
                continue;
            }
            rest = &begun[block.len()..];
            return Some((label, format!("{}\n", block.replace('\r', ""))));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chain: &str, key: &str, expected: &str) {
        assert_eq!(String::from_utf8(whole(chain.as_bytes(), key.as_bytes())).unwrap(), expected);
    }

    #[test]
    fn only_certificates_and_one_key_are_passed_on() {
        let certificate = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        let other = "-----BEGIN CERTIFICATE-----\nBB==\n-----END CERTIFICATE-----\n";
        let parameters = "-----BEGIN EC PARAMETERS-----\nCC==\n-----END EC PARAMETERS-----\n";
        let key = "-----BEGIN EC PRIVATE KEY-----\nDD==\n-----END EC PRIVATE KEY-----\n";
        let both = format!("{parameters}{key}text\n{certificate}{other}");
        check(&both, &both, &format!("{certificate}{other}{key}"));
        check(&certificate.replace('\n', "\r\n"), key.trim_end(), &format!("{certificate}{key}"));
        check(&format!("{key}{certificate}"), &format!("{key}{key}{other}"), &format!("{certificate}{key}"));
    }

    #[test]
    fn what_is_cut_off_is_not_there() {
        let certificate = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        check(&format!("-----BEGIN CERTIFICATE-----\nBB==\n{certificate}"), "-----BEGIN", certificate);
        check("-----BEGIN CERTIFICATE-----\nBB==\n", "", "");
    }
}
