//! When certificates are renewed.

use cutover_controller::ports::RenewalWindow;
use cutover_core::tls::CertificateSource;
use tokio::time::sleep;

use crate::world::{DAY, HOUR, World, at, tenant};

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_after_two_thirds_of_its_life_and_replaces_the_old_one() {
    let world = World::with(vec![tenant("shop", &["a.dev"], CertificateSource::Usual)]);
    let _life = world.live(HOUR);
    sleep(DAY * 59).await;
    assert_eq!(world.outside().asked.len(), 1);
    sleep(DAY * 2).await;
    assert_eq!(world.outside().asked.len(), 2);
    assert!(world.outside().asked[1].replaces);
    sleep(DAY * 300).await;
    assert_eq!(world.outside().asked.len(), 7);
}

#[tokio::test(start_paused = true)]
async fn the_authority_can_have_it_renewed_earlier() {
    let world = World::with(vec![tenant("shop", &["a.dev"], CertificateSource::Usual)]);
    let life = world.live(HOUR);
    sleep(DAY).await;
    let asked = world.outside().windows_asked;
    assert!((1..=2).contains(&asked), "{asked}");
    let (start, end) = (at(DAY * 10), at(DAY * 12));
    world.outside().window = Some(RenewalWindow { start, end, ask_again: HOUR * 6 });
    sleep(DAY * 2).await;
    assert_eq!(life.standing("a.dev").renew_at, Some(at(DAY * 10)));
    // The one that comes then is asked about anew.
    sleep(DAY * 7).await;
    world.outside().window = None;
    sleep(DAY).await;
    assert_eq!(world.outside().asked.len(), 2);
    assert!(life.standing("a.dev").renew_at > Some(at(DAY * 60)));
}
