//! Certificates by each way of proving hosts.

use cutover_adapters::Readers;
use cutover_adapters::certificates::DirectoryShelf;
use cutover_controller::ports::CertificateShelf;
use cutover_core::tls::Challenge;

use crate::bench::Bench;
use crate::front::Front;

#[tokio::test]
async fn several_hosts_are_proved_over_http() {
    let bench = Bench::new().await;
    let order = bench.order(&["shop.test", "www.shop.test", "api.shop.test"], Challenge::Http01);
    let issued = bench.succeeds(&order).await;
    assert_eq!(*bench.front.ever.lock().unwrap(), 3);

    // And what was given can be served.
    let shelf = DirectoryShelf::open(&bench.directory.path().join("state"), Readers::Owner).unwrap();
    let facts = shelf.put("shop.test", &issued).await.unwrap();
    assert!(facts.covers("api.shop.test") && facts.not_after > facts.not_before);
    assert_eq!(shelf.look().await.unwrap()["shop.test"], facts);
}

#[tokio::test]
async fn several_hosts_are_proved_over_tls() {
    let bench = Bench::new().await;
    bench.succeeds(&bench.order(&["shop.test", "www.shop.test"], Challenge::TlsAlpn01)).await;
}

#[tokio::test]
async fn each_order_has_a_key_of_its_own_and_one_that_replaces_another_is_given_too() {
    let bench = Bench::new().await;
    let mut order = bench.order(&["shop.test"], Challenge::Http01);
    let first = bench.succeeds(&order).await;
    order.replaces = Some(first.chain.clone());
    let second = bench.succeeds(&order).await;
    assert_ne!(first.key, second.key);
    assert_ne!(first.chain, second.chain);
}

#[tokio::test]
async fn a_host_that_is_believed_already_is_not_proved_again() {
    let bench = Bench::with(Front::start(false).await, |settings| settings.remembers_proofs = true);
    bench.succeeds(&bench.order(&["shop.test"], Challenge::Http01)).await;
    bench.succeeds(&bench.order(&["shop.test"], Challenge::Http01)).await;
    assert_eq!(*bench.front.ever.lock().unwrap(), 1);
    bench.succeeds(&bench.order(&["shop.test", "new.shop.test"], Challenge::TlsAlpn01)).await;
    assert_eq!(*bench.front.ever.lock().unwrap(), 2);
}

#[tokio::test]
async fn nonces_that_are_refused_are_replaced() {
    let bench = Bench::with(Front::start(false).await, |settings| settings.refused_nonces = 20);
    // Without a refusal each of these is asked once by an order.
    let steps = ["POST /order-plz", "POST /finalize-order/", "POST /certZ/"];
    let count = || steps.map(|step| bench.pebble.log().matches(step).count());
    // By chance none may be refused, or one more often than it is tried.
    for _ in 0..50 {
        let before = count();
        let obtained = bench.obtain(&bench.order(&["shop.test"], Challenge::Http01)).await;
        let again = count().iter().zip(before).any(|(after, before)| after - before > 1);
        if obtained.is_ok() && again {
            return;
        }
    }
    panic!("no order in which a nonce was refused was answered: {}", bench.pebble.log());
}
