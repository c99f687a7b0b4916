//! Shared addresses: updates the database, the packet filters and, if requested, the guest.

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
        let server = self.apply_ports(&server, ports).await?;
        if configure {
            // The guest reads its config drive at boot (guide: "does require a reboot"), and sees a changed one only
            // after it was powered off.
            self.write_drive(&server).await?;
            if server.state.vm == Vm::Active {
                self.shut_down(&server).await?;
                self.host(&server)?.start(server.id).await?;
                self.until_running(&server).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn unshare(&self, server: Server, address: Ipv4Addr) -> Result<(), StepError> {
        let ports = self.inner.networks.unshare(server.id, address).await?;
        let server = self.apply_ports(&server, ports).await?;
        // Otherwise the guest would configure the address again at its next boot.
        self.write_drive(&server).await
    }

    /// Applies a server's ports to its machine's packet filters and to its row.
    async fn apply_ports(&self, server: &Server, ports: Vec<Port>) -> Result<Server, StepError> {
        let host = self.host(server)?;
        if let Some(public) = ports.iter().find(|port| port.label == Label::Public) {
            let allowed: Vec<_> = public.addresses.iter().map(|held| held.address.into()).collect();
            host.set_addresses(server.id, public.mac, &allowed).await?;
        }
        self.update_server(move |server| server.interfaces.clone_from(&ports)).await
    }
}
