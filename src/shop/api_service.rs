//! The role `api_service`, and the making of API keys.

use std::net::SocketAddr;
use std::sync::Arc;

use super::stores::ShopStores;
use crate::admin::run_with_admin;
use crate::cli::{self, ApiCommand, KeyArgs, KeyRole};
use crate::config::Config;
use crate::context::Context;
use crate::exit::{CliError, Exit};
use crate::output;
use crate::preflight::publisher;
use crate::role_handle::RoleHandle;
use crate::roles::{RoleDeps, supervise};
use crate::setup::{self, Rights};
use ecom_config::{BusKind, StoreKind};
use ecom_domain::role::RoleName;
use ecom_pipeline::stop_conditions::StopConditions;
use ecom_shop_api::auth::{CallerRole, KEY_PREFIX, Keys, key_line};
use ecom_shop_api::{Api, Backends, Server};

/// The name of the role.
pub(crate) const ROLE: RoleName = RoleName::new("api_service");

/// The most processing requests that the bus has not acknowledged yet.
const MAX_OUTSTANDING: usize = 10_000;

/// Runs `api_service`.
pub(crate) async fn main(context: Context, cli: &cli::ApiService) -> Result<Exit, CliError> {
    if let Some(ApiCommand::Key(key)) = &cli.command {
        return print_key(&context, key);
    }
    let keys = keys(&context.config)?;
    if context.common.check {
        return setup::check(&context, Rights::Of(ROLE)).await;
    }
    let server = bind(&context.config).await?;
    let context = context.of_role();
    let handle = RoleHandle::new(ROLE, &context);
    let serving = async {
        let deps = RoleDeps::connect(&context, StopConditions::default()).await?;
        let stores = ShopStores::of(&deps.store).await?;
        supervise(&context, &deps, &handle, deps.serve_api(&handle, server, keys, stores)).await
    };
    run_with_admin(&context, &[&handle], serving).await
}

/// Binds the server. An address that cannot be bound is a usage error.
pub(crate) async fn bind(config: &Config) -> Result<Server, CliError> {
    let listen = &config.shop.api.listen;
    Server::bind(listen).await.map_err(|error| {
        CliError::usage(format!("could not listen on {listen} for the API: {error}"))
            .hint("name another address: --listen HOST:PORT")
    })
}

impl RoleDeps {
    /// Serves the API until stopped, then answers the requests that have begun.
    pub(crate) async fn serve_api(
        &self,
        handle: &RoleHandle,
        server: Server,
        keys: Keys,
        stores: ShopStores,
    ) -> Result<(), CliError> {
        let shop = &self.config.shop;
        let publisher =
            async |topic| publisher(&self.startup, self.bus.as_ref(), topic, MAX_OUTSTANDING).await;
        let backends = Backends {
            orders: stores.orders,
            payments: stores.payments,
            inventory: stores.inventory,
            carts: stores.carts,
            facts: Arc::clone(&self.store.facts),
            requests: publisher(&shop.topics.requests).await?,
            notices: publisher(&shop.topics.notices).await?,
            metrics: Arc::clone(&handle.metrics),
        };
        self.startup.complete();
        let is_key_required = matches!(keys, Keys::File(_));
        let entropy = Arc::clone(&self.entropy);
        let (policy, fee) = (shop.policy(), shop.checkout.shipping_fee);
        let api = Arc::new(Api::new(backends, keys, &shop.api, policy, fee, self.clock, entropy));
        let watched = Arc::clone(&api);
        handle.watch_outage(move || watched.not_ready().is_some());
        if let Ok(address) = server.local_addr() {
            let keys = if is_key_required { "with API keys" } else { "no key needed on this host" };
            tracing::info!("serving the API on http://{address}/docs, {keys}");
        }
        server.serve(api, self.stop.clone()).await;
        Ok(())
    }
}

/// Returns the keys of the configuration. Without a file, everybody who reaches the port may do everything: only on this
/// host, and only on the embedded bus and store.
pub(crate) fn keys(config: &Config) -> Result<Keys, CliError> {
    let api = &config.shop.api;
    if let Some(path) = &api.keys_file {
        return Keys::open(path).map_err(|error| {
            CliError::usage(error.to_string())
                .hint("api_service key --role shop --name NAME prints a key and its line")
        });
    }
    let is_embedded = config.bus.kind == BusKind::Embedded && config.store.kind == StoreKind::Embedded;
    if is_embedded && is_of_this_host(&api.listen) {
        return Ok(Keys::NotRequired);
    }
    let why = match is_embedded {
        true => format!("other hosts can reach {}", api.listen),
        false => "bus and store are not the embedded ones".to_owned(),
    };
    Err(CliError::usage(format!("the API needs keys, because {why}, and shop.api.keys_file is not set"))
        .hint("make a key with api_service key --role shop --name NAME, and name its file: --keys-file FILE"))
}

/// Returns whether an address is reachable from this host only.
fn is_of_this_host(listen: &str) -> bool {
    let address = listen.parse::<SocketAddr>();
    address.map_or_else(|_| listen.starts_with("localhost:"), |address| address.ip().is_loopback())
}

/// Prints a new key on stdout, and on stderr the line for the keys file.
fn print_key(context: &Context, args: &KeyArgs) -> Result<Exit, CliError> {
    let role = match (args.role, args.customer) {
        (KeyRole::Shop, None) => CallerRole::Shop,
        (KeyRole::Reader, None) => CallerRole::Reader,
        (KeyRole::Customer, Some(id)) => CallerRole::Customer(id),
        (KeyRole::Customer, None) => return Err(CliError::usage("--role customer needs --customer ID")),
        (KeyRole::Shop | KeyRole::Reader, Some(_)) => {
            return Err(CliError::usage("--customer goes with --role customer only"));
        }
    };
    let name = args.name.clone().unwrap_or_else(|| match args.customer {
        Some(id) => format!("customer-{id}"),
        None => args.role.as_str().to_owned(),
    });
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(CliError::usage("--name must be one word"));
    }
    let secret: String = [context.entropy.bytes(), context.entropy.bytes(), context.entropy.bytes()]
        .as_flattened()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let key = format!("{KEY_PREFIX}{secret}");
    ecom_telemetry::stderr::say(format_args!(
        "# for the file that shop.api.keys_file names; the key itself is shown only once\n{}",
        key_line(&key, role, &name)
    ));
    output::data(&format!("{key}\n"))?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_of_this_host() {
        for own in ["127.0.0.1:8000", "127.9.9.9:0", "[::1]:8000", "localhost:8000"] {
            assert!(is_of_this_host(own), "{own}");
        }
        for other in
            ["0.0.0.0:8000", "[::]:8000", "10.0.0.7:80", "example.com:80", "localhost.example.com:80"]
        {
            assert!(!is_of_this_host(other), "{other}");
        }
    }
}
