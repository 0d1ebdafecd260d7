//! Who we are at an authority.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cutover_core::release::{SecretSource, SecretValue};
use cutover_core::tls::{Challenge, ExternalAccount};

use crate::bench::Bench;
use crate::front::Front;

const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

#[tokio::test]
async fn one_account_is_made_and_kept_for_its_owner_alone() {
    let bench = Bench::new().await;
    let order = bench.order(&["shop.test"], Challenge::Http01);
    bench.succeeds(&order).await;
    let [file] = bench.accounts().try_into().unwrap();
    let before = fs::read(&file).unwrap();
    bench.succeeds(&order).await;
    assert_eq!((bench.accounts(), fs::read(&file).unwrap()), (vec![file.clone()], before));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);

    // Who wants to be written to elsewhere is somebody else.
    let mut other = order.clone();
    other.acme.contact = None;
    bench.succeeds(&other).await;
    assert_eq!(bench.accounts().len(), 2);

    // What is damaged is made anew.
    fs::write(&file, "{").unwrap();
    bench.succeeds(&order).await;
    assert_eq!(bench.accounts().len(), 2);
}

#[tokio::test]
async fn an_account_that_the_authority_has_forgotten_is_made_anew() {
    let mut bench = Bench::new().await;
    let order = bench.order(&["shop.test"], Challenge::Http01);
    bench.succeeds(&order).await;
    let [file] = bench.accounts().try_into().unwrap();
    let before = fs::read(&file).unwrap();
    bench.pebble = bench.pebble.restart(&bench.settings, &bench.names);
    bench.succeeds(&order).await;
    assert_eq!(bench.accounts(), std::slice::from_ref(&file));
    assert_ne!(fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn a_new_account_can_be_bound_to_one_that_somebody_has() {
    let bench = Bench::with(Front::start(false).await, |settings| {
        settings.external_accounts = vec![("kid-1".to_owned(), KEY.to_owned())];
    });
    let mut order = bench.order(&["shop.test"], Challenge::Http01);
    let error = bench.fails(&order).await.reason;
    assert!(error.ends_with("(externalAccountRequired)"), "{error}");

    let bound = |id: &str, key: SecretSource| Some(ExternalAccount { key_id: id.to_owned(), key });
    let value = |text: &str| SecretSource::Value(SecretValue::new(text.to_owned()));
    order.acme.external_account = bound("kid-1", value("b10lLJs8l1GPIzsLP0s6pMt8O0XVGnfTaCeROxQM0BI"));
    let error = bench.fails(&order).await.reason;
    assert!(error.starts_with("the authority refuses `shop.test`: "), "{error}");
    order.acme.external_account = bound("kid-1", value("no base64!"));
    let error = bench.fails(&order).await.reason;
    assert_eq!(error, "the key of the external account `kid-1` is not in base64");
    order.acme.external_account = bound("kid-1", SecretSource::File("/nowhere/key".into()));
    let error = bench.fails(&order).await.reason;
    assert!(
        error.starts_with("cannot read the secret `external_account.key` from `/nowhere/key`"),
        "{error}"
    );
    order.acme.external_account = bound("kid-1", SecretSource::File("/dev/null".into()));
    let error = bench.fails(&order).await.reason;
    assert_eq!(error, "cannot read the secret `external_account.key` from `/dev/null`: it is not a file");
    assert_eq!(bench.accounts().len(), 0);

    let file = bench.directory.path().join("key");
    fs::write(&file, format!("{KEY}\n")).unwrap();
    order.acme.external_account = bound("kid-1", SecretSource::File(file));
    bench.succeeds(&order).await;
    let [kept] = bench.accounts().try_into().unwrap();
    assert!(!fs::read_to_string(kept).unwrap().contains(KEY));
}
