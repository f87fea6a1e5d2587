//! By which ways providers are reached: through a proxy or not, and who vouches for them.

use reqwest::{ClientBuilder, NoProxy, Proxy, Url};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::error::{Error, Result};

/// The ways out of a client.
#[derive(Default)]
pub(crate) struct Ways {
    proxy: Through,
    /// Trusted beside the machine's own.
    pub(super) roots: Vec<CertificateDer<'static>>,
}

/// What stands between.
#[derive(Default)]
enum Through {
    /// What the environment says.
    #[default]
    Environment,
    Nothing,
    Proxy(Box<Proxy>),
}

impl Ways {
    /// Through this proxy, none where it is empty, and the environment's where it is absent; with the
    /// certificates of this PEM text.
    ///
    /// Errors: `InvalidInput`, which repeats neither: an address of a proxy may hold a password.
    pub(crate) fn new(proxy: Option<&str>, root_certificates: Option<&str>) -> Result<Self> {
        let proxy = match proxy.map(str::trim) {
            None => Through::Environment,
            Some("") => Through::Nothing,
            Some(proxy) => {
                let bad = || Error::invalid("network.proxy is not the URL of a proxy: write it as http://host:port");
                let url = Url::parse(proxy).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
                let proxy = Proxy::all(url.ok_or_else(bad)?).map_err(|_| bad())?;
                Through::Proxy(Box::new(proxy.no_proxy(NoProxy::from_env())))
            }
        };
        Ok(Self { proxy, roots: root_certificates.map(certificates).transpose()?.unwrap_or_default() })
    }

    pub(super) fn over(&self, client: ClientBuilder) -> ClientBuilder {
        match &self.proxy {
            Through::Environment => client,
            Through::Nothing => client.no_proxy(),
            Through::Proxy(proxy) => client.proxy(Proxy::clone(proxy)),
        }
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let bad = || Error::invalid("network.root_certificates holds no certificates in PEM form");
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|_| bad())?;
    let mut store = RootCertStore::empty();
    found.iter().try_for_each(|one| store.add(one.clone())).map_err(|_| bad())?;
    if found.is_empty() { Err(bad()) } else { Ok(found) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn b36_what_is_no_proxy_and_no_certificate_is_refused_unseen() {
        assert!(Ways::new(Some("http://ana:canary@proxy:3128"), None).is_ok());
        assert!(Ways::new(Some(""), Some(include_str!("testdata/authority.pem"))).is_ok());
        for (proxy, pem) in [
            (Some("canary"), None),
            (Some("socks5://ana:canary@proxy"), None),
            (Some("file:///canary"), None),
            (None, Some("")),
            (None, Some("canary")),
            (None, Some("-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n-----END CERTIFICATE-----\n")),
        ] {
            let error = Ways::new(proxy, pem).err().unwrap();
            assert_eq!(error.code(), crate::ErrorCode::InvalidInput, "{proxy:?} {pem:?}");
            assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        }
    }
}
