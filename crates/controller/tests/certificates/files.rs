//! Certificates in files that somebody else looks after.

use std::time::Duration;

use cutover_controller::certificates::tenants::Wish;
use cutover_controller::certificates::{LOOK, Listeners};
use cutover_core::tls::{Acme, CertificateSource};
use tokio::time::sleep;

use crate::world::{Answer, DAY, HOUR, MINUTE, World, by, facts, files, tenant, wish};

fn world() -> World {
    let world = World::with(vec![tenant("shop", &["a.dev"], files("/one.pem"))]);
    world.outside().files.insert("/one.pem".to_owned(), Ok(facts(&["a.dev"], Duration::ZERO, "1")));
    world
}

#[tokio::test(start_paused = true)]
async fn files_are_put_on_the_shelf_with_a_listener_or_without() {
    for tls in [true, false] {
        let world = world();
        let life = world.live_with(LOOK, Listeners { tls, plain: true });
        sleep(MINUTE).await;
        assert_eq!((world.served().len(), world.outside().looks), (1, 1));
        world.outside().files.insert("/one.pem".to_owned(), Ok(facts(&["a.dev"], MINUTE, "2")));
        sleep(MINUTE).await;
        assert_eq!(world.outside().looks, 2);
        let standing = life.keeper.standings().remove(0);
        assert_eq!((standing.served.unwrap().fingerprint.as_str(), standing.renew_at), ("2", None));
        assert_eq!(world.minutes(), [0; 0], "nobody is asked");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_fit_is_told_and_the_old_one_stays() {
    let world = world();
    let life = world.live(LOOK);
    sleep(MINUTE).await;
    world.outside().files.insert("/one.pem".to_owned(), Err("`/one.pem` is none".to_owned()));
    sleep(HOUR).await;
    let standing = life.keeper.standings().remove(0);
    assert_eq!(standing.last_error.as_deref(), Some("`/one.pem` is none"));
    assert_eq!((standing.failures, standing.next_attempt, world.served().len()), (1, None, 1));
    // Not even when its time is over: an old certificate tells more than none.
    drop(life);
    let life = world.live(HOUR);
    sleep(DAY * 100).await;
    assert_eq!(world.served().len(), 1);
    world.outside().files.insert("/one.pem".to_owned(), Ok(facts(&["a.dev"], DAY * 100, "2")));
    sleep(HOUR).await;
    assert_eq!(life.keeper.standings().remove(0).last_error, None);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_does_not_answer_keeps_nothing_else_waiting() {
    let world = world();
    world.outside().tenants.push(tenant("blog", &["b.dev"], CertificateSource::Usual));
    world.outside().dead.insert("/one.pem".to_owned());
    let life = world.live(LOOK);
    sleep(MINUTE).await;
    assert_eq!(world.served(), ["b.dev"]);
    let told = || life.keeper.standings().into_iter().find_map(|standing| standing.last_error);
    assert_eq!(told().as_deref(), Some("`/one.pem` or its key could not be read within 30 s"));
    sleep(HOUR).await;
    assert_eq!(world.outside().stagings, 1, "what hangs is not begun beside itself");
    world.outside().dead.clear();
    sleep(MINUTE * 2).await;
    assert_eq!((world.served().len(), told()), (2, None));
}

#[tokio::test(start_paused = true)]
async fn what_no_release_wants_is_taken_off_and_what_one_could_go_back_to_is_not() {
    let world = world();
    let life = world.live(LOOK);
    sleep(MINUTE).await;
    let (old, new) = (wish(&["a.dev"], files("/one.pem")), wish(&["a.dev"], CertificateSource::Off));
    let holds = |held: &[&Wish]| {
        let mut tenant = tenant("shop", &["a.dev"], CertificateSource::Off);
        tenant.held = held.iter().map(|&wish| wish.clone()).collect();
        tenant
    };
    world.outside().tenants = vec![holds(&[&new, &old])];
    sleep(MINUTE).await;
    assert_eq!(world.served().len(), 1);
    assert!(!life.keeper.standings()[0].wanted);
    world.outside().tenants = vec![holds(&[&new])];
    sleep(MINUTE).await;
    assert_eq!((world.served().len(), life.keeper.standings().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_file_s_certificate_stays_until_an_authority_has_given_its_successor() {
    let world = world();
    let _life = world.live(LOOK);
    sleep(MINUTE).await;
    let file = world.served().remove(0);
    let directory = Acme::default().directory;
    world.outside().answers.insert(directory, Answer::Refuse(None));
    world.outside().tenants = vec![tenant("shop", &["a.dev"], by(Acme::default()))];
    sleep(HOUR).await;
    assert_eq!(world.served(), [file], "nothing else is there for the host");
    world.outside().answers.clear();
    sleep(HOUR * 2).await;
    assert_eq!(world.served(), ["a.dev"]);
}

#[tokio::test(start_paused = true)]
async fn of_services_that_nobody_can_read_nothing_is_taken_away() {
    let world = world();
    let _life = world.live(LOOK);
    sleep(MINUTE).await;
    let mut unknown = tenant("shop", &[], CertificateSource::Off);
    (unknown.live, unknown.held, unknown.is_known) = (None, Vec::new(), false);
    world.outside().tenants = vec![unknown];
    sleep(MINUTE).await;
    assert_eq!(world.served().len(), 1);
    // Nor when the manager ends, and knows of none any more.
    world.outside().tenants.clear();
    sleep(MINUTE).await;
    assert_eq!(world.served().len(), 1);
}
