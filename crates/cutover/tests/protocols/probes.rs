//! Health is asked for in the protocol that an instance speaks; in another it would look ill.

use crate::h2_client::Connection;
use crate::patience::eventually;
use crate::site::Site;

scenarios! {
    instances_are_probed_in_their_own_protocol: over_h2c_with_probes, by_auto_with_probes;
}

async fn instances_are_probed_in_their_own_protocol(site: Site) {
    // More than make an instance ill.
    for server in [&site.blue, &site.green] {
        eventually("probes arrive", || server.ledger.probes() > 5).await;
    }
    let client = Connection::open(site.address()).await;
    assert_eq!(client.get("/").await.text(), "blue\n");
    site.switch().await;
    assert_eq!(client.get("/").await.text(), "green\n");
}
