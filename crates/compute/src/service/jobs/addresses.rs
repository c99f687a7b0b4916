//! Shared addresses: books, packet filters, and perhaps the guest.

use std::net::Ipv4Addr;

use networks::{Label, Port};

use super::{JobContext, StepError};
use crate::model::{Server, Vm};

impl JobContext<'_> {
    pub(super) async fn share(
        &self,
        server: Server,
        address: Ipv4Addr,
        configure: bool,
    ) -> Result<(), StepError> {
        let ports = self.inner.networks.share(server.id, address).await?;
        let server = self.readdress(&server, ports).await?;
        if configure {
            // The guest reads its config drive when it boots (guide: "does require a reboot"), and sees a new one only
            // once its power was off.
            self.write_drive(&server).await?;
            if server.state.vm == Vm::Active {
                self.power_down(&server).await?;
                self.host(&server)?.start(server.id).await?;
                self.until_running(&server).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn unshare(&self, server: Server, address: Ipv4Addr) -> Result<(), StepError> {
        let ports = self.inner.networks.unshare(server.id, address).await?;
        let server = self.readdress(&server, ports).await?;
        // The next boot is not to bring back what the filter refuses.
        self.write_drive(&server).await
    }

    /// Brings a server's books and its machine's filters to what its ports hold.
    async fn readdress(&self, server: &Server, ports: Vec<Port>) -> Result<Server, StepError> {
        let host = self.host(server)?;
        if let Some(public) = ports.iter().find(|port| port.label == Label::Public) {
            let allowed: Vec<_> = public.addresses.iter().map(|held| held.address.into()).collect();
            host.set_addresses(server.id, public.mac, &allowed).await?;
        }
        self.show(move |server| server.interfaces.clone_from(&ports)).await
    }
}
