//! What is ordered, from whom, and in which order.

use std::time::Duration;

use cutover_controller::certificates::{LOOK, Listeners};
use cutover_core::tls::{Acme, CertificateSource, Challenge};
use tokio::time::sleep;

use crate::world::{Answer, DAY, HOUR, MINUTE, World, acme, by, tenant};

#[tokio::test(start_paused = true)]
async fn what_is_wanted_is_ordered_at_once_and_the_front_is_told() {
    let world = World::with(vec![tenant("shop", &["shop.dev", "localhost"], CertificateSource::Usual)]);
    let life = world.live(LOOK);
    sleep(LOOK * 2).await;
    let standing = life.standing("shop.dev");
    assert_eq!(standing.served.unwrap().names, ["shop.dev"]);
    assert_eq!((standing.last_error, standing.failures, standing.next_attempt), (None, 0, None));
    let left_out = life.keeper.left_out();
    assert_eq!(left_out[0].host.as_deref(), Some("localhost"));
    let outside = world.outside();
    assert_eq!((outside.asked.len(), outside.asked[0].challenge, outside.looks), (1, "http-01", 1));
    assert_eq!(outside.asked[0].directory, Acme::LETS_ENCRYPT);
}

#[tokio::test(start_paused = true)]
async fn what_rests_writes_nothing() {
    let world = World::with(vec![tenant("shop", &["shop.dev"], CertificateSource::Usual)]);
    let _life = world.live(LOOK);
    sleep(MINUTE).await;
    let before = world.outside().records;
    sleep(HOUR).await;
    assert_eq!(world.outside().records, before);
}

#[tokio::test(start_paused = true)]
async fn a_directory_is_asked_for_one_at_a_time_and_different_ones_side_by_side() {
    let shop = Acme { each_host: true, ..acme("https://one/dir") };
    let world = World::with(vec![
        tenant("shop", &["a.dev", "b.dev", "c.dev"], by(shop)),
        tenant("blog", &["d.dev"], by(acme("https://two/dir"))),
    ]);
    world.outside().answers.insert("https://one/dir".to_owned(), Answer::GiveAfter(MINUTE));
    let _life = world.live(LOOK);
    sleep(MINUTE / 2).await;
    assert_eq!(world.served(), ["d.dev"]);
    sleep(MINUTE * 3).await;
    assert_eq!(world.served(), ["a.dev", "b.dev", "c.dev", "d.dev"]);
    assert_eq!(world.most_at_once("https://one/dir"), 1);
    // The next one does not wait for the next look.
    assert_eq!(world.minutes(), [0, 0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_is_silent_holds_up_nobody_and_is_given_up() {
    let world = World::with(vec![
        tenant("blog", &["d.dev"], by(acme("https://silent/dir"))),
        tenant("shop", &["a.dev"], by(acme("https://other/dir"))),
    ]);
    world.outside().answers.insert("https://silent/dir".to_owned(), Answer::Hang);
    let life = world.live(LOOK);
    sleep(MINUTE).await;
    assert_eq!(world.served(), ["a.dev"]);
    sleep(MINUTE * 15).await;
    let standing = life.standing("d.dev");
    assert_eq!(standing.last_error.as_deref(), Some("the authority did not come to an end"));
    assert_eq!(standing.failures, 1);
}

#[tokio::test(start_paused = true)]
async fn other_hosts_are_ordered_while_the_old_certificate_goes_on_being_served() {
    let world = World::with(vec![tenant("shop", &["a.dev"], CertificateSource::Usual)]);
    let life = world.live(LOOK);
    sleep(MINUTE).await;
    world.outside().answers.insert(Acme::LETS_ENCRYPT.to_owned(), Answer::Refuse(None));
    world.outside().tenants = vec![tenant("shop", &["a.dev", "b.dev"], CertificateSource::Usual)];
    sleep(MINUTE).await;
    assert_eq!(world.served(), ["a.dev"]);
    world.outside().answers.clear();
    sleep(HOUR).await;
    let served = world.served();
    assert_eq!(served.len(), 2, "{served:?}");
    let old = life.standing("a.dev");
    assert!(!old.wanted && old.served.is_some());
    // What nobody wants any more stays until its time is over, and is never ordered again.
    drop(life);
    let _life = world.live(HOUR);
    sleep(DAY * 90).await;
    assert!(!world.served().contains(&"a.dev".to_owned()));
    assert!(world.outside().asked.iter().skip(1).all(|asked| asked.hosts.len() == 2));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_refused_does_not_let_the_others_expire() {
    let world = World::with(vec![tenant("shop", &["a.dev"], CertificateSource::Usual)]);
    let life = world.live(HOUR);
    sleep(HOUR).await;
    world.outside().refused.push("b.dev".to_owned());
    world.outside().tenants = vec![tenant("shop", &["a.dev", "b.dev"], CertificateSource::Usual)];
    sleep(DAY * 100).await;
    let served = life.standing("a.dev").served.unwrap();
    assert!(served.not_after > crate::world::at(DAY * 130), "it was renewed as it was");
}

#[tokio::test(start_paused = true)]
async fn another_authority_is_asked_at_once() {
    let world = World::with(vec![tenant("shop", &["a.dev"], CertificateSource::Usual)]);
    let life = world.live(LOOK);
    sleep(MINUTE).await;
    world.outside().tenants = vec![tenant("shop", &["a.dev"], by(acme("https://two/dir")))];
    sleep(MINUTE).await;
    let asked: Vec<_> =
        world.outside().asked.iter().map(|asked| (asked.directory.clone(), asked.replaces)).collect();
    assert_eq!(asked[1], ("https://two/dir".to_owned(), false));
    assert_eq!((asked.len(), life.standing("a.dev").issued_by.as_deref()), (2, Some("https://two/dir")));
}

#[tokio::test(start_paused = true)]
async fn without_a_listener_with_tls_nobody_is_asked() {
    let world = World::with(vec![tenant("shop", &["a.dev"], CertificateSource::Usual)]);
    let life = world.live_with(LOOK, Listeners { tls: false, plain: true });
    sleep(HOUR).await;
    assert_eq!((world.minutes(), life.keeper.standings().len()), (vec![], 0));
    drop(life);
    let _life = world.live(LOOK);
    sleep(MINUTE).await;
    assert_eq!(world.served(), ["a.dev"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_plain_listener_on_port_80_hosts_are_proved_by_tls_alone_unless_somebody_says_otherwise() {
    let http = Acme { challenge: Some(Challenge::Http01), ..acme("https://one/dir") };
    let world = World::with(vec![
        tenant("shop", &["a.dev"], CertificateSource::Usual),
        tenant("blog", &["b.dev"], by(http)),
    ]);
    world.outside().refused.push("a.dev".to_owned());
    let _life = world.live_with(LOOK, Listeners { tls: true, plain: false });
    sleep(HOUR).await;
    let asked = |host: &str| -> Vec<&str> {
        let outside = world.outside();
        outside.asked.iter().filter(|asked| asked.hosts == [host]).map(|asked| asked.challenge).collect()
    };
    assert_eq!((asked("a.dev"), asked("b.dev")), (vec!["tls-alpn-01"; 5], vec!["http-01"]));
}

#[tokio::test(start_paused = true)]
async fn a_person_can_have_one_ordered_now() {
    let world = World::with(vec![tenant("shop", &["a.dev"], CertificateSource::Usual)]);
    let life = world.live(HOUR);
    sleep(Duration::from_secs(1)).await;
    assert!(life.keeper.ask("a.dev").await);
    assert!(!life.keeper.ask("b.dev").await);
    sleep(Duration::from_secs(1)).await;
    let asked: Vec<bool> = world.outside().asked.iter().map(|asked| asked.replaces).collect();
    assert_eq!(asked, [false, true]);
    sleep(DAY).await;
    assert_eq!(world.outside().asked.len(), 2);
}
